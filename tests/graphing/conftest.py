"""A folder with artificial results of two runs, and the import path of the scripts."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from demucs import schema
from demucs.schema import EpochRecord, Evaluation, RunCard, Session, TrackScores

SCRIPTS = Path(__file__).resolve().parents[2] / "graphing_scripts"
sys.path.insert(0, str(SCRIPTS))

SOURCES = ["drums", "bass", "other", "vocals"]
TOY, REAL = "1a2b3c4d", "759c9a58"


def make_tracks(count, nsdr, *, sdr=True, spread=1., seed=0):
    """Tracks whose scores lie around `nsdr` dB per source."""
    rng = np.random.default_rng(seed)
    tracks = []
    for number in range(count):
        scores = {}
        for source, level in zip(SOURCES, nsdr):
            value = float(rng.normal(level, spread))
            scores[source] = {"nsdr": value, **({"SDR": value - 0.5} if sdr else {})}
        tracks.append(TrackScores(name=f"Song {number} & <friends>", duration=60. + number, seconds=2., scores=scores))
    return tracks


def make_evaluation(name, model, tracks, dataset="synthetic (seed 7) test", created="2025-05-01T10:00:00+00:00"):
    return Evaluation(name=name, model=model, dataset=dataset, sources=SOURCES, tracks=tracks,
                      settings={"shifts": 1, "overlap": 0.25}, model_hash="00ff", commit="abc1234",
                      versions={"torch": "2.11.0"}, created=created)


def make_card(signature=TOY, ended="2025-05-01T09:46:12+00:00", **changes):
    session = Session(started="2025-05-01T09:40:00+00:00", ended=ended, seconds=1800., first_epoch=1, last_epoch=4,
                      world_size=4, device="cuda: NVIDIA A100", job="12")
    card = RunCard(signature=signature, name="epochs=4", argv=["epochs=4", "test.every=2"], model="hdemucs",
                   model_settings={"channels": 16}, sources=SOURCES, samplerate=44100, audio_channels=2,
                   parameters=2_345_678, seed=42, epochs=8, epochs_done=4, batch_size=8, train_tracks=24,
                   valid_tracks=14, commit="abc1234", versions={"python": "3.11"}, sessions=[session])
    return dataclasses.replace(card, **changes)


def make_history():
    """Four epochs; the third is the best."""
    entries = []
    for epoch, (loss, best) in enumerate([(0.4, 0.4), (0.3, 0.3), (0.2, 0.2), (0.25, 0.2)], start=1):
        valid = {"loss": loss, "nsdr": 2.5 * epoch, **{f"nsdr_{s}": epoch * (1. + k) for k, s in enumerate(SOURCES)}}
        entries.append(EpochRecord(
            train={"loss": loss - 0.1, "grad": 0.05, "penalty": 200. + epoch},
            candidates={"main": {**valid, "loss": loss + 0.1}, "ema_batch_0": valid}, chosen="ema_batch_0", best=best,
            penalty=210. + epoch, test={"nsdr": 1., "nsdr_drums": 2.} if epoch % 2 == 0 else None).to_history())
    return entries


def make_results(folder):
    """A results folder: a toy run with all reference separators, and an older one scored on MUSDB18-HQ."""
    toy, real = folder / "runs" / TOY, folder / "runs" / REAL
    schema.save(make_card(), toy / "run_card.json")
    schema.write_json(make_history(), toy / "history.json")
    schema.save(make_evaluation(TOY, "hdemucs", make_tracks(6, [4., 3., 1., 2.])), toy / "evaluation.json")
    for name, levels, sdr, spread in (("silence", [0.] * 4, False, 0.), ("mixture", [-4., -5., -6., -5.], True, 1.),
                                      ("average_filter", [2., 2., 1., 1.], True, 1.)):
        schema.save(make_evaluation(name, name, make_tracks(6, levels, sdr=sdr, spread=spread)),
                    toy / f"evaluation_{name}.json")
    schema.save(make_evaluation(REAL, "hdemucs", make_tracks(50, [7.7, 6.2, 4.6, 7.2]), "MUSDB18-HQ test",
                                created="2025-04-01T00:00:00+00:00"), real / "evaluation.json")
    return folder


@pytest.fixture
def results(tmp_path):
    return make_results(tmp_path)


@pytest.fixture(scope="session")
def shared_results(tmp_path_factory):
    """The same for tests that change nothing in it."""
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture
def without_svg(monkeypatch):
    """SVG files hold no figure: its layout and drawing take most of the time of a script. For tests of what scripts say and
    which files they write; figures and their PNG files are made as ever."""
    from figures import style
    from pages import elements
    for module in (style, elements):
        monkeypatch.setattr(module, "svg", lambda figure: "<svg/>")


@pytest.fixture
def scored_twice(results):
    """The toy run, scored on a further test set as well, with a reference separator."""
    folder = results / "runs" / TOY
    for name, file in ((TOY, "evaluation_on_own-test.json"), ("silence", "evaluation_on_own-test_silence.json")):
        schema.save(make_evaluation(name, "hdemucs", make_tracks(7, [9., 8., 7., 6.], seed=1), "own test"), folder / file)
    return results
