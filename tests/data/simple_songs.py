"""Songs of drums, bass, chords and a melody, cheap to make, with exactly known tempo, first beat and key."""

import numpy as np
import soundfile

RATE = 22050
MAJOR = (0, 2, 4, 5, 7, 9, 11)
PROGRESSION = (0, 4, 5, 3)


def stems(tempo, key, *, seconds=20., first_beat=0.5, seed=0, rubato=0., tuning=0.):
    """{source: [L, 2]} in 4/4 from the bar line at `first_beat` on; `key` is the pitch class of the major key. The
    tempo changes by the share `rubato` until the end."""
    rng = np.random.default_rng(seed)
    length, beat = round(seconds * RATE), 60 / tempo
    out = {source: np.zeros(length) for source in ("drums", "bass", "other", "vocals")}

    def at(beats):
        return first_beat + beats * beat * (1 + rubato * beats * beat / seconds)

    def add(source, beats, sound):
        start = round(at(beats) * RATE)
        if 0 <= start < length:
            out[source][start:start + len(sound)] += sound[:length - start]

    def tone(pitch, beats, decay):
        time = np.arange(round(beats * beat * RATE)) / RATE
        hertz = 440 * 2 ** ((pitch + tuning - 69) / 12)
        return sum(np.sin(2 * np.pi * h * hertz * time) / h ** 1.5 for h in (1, 2, 3)) * np.exp(-time / decay)

    def scale(degree, low):
        pitch = key + 12 * (degree // 7) + MAJOR[degree % 7]
        return pitch + 12 * int(np.ceil((low - pitch) / 12))
    time = np.arange(round(0.2 * RATE)) / RATE
    kick = np.sin(2 * np.pi * (60 * time + 4 * (1 - np.exp(-time / 0.02)))) * np.exp(-time / 0.06)
    bars = int((seconds - first_beat) / beat / 4) + 1
    for number in range(-4, 4 * bars):
        bar, place = divmod(number, 4)
        if place % 2 == 0:
            add("drums", number, kick)
        else:
            add("drums", number, 0.5 * rng.standard_normal(len(time)) * np.exp(-time / 0.04))
        add("drums", number + 0.5, 0.1 * rng.standard_normal(800))
        degree = PROGRESSION[bar % len(PROGRESSION)]
        if place in (0, 2):
            add("bass", number, 0.4 * tone(scale(degree, 36), 1.9, 0.5))
        if place == 0:
            for third in range(3):
                add("other", number, 0.15 * tone(scale(degree + 2 * third, 55), 4, 1.5))
        add("vocals", number, 0.2 * tone(scale(degree + 2 * int(rng.integers(3)), 62), 0.9, 0.5))
    return {source: np.stack([wav, 0.9 * wav], axis=1) * 0.5 for source, wav in out.items()}


def write(folder, *args, **kwargs):
    """A song as a folder of wav files."""
    write_stems(folder, stems(*args, **kwargs))


def write_stems(folder, wavs):
    folder.mkdir(parents=True)
    for name, wav in {**wavs, "mixture": sum(wavs.values())}.items():
        soundfile.write(folder / f"{name}.wav", wav, RATE, subtype="PCM_16")


# tempo, key and first beat: all of a split agree, within 12 % and 2 semitones
TRAIN = ((100., 0, 0.5), (104., 1, 0.9), (96., 2, 0.2), (110., 0, 1.3))
VALID = ((120., 5, 0.3), (126., 6, 0.7))


def write_musdb(root):
    """A folder in the layout of MUSDB18-HQ: four songs to train on, two to validate, one to test."""
    from demucs.data.musdb import VALIDATION_TRACKS
    for number, (tempo, key, first) in enumerate(TRAIN):
        write(root / "train" / f"Song {number}", tempo, key, first_beat=first, seed=number)
    for number, (tempo, key, first) in enumerate(VALID):
        write(root / "train" / VALIDATION_TRACKS[number], tempo, key, first_beat=first, seed=10 + number)
    write(root / "test" / "Test song", 101., 0, first_beat=0.4, seed=20)
    return root
