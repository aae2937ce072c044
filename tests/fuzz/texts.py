"""Mutations of text: values of another type, duplicate keys, endless brackets, bytes that are not text."""

import copy
import json
import typing as tp

import numpy as np

from fuzz import mutations

Chance = np.random.Generator
ODD: tp.Tuple[tp.Any, ...] = (
    None, True, False, 0, -1, 1, 10 ** 30, 10 ** 400, -0.0, 1e308, float("nan"), float("inf"), -float("inf"), "", "x",
    "nan", "1", "-", "null", "\x00", "a\nb", "\x1b[31m", "\u202e", "\ud800", "é", "x" * 5000, "../../x", "/", [], {}, [[]],
    [None], {"": {}}, {"a": 1}, ["a", 1, None], [1, 2, 3])
WORDS = (b"null", b"true", b"nan", b".inf", b"1e999", b"-1", b"9" * 5000, b"[" * 2000, b"{", b"}", b"]", b":", b",", b'"', b"'",
         b"\\", b"\\u0000", b"\\ud800", b"\x00", b"\xff\xfe", b"\xc3", b"\xef\xbb\xbf", b"\r\n", b"\t", b"&a [*a]", b"*a",
         b"!!python/object:os.system x", b"<<: {}", b"--- ", b"# ", b"? ", b"| ", b"2020-13-45", b"0x_", b"1:60:99", b"%")


def odd(chance: Chance) -> tp.Any:
    return copy.deepcopy(ODD[int(chance.integers(len(ODD)))])


def places(value: tp.Any, path: tp.Tuple[tp.Any, ...] = ()) -> tp.Iterator[tp.Tuple[tp.Any, ...]]:
    """Paths of all values inside of nested lists and dictionaries."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def edit(plain: tp.Any, chance: Chance, values: tp.Callable[[Chance], tp.Any] = odd) -> tp.Any:
    """`plain` with a value inside replaced, removed, renamed, moved or nested deep."""
    plain = copy.deepcopy(plain)
    for _ in range(int(chance.integers(1, 4))):
        found = list(places(plain))
        if not found:
            return values(chance)
        *outer, key = found[int(chance.integers(len(found)))]
        holder = plain
        for step in outer:
            holder = holder[step]
        action = int(chance.integers(10))
        if action < 5:
            holder[key] = values(chance)
        elif action == 5:
            del holder[key]
        elif action == 6:
            holder[key] = [holder[key]]
        elif action == 7 and isinstance(holder, dict):
            holder[str(values(chance))[:50]] = holder.pop(key)
        elif action == 8:
            elsewhere = plain
            for step in found[int(chance.integers(len(found)))]:
                if isinstance(elsewhere, (list, dict)):
                    elsewhere = elsewhere[step] if not isinstance(elsewhere, dict) or step in elsewhere else elsewhere
            holder[key] = copy.deepcopy(elsewhere)
        else:
            holder[key] = nested(holder[key], int(2 ** chance.integers(1, 8)))
    return plain


def nested(value: tp.Any, depth: int) -> tp.Any:
    for _ in range(depth):
        value = [value]
    return value


def scribble(data: bytes, other: bytes, chance: Chance) -> bytes:
    """Words that mean something to a parser, lines twice or elsewhere, or any mutation of bytes."""
    action = int(chance.integers(6))
    lines = data.split(b"\n")
    if action < 2:
        place = int(chance.integers(len(data) + 1))
        return data[:place] + WORDS[int(chance.integers(len(WORDS)))] + data[place + int(chance.integers(3)) * 4:]
    if action == 2:
        lines.insert(int(chance.integers(len(lines))), lines[int(chance.integers(len(lines)))])
    elif action == 3:
        chance.shuffle(lines)
    elif action == 4:
        number = int(chance.integers(len(lines)))
        name, colon, rest = lines[number].partition(b":")
        lines[number] = name + colon + b" " + WORDS[int(chance.integers(len(WORDS)))] + rest[-int(chance.integers(3)):]
    else:
        return mutations.mutate(data, other, chance)
    return b"\n".join(lines)


def mutate_json(data: bytes, other: bytes, chance: Chance) -> bytes:
    """Other content in valid JSON, or invalid JSON."""
    if chance.random() < 0.35:
        return scribble(data, other, chance)
    edited = edit(json.loads(data), chance)
    return json.dumps(edited, indent=1, ensure_ascii=bool(chance.integers(2))).encode("utf-8", "surrogatepass")
