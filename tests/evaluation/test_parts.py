"""Test set of a separator whose networks come from several runs: theirs, with the targets of all."""

import dataclasses
from types import SimpleNamespace

import pytest

from demucs import schema
from demucs.evaluation import test_sets

OWN = schema.TestSet("dset.musdb", "songs of mine", {"vocals": ["vocals"]}, ["drums", "vocals"], "moises",
                     {"missing": "silence"})


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Makes the run card of an experiment from the test set of its run."""
    def make(signature, own):
        card = {"test_set": own, "delta": None, "argv": [], "sources": []}
        monkeypatch.setitem(cards, signature, SimpleNamespace(**card))
        return signature
    cards = {}
    monkeypatch.setattr(test_sets, "_card", lambda signature, *folders: cards.get(signature))
    return make


def separator(sources, argv):
    return SimpleNamespace(card=SimpleNamespace(signature="umx", sources=sources, argv=argv))


def test_the_runs_of_all_targets(runs, tmp_path):
    runs("aaaaaaaa", OWN)
    runs("bbbbbbbb", dataclasses.replace(OWN, targets={"drums": ["drums"]}))
    found = test_sets.belonging_to("umx", separator(["drums", "vocals"], ["drums=bbbbbbbb", "vocals=aaaaaaaa"]))
    assert found == dataclasses.replace(OWN, targets={"vocals": ["vocals"], "drums": ["drums"]})


def test_runs_that_are_unknown_or_different(runs):
    standard = schema.TestSet("dset.musdb", test_sets.MUSDB)
    runs("aaaaaaaa", OWN)
    runs("cccccccc", dataclasses.replace(OWN, targets={"drums": ["drums"]}, folder="others"))
    for parts in (["drums=bbbbbbbb", "vocals=aaaaaaaa"], ["drums=cccccccc", "vocals=aaaaaaaa"]):
        assert test_sets.belonging_to("umx", separator(["drums", "vocals"], parts)) == standard
