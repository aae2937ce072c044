"""Operations for which the host waits for an accelerator, counted on a pretended one by means of fake tensors.

On "cuda" without a GPU only forward passes run. A device of torch's PrivateUse1 backend has backward passes, too."""

import collections
import contextlib
import traceback
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "demucs"
# Results whose size or value the host needs, and decompositions that check on the host whether they converged.
READ = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim",
        "unique_consecutive", "bincount", "_linalg_svd", "_linalg_eigh", "_linalg_eigvals", "linalg_eig",
        "linalg_lstsq", "_linalg_check_errors"}
INDEXED = {"index", "index_put", "index_put_", "_unsafe_index"}      # with masks, they count what these select


class HostWaits(TorchDispatchMode):
    """Counter of operations for which the host waits for a device that is no CPU: `found` has their numbers by name and
    line of code, `collectives` that of collective operations. Fake tensors have no values: those asked for are the ones
    of a training without faults."""

    def __init__(self):
        super().__init__()
        self.found = collections.Counter()
        self.collectives = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        self.collectives += func._schema.name.startswith("c10d::")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        before = {tensor.device.type for tensor in tensors}
        with_device = before - {"cpu"}
        masked = any(tensor.dtype in (torch.bool, torch.uint8) for tensor in tensors[1:])
        waits = bool(with_device) and (name in READ or name in INDEXED and masked)
        try:
            out = func(*args, **kwargs)
        except RuntimeError as error:
            if type(error).__name__ != "DataDependentOutputException":
                raise
            out = False if name == "equal" else True if args[0].dtype == torch.bool else 1
        if name in ("_to_copy", "copy_"):
            devices = before | {out.device.type}
            asynchronous = kwargs.get("non_blocking") or name == "copy_" and len(args) > 2 and args[2]
            waits = len(devices) > 1 and not asynchronous
        if waits:
            self.found[f"{name} at {_place()}"] += 1
        return out


def _place():
    """Line of the package that is being run, or "backward"."""
    for frame in reversed(traceback.extract_stack()):
        if Path(frame.filename).is_relative_to(PACKAGE):
            return f"{Path(frame.filename).relative_to(PACKAGE)}:{frame.lineno}"
    return "backward"


@contextlib.contextmanager
def counted():
    with FakeTensorMode(), HostWaits() as waits:
        yield waits
