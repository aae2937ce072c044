"""docs/automix.md: its commands and options are those of the tool, its figures meet what is promised."""

import re
import shlex

import pytest
import yaml

from demucs.data.automix import rhythm
from demucs.data.automix.matching import Limits
from tools import automix, study_automix


@pytest.fixture
def page(repository):
    return (repository / "docs" / "automix.md").read_text(encoding="utf-8")


def test_every_group_of_settings_has_its_command(page, repository):
    rows = re.findall(r"^\| `(\w+)` \| `python -m tools.automix(.*)` \|$", page, re.M)
    assert [name for name, _ in rows] == ["auto_mus", "auto_extra", "auto_extra_test", "aetl"]
    for name, options in rows:
        args = automix.get_parser().parse_args(shlex.split(options))
        group = yaml.safe_load((repository / "conf" / "dset" / f"{name}.yaml").read_text())
        variable = re.search(r"\{oc\.env:(\w+),", group["dset"]["wav"])[1]
        assert name == "auto_mus" and variable == automix.AUTOMIX[0] or str(args.out) == f"${variable}"
        assert args.with_test == (name in ("auto_extra_test", "aetl")) and args.mixes == (10 if name == "aetl" else 6)


def test_every_option_is_in_the_table(page):
    rows = set(re.findall(r"`(--[\w-]+)", "\n".join(line for line in page.splitlines() if line.startswith("| `--"))))
    actions = [action for action in automix.get_parser()._actions if action.dest != "help"]
    assert rows == {action.option_strings[0] for action in actions}
    defaults = {action.dest: action.default for action in actions}
    assert (defaults["mixes"], defaults["seed"], defaults["max_tempo"], defaults["max_pitch"]) == (6, 42, 12., 2)
    assert (Limits().tempo, Limits().pitch) == (12., 2) and "| 12, 2 (as `augment.repitch`) |" in page
    assert (rhythm.SLOWEST, rhythm.FASTEST) == (76, 152) and "between 76 and 152 beats per minute" in page


def test_the_figures_meet_what_is_promised(page):
    figures = page.split(study_automix.BEGIN)[1].split(study_automix.END)[0]
    rows = dict(re.findall(r"^\| (.*?) +\| (.*?) +\|$", figures, re.M))

    def share(name):
        return float(re.search(r"\((.*) %\)", rows[name])[1])
    assert int(rows["pairs of songs in the same split"]) >= 200
    assert share("remixes that agree in tempo, first beat and key") >= 95
    assert share("pairs that the truth calls compatible, accepted") >= 60
