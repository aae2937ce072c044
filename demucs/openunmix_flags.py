"""Flags of the command `demucs` for models of Open-Unmix: targets, outputs, and the filter of the Separator."""

import argparse
import json
import typing as tp

from . import pretrained
from .arguments import number
from .errors import ConfigError
from .models.settings import RANGES
from .ranges import Range, shown

if tp.TYPE_CHECKING:
    from torch import nn

FLAGS = {"targets": "--targets", "niter": "--niter", "softmask": "--softmask", "residual": "--residual",
         "wiener_win_len": "--wiener-win-len", "aggregate": "--aggregate"}
OUTPUTS = ("targets", "residual", "aggregate")      # they change the sources, which are equal in all models of a bag
EXAMPLE = '{"vocals": ["vocals"], "accompaniment": ["drums", "bass", "other"]}'


def add_flags(parser: tp.Any) -> None:
    """Add the flags to `parser`, an argument parser or a group of one. Those that are not given are None."""
    add = parser.add_argument
    add("--targets", metavar="A,B,...", type=_names, help="estimate only these targets (default: all)")
    add("--niter", type=number("--niter", tp.cast(Range, RANGES["niter"])), metavar="N",
        help="iterations of the Wiener filter; 0 for none, which is faster (default: 1)")
    add("--softmask", action="store_true", default=None,
        help="begin with the ratio of the estimated magnitudes instead of the magnitudes")
    add("--residual", nargs="?", const=True, metavar="NAME",
        help="one more output: the mixture minus all targets, called NAME or residual")
    add("--wiener-win-len", type=number("--wiener-win-len", tp.cast(Range, RANGES["wiener_win_len"])), metavar="FRAMES",
        help="frames that are filtered together; 0 for the whole song, which needs much memory (default: 300)")
    add("--aggregate", type=_outputs, metavar="JSON", help=f"outputs as sums of targets, such as '{EXAMPLE}'")


def given(args: argparse.Namespace) -> tp.Dict[str, tp.Any]:
    """Values of the flags that are given in `args`, by name."""
    return {name: getattr(args, name) for name in FLAGS if getattr(args, name) is not None}


def load(args: argparse.Namespace) -> "nn.Module":
    """The model selected in `args`, changed as its flags demand.

    Raises:
        ConfigError: if it is no model of Open-Unmix, or the flags do not fit it.
        DemucsError: as `pretrained.get_model_from_args`.
    """
    from .models.separators import changed, is_openunmix
    from .separation.bag import BagOfModels

    chosen = given(args)
    flags = ", ".join(FLAGS[name] for name in chosen)
    model = pretrained.get_model_from_sig(args.sig) if args.sig is not None else \
        pretrained.get_model(args.name, args.repo, targets=chosen.get("targets"))
    members = list(model.models) if isinstance(model, BagOfModels) else [model]
    if not any(map(is_openunmix, members)):
        kinds = ", ".join(dict.fromkeys(getattr(member, "zoo_name", type(member).__name__) for member in members))
        raise ConfigError(f"{flags}: only models of Open-Unmix have such settings, and {args.sig or args.name} is "
                          f"{'a bag of ' if isinstance(model, BagOfModels) else ''}{kinds}; leave them out")
    try:
        if not isinstance(model, BagOfModels):
            return changed(model, **chosen)
        for name in OUTPUTS:
            if name in chosen:
                raise ConfigError(f"{FLAGS[name]} changes the outputs of a model, but {args.name} is a bag, whose "
                                  f"models must have equal outputs; leave it out")
        return BagOfModels([changed(member, **chosen) if is_openunmix(member) else member for member in members],
                           model.weights)
    except ConfigError as error:
        raise ConfigError(f"{flags}: {error}") from error


def _names(text: str) -> tp.List[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _outputs(text: str) -> tp.Dict[str, tp.Any]:
    """Outputs of --aggregate from JSON. Raises ConfigError."""
    def once(pairs: tp.List[tp.Tuple[str, tp.Any]]) -> tp.Dict[str, tp.Any]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"--aggregate: has the output {shown(name)} {names.count(name)} times")
        return dict(pairs)
    try:
        found = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise ConfigError(f"--aggregate {shown(text)} is not JSON; give outputs with their targets, such as '{EXAMPLE}'"
                          ) from None
    if not isinstance(found, dict):
        raise ConfigError(f"--aggregate {shown(text)} must have the targets of each output, such as '{EXAMPLE}'")
    return found
