"""Training steps of Open-Unmix in a persistent process, and separations in one of their own, by the package openunmix
or by ours.

    PYTHON benchmarks/peers/openunmix_peer.py openunmix|ours                             requests in JSON, one per line
    PYTHON benchmarks/peers/openunmix_peer.py openunmix|ours HIDDEN INPUT.npy OUTPUT.npy   a separation

It is called by bench_openunmix.py, with the Python of that side. Both build their networks from the same seeds and draw
the same batches.
"""

import json
import resource
import sys
import time
import typing as tp

import numpy as np
import torch

SOURCES = ["drums", "bass", "other", "vocals"]
RATE, N_FFT, HOP, BANDWIDTH = 44100, 4096, 1024, 16000
LR, WEIGHT_DECAY = 1e-3, 1e-5


class WithoutLSTM(torch.nn.Module):
    """Replacement of the LSTM that returns its input, to time all but its kernels."""

    def forward(self, x: torch.Tensor) -> tp.Tuple[torch.Tensor, None]:
        return x, None


def stems_of(step: int, batch: int, seconds: float) -> torch.Tensor:
    """Stems [B, S, A, L] of step `step`: noise with a slowly varying level."""
    draw = torch.Generator().manual_seed(step)
    length = int(seconds * RATE)
    level = torch.rand(batch, 4, 2, 1 + length // 4410, generator=draw).repeat_interleave(4410, dim=-1)[..., :length]
    return level * torch.randn(batch, 4, 2, length, generator=draw)


def their_network(hidden: int) -> torch.nn.Module:
    from openunmix.model import OpenUnmix
    from openunmix.utils import bandwidth_to_max_bin
    return OpenUnmix(nb_bins=N_FFT // 2 + 1, nb_channels=2, hidden_size=hidden,
                     max_bin=int(bandwidth_to_max_bin(RATE, N_FFT, BANDWIDTH)))


class Theirs:
    """Step of the training script of openunmix: spectrograms, network, loss, backward pass and Adam. Its loader mixes
    the stems."""

    def __init__(self, hidden: int):
        from openunmix.transforms import ComplexNorm, make_filterbanks
        stft, _ = make_filterbanks(n_fft=N_FFT, n_hop=HOP, sample_rate=RATE)
        self.encoder = torch.nn.Sequential(stft, ComplexNorm(mono=False))
        self.model = their_network(hidden)

    def begin(self) -> None:
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
        self.model.train()

    def prepared(self, stems: torch.Tensor) -> tp.Tuple[torch.Tensor, ...]:
        return stems.sum(1), stems[:, 3].clone()

    def step(self, step: int, mix: torch.Tensor, target: torch.Tensor) -> float:
        x, y = self.encoder(mix), self.encoder(target)
        self.optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.item()


class Ours:
    """Our training stage, which mixes the stems itself."""

    def __init__(self, hidden: int):
        from demucs.models import zoo
        self.model = zoo.build("openunmix", sources=["vocals"], audio_channels=2, samplerate=RATE, segment=600,
                               hidden_size=hidden)

    def begin(self) -> None:
        from demucs.data.targets import Targets
        from demucs.training.distributed import Group
        from demucs.training.objectives import build_objective
        from demucs.training.optim import build_optimizer
        from demucs.training.stages import TrainStage
        from demucs.training.svd import SvdSettings
        optimizer = build_optimizer(self.model, kind="adam", lr=LR, momentum=0.9, beta2=0.999,
                                    weight_decay=WEIGHT_DECAY)
        svd = SvdSettings(penalty=0., min_size=0.1, dim=1, niters=2, powm=False, proba=1., conv_only=False,
                          convtr=False, bs=1)
        self.stage = TrainStage(
            model=self.model, wrapped=self.model, optimizer=optimizer, loader=None, sampler=None, augment=None,
            averages=[], group=Group(0, 1, torch.device("cpu")), seed=0, svd=svd, clip_grad=0, prints=0, track_name=str,
            objective=build_objective("magnitude_mse", self.model, targets=["vocals"], weights=[1.]),
            targets=Targets(SOURCES, {"vocals": ["vocals"]}))
        self.model.train()

    def prepared(self, stems: torch.Tensor) -> tp.Tuple[torch.Tensor, ...]:
        return (stems,)

    def step(self, step: int, stems: torch.Tensor) -> float:
        return self.stage.step(stems, epoch=0, step=step, names=[])["loss"]


def train(side: tp.Any, request: tp.Dict[str, tp.Any]) -> tp.Dict[str, tp.Any]:
    """Seconds and losses of steps. Dropout can be switched off, and the LSTM replaced."""
    lstm = side.model.lstm
    if request["without_lstm"]:
        side.model.lstm = WithoutLSTM()
    elif not request["dropout"]:
        lstm.dropout = 0
    seconds, losses = [], []
    for step in range(request["steps"]):
        torch.manual_seed(step)
        given = side.prepared(stems_of(step, request["batch"], request["seconds"]))
        begin = time.perf_counter()
        losses.append(side.step(step, *given))
        seconds.append(time.perf_counter() - begin)
    side.model.lstm = lstm
    lstm.dropout = 0.4
    return {"seconds": min(seconds), "losses": losses}


def serve(which: str) -> None:
    side: tp.Any = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "build":
            torch.manual_seed(0)
            side = {"openunmix": Theirs, "ours": Ours}[which](request["hidden"])
            side.begin()
            answer = {"torch": torch.__version__, "threads": torch.get_num_threads(),
                      "parameters": sum(parameter.numel() for parameter in side.model.parameters())}
        elif request["do"] == "train":
            answer = train(side, request)
        else:
            np.savez(request["path"], **{name: value.detach().numpy() for name, value in side.model.named_parameters()})
            answer = {}
        print(json.dumps(answer), flush=True)


def networks(which: str, hidden: int) -> tp.Dict[str, torch.nn.Module]:
    """A network of each target with seeded weights, whose masks differ and are not zero."""
    found = {}
    for seed, target in enumerate(SOURCES):
        torch.manual_seed(seed)
        found[target] = their_network(hidden) if which == "openunmix" else Ours(hidden).model
        for value in found[target].state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return found


def separator(which: str, hidden: int) -> torch.nn.Module:
    parts = networks(which, hidden)
    if which == "openunmix":
        from openunmix.model import Separator
        return Separator(parts, niter=1, n_fft=N_FFT, n_hop=HOP, nb_channels=2, sample_rate=RATE).eval()
    from demucs.models import zoo
    model = zoo.build("openunmix_separator", sources=SOURCES, audio_channels=2, samplerate=RATE, segment=600,
                      hidden_size=hidden, niter=1)
    for target, part in parts.items():
        model.target_models[target].load_state_dict(part.state_dict())
    return model.eval()


def separate(which: str, hidden: int, source: str, target: str) -> None:
    model = separator(which, hidden)
    mix = torch.from_numpy(np.load(source))[None]
    with torch.no_grad():
        begin = time.perf_counter()
        if which == "openunmix":
            estimates = model(mix)
        else:
            from demucs.separation.apply import separate as ours
            estimates = ours(model, mix, shifts=0)
        seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.save(target, estimates[0].numpy())
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "torch": torch.__version__,
                      "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        separate(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
