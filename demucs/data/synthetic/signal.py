"""Building blocks of the instruments: oscillators, envelopes, plucked strings, stereo placement, room and equaliser.

Everything is float32 and vectorised over samples. Signals are [L] if mono and [2, L] if stereo, at 44.1 kHz.
"""

import typing as tp

import numpy as np
from scipy import fft, signal

from .plan import SAMPLERATE

_TABLE = 2048
_EQ_TAPS = 512


def hertz(midi: tp.Any) -> tp.Any:
    """Frequency in Hz of a MIDI number (scalar or array)."""
    return 440. * 2. ** ((midi - 69.) / 12.)


def noise(rng: np.random.Generator, frames: int) -> np.ndarray:
    """White Gaussian noise [frames] of unit variance, float32."""
    return rng.standard_normal(frames, dtype=np.float32)


def harmonics_below(frequency: float, cutoff: float, most: int = 200) -> int:
    """Number of harmonics of `frequency` (the fundamental included) up to `cutoff`, both in Hz; at least 1 and at most
    `most`."""
    return int(np.clip(cutoff / frequency, 1, most))


def wavetable(amplitudes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One period of a sound, a table for `oscillate`, with the given amplitudes [H] of its harmonics and random phases,
    scaled to unit RMS."""
    spectrum = np.zeros(_TABLE // 2 + 1, np.complex64)
    spectrum[1:len(amplitudes) + 1] = amplitudes * np.exp(2j * np.pi * rng.random(len(amplitudes)))
    table = fft.irfft(spectrum)
    table /= np.sqrt(np.mean(table ** 2)) + 1e-12
    return np.append(table, table[0]).astype(np.float32)


def oscillate(phase: np.ndarray, *tables: np.ndarray) -> tp.Tuple[np.ndarray, ...]:
    """Samples [L] of each table at `phase` [L] (cycles, float64), linearly interpolated; one array per table of
    `wavetable`."""
    position = ((phase % 1.) * _TABLE).astype(np.float32)
    index = position.astype(np.int32)
    fraction = position - index
    return tuple(np.take(table, index) + fraction * np.take(np.diff(table), index, mode="clip") for table in tables)


def steady_phase(frequency: float, frames: int, start: float = 0.) -> np.ndarray:
    """Phase [frames] in cycles of a constant `frequency` in Hz, beginning with `start` cycles."""
    return start + np.arange(frames) * (frequency / SAMPLERATE)


def decay(frames: int, seconds: float) -> np.ndarray:
    """Exponential decay [frames] from 1, with time constant `seconds`."""
    return np.exp(np.arange(frames, dtype=np.float32) * np.float32(-1 / (seconds * SAMPLERATE)))


def gate(frames: int, attack: float, release: float) -> np.ndarray:
    """Envelope [frames] that rises from 0 to 1 over `attack` seconds at the start and falls to 0 over `release` seconds
    at the end. Each is at most half of the envelope; one of fewer than 4 samples is all 1."""
    up, down = (max(2, min(round(t * SAMPLERATE), frames // 2)) for t in (attack, release))
    envelope = np.ones(frames, np.float32)
    if frames >= 4:
        envelope[:up] = np.sin(np.linspace(0, np.pi / 2, up, dtype=np.float32)) ** 2
        envelope[-down:] *= np.cos(np.linspace(0, np.pi / 2, down, dtype=np.float32)) ** 2
    return envelope


def band(x: np.ndarray, low: tp.Optional[float] = None, high: tp.Optional[float] = None, order: int = 2) -> np.ndarray:
    """Butterworth filter of `x` [..., L] along its last axis, of order `order`, that keeps `low` to `high` Hz. One of
    them may be None, which leaves that side open."""
    if low is not None and high is not None:
        sos = signal.butter(order, (low, high), "bandpass", fs=SAMPLERATE, output="sos")
    elif low is not None:
        sos = signal.butter(order, low, "highpass", fs=SAMPLERATE, output="sos")
    else:
        sos = signal.butter(order, high, "lowpass", fs=SAMPLERATE, output="sos")
    return signal.sosfilt(sos, x).astype(np.float32)


def pluck(rng: np.random.Generator, frequency: float, frames: int, *, ring: float, corner: float, damp: float,
          place: float) -> np.ndarray:
    """Sound of a plucked string [frames] of `frequency` Hz after Karplus and Strong (1983), of unit peak before its
    fades at both ends.

    Their feedback loop filters each period into the next one, so harmonic h decays geometrically from period to period.
    Here all periods are computed by one inverse FFT, with the decay factor of each harmonic raised to the number of the
    period. There is no loop over samples, the pitch is exact after resampling the integer period, and losses are given
    in Hz and seconds.

    Args:
        rng: draws the phases of the harmonics.
        frequency: fundamental in Hz.
        frames: length in samples.
        ring: seconds until the fundamental has fallen to 1/e.
        corner: Hz at which the spectrum of the excitation has fallen to 1/e.
        damp: Hz at which friction alone makes a harmonic decay with a time constant of a quarter of a second.
        place: position of the excitation, as a fraction of the string's length (0 to 0.5).
    """
    period = max(8, int(SAMPLERATE / frequency))
    stretch = frequency * period / SAMPLERATE           # positions advance by this much per output sample, <= 1
    rounds = int(np.ceil(frames * stretch / period)) + 2
    h = np.arange(period // 2 + 1)
    spectrum = np.sin(np.pi * h * place) * np.exp(-h * frequency / corner) * np.exp(2j * np.pi * rng.random(len(h)))
    spectrum[0] = 0
    loss = np.exp(-(1 / ring + 4 * (h * frequency / damp) ** 1.5) / frequency)
    rows = fft.irfft((spectrum * loss ** np.arange(rounds)[:, None]).astype(np.complex64), n=period, axis=1)
    string = rows.reshape(-1)
    position = np.arange(frames) * stretch
    index = position.astype(np.int64)
    fraction = (position - index).astype(np.float32)
    out = string[index] + fraction * (string[index + 1] - string[index])
    return (out / (np.abs(out).max() + 1e-9) * gate(frames, 0.001, 0.02)).astype(np.float32)


def add(buffer: np.ndarray, start: int, sound: np.ndarray, pan: float = 0., gain: float = 1.) -> None:
    """Add `sound` ([L] or [2, L]) to `buffer` [2, frames], in place, from sample `start` on, truncated at both ends of
    the buffer.

    `pan` is from -1 (left) to 1 (right), with constant power and gain 1 per side at 0; `gain` is a factor.
    """
    first, last = max(0, -start), min(sound.shape[-1], buffer.shape[-1] - start)
    if last <= first:
        return
    sides = gain * np.sqrt(2) * np.array([np.cos((pan + 1) * np.pi / 4), np.sin((pan + 1) * np.pi / 4)], np.float32)
    target = buffer[:, start + first:start + last]
    target += sides[:, None].astype(np.float32) * sound[..., first:last]


def equaliser(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Taps [512] of a random smooth linear-phase filter, centred. Its gains in dB at nine frequencies from 40 Hz to 16
    kHz are normal with standard deviation `spread`, plus a random tilt, and interpolated between them."""
    points = np.geomspace(40, 16000, 9)
    bins = np.fft.rfftfreq(_EQ_TAPS, 1 / SAMPLERATE)
    gains = rng.normal(0, spread, len(points)) + rng.normal(0, spread / 3) * np.log2(points / 800)
    response = np.interp(np.log(bins + 20), np.log(points), gains)
    taps = fft.fftshift(fft.irfft(10 ** (response / 20), n=_EQ_TAPS))
    return (taps * signal.windows.hann(_EQ_TAPS, sym=False)).astype(np.float32)


def room(rng: np.random.Generator, seconds: float, wet: float) -> np.ndarray:
    """Stereo impulse response [2, N] of a room, `seconds` long: the direct sound, an impulse of 1, and a random tail
    that decays exponentially. In each channel the tail has the energy `wet` ** 2."""
    frames = max(64, round(seconds * SAMPLERATE))
    tail = rng.standard_normal((2, frames), dtype=np.float32) * decay(frames, seconds / 4)
    tail[:, :round(0.008 * SAMPLERATE)] *= 0.1
    tail = band(tail, 150, float(rng.uniform(3000, 9000)), order=1)
    tail *= wet / np.sqrt(np.sum(tail ** 2, axis=1, keepdims=True))
    tail[:, 0] += 1
    return tail


def bus(x: np.ndarray, rng: np.random.Generator, *, spread: float, reverb: float, wet: float) -> np.ndarray:
    """Stem `x` [2, L] filtered by one random equaliser (`spread` in dB) and one room impulse response (`reverb`
    seconds, level `wet`), as in mixing. The result has the same length."""
    equal = equaliser(rng, spread)
    response = signal.oaconvolve(room(rng, reverb, wet), equal[None], axes=-1)
    y = signal.oaconvolve(x, response.astype(np.float32), axes=-1)
    return y[:, _EQ_TAPS // 2:_EQ_TAPS // 2 + x.shape[-1]].astype(np.float32)
