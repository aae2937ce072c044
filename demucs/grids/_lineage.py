"""Experiments that start from the weights of others: their first ancestors, and whether their parents are trained."""

import typing as tp

from dora.explore import Herd
from dora.log import simple_log
from dora.xp import XP

from ..train import main


def origin(signature: str) -> XP:
    """First ancestor of experiment `signature` along `continue_from`: the one that starts from initial weights. It may
    be that experiment itself."""
    xp = main.get_xp_from_sig(signature)
    while xp.cfg.continue_from:
        xp = main.get_xp_from_sig(xp.cfg.continue_from)
    return xp


def missing(parent: str) -> tp.Optional[str]:
    """Reason why other experiments cannot start from the experiment `parent` yet, as a clause such as "has 3 of 24
    epochs"; None if it has all its epochs."""
    argv = main.find_argv(parent)
    if argv is None:
        return "is not known here"
    xp = main.get_xp(argv)
    done = len(main.get_xp_history(xp))
    return None if done >= xp.cfg.epochs else f"has {done} of {xp.cfg.epochs} epochs"


def hold_back(herd: Herd) -> None:
    """Remove experiments whose parent is not completely trained from the jobs that Dora submits for `herd`, with a
    message: they would fail, or start from an unfinished training. They stay in the grid, and are submitted when it is
    run again."""
    herd.complete()
    waiting: tp.Dict[str, tp.List[str]] = {}
    for signature, sheep in herd.sheeps.items():
        if sheep.xp.cfg.continue_from:
            waiting.setdefault(sheep.xp.cfg.continue_from, []).append(signature)
    for parent, children in waiting.items():
        reason = missing(parent)
        if reason is not None:
            simple_log("Grid:", f"not submitted, since their parent {parent} {reason}: {', '.join(children)}")
            herd.job_arrays[:] = [[sig for sig in array if sig not in children] for array in herd.job_arrays]
