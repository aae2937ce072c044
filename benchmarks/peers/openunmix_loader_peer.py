"""Measurement of the MUSDB18 dataset of openunmix 1.3.0, called by bench_openunmix_loader.py with the Python of that side.

Prints JSON: examples per second as it is, with ffmpeg for every source, and with soundfile instead.

    python openunmix_loader_peer.py ROOT OUTPUT.npy WORKERS PER_TRACK BATCH SECONDS
"""

import json
import sys
import time

import numpy as np
import soundfile
import stempeg
import torch
from openunmix.data import MUSDBDataset, aug_from_str
from torch.utils.data import DataLoader


def read_stems(filename, start=0, duration=None, **_):
    """As `stempeg.read_stems` for a wav file, with soundfile: samples [L, A] and sample rate."""
    with soundfile.SoundFile(filename) as file:
        file.seek(int(start * file.samplerate))
        frames = -1 if duration is None else int(duration * file.samplerate)
        return file.read(frames, "float32", always_2d=True), file.samplerate


def rate(dataset, batch, workers):
    """Examples per second in the second pass, when the workers have started and the file cache is filled."""
    loader = DataLoader(dataset, batch_size=batch, num_workers=workers, persistent_workers=workers > 0, shuffle=True,
                        drop_last=True)
    for _ in range(2):
        begin = time.perf_counter()
        count = sum(len(mixture) for mixture, _ in loader)
        seconds = time.perf_counter() - begin
    return count / seconds


def main():
    root, output = sys.argv[1:3]
    workers, per_track, batch = map(int, sys.argv[3:6])
    torch.set_num_threads(1)
    dataset = MUSDBDataset(root=root, is_wav=True, split="train", seq_duration=float(sys.argv[6]), samples_per_track=per_track,
                           source_augmentations=aug_from_str(["gain", "channelswap"]), random_track_mix=True)
    found = {"ffmpeg": rate(dataset, batch, workers)}
    track = dataset.mus.tracks[0]
    track.chunk_start, track.chunk_duration = 1., float(sys.argv[6])
    np.save(output, np.stack([track.sources[source].audio.T for source in ("drums", "bass", "other", "vocals")]))
    stempeg.read_stems = read_stems
    found["soundfile"] = rate(dataset, batch, workers)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
