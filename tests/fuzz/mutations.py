"""Mutations of the bytes of a file. Each takes `data`, the bytes of another seed of the kind, and a generator."""

import struct
import typing as tp

import numpy as np

Chance = np.random.Generator
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF,
            0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
HEAD = 128         # bytes in which most formats say rates, channels and sizes


def _place(data: bytes, chance: Chance) -> int:
    """Position of a mutation: in half of the cases in the header, which is small and important."""
    return int(chance.integers(max(1, min(HEAD, len(data)) if chance.random() < 0.5 else len(data))))


def flip(data: bytes, other: bytes, chance: Chance) -> bytes:
    """Some bits."""
    changed = bytearray(data)
    for _ in range(int(2 ** chance.integers(6))):
        if changed:
            changed[_place(data, chance)] ^= 1 << int(chance.integers(8))
    return bytes(changed)


def truncate(data: bytes, other: bytes, chance: Chance) -> bytes:
    return data[:_place(data, chance)]


def insert(data: bytes, other: bytes, chance: Chance) -> bytes:
    place, count = _place(data, chance), int(2 ** chance.integers(12))
    return data[:place] + chance.bytes(count) + data[place:]


def zero(data: bytes, other: bytes, chance: Chance) -> bytes:
    """A block that a disk has lost."""
    place, count = _place(data, chance), int(2 ** chance.integers(12))
    return data[:place] + bytes(min(count, len(data) - place)) + data[place + count:]


def remove(data: bytes, other: bytes, chance: Chance) -> bytes:
    place = _place(data, chance)
    return data[:place] + data[place + int(2 ** chance.integers(10)):]


def duplicate(data: bytes, other: bytes, chance: Chance) -> bytes:
    """A block twice; or all of it."""
    if chance.random() < 0.2:
        return data + data
    place, count = _place(data, chance), int(2 ** chance.integers(12))
    return data[:place] + data[place:place + count] + data[place:]


def splice(data: bytes, other: bytes, chance: Chance) -> bytes:
    """The beginning of one file and the end of another."""
    return data[:_place(data, chance)] + other[_place(other, chance):]


def extreme(data: bytes, other: bytes, chance: Chance) -> bytes:
    """Fields of the head, of 1, 2, 4 or 8 bytes, set to values at the ends of their ranges."""
    changed = bytearray(data)
    for _ in range(int(chance.integers(1, 4))):
        code, size = (("B", 1), ("H", 2), ("I", 4), ("Q", 8))[int(chance.integers(4))]
        place = _place(data, chance) // min(size, 4) * min(size, 4)
        value = EXTREMES[int(chance.integers(len(EXTREMES)))] & (256 ** size - 1)
        order = "<>"[int(chance.integers(2))]
        if place + size <= len(changed):
            changed[place:place + size] = struct.pack(order + code, value)
    return bytes(changed)


ALL: tp.Tuple[tp.Callable[[bytes, bytes, Chance], bytes], ...] = (
    flip, flip, truncate, insert, zero, remove, duplicate, splice, extreme, extreme)


def mutate(data: bytes, other: bytes, chance: Chance) -> bytes:
    """One mutation, or two."""
    for _ in range(1 + int(chance.random() < 0.25)):
        data = ALL[int(chance.integers(len(ALL)))](data, other, chance)
    return data
