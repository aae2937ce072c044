"""Golden segments: what published Demucs 4.1.0 makes of small wav folders. Run under its environment:

    .published/bin/python tests/golden/make_segments.py

The wav files are not stored: `make_tracks` draws them again, as integers, the same with any numpy.
"""

import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

OUTPUT = Path(__file__).with_name("segments.npz")
SOURCES = ["drums", "vocals"]
# name -> (rate, channels, seconds). "short" is shorter than every segment below; "odd" has a rate that is resampled.
TRACKS = {
    "a/stereo": (44100, 2, 0.2),
    "b mono": (44100, 1, 0.1501),
    "odd": (16000, 2, 0.25),
    "short": (44100, 2, 0.011),
}
# name -> settings of a dataset, examples to keep
CASES = {
    "plain": (dict(segment=0.03, shift=0.02, samplerate=44100, channels=2, normalize=True), [0, 3, 8, 9, 12, 17, -1]),
    "mono22": (dict(segment=0.03, shift=0.0137, samplerate=22050, channels=1, normalize=True), [1, 5, 14, 20, 24, -1]),
    "raw": (dict(segment=0.025, shift=None, samplerate=44100, channels=2, normalize=False), [0, 7, 8, 14, 19, -1]),
    "whole": (dict(segment=None, shift=None, samplerate=22050, channels=1, normalize=True), [1, 2, 3]),
    "mixture": (dict(segment=0.02, shift=0.01, samplerate=22050, channels=2, normalize=True), [0, 21, -1]),
}
# (track seconds, segment, shift) for counting examples
COUNTS = [(seconds, segment, shift) for seconds in (0.5, 10., 11., 11.0000227, 12.3, 30., 213.4)
          for segment in (1., 7.8, 10.5, 11., 40 / 7) for shift in (1., 0.7, 11., 1 / 3)]


def make_tracks(root: Path) -> None:
    """Write the folders of TRACKS: noise stems with a constant offset, the mixture their sum."""
    for seed, (name, (rate, channels, seconds)) in enumerate(TRACKS.items()):
        draw = np.random.RandomState(seed)
        stems = {source: draw.randint(-7000, 8000, (int(rate * seconds), channels)) for source in SOURCES}
        (root / name).mkdir(parents=True)
        for source, samples in {**stems, "mixture": sum(stems.values())}.items():
            with wave.open(str(root / name / f"{source}.wav"), "wb") as file:
                file.setparams((channels, 2, rate, 0, "NONE", ""))
                file.writeframes(samples.astype("<i2").tobytes())


def main() -> None:
    sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks" / "peers"))
    import sound_files
    from demucs.wav import Wavset, build_metadata   # published Demucs

    sound_files.provide()
    golden = {}
    with tempfile.TemporaryDirectory() as folder:
        make_tracks(Path(folder))
        metadata = dict(sorted(build_metadata(folder, SOURCES).items()))
        golden["level"] = np.array([[meta["mean"], meta["std"]] for meta in metadata.values()])
        for case, (settings, keep) in CASES.items():
            sources = ["mixture", *SOURCES] if case == "mixture" else SOURCES
            dataset = Wavset(folder, metadata, sources, **settings)
            golden[f"{case}_size"] = np.array(len(dataset))
            for index in keep:
                golden[f"{case}_{index}"] = dataset[index % len(dataset)].numpy()
    counts = []
    for seconds, segment, shift in COUNTS:
        metadata = {"track": dict(length=int(44100 * seconds), samplerate=44100, mean=0., std=1.)}
        counts.append(len(Wavset(".", metadata, SOURCES, segment=segment, shift=shift)))
    np.savez_compressed(OUTPUT, counts=np.array(counts), **golden)


if __name__ == "__main__":
    main()
