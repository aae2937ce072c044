"""The public names of published Demucs 4.1.0 exist, with compatible signatures."""

import importlib
import inspect
import json
from pathlib import Path

import pytest

from demucs.separate import get_parser

GOLDEN = json.loads((Path(__file__).resolve().parent / "golden" / "public_names.json").read_text())

# What is deliberately not here, and why.
BUILDING_BLOCK = "a part that only the models themselves use; ours are composed of other parts, in demucs.layers"
LEFT_OUT = {
    "demucs": dict.fromkeys(["BLSTM", "DConv", "LocalState", "rescale_conv", "rescale_module"], BUILDING_BLOCK),
    "hdemucs": dict.fromkeys(["HDecLayer", "HEncLayer", "MultiWrap", "ScaledEmbedding", "pad1d"], BUILDING_BLOCK),
}
METHODS_LEFT_OUT = {
    "Demucs.load_state_dict": "repaired weights of a development version; inherited from torch here",
}
DIFFERENT_DEFAULTS = {
    "separate": {"device": "found out after parsing, so that --help need not wait for torch"},
}


def ours(module, name):
    return getattr(importlib.import_module(f"demucs.{module}"), name)


def names(*kinds):
    return [(module, name) for module, found in GOLDEN["modules"].items() for name, what in found.items()
            if what["kind"] in kinds and name not in LEFT_OUT.get(module, {})]


def check_call_forms(function, published):
    """Every call that fits the published parameters fits those of `function`, and means the same."""
    found = list(inspect.signature(function).parameters.values())
    for place, (name, kind, default) in enumerate(published):
        assert kind == "POSITIONAL_OR_KEYWORD", "the published names have no other kind"
        parameter = found[place]
        assert (parameter.name, parameter.kind.name) == (name, kind)
        if "value" in default:
            own = parameter.default
            assert (list(own) if isinstance(own, tuple) else own) == default["value"], name
        else:
            assert "required" in default or parameter.default is not inspect.Parameter.empty, name
    for parameter in found[len(published):]:
        assert parameter.default is not inspect.Parameter.empty or parameter.kind.name.startswith("VAR_"), parameter


def test_there_is_enough_to_check():
    assert len(GOLDEN["modules"]) == 8 and {"api", "apply", "separate", "htdemucs"} < set(GOLDEN["modules"])
    assert len(names("class", "function", "exception", "value")) > 30


@pytest.mark.parametrize("module,name", names("function"))
def test_functions(module, name):
    check_call_forms(ours(module, name), GOLDEN["modules"][module][name]["parameters"])


@pytest.mark.parametrize("module,name", names("class"))
def test_classes(module, name):
    published, found = GOLDEN["modules"][module][name], ours(module, name)
    check_call_forms(found, published["parameters"])
    for method, parameters in published["methods"].items():
        if f"{name}.{method}" not in METHODS_LEFT_OUT:
            if method == "forward":        # its input is always given by place, and is called x or mix
                inspect.signature(found.forward).bind(*parameters)
            else:
                check_call_forms(getattr(found, method), parameters)
    for attribute in published["properties"]:
        assert isinstance(getattr(found, attribute), property), attribute


@pytest.mark.parametrize("module,name", names("exception"))
def test_exceptions(module, name):
    assert issubclass(ours(module, name), Exception)


@pytest.mark.parametrize("module,name", names("value"))
def test_values(module, name):
    published = GOLDEN["modules"][module][name]
    assert ours(module, name) == published["value"] if "value" in published else ours(module, name) is not None


@pytest.mark.parametrize("module,name", [("api", "save_audio"), ("pretrained", "ModelLoadingError")])
def test_documented_names_that_are_imported(module, name):
    assert GOLDEN["modules"][module][name]["kind"] == "import"
    assert ours(module, name) is not None


def test_what_is_left_out_exists_there_and_not_here():
    for module, left in LEFT_OUT.items():
        for name in left:
            assert name in GOLDEN["modules"][module]
            assert not hasattr(importlib.import_module(f"demucs.{module}"), name)


@pytest.mark.parametrize("flag", GOLDEN["flags"]["actions"])
def test_flags_of_the_command(flag):
    published = GOLDEN["flags"]["actions"][flag]
    action, = [action for action in get_parser()._actions if action.dest == flag]
    assert set(published["options"]) <= set(action.option_strings)
    assert action.nargs == published["nargs"]
    assert (None if action.choices is None else list(action.choices)) == published["choices"]
    if flag not in DIFFERENT_DEFAULTS["separate"]:
        assert action.default == published["default"] or str(action.default) == published["default"]


def test_flags_that_exclude_each_other():
    found = [{action.dest for action in group._group_actions} for group in get_parser()._mutually_exclusive_groups]
    found += [{action.dest for action in inner._group_actions} for group in get_parser()._action_groups
              for inner in group._mutually_exclusive_groups]
    for published in GOLDEN["flags"]["exclusive"]:
        assert set(published) in found
