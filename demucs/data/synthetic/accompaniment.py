"""Accompaniment ("other"): one to three players of pads, organ, electric piano, guitars and arpeggiators."""

import typing as tp

import numpy as np

from .plan import SAMPLERATE, STEPS, SongPlan
from .signal import add, bus, decay, gate, harmonics_below, hertz, oscillate, pluck, steady_phase, wavetable

Voice = tp.Callable[[int, int], np.ndarray]   # (MIDI pitch, frames) -> mono sound

_STRUMS = ("x...x.x...x.x.x.", "x...x...x...x...", "x.....x.....x...", "..x...x...x...x.", "x..x..x.x..x..x.",
           "x.x.x.x.x.x.x.x.", "x.......x.......")


def _pad(rng: np.random.Generator) -> Voice:
    """Additive synthesis of two detuned copies of a low-passed sawtooth, with a slow attack."""
    cutoff, slope = np.exp(rng.uniform(np.log(500), np.log(6000))), rng.uniform(2, 5)
    detune, attack, odd = rng.uniform(0.03, 0.12), rng.uniform(0.03, 0.25), rng.uniform(0.2, 1.)

    def play(pitch: int, frames: int) -> np.ndarray:
        frequency = float(hertz(pitch))
        h = np.arange(1, harmonics_below(frequency, 14000) + 1)
        table = wavetable(np.where(h % 2, 1., odd) / h / (1 + (h * frequency / cutoff) ** slope), rng)
        phases = (steady_phase(float(hertz(pitch + cents)), frames, rng.random()) for cents in (-detune, detune))
        return sum(oscillate(phase, table)[0] for phase in phases) * gate(frames, attack, 0.1)
    return play


def _organ(rng: np.random.Generator) -> Voice:
    """Additive synthesis with the drawbars of a Hammond organ, the tremolo of a rotary speaker, and a short attack."""
    footage = np.array([1, 2, 3, 4, 6, 8, 10, 12, 16])
    bars = rng.random(len(footage)) ** 2 + 0.05
    rate, depth = rng.choice([0.8, 6.3]) * rng.uniform(0.9, 1.1), rng.uniform(0.05, 0.35)

    def play(pitch: int, frames: int) -> np.ndarray:
        frequency = float(hertz(pitch)) / 2
        amplitudes = np.zeros(16)
        amplitudes[footage - 1] = bars
        amplitudes = amplitudes[:harmonics_below(frequency, 16000, 16)]
        sound, = oscillate(steady_phase(frequency, frames, rng.random()), wavetable(amplitudes, rng))
        tremolo = 1 + depth * np.sin(2 * np.pi * steady_phase(rate, frames)).astype(np.float32)
        return 1.2 * sound * tremolo * gate(frames, 0.004, 0.02)
    return play


def _electric_piano(rng: np.random.Generator) -> Voice:
    """Two FM pairs: the bar (1:1) and the tine (1:14), as on the Yamaha DX7."""
    index, ring, tine = rng.uniform(0.6, 2.), rng.uniform(0.5, 1.5), rng.uniform(0.05, 0.25)

    def play(pitch: int, frames: int) -> np.ndarray:
        phase = (2 * np.pi * (steady_phase(float(hertz(pitch)), frames) % 1.)).astype(np.float32)
        fade = decay(frames, ring)
        body = np.sin(phase + index * fade * np.sin(phase))
        bell = tine * decay(frames, 0.12) * np.sin(phase + np.sin(14 * phase)) if pitch < 84 else 0.
        return 1.6 * (body + bell) * fade * gate(frames, 0.002, 0.04)
    return play


def _guitar(rng: np.random.Generator) -> Voice:
    ring, place = rng.uniform(0.4, 1.5), rng.uniform(0.08, 0.4)
    corner, damp = rng.uniform(800, 5000), rng.uniform(1200, 5000)

    def play(pitch: int, frames: int) -> np.ndarray:
        frames = max(frames, round(0.25 * SAMPLERATE))
        return 3.5 * pluck(rng, float(hertz(pitch)), frames, ring=ring, corner=corner, damp=damp,
                           place=place)
    return play


def _distorted(rng: np.random.Generator) -> Voice:
    string, drive = _guitar(rng), rng.uniform(1.5, 6)

    def play(pitch: int, frames: int) -> np.ndarray:
        both = string(pitch, frames) + string(pitch + 7, frames)   # a power chord shares one amplifier
        return 1.2 * np.tanh(drive * both)
    return play


def _plucked_synth(rng: np.random.Generator) -> Voice:
    """Sawtooth through a low-pass filter that closes quickly, for arpeggios and short chords."""
    dark, bright, sweep = rng.uniform(300, 1500), rng.uniform(2000, 9000), rng.uniform(0.04, 0.2)
    ring = rng.uniform(0.15, 0.6)

    def play(pitch: int, frames: int) -> np.ndarray:
        frequency = float(hertz(pitch))
        h = np.arange(1, harmonics_below(frequency, 14000) + 1)
        tables = [wavetable(1 / h / (1 + (h * frequency / cutoff) ** 3), rng) for cutoff in (dark, bright)]
        low, high = oscillate(steady_phase(frequency, frames, rng.random()), *tables)
        return 1.5 * (low + (high - low) * decay(frames, sweep)) * decay(frames, ring) * gate(frames, 0.003, 0.02)
    return play


class _Player:
    """One instrument with its position in the stereo image. Equal notes are synthesised once and reused."""

    def __init__(self, plan: SongPlan, rng: np.random.Generator, voice: Voice, gain: float):
        self.plan, self.rng, self.voice, self.gain = plan, rng, voice, gain
        self.center = float(rng.uniform(-0.6, 0.6))
        self.width = float(rng.uniform(0., 0.5))
        self.sounds: tp.Dict[tp.Tuple[int, int], np.ndarray] = {}

    def note(self, buffer: np.ndarray, bar: int, step: float, pitch: int, steps: float, side: float = 0.) -> None:
        """Play `pitch` for `steps` sixteenths; `side` from -1 to 1 spreads the notes of a chord."""
        key = (pitch, round(steps * self.plan.step_frames))
        if key not in self.sounds:
            self.sounds[key] = self.voice(*key)
        start = self.plan.at(bar, step) + round(self.rng.exponential(0.003) * SAMPLERATE)
        pan = float(np.clip(self.center + side * self.width, -1, 1))
        add(buffer, start, self.sounds[key], pan, self.gain * float(self.rng.uniform(0.75, 1.05)))


def _sustained(player: _Player, buffer: np.ndarray, center: float, notes: int) -> None:
    for bar in range(player.plan.bars):
        for side, pitch in zip(np.linspace(-1, 1, notes), player.plan.chord(bar, center, notes)):
            player.note(buffer, bar, 0, pitch, STEPS * 1.02, float(side))


def _strummed(player: _Player, buffer: np.ndarray, center: float, notes: int) -> None:
    patterns = player.rng.choice(len(_STRUMS), 2, replace=False)
    spread = player.rng.uniform(0, 0.25)    # sixteenths from the first string to the last
    for bar in range(player.plan.bars):
        pattern = _STRUMS[patterns[player.plan.section(bar)]]
        steps = [step for step, mark in enumerate(pattern) if mark == "x"]
        for stroke, (step, following) in enumerate(zip(steps, steps[1:] + [STEPS])):
            chord = player.plan.chord(bar, center, notes)
            order = chord if stroke % 2 == 0 else chord[::-1]
            for place, pitch in enumerate(order):
                late = step % 2 * player.plan.swing if spread else 0.
                player.note(buffer, bar, step + late + spread * place / notes, pitch, following - step,
                            2 * place / max(1, notes - 1) - 1)


def _arpeggio(player: _Player, buffer: np.ndarray, center: float, notes: int) -> None:
    pace = int(player.rng.choice([1, 2, 3, 3]))
    order = player.rng.permutation(2 * notes)
    for bar in range(player.plan.bars):
        chord = player.plan.chord(bar, center, notes)
        chord = chord + [pitch + 12 for pitch in chord]
        for count, step in enumerate(range(0, STEPS, pace)):
            player.note(buffer, bar, step, chord[order[count % len(order)]], pace * 1.5, count % 2 * 2 - 1)


# (instrument, way of playing, loudness); drawn without repetition
_PLAYERS = ((_pad, _sustained, 0.7), (_organ, _sustained, 0.6), (_electric_piano, _strummed, 0.9),
            (_guitar, _strummed, 1.), (_distorted, _strummed, 0.6), (_plucked_synth, _arpeggio, 1.),
            (_guitar, _arpeggio, 1.2), (_organ, _strummed, 0.7), (_plucked_synth, _strummed, 0.9))


def render_accompaniment(plan: SongPlan, rng: np.random.Generator) -> np.ndarray:
    """Accompaniment stem float32 [2, L] of the song `plan` at 44.1 kHz, before its level is set; instruments and notes
    are drawn from `rng`."""
    buffer = np.zeros((2, plan.frames), np.float32)
    for choice in rng.choice(len(_PLAYERS), int(rng.choice([1, 2, 3, 3])), replace=False):
        instrument, style, loudness = _PLAYERS[choice]
        player = _Player(plan, rng, instrument(rng), loudness * float(rng.uniform(0.6, 1.2)))
        notes = 2 if instrument is _distorted else int(rng.choice([3, 3, 4]))
        style(player, buffer, float(np.clip(plan.register + rng.normal(5, 10), 40, 79)), notes)
    return bus(buffer, rng, spread=4, reverb=rng.uniform(0.2, 1.), wet=rng.uniform(0.05, 0.35))
