"""Separation in bfloat16, and without TF32."""

import threading

import pytest
import torch

from demucs.errors import ConfigError
from demucs.evaluation import evaluate
from demucs.metrics.nsdr import nsdr
from demucs.models import zoo
from demucs.separation import precision as precisions
from demucs.separation.apply import separate
from demucs.separation.precision import PRECISIONS, computing_in, use_tf32

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("name, settings", [
    ("hdemucs", {"channels": 8, "dconv_init": 0.5}),
    ("hdemucs", {"channels": 8, "dconv_init": 0.5, "dconv_mode": 3, "depth": 5, "norm_starts": 2, "norm_groups": 1}),
    ("htdemucs", {"channels": 8, "dconv_init": 0.5, "t_layers": 2, "t_heads": 2}),
    ("demucs", {"channels": 8, "dconv_init": 0.5, "depth": 4})])
def test_error_lies_far_below_the_estimates(name, settings):
    torch.manual_seed(0)
    model = zoo.build(name, sources=["a", "b"], audio_channels=2, samplerate=44100, segment=2, **settings).eval()
    mix = torch.randn(1, 2, 44100)
    outputs = {}
    with torch.no_grad():
        for precision in PRECISIONS:
            with computing_in(precision, CPU):
                outputs[precision] = model(mix).float()
        assert torch.equal(outputs["float32"], model(mix))
    difference = nsdr(outputs["float32"], outputs["bf16"])
    assert difference.min() > 30 and difference.max() < 70, "bfloat16 is exact to about 8 bits, 48 dB"


def test_no_trace_is_left():
    with computing_in("bf16", CPU):
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("lines, known", [
    ("flags\t\t: fpu avx2", False), ("flags\t\t: fpu avx512f avx512_bf16", True), ("Features\t: fp asimd bf16 ", True),
    ("nothing", None)])
def test_a_warning_where_bf16_is_slow(monkeypatch, tmp_path, caplog, lines, known):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{lines}\n")
    monkeypatch.setattr(precisions, "CPUINFO", tmp_path / "cpuinfo")
    precisions._warn_of_slow_bf16.cache_clear()
    assert precisions.has_bf16_instructions() is known
    for _ in range(2):
        with computing_in("bf16", CPU), computing_in("float32", CPU):
            pass
    assert len(caplog.records) == (known is False) and all("slower" in record.message for record in caplog.records)


def test_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="bfloat16.*bf16"):
        computing_in("bfloat16", CPU)


def tf32():
    """torch's switches of convolutions, LSTMs and matrix products."""
    backends = torch.backends
    return backends.cudnn.conv.fp32_precision, backends.cudnn.rnn.fp32_precision, backends.cuda.matmul.fp32_precision


@pytest.fixture
def switches():
    """torch's defaults, and again afterwards."""
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False


@pytest.mark.parametrize("precision, expected", [("float32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")])
def test_float32_on_a_gpu_is_not_tf32(switches, precision, expected):
    """torch computes convolutions and LSTMs in it by default."""
    before = tf32()
    assert before[:2] == ("tf32", "tf32")
    if precision != "bf16":          # whose autocast looks for a device
        with pytest.raises(ZeroDivisionError), computing_in(precision, CUDA):
            assert tf32() == (expected,) * 3
            1 / 0
    with computing_in(precision, CPU):
        assert tf32() == before
    assert tf32() == before
    # A program that has its own opinion keeps it, in torch's older words, too.
    assert torch.backends.cudnn.allow_tf32 is True and torch.backends.cuda.matmul.allow_tf32 is False


@pytest.mark.parametrize("where, expected", [
    ("none", ("ieee", "ieee", "ieee")), ("convolutions", ("tf32", "tf32", "ieee")), ("all", ("tf32", "tf32", "tf32"))])
def test_tf32_in_training_is_brought_back_after_separation(switches, where, expected):
    use_tf32(where)
    assert tf32() == expected
    with computing_in("float32", CUDA):
        assert tf32() == ("ieee", "ieee", "ieee")
    assert tf32() == expected


def test_the_last_of_several_threads_brings_tf32_back(switches):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with computing_in("float32", CUDA):
            inside.set()
            leave.wait()
    thread = threading.Thread(target=other)
    first = computing_in("float32", CUDA)
    first.__enter__()
    thread.start()
    inside.wait()
    first.__exit__(None, None, None)
    assert tf32() == ("ieee", "ieee", "ieee")
    leave.set()
    thread.join()
    assert tf32()[:2] == ("tf32", "tf32")


def test_separation_and_scoring_are_told_the_precision(monkeypatch):
    model = zoo.build("demucs", sources=["a"], audio_channels=1, samplerate=8000, segment=1, channels=4, depth=2)
    seen = []

    def spy(name, device):
        seen.append((name, device.type))
        return computing_in(name, device)
    monkeypatch.setattr("demucs.separation.stream.computing_in", spy)
    monkeypatch.setattr(evaluate, "computing_in", spy)
    exact, rough = (separate(model, torch.ones(1, 1, 100), shifts=0, precision=name) for name in ("float32", "tf32"))
    assert seen == [("float32", "cpu"), ("tf32", "cpu")] and torch.equal(exact, rough)
    song = evaluate.Separated(torch.ones(1, 8000), torch.ones(1, 1, 8000), torch.ones(1, 1, 8000))
    evaluate._score_anywhere(song, ["a"], 8000, ["nsdr"], False, CPU)
    assert seen[2:] == [("float32", "cpu")]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["demucs", "hdemucs"])
def test_a_gpu_separates_as_a_cpu_does(switches, name):
    """TF32 would be some 60 dB away; on GPUs before Ampere the two are the same."""
    torch.manual_seed(0)
    model = zoo.build(name, sources=["a", "b"], audio_channels=2, samplerate=44100, segment=2, channels=16).eval()
    mix = torch.randn(1, 2, 44100)
    expected = separate(model, mix, shifts=0)
    assert nsdr(expected, separate(model, mix, shifts=0, device="cuda")).min() > 80
    assert nsdr(expected, separate(model, mix, shifts=0, device="cuda", precision="tf32")).min() > 40
    assert nsdr(expected, separate(model, mix, shifts=0, device="cuda", precision="bf16")).min() > 25
