"""Small datasets in the layouts of the kinds."""

import json

import numpy as np
import soundfile

RATE = 8000


def noise(seed, seconds=2., channels=2):
    return 0.05 * np.random.default_rng(seed).standard_normal((int(seconds * RATE), channels))


def write(path, wav, rate=RATE, subtype=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav, rate, subtype=subtype or ("FLOAT" if path.suffix == ".wav" else None),
                    format="AIFF" if path.suffix == ".aif" else None)
    return wav


def moises_song(folder, stems, *, artist="Artist", song="Song"):
    """A song of MoisesDB; `stems` maps each stem to the waveforms of its recordings."""
    entries = []
    for stem, wavs in stems.items():
        for number, wav in enumerate(wavs):
            write(folder / stem / f"{stem}-{number}.wav", wav)
        entries.append({"stemName": stem, "tracks": [{"id": f"{stem}-{number}", "trackType": stem, "extension": "wav",
                                                      "has_bleed": False} for number in range(len(wavs))]})
    (folder / "data.json").write_text(json.dumps({"song": song, "artist": artist, "genre": "rock", "stems": entries}))


def slakh_song(folder, stems):
    """A song of Slakh2100; `stems` has a MIDI program, or "drums", and a waveform for each stem."""
    lines = ["audio_dir: stems", "stems:"]
    for number, (program, wav) in enumerate(stems):
        write(folder / "stems" / f"S{number:02d}.flac", wav)
        lines += [f"  S{number:02d}:", "    audio_rendered: true", f"    is_drum: {str(program == 'drums').lower()}",
                  f"    program_num: {0 if program == 'drums' else program}", "    inst_class: Some"]
    write(folder / "mix.flac", sum(wav for _, wav in stems))
    (folder / "metadata.yaml").write_text("\n".join(lines) + "\n")
