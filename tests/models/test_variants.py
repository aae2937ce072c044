"""The variants of HTDemucs against their author's code: numbers of parameters, shapes, and outputs from the golden file
that tests/golden/make_variants.py wrote; and what is mended in them."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.variants_cases import CASES, LENGTH, SEGMENT, SHORT, SOURCES, STRIDE, fill, mixture
from models.test_zoo import small

from demucs.models import zoo
from demucs.models.variants import VARIANTS
from demucs.repositories import models_page

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "variants.npz"
NAMES = tuple(VARIANTS)
TOLERANCE, RELATIVE = 1e-5, 2e-6       # as of published models

# Parameters with four sources and with one, counted in the author's code.
PARAMETERS = {
    "p": (58_782_684, 58_776_906), "i": (94_985_422, 94_942_780), "c": (47_039_240, 47_028_278),
    "s": (33_213_194, 33_185_528), "d": (35_627_486, 35_590_604), "d2": (77_225_586, 77_194_464),
    "d3": (11_608_974, 11_595_132), "d4": (30_047_218, 30_037_984), "n": (9_672_811, 9_660_055),
    "nc": (33_127_988, 33_126_830), "nf": (27_605_512, 27_574_666), "nn": (9_666_623, 9_658_508),
    "nn_conv": (19_195_240, 19_182_484), "dnf": (3_450_104, 3_403_190), "dn": (9_727_387, 9_709_483),
}
# Parameters that only `as_published` has: without an effect, or biases of the fusion, for four sources.
LEFT_OUT = {"p": 2 * 640, "i": 4 * 592, "d": 4, "d2": 4, "d3": 6, "d4": 4, "n": 8, "nn_conv": 8, "nf": 8,
            "dnf": 64 + 128 + 64 + 8, "dn": 24 + 48 + 24 + 8}
# Outputs of the encoders at the default segment: channels, frequencies and frames of branches with spectrograms; channels
# and steps of those on the waveform.
SHAPES = {
    "p": [[(40, 512, 345), (80, 128, 345), (160, 32, 345), (320, 8, 345), (640, 1, 345), (1280, 173)],
          [(40, 88200), (80, 22050), (160, 5513), (320, 1379), (640, 345)]],
    "i": [[(148, 512, 44), (296, 64, 44), (592, 8, 44), (592, 1, 44), (592, 43), (592, 42)],
          [(148, 22050), (296, 2757), (592, 345), (592, 44)]],
    "c": [[(38, 1024, 431), (76, 256, 431), (152, 64, 431), (304, 16, 431), (608, 1, 431), (1216, 216)],
          [(38, 110250), (76, 27563), (152, 6891), (304, 1723), (608, 431)]],
    "s": [[(96, 512, 431), (192, 64, 431), (384, 8, 431)], [(96, 55125), (192, 6891), (384, 862)]],
    "d": [[(128, 512, 87), (256, 128, 87), (256, 32, 87), (256, 16, 87), (256, 8, 87), (512, 7, 87)],
          [(128, 22050), (256, 5513), (256, 1379), (256, 690), (256, 345), (512, 344)]],
    "d2": [[(108, 512, 216), (216, 128, 216), (216, 32, 216), (432, 16, 216), (432, 8, 216), (864, 4, 216)],
           [(108, 55125), (216, 13782), (216, 3446), (432, 1723), (432, 862), (864, 431)]],
    "d3": [[(24, 1024, 431), (60, 256, 431), (120, 128, 431), (240, 64, 431), (360, 32, 431)],
           [(24, 110250), (60, 27563), (120, 13782), (240, 6891), (360, 3446)]],
    "d4": [[(64, 1024, 431), (96, 256, 431), (144, 64, 431), (216, 16, 431), (432, 4, 431)],
           [(64, 110250), (96, 27563), (144, 6891), (216, 1723), (432, 431)]],
    "n": [[(24 * 2 ** k, 256 * r // 4 ** k, frames) for k in range(4)] for r, frames in ((1, 862), (2, 431), (4, 216))]
    + [[(24, 110250), (48, 27563), (96, 6891), (192, 1723)]],
    "nc": [[(24, 220500), (48, 110250), (96, 55125), (192, 27563), (384, 13782), (768, 6891), (1536, 3446)]],
    "nf": [[(48 * 2 ** k, 128 * r // 4 ** k, frames) for k in range(4)]
           for r, frames in ((1, 1723), (2, 862), (4, 431), (8, 216), (16, 108))],
}
SHAPES.update(nn=SHAPES["n"], nn_conv=SHAPES["n"], dn=SHAPES["n"],
              dnf=[[(channels // 3, *rest) for channels, *rest in branch] for branch in SHAPES["nf"]])


def build(name, sources=SOURCES, **settings):
    defaults = VARIANTS[f"htdemucs_{name}"].Settings()
    return zoo.build(f"htdemucs_{name}", **{
        "sources": sources, "audio_channels": 2, "samplerate": 44100, "segment": defaults.segment, **settings})


def numbers(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_numbers_of_parameters(name):
    assert {f"htdemucs_{name}" for name in PARAMETERS} == set(VARIANTS)
    with torch.device("meta"):
        for sources, expected in zip((SOURCES, ["instrumental"]), PARAMETERS[name]):
            assert numbers(build(name, sources, as_published=True)) == expected
        assert numbers(build(name)) == PARAMETERS[name][0] - LEFT_OUT.get(name, 0)


def test_the_earlier_n_has_a_normalisation_more():
    with torch.device("meta"):
        assert numbers(build("n", levels={"norm_starts": 3}, as_published=True)) == 9_681_259


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_the_levels(name):
    """At the default width, length and rate, with tensors without data."""
    with torch.device("meta"):
        model = build(name).eval()
        length = int(model.segment * model.samplerate)
        inputs = [torch.empty(1, 2, length) if branch.view is None else
                  torch.empty(1, 4, branch.view.bins, -(-length // branch.view.hop)) for branch in model.branches]
        seen = {}
        for branch in model.branches:
            for level in model.get_submodule(branch.encoder):
                level.register_forward_hook(lambda module, inputs, output, name=branch.name: seen.setdefault(name, []).append(
                    tuple(output.shape[1:])))
        outputs = model.core(*inputs)
    assert list(seen.values()) and [seen[branch.name] for branch in model.branches] == SHAPES[name]
    assert [output.shape[2:] for output in outputs] == [x.shape[2:] for x in inputs]


@pytest.mark.parametrize("name", CASES)
def test_same_numbers_as_published(name):
    golden = np.load(GOLDEN)
    theirs, here = CASES[name][2:]
    model = build(name, segment=SEGMENT, as_published=True, channels=theirs["channels"], **here)
    assert fill(model) == golden[f"{name}/entries"].tolist()
    with torch.no_grad():
        found = model.eval()(mixture(LENGTH))[..., ::STRIDE].numpy()
        model.train().after_step()       # theirs updates its averages in each forward pass in training mode
        training = model(mixture(SHORT))[..., ::STRIDE].numpy()
    assert np.abs(golden[f"{name}/eval"]).max() > 0.05
    for output, mode in ((found, "eval"), (training, "train")):
        expected = golden[f"{name}/{mode}"]
        assert np.abs(output - expected).max() <= max(TOLERANCE, RELATIVE * np.abs(expected).max()), mode
    for key, buffer in model.named_buffers():
        assert np.abs(buffer.numpy() - golden[f"{name}/{key}"]).max() < 1e-6


def test_the_file_of_numbers_is_small():
    assert GOLDEN.stat().st_size < 10 * 2 ** 20


@pytest.mark.parametrize("name", ["hybrid", *NAMES])
def test_the_files_of_settings_have_the_same_numbers(name):
    defaults = dataclasses.asdict(zoo.MODELS[name].build.Settings())
    for key in ("audio_channels", "samplerate", "segment", "use_train_segment"):       # of other sections
        defaults.pop(key)
    assert models_page.settings_in_files()[name] == defaults


def tiny(name, **settings):
    """A mended model with random values everywhere, as after a training."""
    model = small(name, **settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
def test_silence_gives_silence_and_levels_are_kept(name):
    model = tiny(name)
    mix = torch.randn(1, 2, 8000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert not model(torch.zeros(1, 2, 8000)).any()
        once, louder = model(mix), model(8 * mix)
    assert (louder - 8 * once).abs().max() < 1e-3 * louder.abs().max()


@pytest.mark.parametrize("name, loud", [("htdemucs_n", True), ("htdemucs_dn", True), ("htdemucs_nn", False)])
def test_published_errors_are_in_the_published_form_only(name, loud):
    """A bias behind the denormalisation."""
    model = tiny(name, as_published=True)
    with torch.no_grad():
        assert bool(model(torch.zeros(1, 2, 8000)).any()) == loud


def test_the_branch_on_the_waveform_of_dn():
    silent = {}
    for published in (True, False):
        model = small("htdemucs_dn", as_published=published)
        model(torch.randn(1, 2, 8000)).square().mean().backward()
        silent[published] = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent[False] and {name.partition(".")[0] for name in silent[True]} >= {"tdecoder"}
    with torch.no_grad():
        assert model.eval()(torch.randn(1, 2, 8000)).min() < -0.2          # GELU is never below -0.17


@pytest.mark.parametrize("name", ["htdemucs_n", "htdemucs_nf", "htdemucs_dnf", "htdemucs_dn", "htdemucs_nn"])
def test_fusions_start_as_the_mean(name):
    model = small(name).eval()
    fusion, = model._fusion
    estimates = {branch.name: torch.randn(2, 4, 2, 500) for branch in model.branches}
    spectral = torch.stack([estimates[name] for name in fusion.names]).mean(0)
    rest = sum(value for key, value in estimates.items() if key not in fusion.names)
    with torch.no_grad():
        torch.testing.assert_close(fusion(estimates), spectral + rest, rtol=0, atol=0.05 if fusion.at_unit_level else 1e-6)


@pytest.mark.parametrize("name", ["htdemucs_n", "htdemucs_nn"])
def test_moving_averages_move_after_steps(name):
    model = small(name).train()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("fusion_weights"):
                parameter.copy_(torch.randn(parameter.shape))
    before = {key: buffer.clone() for key, buffer in model.named_buffers()}
    assert set(before) == {"weight_ema"} | ({"final_weight_ema"} if name == "htdemucs_nn" else set())
    model(torch.randn(1, 2, 8000))
    assert all(torch.equal(buffer, before[key]) for key, buffer in model.named_buffers())
    places = {key: id(buffer) for key, buffer in model.named_buffers()}
    model.after_step()
    for key, buffer in model.named_buffers():
        weights = getattr(model, "final_fusion_weights" if key.startswith("final") else "fusion_weights").softmax(-1)
        torch.testing.assert_close(buffer, 0.9 * before[key] + 0.1 * weights.detach())
        assert id(buffer) == places[key]               # averages and checkpoints hold the same tensor


def test_weights_in_training_and_after_it():
    model = small("htdemucs_nn")
    mixer, = model._mixers["bottom"]
    with torch.no_grad():
        model.fusion_weights.copy_(torch.tensor([2., 0., -1.]))
    present = model.fusion_weights.softmax(0)
    torch.testing.assert_close(mixer.softmax(), 0.1 * present + 0.9 / 3)
    assert torch.equal(model.eval() and mixer.softmax(), present)


def test_tensors_of_parts_exist_once():
    """On another device, or in a copy, parts use the tensors of their model."""
    model = small("htdemucs_nn")
    moved = copy.deepcopy(model).double()
    assert all(tensor.dtype == torch.float64 for tensor in moved.state_dict().values())
    mix = torch.randn(1, 2, 4000).double()
    assert moved(mix).dtype == torch.float64
    with torch.no_grad():
        moved.final_fusion_weights.zero_()[:, 0] = 50
        first = moved.eval()(mix)
        moved.final_fusion_weights.zero_()[:, 1] = 50
        assert (moved(mix) - first).abs().max() > 1e-6
    assert torch.allclose(model.final_fusion_weights, torch.tensor(1 / 3)) and next(moved.parameters()).dtype == torch.float64


# Learnt weights of branches and gates, by the name of their parameter.
COMBINATIONS = {
    "n": {"fusion_weights"}, "nn": {"fusion_weights", "final_fusion_weights"}, "dn": {"fusion_weights"},
    "i": {f"residual_weight_{site}" for site in ("cross_en", "cross_en_t", "2en", "2de", "cross_de", "cross_de_t")},
    **{name: {"residual_weight_freq", "residual_weight_time"} for name in ("s", "d", "d2", "d4")}}


@pytest.mark.parametrize("name", NAMES)
def test_which_models_combine_by_weights_and_gates(name):
    expected = COMBINATIONS.get(name.removeprefix("htdemucs_"), set())
    for published in (False, True):                       # also without the scalars that have no effect
        found = small(name, as_published=published).combination()
        assert (set() if found is None else {*found.weights, *found.gates}) == expected


def test_weights_per_source_for_the_history():
    model = small("htdemucs_nn").train()
    with torch.no_grad():
        model.final_fusion_weights.copy_(torch.randn(4, 3))
        model.fusion_weights.copy_(torch.tensor([2., 0., -1.]))
    found = model.combination()
    assert found.gates == {} and list(found.weights["final_fusion_weights"]) == model.sources
    for source, raw in zip(model.sources, model.final_fusion_weights):
        weights = found.weights["final_fusion_weights"][source]
        assert list(weights) == ["nfft_2048", "nfft_4096", "nfft_8192"]
        assert list(weights.values()) == pytest.approx(raw.softmax(-1).tolist())
    assert list(found.weights["fusion_weights"]["all"].values()) == pytest.approx(model.fusion_weights.softmax(0).tolist())


def test_gates_for_the_history():
    model = small("htdemucs_s")
    with torch.no_grad():
        model.residual_weight_freq.fill_(1.)
    found = model.combination()
    assert found.weights == {} and found.gates == pytest.approx(
        {"residual_weight_freq": 1 / (1 + np.exp(-1)), "residual_weight_time": 0.5})
