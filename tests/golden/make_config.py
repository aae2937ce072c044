"""Writes published_config.json: the values in the configuration files of published Demucs, by dotted key.

Run it in the environment of published Demucs (`make oracle`), with an unpacked copy of its repository:

    .published/bin/python tests/golden/make_config.py CHECKOUT
"""

import json
import sys
from pathlib import Path

from omegaconf import OmegaConf

HERE = Path(__file__).resolve().parent
NOT_VALUES = ("defaults", "hydra")


def flat(path):
    values = {}

    def walk(section, prefix):
        for key, value in section.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                values[prefix + key] = value
    walk({k: v for k, v in (OmegaConf.to_container(OmegaConf.load(path)) or {}).items() if k not in NOT_VALUES}, "")
    return values


def main():
    folder = Path(sys.argv[1]) / "conf"
    found = {f"{path.parent.name}={path.stem}": flat(path) for path in sorted(folder.glob("*/*.yaml"))}
    table = {"config": flat(folder / "config.yaml"), **found}
    (HERE / "published_config.json").write_text(json.dumps(table, indent=1) + "\n")
    print({name: len(values) for name, values in table.items()})


if __name__ == "__main__":
    main()
