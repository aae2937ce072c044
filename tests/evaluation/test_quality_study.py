"""Repeated separations, degraded models and sources, and the study that ranks measures by them."""

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from demucs import schema
from demucs.data.synthetic.dataset import generate
from demucs.errors import DatasetError
from demucs.evaluation import passes, quality_study, tracks
from demucs.evaluation.quality_study import ORACLE, REFERENCE, Song, degraded, oracles
from demucs.metrics.nsdr import nsdr
from demucs.metrics.quality import correlation
from demucs.metrics.quality.agreement import agreement
from demucs.metrics.quality.measures import MEASURES
from demucs.models import zoo
from demucs.schema import QualityColumn, QualityStudy, pack_frames, unpack_frames

SOURCES = ["drums", "bass", "other", "vocals"]
RATE = 8000
ABOUT_MODELS = {key for key, measure in MEASURES.items() if measure.needs == "model"}


class Gain(nn.Module):
    """A quarter of the mixture for each source, more of it in the first part of each segment: not shift invariant."""
    sources, audio_channels, samplerate, segment = SOURCES, 2, RATE, 0.5

    def __init__(self, unevenness: float = 0.):
        super().__init__()
        self.unevenness = unevenness

    def forward(self, mix):
        ramp = 1 + self.unevenness * torch.linspace(1, -1, mix.shape[-1])
        return (mix * ramp / 4)[:, None].repeat(1, 4, 1, 1)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=RATE, segment=1., channels=4, depth=2,
                     nfft=1024).eval()


@pytest.fixture
def song():
    generator = torch.Generator().manual_seed(0)
    references = torch.randn(4, 2, 2 * RATE, generator=generator) * torch.tensor([1., 0.5, 2., 1.])[:, None, None]
    return Song(references.sum(0), references, RATE)


def test_passes_differ_by_their_shift_alone(song):
    assert (agreement(passes.shifted(Gain(), song.mix)) > 90).all()          # the same at any place: rounding errors
    uneven = passes.shifted(Gain(0.5), song.mix, count=3, seed=1)
    assert uneven.shape == (3, 4, 2, 2 * RATE) and (agreement(uneven) < 40).all()
    assert np.array_equal(uneven, passes.shifted(Gain(0.5), song.mix, count=3, seed=1))
    assert not np.array_equal(uneven, passes.shifted(Gain(0.5), song.mix, count=3, seed=2))


def test_a_remix_moves_estimates_against_each_other(song):
    class Knows(nn.Module):
        """Gives the sources of the remixed song, as a perfect model would."""
        sources, audio_channels, samplerate, segment = SOURCES, 2, RATE, 4.

        def forward(self, mix):
            level = (moved.sum(0) - moved.sum(0).mean()) / moved.sum(0).mean(0).std()
            assert torch.allclose(mix[0, :, -2 * RATE:], level, atol=1e-4)
            return torch.cat([torch.zeros(1, 4, 2, mix.shape[-1] - 2 * RATE), moved[None]], dim=-1) \
                / moved.sum(0).mean(0).std()

    moved = torch.stack([wav.roll(RATE // 2 * number, -1) for number, wav in enumerate(song.references)])
    found = passes.remixed(Knows(), song.references)
    assert np.allclose(found[0], moved, atol=1e-6)
    assert (agreement(found) > 20).all()
    assert (agreement(passes.remixed(Gain(), song.references)) < 10).all()


def test_degraded_models_lie_on_the_way_to_fresh_weights(model):
    weights = dict(model.named_parameters())
    fresh, half, whole = (dict(degraded(model, kept=kept, seed=3).named_parameters()) for kept in (0., 0.5, 1.))
    for name, weight in weights.items():
        assert torch.equal(whole[name], weight)
        assert torch.allclose(half[name], (weight + fresh[name]) / 2, atol=1e-6)
    assert any(not torch.allclose(fresh[name], weight) for name, weight in weights.items())
    again = degraded(model, kept=0., seed=3).parameters()
    assert all(torch.equal(one, other) for one, other in zip(fresh.values(), again))


def test_noise_on_weights_has_the_deviation_that_was_asked_for(model):
    noisy = dict(degraded(model, noise=0.2, seed=1).named_parameters())
    name, weight = max(model.named_parameters(), key=lambda item: item[1].numel())
    difference = noisy[name] - weight
    assert abs(float((difference.std() / weight.std()).detach()) - 0.2) < 0.02
    state = torch.random.get_rng_state()
    degraded(model, kept=0.5, noise=0.1)
    assert torch.equal(state, torch.random.get_rng_state())


def test_oracles_are_as_good_as_their_names_say(song):
    """nSDR of what is degraded by known amounts, from the energies of the sources, within 0.1 dB."""
    found = {name: nsdr(song.references, make(song, 0)).numpy() for name, make in oracles().items()}
    power = song.references.square().mean((1, 2)).numpy()
    rest = power.sum() - power
    for decibels in (-20, -10, -5):
        expected = 10 * np.log10(power / rest) - decibels
        assert np.allclose(found[f"sources + others at {decibels} dB"], expected, atol=0.1)
    assert np.allclose(found["sources + noise at -10 dB"], 10, atol=0.1)
    exchanged = oracles()["sources, 30% exchanged"](song, 0)
    assert torch.allclose(exchanged.sum(0), song.mix, atol=1e-4)
    masked = oracles()["ideal ratio mask"](song, 0)
    assert torch.allclose(masked.sum(0), song.mix, atol=1e-4) and (found["ideal ratio mask"] > 0).all()


@pytest.fixture(scope="module")
def small_study(model, tmp_path_factory):
    """Of fewer copies of a model and fewer resamples than usual, and of songs with a third of the samples."""
    root = generate(tmp_path_factory.mktemp("songs"), train=1, test=5, seconds=1., seed=2)
    for path in root.glob("*/*/*.wav"):
        wav, _ = soundfile.read(path, dtype="int16")
        soundfile.write(path, wav[::3], RATE, subtype=soundfile.info(path).subtype)
    songs = tracks.track_folders(root, sources=SOURCES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality_study, "KEPT", (1., 0.9, 0.8))
        patch.setattr(quality_study, "NOISES", (0.1,))
        patch.setattr(correlation, "RESAMPLES", 200)
        return quality_study.study(model, songs, sorted((root / "train").iterdir()), dataset=tracks.dataset_name(root),
                                   name="toy", seed=1, overlap=0.1)


def test_a_study_has_every_value_and_survives_being_written(small_study, tmp_path):
    schema.save(small_study, tmp_path / "study.json")
    assert schema.load(QualityStudy, tmp_path / "study.json") == small_study
    assert small_study.dataset == "synthetic (seed 2, 1 s) test" and len(small_study.tracks) == 5
    kinds = [column.kind for column in small_study.columns]
    assert (kinds.count("model"), kinds.count(REFERENCE), kinds.count(ORACLE)) == (5, 2, 6)
    for column in small_study.columns:
        for source in SOURCES:
            expected = set(MEASURES) - (set() if column.kind == "model" else ABOUT_MODELS)
            assert set(column.values[source]) == expected
            assert len(unpack_frames(column.nsdr[source])) == 5
            for text in column.values[source].values():
                assert len(unpack_frames(text)) == 5


def test_true_sources_with_known_leaks_have_their_scores_in_the_study(small_study):
    by_name = {column.separator: column for column in small_study.columns}
    for source in SOURCES:
        far, near = (unpack_frames(by_name[f"sources + others at {decibels} dB"].nsdr[source])
                     for decibels in (-20, -10))
        assert np.allclose(np.array(far) - np.array(near), 10, atol=0.01)


def test_correlations_cover_every_question(small_study):
    asked = {(item.measure, item.among, item.over, item.source) for item in small_study.correlations}
    sources = [*SOURCES, "all"]
    expected = {(key, among, over, source) for key in MEASURES for among in ("model", "all")
                for over in ("tracks", "separators") for source in sources
                if among == "model" or key not in ABOUT_MODELS}
    assert asked == expected and len(small_study.correlations) == len(expected)
    for item in small_study.correlations:
        assert -1 <= item.low <= item.high <= 1 and -1 <= item.rho <= 1


def columns(measure, score, kind="model"):
    """One column per separator from [separators, songs], for one source."""
    return [QualityColumn(f"{kind} {number}", kind, {"a": pack_frames(true)}, {"a": {"leakage": pack_frames(values)}})
            for number, (values, true) in enumerate(zip(measure, score))]


def test_correlations_are_of_the_separators_that_were_asked_for():
    songs, separators = np.arange(6.), np.arange(6.)[:, None]
    score = songs + 10 * separators
    models, others = columns(-score, score), columns(score, score, ORACLE)
    found = {(item.among, item.over, item.source): item.rho
             for item in quality_study.correlations([*models, *others], ["a"])}
    assert found["model", "tracks", "a"] == found["model", "separators", "all"] == -1
    assert abs(found["all", "tracks", "a"]) < 1e-12


def test_a_study_of_few_songs_is_refused():
    with pytest.raises(DatasetError, match="4 songs"):
        quality_study.correlations(columns(*np.random.default_rng(0).standard_normal((2, 6, 4))), ["a"])
