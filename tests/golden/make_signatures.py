"""Adds to signatures.json what published Demucs gives for its grids and the commands of its documentation, and writes
demucs/grids/published.json, the table of published experiments that ships.

Run it in the environment of published Demucs (`make oracle`), with an unpacked copy of its repository, since its
release has neither `conf/` nor `outputs.tar.gz`. Groups that are in signatures.json already must come out again.

    .published/bin/python tests/golden/make_signatures.py CHECKOUT
"""

import importlib
import importlib.util
import json
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

TABLE = Path(__file__).resolve().parent / "signatures.json"
SHIPPED = TABLE.parent.parent.parent / "demucs" / "grids" / "published.json"
# In the order in which they need each other's experiments.
GRIDS = ("mdx", "mdx_refine", "mdx_extra", "mmi", "mmi_ft", "repro", "repro_ft", "sdx23")
# These want the grid of their parents trained, which a history of the right length says.
PARENTS = {"mdx_refine": "mdx", "repro_ft": "repro"}
DOCUMENTED = {
    "81de367c": (["hdemucs.channels=32"], ["continue_from=81de367c", "dset=auto_mus", "variant=finetune"],
                 ["variant=example"]),
    "955717e8": (["continue_from=\"955717e8\"", "weights=[0,0,0,1]"], ["quant.diffq=1e-4"], ["quant.qat=8"]),
}


def pretend_trained(main, grid, experiments):
    links = main.dora.dir / "grids" / grid
    links.mkdir(parents=True, exist_ok=True)
    for xp in experiments:
        xp.link.update_history([{}] * xp.cfg.epochs)
        (links / xp.sig).symlink_to(xp.folder)


def groups():
    """{group: {signature: arguments}} of the copy of published Demucs in the current folder."""
    from demucs.train import main
    from dora.grid import RunGridArgs, run_grid
    made = {}
    for grid in GRIDS:
        if grid in PARENTS:
            pretend_trained(main, PARENTS[grid], made[PARENTS[grid]])
        explorer = importlib.import_module(f"demucs.grids.{grid}").explorer
        arguments = RunGridArgs(dry_run=True, init=True, monitor=False, silent=True)
        made[grid] = [sheep.xp for sheep in run_grid(main, explorer, grid, args=arguments)]
    found = {f"grid_{grid}": {xp.sig: list(xp.argv) for xp in experiments} for grid, experiments in made.items()}
    examples = [main.get_xp([*main.get_argv_from_sig(parent), *extra])
                for parent, variants in DOCUMENTED.items() for extra in variants]
    return {**found, "documented": {xp.sig: list(xp.argv) for xp in examples}}


def lines(experiments, indent):
    return ",\n".join(f"{indent}{json.dumps(sig)}: {json.dumps(argv)}" for sig, argv in experiments.items())


def main():
    checkout = Path(sys.argv[1]).resolve()
    table = json.loads(TABLE.read_text())
    with tempfile.TemporaryDirectory() as folder:
        # The installed package finds its configuration beside itself, once it is copied there.
        shutil.copytree(Path(importlib.util.find_spec("demucs").origin).parent, Path(folder) / "demucs")
        shutil.copytree(checkout / "conf", Path(folder) / "conf")
        with tarfile.open(checkout / "outputs.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        published = {path.parent.name: json.loads(path.read_text()) for path in Path(folder).rglob(".argv.json")}
        os.chdir(folder)
        sys.path.insert(0, folder)
        found = {"published_experiments": published, **groups()}
    for name, experiments in found.items():
        assert table.setdefault(name, experiments) == experiments, f"{name} came out otherwise"
    body = ",\n".join(f" {json.dumps(name)}: {{\n{lines(group, '  ')}\n }}" for name, group in table.items())
    TABLE.write_text(f"{{\n{body}\n}}\n")
    shipped = {}
    for name in ("published_experiments", *(f"grid_{grid}" for grid in GRIDS)):
        shipped = {**table[name], **shipped}
    SHIPPED.write_text(f"{{\n{lines(dict(sorted(shipped.items())), ' ')}\n}}\n")
    print({name: len(experiments) for name, experiments in table.items()}, len(shipped))


if __name__ == "__main__":
    main()
