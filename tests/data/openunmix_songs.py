"""Small datasets in the layouts of Open-Unmix, and the settings that name their files."""

from data.songs import noise, write

RATE = 8000
NAMES = {"aligned": ["dset.files.input=mixture.wav", "dset.files.output=vocals.wav"],
         "sourcefolder": ["dset.files.target=vocals", "dset.files.interferers=[drums,bass]"],
         "trackfolder_fix": ["dset.files.target=vocals.wav", "dset.files.interferers=[drums.wav,bass.wav]"],
         "trackfolder_var": ["dset.files.target=vocals.wav"]}


def aligned(folder, seed, seconds=2.):
    vocals, noises = noise(seed, seconds), noise(seed + 1000, seconds)
    write(folder / "vocals.wav", vocals, subtype="PCM_16")
    write(folder / "mixture.wav", vocals + noises, subtype="PCM_16")


def fixed(folder, seed, seconds=2.):
    for number, source in enumerate(("vocals", "drums", "bass")):
        write(folder / f"{source}.wav", noise(seed + 1000 * number, seconds))


def variable(folder, seed, seconds=2.):
    fixed(folder, seed, seconds)
    write(folder / "mixture.wav", noise(seed, seconds))            # would spoil the sum
    for number in range(seed % 3):
        write(folder / f"instrument {number}.wav", noise(seed + 5000 + number, seconds))


def make(kind, root, *, seconds=2., splits=("train", "valid", "test"), count=2):
    """A dataset of noise of a kind, with `count` songs, or sounds per source, in each split."""
    for place, split in enumerate(splits):
        for number in range(count):
            seed = 10 * place + number
            if kind == "sourcefolder":
                for shift, source in enumerate(("vocals", "drums", "bass")):
                    write(root / split / source / f"sound {number}.wav", noise(seed + 1000 * shift, seconds))
            else:
                {"aligned": aligned, "trackfolder_fix": fixed, "trackfolder_var": variable}[kind](
                    root / split / f"{split} {number}", seed, seconds)
    return root
