"""Writes public_names.json: public names of published Demucs 4.1.0 with their signatures, and the flags of its command.

Run it in the environment of published Demucs (`make oracle`): .published/bin/python tests/golden/make_public_names.py
"""

import importlib
import inspect
import json
import logging
import types
from pathlib import Path

MODULES = ("api", "apply", "audio", "pretrained", "separate", "demucs", "hdemucs", "htdemucs")
PLAIN = (str, int, float, bool, list, type(None))


def default(value):
    """A default value as JSON can hold it; objects by their type."""
    if value is inspect.Parameter.empty:
        return {"required": True}
    return {"value": value} if isinstance(value, PLAIN) else {"object": type(value).__name__}


def parameters(function):
    return [[parameter.name, parameter.kind.name, default(parameter.default)]
            for parameter in inspect.signature(function).parameters.values()]


def described(thing):
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return {"kind": "exception"}
    if inspect.isclass(thing):
        members = {name: getattr(thing, name) for name in vars(thing) if not name.startswith("_")}
        return {"kind": "class", "parameters": parameters(thing),
                "methods": {name: parameters(member) for name, member in members.items() if callable(member)},
                "properties": sorted(name for name, member in members.items() if isinstance(member, property))}
    if inspect.isfunction(thing):
        return {"kind": "function", "parameters": parameters(thing)}
    return {"kind": "value", **default(thing)}


def public_names(module):
    """What a module defines itself; for names that it imports from its siblings, where from."""
    for name, thing in sorted(vars(module).items()):
        if name.startswith("_") or isinstance(thing, (types.ModuleType, logging.Logger)):
            continue
        home = getattr(thing, "__module__", module.__name__)
        if home == module.__name__ or (home == "typing" and name == "Model"):
            yield name, described(thing)
        elif home.startswith("demucs."):
            yield name, {"kind": "import", "from": home.removeprefix("demucs.")}


def flags(parser):
    exclusive = [sorted(action.dest for action in group._group_actions) for group in parser._mutually_exclusive_groups]
    actions = {action.dest: {"options": action.option_strings, "default": action.default
                             if isinstance(action.default, PLAIN) else str(action.default), "nargs": action.nargs,
                             "choices": None if action.choices is None else list(action.choices)}
               for action in parser._actions if action.dest != "help"}
    return {"actions": actions, "exclusive": exclusive}


def main():
    modules = {name: importlib.import_module(f"demucs.{name}") for name in MODULES}
    record = {"modules": {name: dict(public_names(module)) for name, module in modules.items()},
              "flags": flags(modules["separate"].get_parser())}
    Path(__file__).with_name("public_names.json").write_text(json.dumps(record, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
