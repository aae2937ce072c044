"""The HTML report of a study shows its numbers and its answer."""

import dataclasses
import re

import numpy as np
import pytest
from graphing.conftest import SOURCES, make_evaluation, make_tracks

from demucs import schema
from demucs.errors import SignatureError
from demucs.metrics.aggregates import NSDR_MEAN
from demucs.metrics.verdicts import above_filter, comparisons
from demucs.schema import Evaluation, StudyResult, StudyTraining
from demucs.tables import typeset

ARMS = {"plain": [], "with <more>": ["dset.wav2={out}/more"], "weak": ["optim.lr=0"]}


def write_study(folder, levels, seeds=(1, 2, 3), spread=0.02):
    """A study whose arms have these mean levels; the fixed filter is at 1 dB."""
    folder.mkdir(parents=True)
    scored, trainings = {}, []
    songs = np.random.default_rng(0).normal(0, 1, 8)
    for arm, level in zip(ARMS, levels):
        for seed in seeds:
            rng = np.random.default_rng([seed, len(arm)])
            tracks = [dataclasses.replace(track, scores={source: {"nsdr": float(level + song + rng.normal(0, spread))}
                                                         for source in SOURCES})
                      for track, song in zip(make_tracks(8, [0] * 4, sdr=False), songs)]
            name = f"{list(ARMS).index(arm)}-{seed}"
            made = make_evaluation(name, "hdemucs", tracks)
            schema.save(made, folder / f"{name}.json")
            scored.setdefault(arm, []).append(made)
            trainings.append(StudyTraining(
                arm=arm, seed=seed, overrides=ARMS[arm], limit=60., seconds=60.2, steps=100 + 30 * (arm == "plain"),
                epochs=3, batch_size=4, examples=77, weights="ema_batch_0", loss=0.1, sessions=1, load=2.,
                machine="a processor",
                evaluation=f"{name}.json", model_hash="00", started="2026-01-01T00:00:00+00:00"))
    flat = [dataclasses.replace(track, scores={source: {"nsdr": float(1 + song)} for source in SOURCES})
            for track, song in zip(make_tracks(8, [0] * 4, sdr=False), songs)]
    reference = make_evaluation("fixed_filter", "AverageSpectrumFilter", flat)
    schema.save(reference, folder / "fixed_filter.json")
    filtered = above_filter(scored, reference, NSDR_MEAN)
    pairs = [("with <more>", "plain"), ("weak", "plain")]
    result = StudyResult(
        name="more & less", question="Is more better?", dataset="synthetic (seed 7) test", sources=SOURCES,
        family=NSDR_MEAN.key, arms=ARMS, reference="fixed_filter.json", seeds=list(seeds), seconds=60.,
        trainings=trainings, above_filter=filtered, comparisons=comparisons(scored, pairs, filtered, NSDR_MEAN),
        common=["model=hdemucs"], commit="abc", versions={"torch": "2.11.0"},
        created="2026-01-02T00:00:00+00:00")
    schema.save(result, folder / "study.json")
    return result


def plain(page):
    page = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    import study_report
    from records.comparisons import find
    results = tmp_path_factory.mktemp("results")
    result = write_study(results / "studies" / "mine", (2., 2.5, 0.9))
    study = find("mine", results)
    return result, study, study_report.report(study)


def test_the_answer_comes_first(drawn):
    result, _, page = drawn
    text = plain(page)
    assert result.comparisons[0].verdict == "helped"
    first = result.comparisons[0]
    assert text.index("Is more better?") < text.index("With &lt;more&gt; against plain: helped") < text.index("Arms")
    assert f"{typeset(first.difference, plus=True)} dB" in text
    assert "1 of 2 comparisons are inconclusive" in text and "weak is below the fixed filter" in text


def test_every_training_arm_and_song_is_there(drawn):
    result, study, page = drawn
    text = plain(page)
    for arm in ("plain", "with &lt;more&gt;", "weak"):
        assert all(f"{arm}, seed {seed}" in text for seed in (1, 2, 3))
    assert "In equal time, arms made different numbers of steps: plain 130, with &lt;more&gt; 100" in text
    assert text.count("Song 3 &amp; &lt;friends&gt;") == 1 and "fixed filter 1." in text
    assert page.count('<div class="wide figure">') == 3 and "<title>Study more &amp; less</title>" in page
    mean = np.mean([track.scores[source]["nsdr"] for evaluation in study.scored["plain"] for track in evaluation.tracks
                    for source in SOURCES])
    assert f"plain {typeset(mean)}" in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)            # nothing from elsewhere


def test_one_seed(tmp_path):
    import study_report
    from records.comparisons import find
    write_study(tmp_path / "one", (2., 2.5, 0.9), seeds=(1,))
    text = plain(study_report.report(find(str(tmp_path / "one"), tmp_path)))
    assert "is inconclusive" in text and "has one seed" in text


def test_a_study_is_found_by_name_folder_and_file(tmp_path):
    from records.comparisons import find
    with pytest.raises(SignatureError, match="no study mine .*there are: none"):
        find("mine", tmp_path)
    folder = tmp_path / "studies" / "mine"
    write_study(folder, (2., 2.5, 0.9))
    for argument in ("mine", None, str(folder), str(folder / "study.json")):
        assert find(argument, tmp_path).result.question == "Is more better?"
    (folder / "0-1.json").unlink()
    with pytest.raises(schema.SchemaError, match="0-1.json: no such file"):
        find("mine", tmp_path)


def test_records_name_no_file_elsewhere(tmp_path):
    """The names of files in a record are taken without their folders."""
    from records.comparisons import find
    folder = tmp_path / "studies" / "mine"
    result = write_study(folder, (2., 2.5, 0.9))
    schema.save(dataclasses.replace(result, reference="../../other/fixed_filter.json"), folder / "study.json")
    other = dataclasses.replace(schema.load(Evaluation, folder / "fixed_filter.json"), name="another one")
    schema.save(other, tmp_path / "other" / "fixed_filter.json")
    assert find("mine", tmp_path).reference.name == "fixed_filter"
