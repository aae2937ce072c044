"""Songs and calls of the command line that published Demucs and ours are compared with. Imported by the script that
makes the golden files (in the environment of published Demucs) and by the test."""

import numpy as np
import soundfile

RATE = 8000
SINGLE, OTHER, TRANSFORMER = "feed0001", "feed0002", "feed0003"
BAGS = {"pair": f"models: ['{SINGLE}', '{OTHER}']\nweights: [[1., 0.25], [3., 1.]]\n",
        "mixed": f"models: ['{SINGLE}', '{TRANSFORMER}']\nsegment: 0.3\n"}
STRIDE, EDGE = 11, 60     # of what is stored of an output: every 11th sample, and all of both ends
COMPRESSED = ("coded.mp3", "coded.ogg", "coded.m4a")      # 0.6 s at 48 kHz, beside the golden outputs

# files, options
CASES = {
    "wav": (["song.wav"], []),
    "int24": (["song.wav"], ["--int24"]),
    "float32": (["song.wav"], ["--float32"]),
    "flac": (["song.wav"], ["--flac"]),
    "flac_int24": (["song.wav"], ["--flac", "--int24"]),
    "mp3": (["song.wav"], ["--mp3", "--mp3-bitrate", "64", "--mp3-preset", "5"]),
    "rescale": (["loud.wav"], ["--int24"]),
    "clamp": (["loud.wav"], ["--clip-mode", "clamp", "--int24"]),
    "no_clip_mode": (["loud.wav"], ["--clip-mode", "none"]),
    "no_clip_mode_float32": (["loud.wav"], ["--clip-mode", "none", "--float32"]),
    "two_stems": (["song.wav"], ["--two-stems", "vocals", "--float32"]),
    "two_stems_minus": (["song.wav"], ["--two-stems", "vocals", "--other-method", "minus", "--float32"]),
    "two_stems_none": (["song.wav"], ["--two-stems", "vocals", "--other-method", "none", "--float32"]),
    "mono": (["mono.wav"], ["--float32"]),
    "surround": (["surround.wav"], ["--float32"]),
    "rate_48000": (["fast.wav"], ["--float32"]),
    "mp3_input": (["coded.mp3"], ["--float32"]),
    "ogg_input": (["coded.ogg"], ["--float32"]),
    "m4a_input": (["coded.m4a"], ["--float32"]),
    "overlap": (["song.wav"], ["--overlap", "0.6", "--float32"]),
    "segment": (["song.wav"], ["--segment", "1", "--float32"]),
    "no_split": (["song.wav"], ["--no-split", "--float32"]),
    "jobs": (["song.wav"], ["-j", "2", "--float32"]),
    "several_files": (["song.wav", "two words.wav", "noextension"],
                      ["--filename", "{stem}/{track}_{trackext}.{ext}", "-o", "else where"]),
    "bag": (["song.wav"], ["-n", "pair", "--float32"]),
    "transformer": (["song.wav"], ["-n", TRANSFORMER, "--float32"]),
    "transformer_jobs": (["song.wav"], ["-n", TRANSFORMER, "--float32", "-j", "2", "--overlap", "0.1"]),
    "mixed_bag": (["song.wav"], ["-n", "mixed", "--float32"]),
}


def music(rate, seconds, channels, seed=0):
    """Tones that glide, with noise in bursts, [L, channels]."""
    random = np.random.default_rng(seed)
    time = np.arange(round(rate * seconds))[:, None] / rate
    pitch = 220 * 2 ** random.uniform(0, 2, size=(1, channels))
    tones = 0.2 * np.sin(2 * np.pi * pitch * time * (1 + 0.2 * time))
    noise = 0.1 * random.normal(size=(len(time), channels)) * (np.sin(2 * np.pi * 5 * time) > 0)
    return 0.02 + tones + noise


def write_songs(folder):
    """The songs that are not compressed, into `folder`."""
    for name, rate, channels, gain in (("song.wav", RATE, 2, 1), ("loud.wav", RATE, 2, 8), ("mono.wav", RATE, 1, 1),
                                       ("surround.wav", RATE, 6, 1), ("fast.wav", 48000, 2, 1),
                                       ("two words.wav", RATE, 2, 0.5), ("noextension", RATE, 2, 0.7)):
        soundfile.write(folder / name, gain * music(rate, 0.9, channels), rate, format="WAV",
                        subtype="FLOAT" if gain > 1 else "PCM_16")


def outputs(folder):
    """What is stored of the files in `folder`: "path" -> samples [n, channels] float32."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert rate == RATE
        found[path.relative_to(folder).as_posix()] = np.concatenate(
            [samples[:EDGE], samples[::STRIDE], samples[-EDGE:], np.full((1, samples.shape[1]), len(samples))])
    return found
