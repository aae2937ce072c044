"""Singing voice: source-filter synthesis (Fant 1960; Klatt 1980) of a melody in the key of the song.

A glottal pulse train with portamento, delayed vibrato and jitter, plus breath noise, is filtered by the formants of
vowels that glide from syllable to syllable; consonants are bursts of filtered noise. Filters are gains on short-time
spectra, one per frame and bin, so that formants can vary in time.
"""

import typing as tp
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from .plan import SAMPLERATE, STEPS, SongPlan
from .signal import bus, harmonics_below, hertz, noise, oscillate, wavetable

_HOP, _WINDOW = 256, 1024
_BLOCK = 512                           # control frames filtered at once, which bounds the memory for long songs
_RATE = SAMPLERATE / _HOP              # control frames per second

# Formants in Hz of a, e, i, o, u, schwa of an adult male (first three: Peterson and Barney 1952, rounded)
_VOWELS = np.array([[730, 1090, 2440, 3400, 4500], [530, 1840, 2480, 3500, 4600], [270, 2290, 3010, 3600, 4700],
                    [570, 840, 2410, 3300, 4400], [300, 870, 2240, 3200, 4300], [500, 1500, 2500, 3500, 4500]],
                   np.float32)
_BANDWIDTHS = np.array([80, 100, 140, 250, 400], np.float32)
# Centre and width in Hz, seconds and strength of the noise of s, sh, f, t, k, p, h
_CONSONANTS = ((7000, 2500, 0.09, 1.), (3800, 1800, 0.09, 1.), (8000, 9000, 0.07, 0.3), (5500, 4000, 0.03, 1.2),
               (2200, 1200, 0.035, 1.), (900, 900, 0.025, 0.9), (1700, 2500, 0.06, 0.3))


@dataclass(frozen=True)
class _Note:
    start: int                         # samples
    end: int
    pitch: float                       # MIDI number
    vowel: int
    consonant: tp.Optional[int]


def _melody(plan: SongPlan, rng: np.random.Generator, low: float) -> tp.List[_Note]:
    """Random walk on the scale, with chord tones on beats, in phrases of one to two bars followed by rests."""
    scale = plan.scale(low, low + 14)
    place = int(rng.integers(len(scale)))
    lengths, weights = [1, 2, 3, 4, 6, 8], rng.dirichlet([1, 3, 1.5, 2.5, 1.5, 1.5])
    notes, step, end = [], 0, plan.bars * STEPS
    while step < end:
        phrase = int(rng.integers(14, 34))
        last = min(step + phrase, end)
        while step < last:
            length = int(rng.choice(lengths, p=weights))
            bar = step // STEPS
            place = int(np.clip(place + rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 3]), 0, len(scale) - 1))
            if step % 4 == 0:          # on a beat: the nearest tone of the chord
                tones = [p % 12 for p in plan.chord(bar, low)]
                place = min(range(len(scale)), key=lambda i: (scale[i] % 12 not in tones, abs(i - place)))
            start, stop = (plan.at(s // STEPS, s % STEPS) for s in (step, step + length))
            spoken = int(rng.integers(len(_CONSONANTS))) if rng.random() < 0.6 else None
            notes.append(_Note(start, stop, scale[place], int(rng.integers(len(_VOWELS))), spoken))
            step += length
        step += int(rng.integers(1, 7))
    return notes


def _controls(notes: tp.List[_Note], rng: np.random.Generator, frames: int) -> tp.Dict[str, np.ndarray]:
    """Per control frame [T]: pitch (MIDI), voiced level, formants [T, 5], noise level, its centre and width."""
    count = frames // _HOP + 2
    pitch, voiced = np.full(count, notes[0].pitch, np.float32), np.zeros(count, np.float32)
    formants = np.tile(_VOWELS[5], (count, 1))
    hiss = np.zeros(count, np.float32)
    center, width = np.full(count, 3000., np.float32), np.full(count, 2000., np.float32)
    rate, depth, onset = rng.uniform(4.6, 6.6), rng.uniform(0.25, 0.9), rng.uniform(0.1, 0.35)
    scoop = rng.uniform(0, 1.5)
    vibrato = np.zeros(count, np.float32)
    for note in notes:
        first, last = round(note.start / _HOP), min(round(note.end / _HOP), count)
        if last - first < 2:
            continue
        burst = 0
        if note.consonant is not None:
            mid, wide, seconds, strength = _CONSONANTS[note.consonant]
            burst = min(round(seconds * rng.uniform(0.8, 1.3) * _RATE), (last - first) // 2)
            hiss[first:first + burst] = strength
            around = slice(max(0, first - 4), first + burst + 4)
            center[around], width[around] = mid * rng.uniform(0.9, 1.1), wide
        held = np.arange(last - first) / _RATE
        pitch[first:] = note.pitch     # until the next note, so that a glide starts at the previous pitch
        pitch[first:last] -= scoop * np.exp(-held / 0.04)
        voiced[first + burst:last] = rng.uniform(0.7, 1.)
        formants[first:] = _VOWELS[note.vowel]
        swell = np.clip((held - onset) / 0.2, 0, 1)
        vibrato[first:last] = depth * swell * np.sin(2 * np.pi * (rate * held + rng.random()))
    glide = rng.uniform(0.012, 0.05) * _RATE
    pitch = gaussian_filter1d(pitch, glide) + vibrato
    pitch += 0.12 * gaussian_filter1d(rng.standard_normal(count), 2) + 0.25 * gaussian_filter1d(
        rng.standard_normal(count), 25)      # jitter, and a slow drift
    shimmer = 1 + 0.1 * gaussian_filter1d(rng.standard_normal(count), 3)
    return {"pitch": pitch, "voiced": gaussian_filter1d(voiced, 0.012 * _RATE) * shimmer,
            "formants": gaussian_filter1d(formants, 0.03 * _RATE, axis=0), "noise": gaussian_filter1d(hiss, 0.9),
            "center": center, "width": width}


def _resonances(formants: np.ndarray, bins: np.ndarray, tract: float, fall: float) -> np.ndarray:
    """Gain [T, F] of a vocal tract: resonances at the formants, scaled to a tract of relative size 1/`tract`."""
    gain = np.ones((len(formants), len(bins)), np.float32)
    for number, bandwidth in enumerate(_BANDWIDTHS):
        center = formants[:, number, None] * np.float32(tract)
        ratio = (bins[None] / center) ** 2
        gain *= 1 / np.sqrt((1 - ratio) ** 2 + ratio * (bandwidth / center) ** 2)
    # a resonator falls by 12 dB per octave; the omitted poles above the fifth would compensate for that
    gain *= (1 + (bins / (3500 * tract)) ** 2) ** np.float32(4 - fall)
    return gain / np.sqrt(np.mean(gain ** 2, axis=1, keepdims=True))


def _sing(notes: tp.List[_Note], rng: np.random.Generator, frames: int, character: tp.Dict[str, float]) -> np.ndarray:
    """One mono take [frames] of the melody."""
    controls = _controls(notes, rng, frames)
    samples = np.arange(frames)
    ticks = np.arange(len(controls["pitch"]), dtype=np.float64) * _HOP
    pitch = np.interp(samples, ticks, controls["pitch"]) + character["shift"]
    top = float(hertz(pitch.max()))
    h = np.arange(1, harmonics_below(top, 15000) + 1)
    pulse = wavetable(h ** -character["tilt"], rng)
    phase = np.cumsum(hertz(pitch) / SAMPLERATE)
    voiced = oscillate(phase, pulse)[0] * np.interp(samples, ticks, controls["voiced"]).astype(np.float32)
    breath = noise(rng, frames) * np.abs(voiced)   # aspiration passes only through the open glottis
    voiced += character["breath"] * breath
    hiss = noise(rng, frames) * np.interp(samples, ticks, controls["noise"]).astype(np.float32)
    return _filtered(voiced, hiss, controls, character)


def _filtered(voiced: np.ndarray, hiss: np.ndarray, controls: tp.Dict[str, np.ndarray],
              character: tp.Dict[str, float]) -> np.ndarray:
    """Sum of `voiced` [frames] filtered by the vocal tract and `hiss` [frames] filtered by the consonants."""
    frames = len(voiced)
    window = np.sqrt(np.hanning(_WINDOW + 1)[:-1]).astype(np.float32)
    bins = np.fft.rfftfreq(_WINDOW, 1 / SAMPLERATE).astype(np.float32)
    count, overlap = frames // _HOP + 1, _WINDOW // _HOP
    voiced, hiss = (np.lib.stride_tricks.sliding_window_view(np.pad(x, (_WINDOW // 2, _WINDOW)), _WINDOW)[::_HOP]
                    for x in (voiced, hiss))
    out = np.zeros((count + overlap, _HOP), np.float32)
    for first in range(0, count, _BLOCK):
        part = slice(first, min(first + _BLOCK, count))
        tract = _resonances(controls["formants"][part], bins, character["tract"], character["fall"])
        distance = (bins - controls["center"][part, None]) / (0.5 * controls["width"][part, None])
        shape = np.exp(-0.5 * distance ** 2)
        shape *= character["hiss"] / np.sqrt(np.mean(shape ** 2, axis=1, keepdims=True))
        spectra = fft.rfft(voiced[part] * window, axis=1) * tract + fft.rfft(hiss[part] * window, axis=1) * shape
        grains = fft.irfft(spectra, axis=1) * (window * np.float32(2 / overlap))
        for step in range(overlap):
            out[first + step:first + step + len(grains)] += grains[:, step * _HOP:(step + 1) * _HOP]
    return out.reshape(-1)[_WINDOW // 2:_WINDOW // 2 + frames]


def render_voice(plan: SongPlan, rng: np.random.Generator) -> np.ndarray:
    """Vocal stem float32 [2, L] of the song `plan` at 44.1 kHz, before its level is set: a lead voice, sometimes
    doubled or with a second voice at an interval. Melody and voice are drawn from `rng`."""
    low = plan.register
    # a high voice usually has a short vocal tract
    tract = 1 + 0.009 * (low - 46) + rng.uniform(-0.06, 0.08)
    character = {"tract": tract, "tilt": rng.uniform(0.5, 1.2), "fall": rng.uniform(-0.4, 0.3),
                 "breath": rng.uniform(0.02, 0.25), "hiss": rng.uniform(0.4, 1.2), "shift": 0.}
    notes = _melody(plan, rng, low)
    lead = _sing(notes, rng, plan.frames, character)
    buffer = np.stack([lead, lead])
    kind = rng.random()
    if kind < 0.35:
        shift = 0. if kind < 0.2 else float(rng.choice([-12., 12., 7., -5.]))
        second = _sing(notes, rng, plan.frames, dict(character, shift=shift))
        buffer += 0.4 * second * np.array([[1.], [0.4 if kind < 0.2 else 1.]], np.float32)
    return bus(buffer, rng, spread=4, reverb=rng.uniform(0.3, 1.2), wet=rng.uniform(0.05, 0.35))
