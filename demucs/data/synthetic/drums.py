"""Drums: a kit of synthesised samples, and patterns.

The kick is a sine of falling pitch with a click; the snare is such a sine with filtered noise; cymbals are filtered
noise and six inharmonic square waves (as in the Roland TR-808); toms are similar to the kick, at higher pitches.
"""

import typing as tp

import numpy as np

from .plan import SAMPLERATE, STEPS, SongPlan
from .signal import add, band, bus, decay, gate, noise

_VARIANTS = 3   # of every drum, so that neighbouring hits differ

# One character per sixteenth: x a stroke, o a soft one, - nothing
_STYLES = (
    {"kick": "x-------x-x-----", "snare": "----x-------x---", "hat": "x-o-x-o-x-o-x-o-"},
    {"kick": "x---x---x---x---", "snare": "----x-------x---", "hat": "--x---x---x---x-"},
    {"kick": "x--x--x---x-----", "snare": "----x--o-o--x---", "hat": "xoxoxoxoxoxoxoxo"},
    {"kick": "x------x--x-----", "snare": "----x-------x--o", "hat": "x-x-x-x-x-x-x-xx"},
    {"kick": "x-----x---------", "snare": "--------x-------", "hat": "x---x---x---x---"},
    {"kick": "x-x---x---x--x--", "snare": "----x--o----x-o-", "hat": "x-oox-oox-oox-oo"},
    {"kick": "x---------x-x---", "snare": "----x-------x---", "hat": "xxxxxxxxxxxxxxxx"},
    {"kick": "x--x----x--x--x-", "snare": "----x-----x--x--", "hat": "x-x-x-x-x-x-x-x-"},
)
_PERCUSSION = (("x--x--x---x-x---", "----x-----x---x-"), ("x-ox-ox-x-ox-oxo", "--x---x---x---xx"),
               ("--o---x---o---xo", "x---x---x---x---"), ("x---x-x---x-x-x-", "--xo--xo--xo--xo"))
_STROKES = {"x": 1., "o": 0.4}


def _swept(rng: np.random.Generator, low: float, high: float, sweep: float, length: float) -> np.ndarray:
    """Sine that falls from `high` to `low` Hz with time constant `sweep`, and decays with `length` (seconds)."""
    frames = round(length * 5 * SAMPLERATE)
    frequency = low + (high - low) * decay(frames, sweep)
    phase = 2 * np.pi * (rng.uniform(0, 0.1) + np.cumsum(frequency, dtype=np.float64) / SAMPLERATE)
    return np.sin(phase).astype(np.float32) * decay(frames, length) * gate(frames, 0.0005, 0.02)


def _metal(rng: np.random.Generator, frames: int, base: float) -> np.ndarray:
    """Mean [frames] of six square waves at inharmonic ratios."""
    time = np.arange(frames, dtype=np.float64) * (base / SAMPLERATE)
    ratios = np.array([2., 3., 4.16, 5.43, 6.79, 8.21]) * rng.uniform(0.98, 1.02, 6)
    return sum(2 * ((time * ratio % 1) < 0.5).astype(np.float32) - 1 for ratio in ratios) / 6


def _kick(rng: np.random.Generator) -> tp.Callable[[], np.ndarray]:
    low, high = rng.uniform(42, 75), rng.uniform(120, 400)
    sweep, length, click = rng.uniform(0.012, 0.04), rng.uniform(0.05, 0.14), rng.uniform(0.1, 0.9)
    drive = rng.uniform(1, 3)

    def strike() -> np.ndarray:
        x = np.tanh(drive * _swept(rng, low, high, sweep, length))
        burst = band(noise(rng, 1200), 1500) * decay(1200, 0.004)
        x[:1200] += click * burst
        return x
    return strike


def _snare(rng: np.random.Generator) -> tp.Callable[[], np.ndarray]:
    tone, wires, ring = rng.uniform(160, 340), rng.uniform(0.06, 0.2), rng.uniform(0.04, 0.12)
    low, high, rattle = rng.uniform(400, 2500), rng.uniform(5000, 12000), rng.uniform(0.4, 0.9)

    def strike() -> np.ndarray:
        head = _swept(rng, tone, tone * 1.4, 0.01, ring)
        frames = round(wires * 5 * SAMPLERATE)
        x = rattle * band(noise(rng, frames), low, high) * decay(frames, wires) * gate(frames, 0.0005, 0.02)
        shorter = min(len(head), frames)
        x[:shorter] += head[:shorter]
        return x
    return strike


def _clap(rng: np.random.Generator) -> tp.Callable[[], np.ndarray]:
    center, tail = rng.uniform(900, 1800), rng.uniform(0.05, 0.12)

    def strike() -> np.ndarray:
        frames = round(tail * 5 * SAMPLERATE) + 1600
        envelope = np.zeros(frames, np.float32)
        for start in (0, 450, 950, 1500):
            last = decay(frames - start, tail if start == 1500 else 0.006)
            envelope[start:] = np.maximum(envelope[start:], last)
        return 1.5 * band(noise(rng, frames), center * 0.6, center * 3) * envelope
    return strike


def _cymbal(rng: np.random.Generator, length: float, low: float, metal: float) -> tp.Callable[[], np.ndarray]:
    base = rng.uniform(280, 480)

    def strike() -> np.ndarray:
        frames = round(length * 5 * SAMPLERATE)
        x = (1 - metal) * noise(rng, frames) + 2 * metal * _metal(rng, frames, base)
        return 0.6 * band(x, low) * decay(frames, length * rng.uniform(0.8, 1.2)) * gate(frames, 0.001, 0.02)
    return strike


def _tom(rng: np.random.Generator, pitch: float) -> tp.Callable[[], np.ndarray]:
    length = rng.uniform(0.1, 0.22)

    def strike() -> np.ndarray:
        x = _swept(rng, pitch, pitch * 1.6, 0.03, length)
        x[:2000] += 0.3 * band(noise(rng, 2000), 300, 4000) * decay(2000, 0.01)
        return 0.9 * x
    return strike


def _percussion(rng: np.random.Generator, pitch: float) -> tp.Callable[[], np.ndarray]:
    """Conga or wood block, depending on the pitch: two short inharmonic modes and a burst of noise."""
    length = rng.uniform(0.03, 0.09)

    def strike() -> np.ndarray:
        x = _swept(rng, pitch, pitch * 1.1, 0.01, length)
        overtone = _swept(rng, pitch * 2.3, pitch * 2.4, 0.01, length / 3)
        x[:len(overtone)] += 0.5 * overtone
        x[:800] += 0.4 * band(noise(rng, 800), pitch, 6000) * decay(800, 0.004)
        return x
    return strike


def _kit(rng: np.random.Generator) -> tp.Dict[str, tp.List[np.ndarray]]:
    """Samples [L] of each drum, several of each."""
    tom = rng.uniform(75, 110)
    strikes = {
        "kick": _kick(rng),
        "snare": _snare(rng) if rng.random() < 0.75 else _clap(rng),
        "hat": _cymbal(rng, rng.uniform(0.015, 0.05), rng.uniform(4000, 8000), rng.uniform(0, 0.6)),
        "open": _cymbal(rng, rng.uniform(0.1, 0.25), rng.uniform(4000, 8000), rng.uniform(0, 0.6)),
        "ride": _cymbal(rng, rng.uniform(0.2, 0.5), rng.uniform(2500, 5000), rng.uniform(0.5, 0.9)),
        "crash": _cymbal(rng, rng.uniform(0.3, 0.6), rng.uniform(1500, 3500), rng.uniform(0, 0.3)),
        "low tom": _tom(rng, tom), "mid tom": _tom(rng, tom * 1.35), "high tom": _tom(rng, tom * 1.8),
    }
    pitch = rng.uniform(180, 700)
    strikes.update({"low hand": _percussion(rng, pitch), "high hand": _percussion(rng, pitch * rng.uniform(1.3, 1.6))})
    return {name: [strike() for _ in range(_VARIANTS)] for name, strike in strikes.items()}


def _fill(rng: np.random.Generator) -> tp.List[tp.Tuple[int, str, float]]:
    """Strokes (step, drum, strength) of a fill over the last beat or two of a bar."""
    first = int(rng.choice([8, 12]))
    drums = ["snare", "high tom", "mid tom", "low tom"]
    strokes = []
    for step in range(first, STEPS):
        if rng.random() < 0.8:
            drum = drums[(step - first) * len(drums) // (STEPS - first)]
            strokes.append((step, drum, float(rng.uniform(0.6, 1.))))
    return strokes


def render_drums(plan: SongPlan, rng: np.random.Generator) -> np.ndarray:
    """Drum stem float32 [2, L] of the song `plan` at 44.1 kHz, before its level is set; kit and patterns are drawn from
    `rng`."""
    kit = _kit(rng)
    gains = {"kick": rng.uniform(0.6, 1.0), "snare": rng.uniform(0.8, 1.2), "hat": rng.uniform(0.2, 0.6)}
    pans = {"kick": 0., "snare": rng.uniform(-0.15, 0.15), "hat": rng.uniform(-0.5, 0.5),
            "ride": rng.uniform(-0.6, 0.6), "crash": rng.uniform(-0.6, 0.6), "low tom": 0.5, "mid tom": 0.,
            "high tom": -0.5, "low hand": rng.uniform(-0.7, 0.7), "high hand": rng.uniform(-0.7, 0.7)}
    pans["open"] = pans["hat"]
    styles = rng.choice(len(_STYLES), 2, replace=False)
    timekeepers = ["hat", "ride" if rng.random() < 0.5 else "hat"]   # verse, chorus
    hands = _PERCUSSION[rng.integers(len(_PERCUSSION))] if rng.random() < 0.6 else ()
    gains["hand"] = rng.uniform(0.4, 1.)
    loose = rng.uniform(0.0005, 0.004) * SAMPLERATE
    buffer = np.zeros((2, plan.frames), np.float32)

    def play(bar: int, step: int, drum: str, strength: float) -> None:
        start = plan.at(bar, step) + round(rng.normal(0, loose))
        sample = kit[drum][rng.integers(_VARIANTS)]
        group = "hat" if drum in ("open", "ride", "crash") else "hand" if drum.endswith("hand") else drum
        gain = strength * rng.uniform(0.85, 1.1) * gains.get(group, 0.8)
        add(buffer, max(0, start), sample, float(pans[drum]), float(gain))

    for bar in range(plan.bars):
        section = plan.section(bar)
        style = _STYLES[styles[section]]
        fill = _fill(rng) if bar % 4 == 3 or rng.random() < 0.08 else []
        until = fill[0][0] if fill else STEPS
        for part in ("kick", "snare", "hat"):
            for step, mark in enumerate(style[part][:until]):
                if mark == "-" and part == "kick" and step % 2 == 0 and rng.random() < 0.04:
                    mark = "o"
                if mark in _STROKES:
                    drum = timekeepers[section] if part == "hat" else part
                    if drum == "hat" and step % 4 == 2 and rng.random() < 0.2:
                        drum = "open"
                    play(bar, step, drum, _STROKES[mark])
        for drum, pattern in zip(("low hand", "high hand"), hands):
            for step, mark in enumerate(pattern):
                if mark in _STROKES:
                    play(bar, step, drum, _STROKES[mark])
        for step, drum, strength in fill:
            play(bar, step, drum, strength)
        if bar % 4 == 0 and (bar > 0 or rng.random() < 0.5):
            play(bar, 0, "crash", 0.9)
    squash = rng.uniform(0.8, 1.8)
    buffer = np.tanh(squash * buffer)   # as compression; otherwise peaks would determine the level of the song
    return bus(buffer, rng, spread=4, reverb=rng.uniform(0.1, 0.6), wet=rng.uniform(0.05, 0.3))
