"""BSSEval against museval on everything from music to single frames, and against closed forms."""

import numpy as np
import pytest
import torch

from demucs.errors import AudioError
from demucs.metrics import projections
from demucs.metrics.bsseval import METRICS, bss_eval, frame_medians

RATE = 1000          # Hz; a low rate keeps museval's 512-tap filters affordable
SDR_TOLERANCE = 1e-9       # dB
TOLERANCE = 1e-3           # dB, where museval itself is stable


def museval(references, estimates, rate=RATE):
    """museval's own numbers for [S, A, L]."""
    metrics = pytest.importorskip("museval.metrics")
    if not hasattr(np.linalg, "linalg"):            # museval 0.4.1 names what numpy 2.4 removed
        np.linalg.linalg = np.linalg
    values = metrics.bss_eval(references.numpy().astype(float).transpose(0, 2, 1),
                              estimates.numpy().astype(float).transpose(0, 2, 1), window=rate, hop=rate)
    return dict(zip(METRICS, values))


def signals(sources=2, seconds=3., channels=2, noise=0.1, seed=0, dtype=torch.float64):
    """Coloured references, and estimates with a little of everything that can go wrong."""
    draw = torch.Generator().manual_seed(seed)
    shape = (sources, channels, int(seconds * RATE))
    references = torch.randn(shape, generator=draw, dtype=torch.float64)
    references[..., 1:] += 0.5 * references[..., :-1]
    estimates = references + noise * torch.randn(shape, generator=draw, dtype=torch.float64)
    estimates[..., 3:] += 0.2 * references[..., :-3]
    if sources > 1:
        estimates += 0.3 * references.roll(1, 0)
    return references.to(dtype), estimates.to(dtype)


def compare(references, estimates, rate=RATE, names=METRICS):
    ours, theirs = bss_eval(references, estimates, rate), museval(references, estimates, rate)
    assert ours.ill_conditioned == (names != METRICS)
    for name in names:
        assert np.array_equal(np.isnan(ours.frames[name]), np.isnan(theirs[name])), name
        np.testing.assert_allclose(ours.frames[name], theirs[name], rtol=0, equal_nan=True,
                                   atol=SDR_TOLERANCE if name == "SDR" else TOLERANCE)
    return ours


@pytest.mark.parametrize("sources, channels, seconds", [
    (2, 2, 3.7), (1, 1, 2.), (1, 2, 3.), (3, 1, 2.5), (3, 2, 4.), (1, 1, 1.), (1, 1, 0.8)])
def test_as_museval(sources, channels, seconds):
    """Whole frames, a last one that is not, one frame exactly, and a track shorter than a frame."""
    ours = compare(*signals(sources, seconds, channels))
    assert ours.frames["SIR"].shape == (sources, max(1, int(seconds)))


@pytest.mark.parametrize("seconds", [1., 0.8, 0.1])
def test_fewer_samples_than_filter_taps(seconds):
    """2048 taps explain any 1000 samples: no filters are the right ones, and the track is marked."""
    ours = compare(*signals(2, seconds), names=("SDR",))
    assert all(values.shape == (2, 1) for values in ours.frames.values())


def test_as_museval_in_blocks(monkeypatch):
    """The blocks of long tracks, whose correlations reach into the next one."""
    monkeypatch.setattr(projections, "BLOCK", 2 ** 10 - projections.TAPS + 1)
    monkeypatch.setattr(projections, "BLOCKS_AT_ONCE", 3)
    compare(*signals(seconds=4.3, dtype=torch.float32))


def test_as_museval_on_music(reference):
    import soundfile
    song = reference / "audio" / "test.mp3"
    wav, rate = soundfile.read(song, dtype="float32", always_2d=True, frames=6 * 44100, start=44100)
    mix = torch.from_numpy(wav.T.copy())
    side = 0.5 * (mix[:1] - mix[1:]).expand(2, -1)
    draw = torch.Generator().manual_seed(0)
    # A floor at the level of 16 bits: without it the stop band of the mp3 makes the equations singular.
    references = torch.stack([mix - side, side]) + 2 ** -16 * torch.randn(2, *mix.shape, generator=draw)
    estimates = references + 0.2 * references.flip(0) + 0.01 * mix.roll(5, -1)
    compare(references, estimates, rate)


@pytest.mark.parametrize("silent", ["reference", "estimate", "in antiphase"])
def test_silent_frames_as_museval(silent):
    references, estimates = signals()
    which = estimates if silent == "estimate" else references
    which[0, :, RATE:2 * RATE] = 0
    if silent == "in antiphase":                    # the channels cancel: museval takes that for silence, too
        which[0, 0, RATE:2 * RATE], which[0, 1, RATE:2 * RATE] = 0.5, -0.5
    ours = compare(references, estimates)
    assert np.isnan(ours.frames["SDR"]).tolist() == [[False, True, False]] * 2
    for source, medians in enumerate(frame_medians(ours.frames)):
        assert medians["SDR"] == pytest.approx(ours.frames["SDR"][source, [0, 2]].mean(), abs=1e-12)


@pytest.mark.parametrize("silent", [0, 1])
def test_a_silent_track_is_undefined_instead_of_an_exception(silent):
    pair = signals()
    pair[silent][1] = 0
    ours = bss_eval(*pair, RATE)
    assert all(np.isnan(values).all() and values.shape == (2, 3) for values in ours.frames.values())
    assert frame_medians(ours.frames) == [dict.fromkeys(METRICS)] * 2 and ours.condition is None
    with pytest.raises(ValueError, match="all 0s"):
        museval(*pair)


def test_sound_after_the_last_whole_second_makes_a_track_that_is_not_silent():
    references, estimates = signals(seconds=2.5)
    references[0, :, :2 * RATE] = 0
    assert np.isnan(compare(references, estimates, names=("SDR",)).frames["SDR"]).all()


def test_sdr_alone_needs_no_filters(monkeypatch):
    references, estimates = signals(4, 3.7)
    monkeypatch.setattr("demucs.metrics.bsseval.least_squares_filters", None)
    frames = bss_eval(references, estimates, RATE, measures=("SDR",)).frames
    blocks = references[..., :3 * RATE].unflatten(-1, (3, RATE))
    errors = blocks - estimates[..., :3 * RATE].unflatten(-1, (3, RATE))
    expected = 10 * torch.log10(blocks.square().sum((1, 3)) / errors.square().sum((1, 3)))
    assert list(frames) == ["SDR"]
    np.testing.assert_allclose(frames["SDR"], expected, rtol=0, atol=1e-12)


def test_measures_tell_the_kinds_of_error_apart():
    """Half the level costs ISR, the other source SIR, noise SAR. 20 s, since 2048 taps fit noise of a few seconds."""
    draw = torch.Generator().manual_seed(0)
    references = torch.randn(2, 2, 20 * RATE, generator=draw, dtype=torch.float64)
    noisy = references + 0.5 * torch.randn(2, 2, 20 * RATE, generator=draw, dtype=torch.float64)
    estimates = {"ISR": 0.5 * references, "SIR": references + 0.5 * references.flip(0), "SAR": noisy}
    for costs, estimate in estimates.items():
        medians = frame_medians(bss_eval(references, estimate, RATE).frames)[0]
        assert medians["SDR"] == pytest.approx(6., abs=0.5)   # each error carries a quarter of the energy
        assert medians[costs] == pytest.approx(6., abs=1.5)
        assert all(medians[other] is None or medians[other] > 12 for other in {"ISR", "SIR", "SAR"} - {costs})


def test_an_exact_copy_has_no_number():
    references, _ = signals(sources=1)
    assert frame_medians(bss_eval(references, references.clone(), RATE).frames)[0]["SDR"] is None


def low_passed(cut):
    """Stems without energy above `cut` of the band, in float32 and without a noise floor."""
    references, estimates = signals(seconds=6., noise=0.02)
    spectrum = torch.fft.rfft(references)
    spectrum[..., int(cut * spectrum.shape[-1]):] = 0
    references = torch.fft.irfft(spectrum, n=references.shape[-1])
    return references.float(), estimates.float()


def test_tracks_whose_isr_depends_on_rounding_are_marked():
    """museval's own ISR and SIR move when everything is three times as loud; the SDR does not."""
    references, estimates = low_passed(0.6)
    once, louder = museval(references, estimates), museval(3 * references.double(), 3 * estimates.double())
    moved = {name: np.abs(once[name] - louder[name]).max() for name in METRICS}
    assert moved["SDR"] < 10 * SDR_TOLERANCE and max(moved["ISR"], moved["SIR"]) > TOLERANCE / 2
    ours = bss_eval(references, estimates, RATE)
    assert ours.ill_conditioned and 0 <= ours.condition < 1e-12
    np.testing.assert_allclose(ours.frames["SDR"], once["SDR"], rtol=0, atol=10 * SDR_TOLERANCE)
    assert not bss_eval(*signals(), RATE).ill_conditioned


def test_linearly_dependent_sources_do_not_end_an_evaluation():
    references, estimates = signals(2, channels=1)        # their equations are solved by a singular value decomposition
    references[1] = references[0]
    ours = bss_eval(references, estimates, RATE)
    assert ours.ill_conditioned
    assert all(np.isfinite(values).all() for values in ours.frames.values())


def test_one_matrix_serves_all_estimates():
    """Filters of exact mixtures of delayed references are found back."""
    references, _ = signals(sources=2, seconds=5.)
    estimates = torch.zeros_like(references)
    estimates[0, 0, 7:] = 0.5 * references[1, 1, :-7]
    estimates[1, 1] = 2 * references[1, 0]
    filters = projections.least_squares_filters(references, estimates)
    expected = torch.zeros_like(filters.joint)
    expected[1, 1, 0, 0, 7] = 0.5
    expected[1, 0, 1, 1, 0] = 2.
    assert (filters.joint - expected).abs().max() < 2e-2     # the delayed end of a track is cut off
    assert filters.own[1, 0, 1, 0] == pytest.approx(2., abs=1e-9)
    assert 1e-3 < filters.condition < 1


def test_condition_is_that_of_the_matrix():
    draw = torch.Generator().manual_seed(1)
    basis, _ = torch.linalg.qr(torch.randn(40, 40, generator=draw, dtype=torch.float64))
    matrix = basis @ torch.diag(torch.logspace(0, -5, 40, dtype=torch.float64)) @ basis.t()
    matrix = (matrix + matrix.t()) / 2
    _, condition = projections._solve(matrix, matrix[:, :1])
    assert 0.5e-5 < condition < 2e-5


@pytest.mark.parametrize("references, estimates", [
    ((2, 2, 10), (2, 2, 11)), ((2, 10), (2, 10)), ((2, 2, 0), (2, 2, 0))])
def test_wrong_shapes_are_refused(references, estimates):
    with pytest.raises(AudioError, match="BSSEval"):
        bss_eval(torch.zeros(references), torch.zeros(estimates), RATE)


def test_samples_that_are_not_finite_are_refused():
    references, estimates = signals()
    estimates[0, 0, 5] = torch.nan
    with pytest.raises(AudioError, match="not finite"):
        bss_eval(references, estimates, RATE)


@pytest.mark.gpu
def test_the_gpu_gives_the_same():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    references, estimates = signals(4, 3.7, dtype=torch.float32)
    here, there = bss_eval(references, estimates, RATE), bss_eval(references.cuda(), estimates.cuda(), RATE)
    for name in METRICS:
        np.testing.assert_allclose(there.frames[name], here.frames[name], rtol=0, atol=1e-6)
