"""Bass: one line on the roots of the chords, by a subtractive synthesiser, an FM synthesiser, or a plucked string.

Registers range from the low E of a bass guitar to the tenor range, so that no fixed crossover frequency separates the
bass from the kick drum and from the accompaniment.
"""

import typing as tp

import numpy as np

from .plan import SAMPLERATE, STEPS, SongPlan
from .signal import add, bus, decay, gate, harmonics_below, hertz, oscillate, pluck, steady_phase, wavetable

# Per sixteenth: 0 the root, 7 the fifth, c the octave, . nothing; a note lasts until the next one or for its length
_RHYTHMS = (
    "0.......0.......", "0.0.0.0.0.0.0.0.", "0...0...0...0...", "0..0..0.0..0..0.", "0.....0.0.....7.",
    "..0...0...0...0.", "0..0..7...0.0.7.", "0...7...0...7...", "0.0.c...0.0.c.7.", "0...............",
    "0.c.0.c.0.c.0.c.",
)
_INTERVALS = {"0": 0, "7": 7, "c": 12}

Voice = tp.Callable[[float, int, float], np.ndarray]


def _analogue(rng: np.random.Generator) -> Voice:
    """Saw or pulse through a low-pass filter that closes: a dark and a bright table, cross-faded by the envelope."""
    width = rng.uniform(0.1, 0.5)
    saw = rng.random() < 0.5
    dark, bright = np.exp(rng.uniform(np.log([200, 900]), np.log([1600, 7000])))
    sweep, slope, sub = rng.uniform(0.05, 0.4), rng.uniform(1., 3.5), rng.uniform(0, 0.6)

    def play(frequency: float, frames: int, strength: float) -> np.ndarray:
        h = np.arange(1, harmonics_below(frequency, 12000) + 1)
        shape = 1 / h if saw else np.abs(np.sin(np.pi * h * width)) / h
        tables = [wavetable(shape / (1 + (h * frequency / cutoff) ** slope), rng)
                  for cutoff in (dark, bright * (0.5 + 0.5 * strength))]
        low, high = oscillate(steady_phase(frequency, frames, rng.random()), *tables)
        envelope = decay(frames, sweep)
        deep = np.sin(np.pi * steady_phase(frequency, frames)).astype(np.float32)   # an octave below
        return (low + (high - low) * envelope + sub * deep) * gate(frames, 0.004, 0.03)
    return play


def _modulated(rng: np.random.Generator) -> Voice:
    """Two-operator FM (Chowning 1973) whose index decays."""
    ratio, index, sweep = rng.choice([0.5, 1., 1., 2.]), rng.uniform(1., 4.), rng.uniform(0.06, 0.4)

    def play(frequency: float, frames: int, strength: float) -> np.ndarray:
        phase = 2 * np.pi * (steady_phase(frequency, frames) % 1.)
        modulator = np.sin(ratio * 2 * np.pi * steady_phase(frequency, frames)).astype(np.float32)
        depth = index * strength * (0.2 + 0.8 * decay(frames, sweep))
        return 1.4 * np.sin(phase.astype(np.float32) + depth * modulator) * gate(frames, 0.003, 0.04)
    return play


def _string(rng: np.random.Generator) -> Voice:
    ring, place = rng.uniform(0.4, 1.2), rng.uniform(0.1, 0.35)
    corner, damp = rng.uniform(300, 1600), rng.uniform(500, 1600)

    def play(frequency: float, frames: int, strength: float) -> np.ndarray:
        return 2.5 * pluck(rng, frequency, frames, ring=ring, corner=corner * strength, damp=damp, place=place)
    return play


def render_bass(plan: SongPlan, rng: np.random.Generator) -> np.ndarray:
    """Bass stem float32 [2, L] of the song `plan` at 44.1 kHz, before its level is set; sound and rhythm are drawn from
    `rng`."""
    voice = (_analogue, _analogue, _modulated, _string, _string)[rng.integers(5)](rng)
    low = float(rng.choice([28, 30, 33, 36, 40, 45]))
    rhythms = rng.choice(len(_RHYTHMS), 2, replace=False)
    legato, drive = rng.uniform(0.45, 1.), rng.uniform(0.3, 4.)
    buffer = np.zeros((2, plan.frames), np.float32)
    for bar in range(plan.bars):
        rhythm = _RHYTHMS[rhythms[plan.section(bar)]]
        if bar % 4 == 3 and rng.random() < 0.4:
            rhythm = _RHYTHMS[rng.integers(len(_RHYTHMS))]
        if bar == 0 and rhythm[0] == ".":
            rhythm = "0" + rhythm[1:]   # the stem starts on the first beat
        steps = [step for step, mark in enumerate(rhythm) if mark in _INTERVALS]
        for step, following in zip(steps, steps[1:] + [STEPS]):
            pitch = plan.root(bar, low) + _INTERVALS[rhythm[step]]
            if following == STEPS and rng.random() < 0.2:
                pitch += int(rng.choice([-2, 2]))   # a passing tone into the next chord
            start = plan.at(bar, step)
            frames = int(max(0.08 * SAMPLERATE, legato * (plan.at(bar, following) - start)))
            strength = float(rng.uniform(0.7, 1.))
            sound = strength * voice(float(hertz(pitch)), frames, strength)
            add(buffer, start + round(rng.exponential(0.002) * SAMPLERATE), sound)
    buffer = np.tanh(drive * buffer)
    return bus(buffer, rng, spread=4, reverb=rng.uniform(0.05, 0.2), wet=rng.uniform(0.02, 0.12))
