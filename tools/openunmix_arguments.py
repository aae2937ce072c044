"""Arguments of the training script of Open-Unmix.

The parser, the translation into overrides and the table in docs/openunmix_training.md follow from one table.
"""

import argparse
import dataclasses
import functools
import typing as tp

from demucs.arguments import Parser, number
from demucs.config import RANGES
from demucs.errors import did_you_mean
from demucs.models import settings as models
from demucs.ranges import Range, shown

MUSDB, ALIGNED, FOLDERS, FIXED, VARIABLE = "musdb", "aligned", "sourcefolder", "trackfolder_fix", "trackfolder_var"
DATASETS = (MUSDB, ALIGNED, FOLDERS, FIXED, VARIABLE)
MIXED = (MUSDB, FOLDERS, FIXED, VARIABLE)        # datasets that mix sources, which can be augmented before
AUGMENTATIONS = ("gain", "channelswap", "force_stereo")
BACKENDS = ("soundfile", "sox", "sox_io")
DURATION = Range(-86_400, 86_400, unit="seconds")


@dataclasses.dataclass(frozen=True)
class Argument:
    """An argument of the training script.

    Attributes:
        name: as documented.
        meaning: for --help.
        key: key of the configuration that has the value of the argument; "" if its translation is code.
        default: documented default; None if there is none.
        allowed: range of a number; None for a text.
        datasets: values of --dataset to which the argument belongs.
        spellings: further names.
        flag: whether it takes no value.
        value: value of the key for a flag.
        many: whether it takes several values, with spaces between them.
        known: the only texts that it takes; empty for any.
        here: what replaces it here, for the table of the page, if that is not one key.
    """
    name: str
    meaning: str
    key: str = ""
    default: tp.Any = None
    allowed: tp.Optional[Range] = None
    datasets: tp.Tuple[str, ...] = DATASETS
    spellings: tp.Tuple[str, ...] = ()
    flag: bool = False
    value: tp.Any = True
    many: bool = False
    known: tp.Tuple[str, ...] = ()
    here: str = ""

    @property
    def dest(self) -> str:
        """Name of the attribute of the parsed arguments."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def names(self) -> tp.List[str]:
        """All spellings, with hyphens and with underscores."""
        each = [self.name, *self.spellings]
        return list(dict.fromkeys(f"--{name[2:].replace(*marks)}" for marks in ("__", "_-", "-_") for name in each))


def _number(name: str, meaning: str, key: str, default: tp.Any, **more: tp.Any) -> Argument:
    """Argument with the number of a key, and with its range."""
    allowed = RANGES.get(key) or models.RANGES[key.rpartition(".")[2]]
    return Argument(name, meaning, key, default, tp.cast(Range, allowed), **more)


ARGUMENTS = (
    Argument("--root", "folder of the dataset; without it, the preview of MUSDB18 is downloaded", "dset.musdb"),
    Argument("--dataset", "layout of the dataset", "dset.kind", MUSDB, known=DATASETS),
    Argument("--target", "source to separate; for the other datasets, the name of the target's file or folder",
             default="vocals", here="`dset.targets`"),
    Argument("--output", "folder for the trained network", default="open-unmix",
             here="after the training, `tools.export --format openunmix`"),
    Argument("--checkpoint", "checkpoint to continue from", here="the same command, which continues"),
    Argument("--model", "name or folder of a model to fine-tune", here="`continue_pretrained`, `pretrained_repo`"),
    Argument("--no_cuda", "train on the CPU", flag=True, here="the environment variable `DEMUCS_DEVICE=cpu`"),
    _number("--epochs", "number of epochs", "epochs", 1000),
    _number("--batch-size", "examples per step", "batch_size", 16),
    _number("--patience", "epochs without a better validation loss after which training ends", "early_stopping", 140),
    Argument("--seq-dur", "seconds of a training example; 0 or less for whole tracks", "dset.segment", 6., DURATION),
    Argument("--unidirectional", "LSTM in one direction", "openunmix.unidirectional", flag=True),
    _number("--hidden-size", "size of the hidden layers", "openunmix.hidden_size", 512),
    _number("--nfft", "samples per frame of the STFT", "openunmix.nfft", 4096),
    _number("--nhop", "samples from one frame of the STFT to the next", "openunmix.nhop", 1024),
    _number("--lr", "learning rate", "optim.lr", 0.001),
    _number("--lr-decay-patience", "epochs without a better validation loss before the learning rate is reduced",
            "schedule.patience", 80),
    _number("--lr-decay-gamma", "factor of that reduction", "schedule.factor", 0.3),
    _number("--weight-decay", "weight decay", "optim.weight_decay", 0.00001),
    _number("--bandwidth", "highest frequency at the input of the network, in Hz", "openunmix.bandwidth", 16000),
    _number("--nb-channels", "channels of the model: 1 for mono, 2 for stereo", "dset.channels", 2),
    _number("--nb-workers", "processes that read audio", "misc.num_workers", 0),
    Argument("--quiet", "show warnings and errors only", "misc.quiet", flag=True),
    _number("--seed", "seed of every random number", "seed", 42),
    Argument("--audio-backend", "library that reads audio", default="soundfile", known=BACKENDS,
             here="none: soundfile reads, whichever is named"),
    Argument("--debug", "one batch per epoch", "debug", flag=True),
    Argument("--is-wav", "the songs of MUSDB18 are wav files", datasets=(MUSDB,), flag=True,
             here="none: the files of the folder decide"),
    _number("--samples-per-track", "examples per track and epoch", "dset.samples_per_track", 64, datasets=(MUSDB,)),
    Argument("--source-augmentations", "augmentations of each source before mixing; none by default, except for musdb",
             default=("gain", "channelswap"), datasets=MIXED, many=True, known=AUGMENTATIONS,
             here="`augment.scale.proba`, `augment.flip`"),
    Argument("--input-file", "name of the input in the folder of a track", "dset.files.input", datasets=(ALIGNED,)),
    Argument("--output-file", "name of the output in the folder of a track", "dset.files.output", datasets=(ALIGNED,)),
    Argument("--target-dir", "folder of the target", "dset.files.target", datasets=(FOLDERS,)),
    Argument("--interferer-dirs", "folders of the interfering sources", "dset.files.interferers", datasets=(FOLDERS,),
             many=True),
    Argument("--ext", "extension of the files of sources", "dset.files.ext", ".wav", datasets=(FOLDERS, VARIABLE)),
    _number("--nb-train-samples", "training examples per epoch", "dset.train_samples", 1000, datasets=(FOLDERS,)),
    _number("--nb-valid-samples", "validation examples", "dset.valid_draws", 100, datasets=(FOLDERS,)),
    Argument("--target-file", "name of the target in the folder of a track", "dset.files.target",
             datasets=(FIXED, VARIABLE)),
    Argument("--interferer-files", "names of the interfering sources in the folder of a track",
             "dset.files.interferers", datasets=(FIXED,), many=True),
    Argument("--random-track-mix", "each source from another track", "dset.sampling", datasets=(FIXED,), flag=True,
             value="random_mix"),
    Argument("--silence-missing-targets", "the target is silent in tracks without its file", "dset.missing",
             datasets=(VARIABLE,), spellings=("--silence-missing",), flag=True, value="silence"),
    Argument("--random-interferer-mix", "interfering sources of another track", "dset.sampling", datasets=(VARIABLE,),
             flag=True, value="interferer_mix"),
)
BY_DEST = {argument.dest: argument for argument in ARGUMENTS}


class _ArgumentParser(Parser):
    """Parser whose error about an unknown argument names the nearest one."""

    def parse_args(self, args=None, namespace=None):      # type: ignore[no-untyped-def,override]
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            near = did_you_mean(word, [argument.name for argument in ARGUMENTS]) if word.startswith("-") else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}.{near}")
        return found


def get_parser(description: tp.Optional[str] = None) -> argparse.ArgumentParser:
    """Parser of the arguments of the table. The value of an argument that is not given is None."""
    parser = _ArgumentParser(prog="python -m tools.train_openunmix", description=description, allow_abbrev=False,
                             formatter_class=argparse.RawDescriptionHelpFormatter)
    groups: tp.Dict[tp.Tuple[str, ...], tp.Any] = {}
    for argument in ARGUMENTS:
        if argument.datasets not in groups:
            groups[argument.datasets] = parser.add_argument_group(
                "every dataset" if argument.datasets == DATASETS else f"--dataset {', '.join(argument.datasets)}")
        add = functools.partial(groups[argument.datasets].add_argument, *argument.names, dest=argument.dest,
                                help=argument.meaning + (f" (default: {in_words(argument.default)})" if argument.default
                                                         is not None else ""))
        if argument.flag:
            add(action="store_const", const=True)
        else:
            convert: tp.Any = functools.partial(_known, argument.known) if argument.known else str
            add(type=number(argument.name, argument.allowed) if argument.allowed is not None else convert,
                nargs="+" if argument.many else None, metavar="TEXT" if argument.allowed is None else "NUMBER")
    return parser


def _known(known: tp.Sequence[str], value: str) -> str:
    if value not in known:
        raise argparse.ArgumentTypeError(f"{shown(value)} is unknown; use {', '.join(known)}."
                                         f"{did_you_mean(value, known)}")
    return value


def in_words(value: tp.Any) -> str:
    """A value as it is typed on the command line."""
    return " ".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def table() -> str:
    """Table of the arguments in Markdown: theirs, ours, the documented default, the datasets."""
    rows = ["| argument | here | default | `--dataset` |", "|---|---|---|---|"]
    for argument in ARGUMENTS:
        here = argument.here or f"`{argument.key}{'' if argument.value is True else f'={argument.value}'}`"
        spelt = ", ".join(f"`{name}`" for name in (argument.name, *argument.spellings))
        default = "" if argument.default is None else f"`{in_words(argument.default)}`"
        datasets = "all" if argument.datasets == DATASETS else ", ".join(argument.datasets)
        rows.append(f"| {spelt} | {here} | {default} | {datasets} |")
    return "\n".join(rows)
