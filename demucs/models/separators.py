"""Separators of Open-Unmix with the weights of other models: from single networks, or with other outputs and
filters."""

import typing as tp

import torch
from torch import nn

from ..errors import ConfigError, did_you_mean
from ..schema import SOURCES
from . import zoo
from .openunmix import RESIDUAL, OpenUnmix, OpenUnmixSeparator, outputs

SINGLE, SEVERAL = "openunmix", "openunmix_separator"
# Settings that do not change the networks.
FILTER = ("niter", "softmask", "residual", "wiener_win_len", "aggregate")
Aggregate = tp.Mapping[str, tp.Sequence[str]]


def ordered(targets: tp.Iterable[str]) -> tp.List[str]:
    """The targets in the order of the sources of Demucs, so that bags may hold both, and all others after them in their
    order."""
    targets = list(targets)
    first = [source for source in SOURCES if source in targets]
    return [*first, *(target for target in targets if target not in SOURCES)]


def is_openunmix(model: nn.Module) -> bool:
    """Whether `model` is a network or a Separator of Open-Unmix."""
    return isinstance(model, (OpenUnmix, OpenUnmixSeparator))


def settings_of(model: nn.Module) -> tp.Dict[str, tp.Any]:
    """All settings of the zoo's `openunmix_separator` that describes a network or a Separator of Open-Unmix. A network
    gives a Separator of one target without a filter.

    Raises:
        ConfigError: for another model.
    """
    if not is_openunmix(model):
        raise ConfigError(f"{getattr(model, 'zoo_name', type(model).__name__)} is no model of Open-Unmix")
    defaults = {name: parameter.default for name, parameter in zoo.MODELS[SEVERAL].settings.items()}
    given = {**defaults, **tp.cast(tp.Dict[str, tp.Any], model.zoo_kwargs), "segment": model.segment}
    if isinstance(model, OpenUnmix):
        given["niter"] = 0
    given["targets"] = list(given["targets"] or given["sources"])
    return given


def network_of(model: nn.Module, target: str) -> nn.Module:
    """The network of one of the targets of a network or a Separator of Open-Unmix."""
    return model.target_models[target] if isinstance(model, OpenUnmixSeparator) else model


def joined(models: tp.Mapping[str, nn.Module]) -> OpenUnmixSeparator:
    """The Separator of single networks, {label: network}, in evaluation mode, with one iteration of the filter if it
    has several targets. Its weights are those of `models`, not copies. Labels are for messages.

    Raises:
        ConfigError: if a model is not a network of Open-Unmix, two have the same target, or their settings differ.
    """
    found: tp.Dict[str, tp.Dict[str, tp.Any]] = {}
    by_target: tp.Dict[str, str] = {}
    for label, model in models.items():
        if not isinstance(model, OpenUnmix):
            raise ConfigError(f"{label} is a model {getattr(model, 'zoo_name', type(model).__name__)} of "
                              f"{', '.join(model.sources)}; a Separator is made of models openunmix")
        target = model.sources[0]
        if target in by_target:
            raise ConfigError(f"{by_target[target]} and {label} are both networks of {target}; give one for each "
                              f"target")
        by_target[target] = label
        found[label] = settings_of(model)
    (first, expected), *others = found.items()
    for label, settings in others:
        for name, value in settings.items():
            if name not in ("sources", "targets", "segment") and value != expected[name]:
                raise ConfigError(f"the networks of a Separator have equal settings, but {name} is {expected[name]} in "
                                  f"{first} and {value} in {label}")
    targets = ordered(by_target)
    kwargs = {**expected, "sources": targets, "targets": None, "niter": int(len(targets) > 1),
              "segment": max(settings["segment"] for settings in found.values())}
    return _with_weights(kwargs, {target: models[by_target[target]] for target in targets})


def changed(model: nn.Module, *, targets: tp.Optional[tp.Sequence[str]] = None, niter: tp.Optional[int] = None,
            softmask: tp.Optional[bool] = None, residual: tp.Union[None, bool, str] = None,
            wiener_win_len: tp.Optional[int] = None, aggregate: tp.Optional[Aggregate] = None) -> OpenUnmixSeparator:
    """Separator with the weights of a network or a Separator of Open-Unmix (not copies), and the settings that are not
    None, in evaluation mode; see `OpenUnmixSeparator`. `model` is not changed.

    Args:
        targets: names of the networks that are used; all if None.
        niter: by default that of `model`, but 0 without at least two sources, residual included, and 1 if `model` has
            only one.
        residual: True, or the name of the residual.
        wiener_win_len: 0 for all frames.
        aggregate: {output: names of targets, or of the residual}. It is not kept if targets or residual change.

    Raises:
        ConfigError: for another model, an unknown target (with the nearest one), and settings that contradict each
            other.
    """
    kwargs = settings_of(model)
    known = kwargs["targets"]
    chosen = known
    if targets is not None:
        for target in targets:
            if target not in known:
                raise ConfigError(f"the model has no target {target!r}.{did_you_mean(target, known)} There are: "
                                  f"{', '.join(known)}")
        chosen = [target for target in known if target in targets]
    name = residual if isinstance(residual, str) else RESIDUAL
    divided = len(known) + bool(kwargs["residual"]) > 1        # before; otherwise there was nothing to filter
    if residual is not None:
        kwargs["residual"] = bool(residual)
    if aggregate is None and (chosen != known or residual is not None):
        kwargs["aggregate"] = None
    if kwargs["residual"] and name in chosen:
        raise ConfigError(f"the residual cannot be called {name!r}, which is a target; give it another name")
    if aggregate is not None:
        kwargs["aggregate"] = _checked(aggregate, [*chosen, *([name] if kwargs["residual"] else [])])
    elif residual and name != RESIDUAL:
        kwargs["aggregate"] = {**{target: [target] for target in chosen}, name: [name]}
    if kwargs["aggregate"] is not None:
        kwargs["aggregate"] = {output: [RESIDUAL if part == name and kwargs["residual"] else part for part in parts]
                               for output, parts in kwargs["aggregate"].items()}
    estimated = len(chosen) + bool(kwargs["residual"])
    if niter is None:
        kwargs["niter"] = 0 if estimated < 2 else kwargs["niter"] if divided else 1
    else:
        kwargs["niter"] = niter
    kwargs["softmask"] = kwargs["softmask"] if softmask is None else softmask
    kwargs["wiener_win_len"] = kwargs["wiener_win_len"] if wiener_win_len is None else wiener_win_len
    kwargs["targets"] = chosen
    kwargs["sources"] = outputs(chosen, residual=kwargs["residual"], aggregate=kwargs["aggregate"])
    return _with_weights(kwargs, {target: network_of(model, target) for target in chosen})


def _checked(aggregate: tp.Any, known: tp.Sequence[str]) -> tp.Dict[str, tp.List[str]]:
    """`aggregate` as plain dictionary of lists. Raises ConfigError."""
    example = '{"vocals": ["vocals"], "accompaniment": ["drums", "bass", "other"]}'
    if not isinstance(aggregate, dict) or not aggregate:
        raise ConfigError(f"aggregate must have the targets of each output, such as {example}")
    for output, parts in aggregate.items():
        if not isinstance(parts, (list, tuple)) or not parts or not all(isinstance(part, str) for part in parts):
            raise ConfigError(f"aggregate: {output!r} must be a list of targets, such as {example}")
        for part in parts:
            if part not in known:
                raise ConfigError(f"aggregate: {output!r} adds up {part!r}, which is none of {', '.join(known)}."
                                  f"{did_you_mean(part, known)}")
            if list(parts).count(part) > 1:
                raise ConfigError(f"aggregate: {output!r} adds up {part!r} more than once")
    return {output: list(parts) for output, parts in aggregate.items()}


def _with_weights(kwargs: tp.Mapping[str, tp.Any], parts: tp.Mapping[str, nn.Module]) -> OpenUnmixSeparator:
    with torch.device("meta"):
        model = zoo.build(SEVERAL, **kwargs)
    for target, network in parts.items():
        model.target_models[target].load_state_dict(network.state_dict(), assign=True)
    return tp.cast(OpenUnmixSeparator, model.eval())
