"""What published Demucs (4.1.0) finds under each name.

    .published/bin/python tests/golden/make_remote.py

writes remote.json beside this file.
"""

import json
from pathlib import Path

import yaml
from demucs.api import list_models
from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name
from demucs.pretrained import DEFAULT_MODEL, ROOT_URL


def main() -> None:
    models = list_models()
    golden = {
        "root": ROOT_URL, "default": DEFAULT_MODEL, "namespace": DEFAULT_NAMESPACE, "single": dict(models["single"]),
        "bag": {name: yaml.safe_load(path.read_text()) for name, path in sorted(models["bag"].items())},
        "hub": {name: hf_repo_name(name) for name in [*sorted(models["bag"]), "htdemucs_x_y", "mine"]},
    }
    Path(__file__).with_name("remote.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
