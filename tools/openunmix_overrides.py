"""Overrides of `variant=openunmix` that arguments of the training script of Open-Unmix become."""

import argparse
import json
import os
import re
import shlex
import typing as tp
from pathlib import Path

from demucs import overrides
from demucs.data.decoded import is_compressed
from demucs.errors import ConfigError, did_you_mean
from demucs.schema import SOURCES
from tools.openunmix_arguments import ALIGNED, ARGUMENTS, BY_DEST, FIXED, FOLDERS, MUSDB, VARIABLE

Values = tp.Dict[str, tp.Any]

VARIANT = "variant=openunmix"
PREVIEW = "./datasets/musdb18-preview"      # folder of the songs that are downloaded without --root
ACCOMPANIMENT = "accompaniment"             # MUSDB18's own name of all sources but the vocals
# Arguments that each dataset needs; the last one names the target.
NEEDED = {ALIGNED: ("input_file", "output_file"), FOLDERS: ("interferer_dirs", "target_dir"),
          FIXED: ("interferer_files", "target_file"), VARIABLE: ("target_file",)}
# Further values of the datasets with folders of tracks: an example of each track, without tracks that lack a file.
TRACKS: Values = {"dset.sampling": "balanced", "dset.samples_per_track": 1, "dset.missing": "exclude"}
PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")       # text that neither Hydra nor a shell reads as anything else
SEPARATORS = ("openunmix", "openunmix_separator")
WHOLE = 0                                   # seconds of a training example that is a whole track
# Texts that Hydra can read as a key of a mapping.
KEY = re.compile(r"[A-Za-z_]([\w .()\[\]{}:=,\\-]*[\w.()\[\]-])?", re.ASCII)
WORDS = ("true", "false", "null", "inf", "nan", "yes", "no", "on", "off")


def values_of(args: argparse.Namespace) -> Values:
    """Values of the configuration, by key, that the parsed arguments stand for.

    Raises:
        ConfigError: if arguments are missing, contradict one another, or have an unknown value.
    """
    dataset = args.dataset or MUSDB
    _check_dataset(args, dataset)
    sources = sources_of(args, dataset)
    values: Values = {"dset.targets": targets_of(args, dataset, sources)}
    if dataset in (ALIGNED, FIXED, VARIABLE):
        values.update(TRACKS)
    values["misc.num_workers"] = BY_DEST["nb_workers"].default      # the variant has another default; equal numbers
    for argument in ARGUMENTS:
        given = getattr(args, argument.dest)
        if argument.key and given is not None:
            values[argument.key] = argument.value if argument.flag else given
    if args.root is not None:
        values["dset.musdb"] = os.path.abspath(os.path.expanduser(args.root))
    else:
        values.update({"dset.musdb": PREVIEW, "dset.download": "musdb18-preview"})
    if args.seq_dur is not None and args.seq_dur <= 0:
        values["dset.segment"] = WHOLE
        if dataset == MUSDB:       # as in openunmix: whole songs are not mixed with others
            values["dset.sampling"] = "balanced"
    values.update(_augmentations(args, dataset))
    values.update(_pretrained(args.model))
    if args.is_wav and args.root is not None and is_compressed(args.root):
        raise ConfigError(f"--is-wav: {args.root} has the compressed songs of MUSDB18 (.stem.mp4); leave --is-wav out, "
                          f"they are decoded once")
    return values


def _check_dataset(args: argparse.Namespace, dataset: str) -> None:
    """Raise ConfigError if an argument belongs to other datasets, or one that the dataset needs is missing."""
    for argument in ARGUMENTS:
        if getattr(args, argument.dest) is not None and dataset not in argument.datasets:
            others = " or ".join(argument.datasets)
            raise ConfigError(f"{argument.name} belongs to --dataset {others}, and this is --dataset {dataset}: leave "
                              f"it out, or choose another --dataset")
    needed = [dest for dest in ("root", *NEEDED.get(dataset, ())) if getattr(args, dest) is None and dataset != MUSDB]
    if needed:
        raise ConfigError(f"--dataset {dataset} needs {', '.join(BY_DEST[dest].name for dest in needed)}: "
                          f"{'; '.join(BY_DEST[dest].meaning for dest in needed)}")


def _stem(name: str) -> str:
    """Name of a source from that of its file or folder."""
    return Path(name).stem


def sources_of(args: argparse.Namespace, dataset: str) -> tp.List[str]:
    """Names of the stems of the dataset; of another dataset than musdb, the first one is the target."""
    if dataset == MUSDB:
        return list(SOURCES)
    target = getattr(args, NEEDED[dataset][-1])
    target = target if dataset == FOLDERS else _stem(target)
    others = args.interferer_dirs if dataset == FOLDERS else [_stem(name) for name in args.interferer_files or ()]
    return [target, *(others or ())]


def targets_of(args: argparse.Namespace, dataset: str, sources: tp.Sequence[str]) -> tp.Dict[str, tp.List[str]]:
    """`dset.targets`: the target of the network, and the stems that add up to it. Raises ConfigError for a target that
    the dataset does not have."""
    if dataset != MUSDB:
        name = BY_DEST[NEEDED[dataset][-1]].name
        if args.target not in (None, sources[0]):
            raise ConfigError(f"--target {args.target}: with --dataset {dataset} the target is named by {name}, here "
                              f"{sources[0]}; leave --target out")
        return {sources[0]: [sources[0]]}
    target = args.target or "vocals"
    if target == ACCOMPANIMENT:
        return {target: [name for name in sources if name != "vocals"]}
    if target not in sources:
        known = [*sources, ACCOMPANIMENT]
        raise ConfigError(f"--target {target}: MUSDB18 has no such source; use {', '.join(known)}."
                          f"{did_you_mean(target, known)}")
    return {target: [target]}


def _augmentations(args: argparse.Namespace, dataset: str) -> Values:
    """Values of the augmentations, which are none for other datasets than musdb unless they are given. Mono files
    become stereo in any case, which is all that "force_stereo" does."""
    if args.source_augmentations is None and dataset == MUSDB:
        return {}
    wanted = args.source_augmentations or ()
    return {"augment.scale.proba": int("gain" in wanted), "augment.flip": "channelswap" in wanted}


def _pretrained(model: tp.Optional[str]) -> Values:
    """Values of --model, the name of a model or the path of a folder."""
    if model is None:
        return {}
    folder = Path(os.path.abspath(os.path.expanduser(model)))
    if folder.is_dir():
        return {"continue_pretrained": folder.name, "pretrained_repo": str(folder.parent)}
    if os.sep in model:
        raise ConfigError(f"--model {model}: there is no such folder; give one that openunmix wrote, or the name of a "
                          f"published model such as umxhq")
    return {"continue_pretrained": model}


def plain_values() -> tp.Mapping[str, tp.Any]:
    """Resolved configuration of the variant without further overrides."""
    from omegaconf import OmegaConf

    from demucs.train import main as experiments

    return tp.cast(tp.Mapping[str, tp.Any], OmegaConf.to_container(experiments.get_xp([VARIANT]).cfg, resolve=True))


def changed(values: Values, plain: tp.Mapping[str, tp.Any]) -> tp.List[str]:
    """Overrides for the `values` that differ from those of the variant, whose resolved configuration is `plain`, after
    the choice of the variant."""
    words = [VARIANT]
    for key, value in values.items():
        before: tp.Any = plain
        for part in key.split("."):
            before = before[part]
        same = before == value and isinstance(before, bool) == isinstance(value, bool)
        if not same and not (key == "dset.musdb" and os.path.abspath(before) == os.path.abspath(value)):
            words.append(f"{key}={hydra(value)}")
    return words


def hydra(value: tp.Any) -> str:
    """A value in the syntax of Hydra's overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_key(key)}:{hydra(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(hydra, value))}]"
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and value.lower() not in WORDS else overrides.quoted(value)
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)      # 3, not 3.0


def _key(name: str) -> str:
    """The name of a target as a key of a mapping in Hydra's syntax, which has no quotes there. Raises ConfigError if
    that is impossible."""
    if not KEY.fullmatch(name) or name.lower() in WORDS:
        raise ConfigError(f"{name!r} cannot be the name of a target: it must begin with a letter, and have letters, "
                          f"digits, spaces and - _ . ( ) only; rename its file or folder")
    return re.sub(r"([\\()\[\]{}:=,])", r"\\\1", name)


def line(words: tp.Sequence[str], *, cpu: bool = False) -> str:
    """Command line of Dora for these overrides, to copy into a shell."""
    return f"{'DEMUCS_DEVICE=cpu ' if cpu else ''}dora run {shlex.join(words)}"


def sizes_of(args: argparse.Namespace, values: Values) -> Values:
    """Sizes of the network of --model, and its channels and sample rate, by their keys: those that no argument sets.
    Empty without --model. The model may be downloaded.

    Raises:
        ConfigError: for a model that is not of Open-Unmix, or has no network of the target.
        ModelLoadingError: if it cannot be loaded.
    """
    if args.model is None:
        return {}
    from demucs.models import zoo
    from demucs.repositories.repository import get_model
    from demucs.separation.bag import BagOfModels

    found = get_model(values["continue_pretrained"], values.get("pretrained_repo"))
    model: tp.Any = found.models[0] if isinstance(found, BagOfModels) and len(found.models) == 1 else found
    if getattr(model, "zoo_name", "") not in SEPARATORS:
        raise ConfigError(f"--model {args.model}: is no model of Open-Unmix; give the name of one, such as umxhq, or a "
                          f"folder that openunmix wrote")
    target, targets = next(iter(values["dset.targets"])), getattr(model, "targets", model.sources)
    if target not in targets:
        raise ConfigError(f"--model {args.model}: has no network of {target!r}; it has {', '.join(targets)}."
                          f"{did_you_mean(target, targets)}")
    known = {name: parameter.default for name, parameter in zoo.MODELS["openunmix"].settings.items()}
    kwargs = {**known, **model.zoo_kwargs}
    keys = {name: {"audio_channels": "dset.channels", "samplerate": "dset.samplerate"}.get(name, f"openunmix.{name}")
            for name in known if name not in ("sources", "segment")}
    return {key: kwargs[name] for name, key in keys.items() if key not in values}
