"""State dicts of single networks of Open-Unmix: their sizes, read from names and shapes, and their differences from the
network that these sizes describe.

Files of openunmix have no settings of the network beside its weights but a few in a JSON file, so that openunmix itself
reads networks of other numbers of layers, or of one direction, wrongly or not at all. Names and shapes of the entries
determine all of them. Everything in the files is untrusted.
"""

import dataclasses
import re
import typing as tp
from pathlib import Path

import torch

from ..errors import PackageError
from ..models.settings import RANGES
from ..models.spectral_mask import SpectralMask
from ..ranges import CHANNELS, Range
from . import pickled, weights

STATE = "state_dict"                # entry of a checkpoint of openunmix that has the weights
COUNTERS = ".num_batches_tracked"   # entries that files of torch < 0.4.1 lack, and that evaluation does not need
LAYERS = RANGES["nb_layers"]
SIZES: tp.Dict[str, Range] = {
    "hidden_size": tp.cast(Range, RANGES["hidden_size"]), "bins": Range(3, 2 ** 19 + 1, whole=True),
    "cropped": Range(1, 2 ** 19 + 1, whole=True), "channels": CHANNELS, "nb_layers": tp.cast(Range, LAYERS)}

# Entries that files of some versions have beside the network: the windows of the transforms, and the sample rate.
_WINDOW = re.compile(r"(stft|istft|transform\.\d+)\.window")
_RATE = "sample_rate"
_LAYER = re.compile(r"lstm\.weight_ih_l(\d{1,4})(_reverse)?")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a network: settings of `SpectralMask`. The defaults are those of umxhq."""
    hidden_size: int = 512
    nb_layers: int = 3
    unidirectional: bool = False
    bins: int = 2049
    cropped: int = 1487
    channels: int = 2

    @property
    def nfft(self) -> int:
        """Window length of the spectrogram in samples."""
        return 2 * (self.bins - 1)


class Network(tp.NamedTuple):
    """Weights of the network of one target, with its sizes, and the other entries of its file."""
    path: Path
    sizes: Sizes
    state: weights.State
    extras: weights.State


def read(path: Path) -> Network:
    """The network in a .pth file, or the one of the last epoch in a .chkpnt file, of openunmix.

    Raises:
        PackageError: if the file is damaged, names objects that weights do not need, or is no network of Open-Unmix;
            the message names the entries that are missing, unknown or of another shape.
    """
    content = pickled.read(path)
    if path.suffix == ".chkpnt":
        content = content.get(STATE) if isinstance(content, dict) else None
    elif isinstance(content, dict) and isinstance(content.get(STATE), dict):
        raise PackageError(f"{path}: is a checkpoint of a training, not the weights; name it {path.stem}.chkpnt, or "
                           f"save its entry {STATE!r}")
    state = weights.checked_state(content, path)
    extras = {name: tensor for name, tensor in state.items() if _WINDOW.fullmatch(name) or name == _RATE}
    state = {name: tensor for name, tensor in state.items() if name not in extras}
    sizes = sizes_of(state, path)
    expected = shapes(sizes)
    for name in expected:
        if name.endswith(COUNTERS):
            state.setdefault(name, torch.zeros((), dtype=torch.long))
    found = weights.differences(expected, state)
    if found:
        raise PackageError(f"{path}: is no network of Open-Unmix: {found}. Are these the weights of another model?")
    _check_window(extras, sizes, path)
    # Entries may share memory, or be views of others.
    state = {name: state[name].to(tensor.dtype, copy=True).contiguous() for name, tensor in expected.items()}
    return Network(path, sizes, state, extras)


def sizes_of(state: tp.Mapping[str, torch.Tensor], path: Path) -> Sizes:
    """Sizes of the network with the weights `state`, as far as their names and shapes tell; those of umxhq for the
    rest.
    Raises PackageError for sizes that no network has."""
    default = Sizes()
    layers = [(int(match[1]), bool(match[2])) for match in map(_LAYER.fullmatch, map(str, state)) if match]
    bins = _length(state, "output_mean", 0, default.bins)
    found = Sizes(
        hidden_size=_length(state, "fc1.weight", 0, default.hidden_size),
        nb_layers=1 + max(number for number, _ in layers) if layers else default.nb_layers,
        unidirectional=bool(layers) and not any(reverse for _, reverse in layers),
        bins=bins, cropped=_length(state, "input_mean", 0, min(bins, default.cropped)),
        channels=_length(state, "fc3.weight", 0, default.channels * bins) // max(1, bins))
    for name, allowed in SIZES.items():
        value = getattr(found, name)
        if value not in allowed:
            raise PackageError(f"{path}: is no network of Open-Unmix: its weights have {name}={value}, which "
                               f"{allowed.demand(value)}")
    return found


def shapes(sizes: Sizes) -> weights.State:
    """Entries of a network of these sizes, without values (on the device "meta")."""
    with torch.device("meta"):
        hidden = sizes.hidden_size + (0 if sizes.unidirectional else sizes.hidden_size % 2)    # then the shapes differ
        network = SpectralMask(bins=sizes.bins, cropped=sizes.cropped, channels=sizes.channels, hidden_size=hidden,
                               nb_layers=sizes.nb_layers, unidirectional=sizes.unidirectional)
    return network.state_dict()


def check_rate(network: Network, samplerate: int) -> None:
    """Raise PackageError if the file of a network has another sample rate than `samplerate` in Hz."""
    rate = network.extras.get(_RATE)
    if rate is not None and (rate.numel() != 1 or float(rate.real) != samplerate):
        raise PackageError(f"{network.path}: its sample_rate is {_short(rate)}, expected {samplerate} Hz; the weights "
                           f"belong to another model")


def _check_window(extras: weights.State, sizes: Sizes, path: Path) -> None:
    """Raise PackageError if one of the windows is not that of our transforms."""
    for name, window in extras.items():
        if name != _RATE:
            expected = torch.hann_window(sizes.nfft)
            if window.shape != expected.shape or not torch.allclose(window.float(), expected, rtol=0, atol=1e-4):
                raise PackageError(f"{path}: its {name} is {_short(window)}, not the periodic Hann window of "
                                   f"{sizes.nfft} samples; such transforms are not supported")


def _length(state: tp.Mapping[str, torch.Tensor], name: str, axis: int, default: int) -> int:
    tensor = state.get(name)
    return int(tensor.shape[axis]) if tensor is not None and tensor.dim() > axis else default


def _short(tensor: torch.Tensor) -> str:
    if tensor.numel() == 1 and not tensor.is_complex():
        return f"{tensor.item():g}"
    return f"of shape {tuple(tensor.shape)}"
