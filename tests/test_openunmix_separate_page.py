"""The commands of the page about separation with Open-Unmix run as described, with small networks for umxhq."""

import re
import shlex
import shutil

import pytest
import soundfile
from conftest import REPOSITORY
from golden.openunmix_files_cases import NETWORK, RATE, mixture

from demucs import separate
from demucs.models.separators import SEVERAL
from demucs.models import zoo
from demucs.packages import openunmix
from demucs.repositories import repository, separators

pytestmark = pytest.mark.runs

FILES = REPOSITORY / "tests" / "golden" / "openunmix_files" / "trained"
PAGE = (REPOSITORY / "docs" / "openunmix_separate.md").read_text()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with song.wav, models/open-unmix, and files in the cache under the names of umxhq."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    soundfile.write("song.wav", mixture(2).T.numpy() / 2, RATE)
    shutil.copytree(FILES, tmp_path / "models" / "open-unmix")
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    files = {}
    for target in ("drums", "bass", "other", "vocals"):
        found = repository.download.checksum_of(FILES / f"{target}.pth", 8)
        files[target] = f"{target}-{found}.pth"
        shutil.copy(FILES / f"{target}.pth", cache / files[target])
    about = separators.PublishedSeparator(
        name="umxhq", data="", licence="", record="1", files=files, samplerate=RATE, audio_channels=2, nfft=NETWORK["nfft"],
        nhop=64, hidden_size=NETWORK["hidden_size"], bandwidth=NETWORK["bandwidth"])
    monkeypatch.setattr(repository, "published_separators", lambda: {"umxhq": about})
    return tmp_path


def test_commands(workplace):
    commands = re.findall(r"^    (demucs .*?)(?: +#.*)?$", PAGE, flags=re.MULTILINE)
    assert len(commands) == 5
    names = []
    for command in commands:
        shutil.rmtree("separated", ignore_errors=True)
        separate.main([*shlex.split(command)[1:], "-d", "cpu"])
        names.append({str(path.relative_to(workplace / "separated").with_suffix("")) for path in
                      (workplace / "separated").rglob("*.wav")})
    four = {f"umxhq/song/{source}" for source in ("drums", "bass", "other", "vocals")}
    two = {f"umxhq/song/{source}" for source in ("vocals", "accompaniment")}
    assert names == [four, four, two, two, {name.replace("umxhq", "open-unmix") for name in four}]


def test_python(workplace):
    block, = re.findall(r"^```python\n(from demucs\.api import Separator\nfrom demucs\.models\.separators.*?)^```$", PAGE,
                        flags=re.MULTILINE | re.DOTALL)
    exec(compile(block, "docs/openunmix.md", "exec"), {})


def test_options_and_numbers():
    """Every option in the table exists; the numbers are those of the code."""
    flags = {option for action in separate.get_parser()._actions for option in action.option_strings}
    rows = re.findall(r"^\| [^|]+\| ([^|]+)\|", PAGE.partition("| `umx` of openunmix")[2].partition("\n\n")[0], flags=re.MULTILINE)
    for flag in re.findall(r"--?[a-z][a-z0-9-]*", " ".join(rows)):
        assert flag in flags, flag
    assert f"segments of {openunmix.SEGMENT:g} s that overlap by a quarter" in " ".join(PAGE.split())
    assert openunmix.SEGMENT * 0.75 == 600
    defaults = zoo.MODELS[SEVERAL].settings
    assert (defaults["niter"].default, defaults["wiener_win_len"].default) == (1, 300)
