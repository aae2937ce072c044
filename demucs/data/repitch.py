"""Pitch-shifting and time-stretching augmentation in the data loader, by soundstretch.

With probability `proba` per example, all sources together (or, with `same=False`, each source independently) are
shifted by an integer number of semitones, uniform in [-max_pitch, max_pitch]. Their tempo is changed by a percentage
from a normal distribution with standard deviation `tempo_std`, clipped to [-max_tempo, max_tempo]. A faster example is
shorter, so every example, changed or not, is cut to (1 - max_tempo / 100) of its length. These are the distributions of
published Demucs.
"""

import typing as tp

import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from ..audio import soundstretch
from ..dsp.randomness import generator
from ..errors import ConfigError, ToolError
from .sampler import ExampleKey

Change = tp.Tuple[int, float]      # semitones, percent


def trimmed_length(length: int, max_tempo: float) -> int:
    """Length in samples to which examples of `length` samples are cut, so that it remains if the tempo rises by
    `max_tempo` percent."""
    return int((1 - 0.01 * max_tempo) * length)


class RepitchDataset(Dataset):
    """Augmented dataset: `repitched[key]` is the example `dataset[key]` [S, A, L] of an ExampleKey with changed pitch
    and tempo, or unchanged, cut to [S, A, trimmed_length(L)]. Random draws depend on seed and key only."""

    def __init__(self, dataset: tp.Any, *, seed: int, proba: float, max_pitch: int = 2, max_tempo: float = 12,
                 tempo_std: float = 5, vocals: tp.Sequence[int], same: bool = True, samplerate: int = 44100):
        """`vocals` are the indices of sources that are stretched as speech, `samplerate` that of the examples in Hz.

        Raises ToolError if soundstretch is missing or too old, here rather than later in a loader worker.
        """
        if not 0 <= max_tempo <= soundstretch.MAX_SLOWER or max_pitch < 0 or tempo_std < 0:
            raise ConfigError(f"augment.repitch: max_tempo={max_tempo} must lie in [0, {soundstretch.MAX_SLOWER}], "
                              f"max_pitch={max_pitch} and tempo_std={tempo_std} must not be negative")
        self.dataset = dataset
        self.seed = seed
        self.proba = proba
        self.max_pitch = max_pitch
        self.max_tempo = max_tempo
        self.tempo_std = tempo_std
        self.vocals = frozenset(vocals)
        self.same = same
        self.samplerate = samplerate
        self.program = soundstretch.find()

    def __len__(self) -> int:
        return len(self.dataset)

    def draw(self, key: ExampleKey, sources: int) -> tp.Optional[tp.List[Change]]:
        """(semitones, percent of tempo) for each of `sources` sources of the example with this key; None if it is not
        changed."""
        chance = generator(self.seed, "repitch", key.epoch, key.step, key.position)
        if chance.random() >= self.proba:
            return None
        changes = []
        for _ in range(1 if self.same else sources):
            pitch = int(chance.integers(-self.max_pitch, self.max_pitch, endpoint=True))
            tempo = float(chance.normal(0, self.tempo_std))
            changes.append((pitch, min(max(tempo, -self.max_tempo), self.max_tempo)))
        return changes * sources if self.same else changes

    def __getitem__(self, key: ExampleKey) -> torch.Tensor:
        wavs = self.dataset[key]
        length = trimmed_length(wavs.shape[-1], self.max_tempo)
        changes = self.draw(key, len(wavs))
        if changes is None:
            return wavs[..., :length]
        return torch.stack([self._stretched(wav, change, source in self.vocals, length)
                            for source, (wav, change) in enumerate(zip(wavs, changes))])

    def fill(self, out: torch.Tensor, key: ExampleKey) -> None:
        """Write the example with this key to `out` [S, A, trimmed_length(L)]."""
        if self.draw(key, len(out)) is None:
            self.dataset.fill(out, key)
        else:
            out.copy_(self[key])

    def _stretched(self, wav: torch.Tensor, change: Change, voice: bool, length: int) -> torch.Tensor:
        pitch, tempo = change
        result = self.program.stretch(wav, self.samplerate, pitch=pitch, tempo=tempo, voice=voice)[:, :length]
        # length / (1 + tempo) > length * (1 - tempo), so only a few samples can be missing because of rounding
        short = length - result.shape[-1]
        if short > 0.01 * length + 64:
            raise ToolError(f"{self.program.path} returned {result.shape[-1]} samples where {length} were due "
                            f"(pitch {pitch}, tempo {tempo:.6f} %)")
        return F.pad(result, (0, max(short, 0)))
