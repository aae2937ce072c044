"""Fixed sparsity patterns of attention: `t_mask_type` of the published configuration.

The masks are used with torch's dense attention kernels, which exclude masked keys from the result, but not from the
computation.
"""

import functools
import typing as tp

import torch

KINDS = ("diag", "jmask", "random", "global")


def check_kinds(kinds: tp.Sequence[str]) -> None:
    """Check that all `kinds` are patterns in `KINDS`.

    Raises:
        ValueError: for the first that is not.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"t_mask_type={'_'.join(kinds)!r}: {unknown[0]!r} is no pattern; join some of "
                         f"{', '.join(KINDS)} with _")


@functools.lru_cache(maxsize=16)
def attention_mask(queries: int, keys: int, *, kinds: tp.Tuple[str, ...], window: int, global_window: int,
                   sparsity: float, seed: int) -> torch.Tensor:
    """Attention mask, bool [queries, keys] on the CPU, true where a query attends to a key: the union of patterns. It
    is cached, so do not modify it. The position of a query among the keys is scaled by keys / queries.

    Args:
        queries, keys: numbers of tokens.
        kinds: some of "diag" (keys within `window` of the position of the query), "jmask" (keys at distances that are
            triangular numbers, so that their density decreases), "random" (a fraction of 1 - `sparsity`, drawn from
            `seed`) and "global" (the first `global_window` keys for all queries, and all keys for the first queries).
        window, global_window: numbers of keys.
        sparsity: fraction of keys that "random" leaves out.
        seed: random seed of "random".

    Raises:
        ValueError: for an unknown kind.
    """
    check_kinds(kinds)
    patterns = {"diag": _diagonal, "jmask": _thinning, "random": _random, "global": _global}
    total = torch.zeros(queries, keys, dtype=torch.bool)
    for kind in kinds:
        total |= patterns[kind](queries, keys, window=window, global_window=global_window, sparsity=sparsity, seed=seed)
    return total


def _around(queries: int, keys: int, offsets: torch.Tensor, ratio: float) -> torch.Tensor:
    """Mask of the keys at `offsets` from the position of each query, with `ratio` keys per query; clamped at both
    ends."""
    indices = (ratio * torch.arange(queries)[:, None] + offsets).long().clamp(0, keys - 1)
    mask = torch.zeros(queries, keys, dtype=torch.bool)
    return mask.scatter_(1, indices, True)


def _diagonal(queries: int, keys: int, *, window: int, **_: tp.Any) -> torch.Tensor:
    return _around(queries, keys, torch.arange(-window, window + 1), keys / queries)


def _thinning(queries: int, keys: int, **_: tp.Any) -> torch.Tensor:
    # One additional step at each end receives the clamped keys, and is removed.
    reach = torch.arange(int((2 * keys) ** 0.5 + 1))
    distances = reach * (reach + 1) // 2
    offsets = torch.cat([-distances.flip(0)[:-1], distances])
    return _around(queries + 2, keys + 2, offsets, keys / queries)[1:-1, 1:-1]


def _random(queries: int, keys: int, *, sparsity: float, seed: int, **_: tp.Any) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(queries * keys, generator=draw).view(queries, keys) > sparsity


def _global(queries: int, keys: int, *, global_window: int, **_: tp.Any) -> torch.Tensor:
    mask = torch.zeros(queries, keys, dtype=torch.bool)
    mask[:, :global_window] = True
    mask[:int(global_window * queries / keys)] = True
    return mask
