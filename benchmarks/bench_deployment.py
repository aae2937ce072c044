"""Forms of a model for deployment, compared with the model itself: TorchScript (time), weights in 8 bits (size, time,
loss of nSDR). Peer is the model in float32, as this project runs it on this device.

    python benchmarks/bench_deployment.py [NAME ...] [--model FILE] [--seconds 8] [--songs 2] [--device cpu]

Without --model, models of the zoo (all without NAME) have their default sizes and random weights. Each separates one
segment of noise, eager and traced, in turns after two calls of each, in which TorchScript optimises its graph; the best
round counts. The error is the largest difference relative to the largest output.

With --model, a trained package is compared on generated songs (those of `tools.make_synthetic`, seed 2): its rows have
the mean nSDR over songs and sources, and by how many dB it changes. "int8 in linear layers and LSTMs" is dynamic
quantisation: these compute with 8-bit weights and activations, whose scales are found in each call
(torch.ao.quantization, on CPUs only). "weights in int8" is static: the weights of all layers in 8 bits with a scale per
output channel; they are expanded when they are loaded, so only the size changes. Without --model, rows of random
weights say how the output of the quantised model agrees with that of the model, as nSDR of the worst source. Sizes are
those of the stored weights. The last line is JSON.
"""

import argparse
import copy
import io
import json
import sys
import time
import typing as tp
import warnings
from pathlib import Path

import torch
from torch import nn

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.environments import in_turns
from demucs.data.synthetic.dataset import render_song
from demucs.layers.recurrent import LSTM
from demucs.metrics.nsdr import nsdr
from demucs.models import zoo
from demucs.models.separators import is_openunmix
from demucs.packages import package, torchscript
from demucs.schema import SOURCES
from demucs.separation.song import separate_song

RATE = 44100
LEVELS = 127                    # of an 8-bit weight, on each side of zero
SEED = 2                        # of the generated songs; those of the demo's training have another
QUANTISED = ("htdemucs", "htdemucs_nn", "openunmix_separator")     # without --model: rows for 8 bits of these
FORMS = ("int8 in linear layers and LSTMs", "weights in int8")
Call = tp.Callable[[], torch.Tensor]


def dynamic(model: nn.Module) -> nn.Module:
    """Copy of `model` with linear and LSTM layers that compute in 8 bits, of Open-Unmix LSTM layers alone; scales of
    activations are found in each call."""
    kinds = {nn.LSTM} if is_openunmix(model) else {nn.LSTM, nn.Linear}      # that one folds its linear layers
    copied = copy.deepcopy(model)
    for part in copied.modules():
        if isinstance(part, LSTM):
            part.__class__ = nn.LSTM          # torch replaces exactly this class; ours differs in training only
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")       # torch.ao is deprecated in favour of a package of its own
        return torch.ao.quantization.quantize_dynamic(copied, kinds, dtype=torch.qint8)


def static(model: nn.Module) -> nn.Module:
    """Copy of `model` whose weights with two axes or more are rounded to 255 levels, symmetric around zero, with one
    scale per entry of the first axis."""
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.dim() > 1:
                largest = parameter.abs().amax(dim=tuple(range(1, parameter.dim())), keepdim=True)
                step = largest.clamp(min=1e-12) / LEVELS
                parameter.copy_((parameter / step).round() * step)
    return rounded


def static_bytes(model: nn.Module) -> int:
    """Size of the weights of `static`: 1 byte for each of them, 4 bytes for each scale and each other value."""
    return sum(p.numel() + 4 * len(p) if p.dim() > 1 else 4 * p.numel() for p in model.parameters()) \
        + sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())


def stored_bytes(model: nn.Module) -> int:
    """Size of the weights of `model` as torch stores them."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell()


def timed(calls: tp.Mapping[str, Call], rounds: int, device: torch.device) -> tp.Dict[str, float]:
    """Seconds of the best call of each of `calls`, which take turns."""
    def seconds(call: Call) -> float:
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start
    for call in [*calls.values(), *calls.values()]:
        seconds(call)
    found: tp.Dict[str, tp.List[float]] = {name: [] for name in calls}
    for _, name in in_turns(rounds, tuple(calls)):
        found[name].append(seconds(calls[name]))
    return {name: min(values) for name, values in found.items()}


def row(name: str, ours: float, peer: float, error: tp.Optional[float], unit: str) -> tp.Dict[str, tp.Any]:
    print(f"{name}: {ours:.4g} {unit}, model {peer:.4g} {unit}, ratio {peer / ours:.2f}"
          + ("" if error is None else f", error {error:.1e}"), flush=True)
    return {"name": name, "ours": ours, "peer": peer, "ratio": peer / ours, "error": error, "unit": unit}


def script_rows(name: str, model: nn.Module, args: argparse.Namespace) -> tp.List[tp.Dict[str, tp.Any]]:
    """Row for TorchScript: time of a segment."""
    device = torch.device(args.device)
    model = model.to(device)
    segment = min(float(model.segment), args.seconds) if args.model else args.seconds
    length = int(segment * model.samplerate)
    script = torchscript.traced(model, length)
    mix = torch.randn(1, model.audio_channels, length, generator=torch.Generator().manual_seed(0)).to(device)
    expected = model(mix)
    error = float((script(mix) - expected).abs().max() / expected.abs().max())
    best = timed({"script": lambda: script(mix), "eager": lambda: model(mix)}, args.rounds, device)
    model.cpu()
    return [row(f"{name} as TorchScript, {segment:g} s on {device.type}", best["script"], best["eager"], error, "s")]


def quantised_rows(name: str, model: nn.Module, args: argparse.Namespace) -> tp.List[tp.Dict[str, tp.Any]]:
    """Rows for both ways of 8 bits: size, and for the dynamic one time, of songs on the CPU."""
    songs = [stems_of(model, index, args) for index in range(args.songs)] if args.model else None
    length = int(min(float(model.segment), args.seconds) * model.samplerate)
    mix = songs[0].sum(0) if songs else \
        torch.randn(model.audio_channels, length, generator=torch.Generator().manual_seed(0))
    forms = dict(zip(FORMS, (dynamic(model), static(model))))
    sizes = dict(zip(FORMS, (stored_bytes(forms[FORMS[0]]), static_bytes(model))))
    rows = []
    for form, changed in forms.items():
        title = f"{name}, {form} ({quality(model, changed, mix, songs)})"
        rows.append(row(f"{title}, size", sizes[form] / 1e6, stored_bytes(model) / 1e6, None, "MB"))
        if form == FORMS[0]:
            best = timed({"changed": lambda: separate_song(changed, mix, shifts=0),
                          "eager": lambda: separate_song(model, mix, shifts=0)}, args.rounds, torch.device("cpu"))
            error = float((separate_song(changed, mix, shifts=0) - separate_song(model, mix, shifts=0)).abs().max())
            rows.append(row(f"{title}, {mix.shape[-1] / model.samplerate:g} s on cpu", best["changed"], best["eager"],
                            error, "s"))
    return rows


def quality(model: nn.Module, changed: nn.Module, mix: torch.Tensor,
            songs: tp.Optional[tp.Sequence[torch.Tensor]]) -> str:
    """How good the output of `changed` is, as text: how much less its nSDR is than that of `model`, over `songs`, or
    without songs, its nSDR beside the output of `model`."""
    if songs is None:
        agreement = nsdr(*(separate_song(each, mix, shifts=0).double() for each in (model, changed)))
        return f"agrees to {float(agreement.min()):.0f} dB"
    scores = [torch.stack([nsdr(stems.double(), separate_song(each, stems.sum(0), shifts=0).double())
                           for stems in songs]).mean() for each in (model, changed)]
    return f"nSDR {float(scores[0]):.2f} dB, {float(scores[1] - scores[0]):+.3f} dB"


def stems_of(model: nn.Module, index: int, args: argparse.Namespace) -> torch.Tensor:
    """Stems [S, A, L] of generated song number `index`, for a model of these sources at 44.1 kHz."""
    if list(model.sources) != list(SOURCES) or model.samplerate != RATE or model.audio_channels != 2:
        sys.exit(f"error: {args.model}: generated songs have {', '.join(SOURCES)} in stereo at {RATE} Hz, this model "
                 f"has {', '.join(model.sources)}, {model.audio_channels} channels, {model.samplerate} Hz; choose another")
    song = render_song(SEED, "test", index, args.seconds)
    return torch.stack([torch.from_numpy(song[source]).float() / 2 ** 15 for source in SOURCES])


def built(name: str, seconds: float) -> nn.Module:
    """The model `name` of the zoo with random weights, for segments of `seconds`."""
    torch.manual_seed(0)
    sources = SOURCES[-1:] if zoo.MODELS[name].single else SOURCES
    model = zoo.build(name, sources=sources, audio_channels=2, samplerate=RATE, segment=seconds).eval()
    with torch.no_grad():
        for parameter in model.parameters():          # as after a training: layer scales begin at 1e-4
            parameter += 0.02 * torch.randn(parameter.shape)
    return model


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser("bench_deployment.py")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(zoo.NAMES)} (default: all)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="a trained package instead, with loss of nSDR")
    parser.add_argument("--seconds", type=float, default=8., help="length of a segment, and of a generated song")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--songs", type=int, default=2, help="generated songs, with --model")
    parser.add_argument("--device", default="cpu", help="device for TorchScript")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(zoo.NAMES))
    if unknown or args.model and args.names:
        parser.error(f"no model {', '.join(unknown)}" if unknown else "give names or --model, not both")
    results = []
    if args.model:
        model = package.load(args.model)
        results += script_rows(args.model.stem, model, args) + quantised_rows(args.model.stem, model, args)
    for name in () if args.model else args.names or zoo.NAMES:
        model = built(name, args.seconds)
        results += script_rows(name, model, args)
        if name in QUANTISED:
            results += quantised_rows(name, model, args)
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
