"""Writes variants.npz: what the code of github.com/piusssss/demucs_learn gives for variants_cases.py.

Run it with a clone of that repository, in an environment of published Demucs (`make oracle`), whose package `demucs` is
replaced by that of a commit there:

    .published/bin/python tests/golden/make_variants.py PATH/TO/demucs_learn/.git

Weights are drawn from their names, so that only outputs are stored.
"""

import contextlib
import importlib
import io
import subprocess
import sys
import tarfile
import tempfile
import types
from pathlib import Path

import numpy as np
import torch
from variants_cases import CASES, LENGTH, SEGMENT, SHORT, SOURCES, STRIDE, fill, mixture

HERE = Path(__file__).resolve().parent


@contextlib.contextmanager
def package_of(repository, commit):
    """Context in which `demucs` is the package of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", f"--git-dir={repository}", "archive", commit, "demucs"], check=True,
                                 capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)
            for name in [name for name in sys.modules if name.partition(".")[0] == "demucs"]:
                del sys.modules[name]


@contextlib.contextmanager
def imported(repository, name):
    """Context with the module of the variant `name` in the package `demucs` of its commit."""
    commit, kind = CASES[name][:2]
    # Only the Wiener filter of openunmix is imported, and no variant calls it.
    sys.modules["openunmix"] = types.ModuleType("openunmix")
    sys.modules["openunmix.filtering"] = types.SimpleNamespace(wiener=None)
    with package_of(repository, commit):
        module = importlib.import_module(f"demucs.htdemucs_{kind}")
        # A text for debugging formats the segment, which Python before 3.12 cannot do with a fraction.
        module.Fraction = lambda length, rate: length / rate
        yield module


def main(repository):
    arrays = {"versions": np.array([f"torch {torch.__version__}"])}
    for name, (commit, kind, theirs, _) in CASES.items():
        with imported(repository, name) as module:
            model = getattr(module, f"HTDemucs_{kind}")(SOURCES, segment=SEGMENT, **theirs)
            arrays[f"{name}/entries"] = np.array(fill(model))
            with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
                arrays[f"{name}/eval"] = model.eval()(mixture(LENGTH))[..., ::STRIDE].numpy()
                arrays[f"{name}/train"] = model.train()(mixture(SHORT))[..., ::STRIDE].numpy()
            for buffer, tensor in model.named_buffers():
                arrays[f"{name}/{buffer}"] = tensor.numpy()       # after one forward pass in training mode
            arrays[f"{name}/commit"] = np.array(subprocess.run(
                ["git", f"--git-dir={repository}", "rev-parse", commit], check=True, capture_output=True, text=True
            ).stdout.strip())
        print(name, *(f"{key} {np.abs(arrays[f'{name}/{key}']).max():.3g}" for key in ("eval", "train")), flush=True)
    np.savez_compressed(HERE / "variants.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
