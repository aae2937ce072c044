"""The training script of Open-Unmix: its arguments as they are documented, and the experiments that they stand for."""

import json
import re
import shlex

import pytest
from compositions import resolved, xp

from demucs.config import read
from demucs.errors import ConfigError
from tools.openunmix_arguments import ARGUMENTS, DATASETS, get_parser, table
from tools.openunmix_overrides import PREVIEW, VARIANT, changed, hydra, line, values_of

WORKERS = "misc.num_workers=0"      # documented default
VOCALS = "dset.targets={vocals:[vocals]}"
# Every argument of the tables of the documentation (docs/training.md of open-unmix-pytorch 1.3.0), as they are there.
DOCUMENTED = """--root --is-wav --samples-per-track --source-augmentations --target --output --checkpoint --model
    --no_cuda --epochs --batch-size --patience --seq-dur
    --unidirectional --hidden-size --nfft --nhop --lr --lr-decay-patience
    --lr-decay-gamma --weight-decay --bandwidth --nb-channels --nb-workers --quiet --seed --audio-backend --dataset
    --input-file --output-file --input_file --output_file --interferer-dirs --target-dir --ext --nb-train-samples
    --nb-valid-samples --target-file --interferer-files --random-track-mix --silence-missing-targets""".split()
SCRIPT = ["--no-cuda", "--silence-missing", "--random-interferer-mix", "--debug"]      # spellings of the script itself
# Its documented defaults, of those arguments that are numbers or texts.
DEFAULTS = """--target vocals --epochs 1000 --batch-size 16 --patience 140 --seq-dur 6.0 --hidden-size 512 --nfft 4096
    --nhop 1024 --lr 0.001 --lr-decay-patience 80 --lr-decay-gamma 0.3 --weight-decay 0.00001 --bandwidth 16000
    --nb-channels 2 --nb-workers 0 --seed 42 --audio-backend soundfile --dataset musdb --samples-per-track 64
    --source-augmentations gain channelswap""".split()
# Its examples, but for the name of the program.
EXAMPLES = {
    "--root path/to/musdb18 --target vocals": [],
    "--dataset aligned --root /dataset --input_file mixture.wav --output_file vocals.wav": [
        "dset.kind=aligned", "dset.sampling=balanced", "dset.samples_per_track=1", "dset.missing=exclude",
        "dset.files.input=mixture.wav", "dset.files.output=vocals.wav", "augment.scale.proba=0", "augment.flip=false"],
    "--dataset sourcefolder --root /data --target-dir vocals --interferer-dirs car_noise wind_noise --ext .ogg "
    "--nb-train-samples 1000": [
        "dset.kind=sourcefolder", "dset.files.target=vocals", "dset.files.interferers=[car_noise,wind_noise]",
        "dset.files.ext=.ogg", "augment.scale.proba=0", "augment.flip=false"],
    " --root /data --dataset trackfolder_fix --target-file vocals.flac --interferer-files bass.flac drums.flac "
    "other.flac": [
        "dset.kind=trackfolder_fix", "dset.sampling=balanced", "dset.samples_per_track=1", "dset.missing=exclude",
        "dset.files.target=vocals.flac", "dset.files.interferers=[bass.flac,drums.flac,other.flac]",
        "augment.scale.proba=0", "augment.flip=false"],
    "--root /data --dataset trackfolder_var --target-file vocals.flac --ext .wav": [
        "dset.kind=trackfolder_var", "dset.sampling=balanced", "dset.samples_per_track=1", "dset.missing=exclude",
        "dset.files.target=vocals.flac", "augment.scale.proba=0", "augment.flip=false"]}


@pytest.fixture(autouse=True)
def no_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("DEMUCS_MUSDB", raising=False)
    monkeypatch.chdir(tmp_path)


def values(text):
    return values_of(get_parser().parse_args(shlex.split(text) if isinstance(text, str) else text))


def overrides(text):
    return changed(values(text), resolved([VARIANT]))


def test_every_documented_argument_is_there_in_every_spelling():
    options = get_parser()._option_string_actions
    for name in DOCUMENTED + SCRIPT:
        assert name in options and options[name] is options["--" + name[2:].replace("-", "_")], name
        assert options[name] is options["--" + name[2:].replace("_", "-")]
    assert options["--silence-missing"] is options["--silence-missing-targets"]


def test_the_documented_defaults_are_those_of_the_variant():
    plain = resolved([VARIANT])
    assert overrides(["--root", plain["dset"]["musdb"], *DEFAULTS]) == [VARIANT, WORKERS]
    assert xp(overrides(["--root", plain["dset"]["musdb"]])).sig == xp([VARIANT]).sig == xp([VARIANT, VOCALS]).sig
    assert plain["openunmix"]["unidirectional"] is False and plain["misc"]["quiet"] is False and plain["debug"] is False
    parser = get_parser()
    for argument in ARGUMENTS:      # the defaults of the table are the documented ones
        if argument.name in DEFAULTS:
            expected = list(argument.default) if argument.many else argument.default
            assert getattr(parser.parse_args(DEFAULTS), argument.dest) == expected


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_documentation(example, tmp_path):
    found = overrides(example)
    root = re.search(r"--root (\S+)", example)[1]
    assert sorted(found) == sorted([VARIANT, WORKERS, f"dset.musdb={tmp_path / root}", *EXAMPLES[example]])
    config = read(resolved(found))
    assert config.target_names == ["vocals"] and config.model == "openunmix"


@pytest.mark.parametrize("text, expected", [
    ("--target drums", "dset.targets={drums:[drums]}"), ("--epochs 3", "epochs=3"), ("--batch_size 8", "batch_size=8"),
    ("--target accompaniment", "dset.targets={accompaniment:[drums,bass,other]}"), ("--patience 5", "early_stopping=5"),
    ("--seq-dur 3", "dset.segment=3"), ("--seq-dur 0", "dset.segment=0 dset.sampling=balanced"),
    ("--seq_dur -1", "dset.segment=0 dset.sampling=balanced"), ("--unidirectional", "openunmix.unidirectional=true"),
    ("--hidden-size 256", "openunmix.hidden_size=256"),
    ("--nfft 2048 --nhop 512", "openunmix.nfft=2048 openunmix.nhop=512"),
    ("--lr 1e-4", "optim.lr=0.0001"), ("--lr_decay_patience 9", "schedule.patience=9"),
    ("--lr-decay-gamma 0.5", "schedule.factor=0.5"), ("--weight-decay 0", "optim.weight_decay=0"),
    ("--bandwidth 15000", "openunmix.bandwidth=15000"), ("--nb-channels 1", "dset.channels=1"),
    ("--nb-workers 4", "misc.num_workers=4"), ("--quiet", "misc.quiet=true"), ("--seed 43", "seed=43"),
    ("--debug", "debug=true"), ("--audio-backend sox", ""), ("--is-wav", ""), ("--no_cuda", ""), ("--no-cuda", ""),
    ("--samples-per-track 8", "dset.samples_per_track=8"), ("--model umxhq", "continue_pretrained=umxhq"),
    ("--source-augmentations gain", "augment.flip=false"),
    ("--source-augmentations channelswap", "augment.scale.proba=0"),
    ("--source-augmentations force_stereo", "augment.scale.proba=0 augment.flip=false"), ("--output elsewhere", "")])
def test_arguments_of_musdb(text, expected, tmp_path):
    plain = [VARIANT, WORKERS, f"dset.musdb={tmp_path / 'songs'}"]
    found = overrides(f"--root songs {text}")
    keys = {word.partition("=")[0] for word in expected.split()}
    assert sorted(found) == sorted([*(word for word in plain if word.partition("=")[0] not in keys), *expected.split()])


FIXED = "--dataset trackfolder_fix --root songs --target-file v.wav --interferer-files b.wav"
VARYING = "--dataset trackfolder_var --root songs --target-file v.wav"


@pytest.mark.parametrize("text, expected", [
    (f"{FIXED} --random-track-mix --source-augmentations gain channelswap",
     {"dset.sampling": "random_mix", "dset.samples_per_track": 1, "augment.scale.proba": 1, "augment.flip": True}),
    (f"{VARYING} --random-interferer-mix --silence-missing",
     {"dset.sampling": "interferer_mix", "dset.missing": "silence", "dset.samples_per_track": 1}),
    (f"{VARYING} --silence-missing-targets", {"dset.missing": "silence", "dset.sampling": "balanced"}),
    (f"{VARYING} --seq-dur 0", {"dset.segment": 0, "dset.sampling": "balanced"}),
    ("--dataset sourcefolder --root a --target-dir x --interferer-dirs y z --nb-valid-samples 7 --nb_train_samples 9",
     {"dset.valid_draws": 7, "dset.train_samples": 9, "dset.files.interferers": ["y", "z"]}),
    ("--dataset aligned --root a --input-file in.wav --output-file sub/out.wav --target out",
     {"dset.files.output": "sub/out.wav", "dset.targets": {"out": ["out"]}})])
def test_arguments_of_other_datasets(text, expected):
    found = values(text)
    assert {key: found[key] for key in expected} == expected
    read(resolved(changed(found, resolved([VARIANT]))))


def test_without_root_the_preview_is_downloaded():
    assert overrides("") == [VARIANT, WORKERS, f"dset.musdb={PREVIEW}", "dset.download=musdb18-preview"]
    downloaded = [VARIANT, f"dset.musdb={PREVIEW}"]
    assert xp(overrides("")).sig == xp(downloaded).sig


def test_the_folder_of_the_environment_is_no_part_of_the_signature(monkeypatch, tmp_path):
    plain = json.loads(json.dumps(resolved([VARIANT])))
    plain["dset"]["musdb"] = str(tmp_path / "mine")
    assert changed(values("--root mine"), plain) == [VARIANT, WORKERS]


def test_a_folder_to_fine_tune(tmp_path):
    (tmp_path / "my models" / "umx of mine").mkdir(parents=True)
    found = overrides(["--root", "songs", "--model", "my models/umx of mine/"])
    assert found[3:] == ['continue_pretrained="umx of mine"', f'pretrained_repo="{tmp_path}/my models"']
    config = resolved(found)
    assert (config["continue_pretrained"], config["pretrained_repo"]) == ("umx of mine", f"{tmp_path}/my models")


@pytest.mark.parametrize("text, message", [
    ("--target vocal", "no such source; use drums, bass, other, vocals, accompaniment. Did you mean 'vocals'"),
    ("--input-file x.wav", "--input-file belongs to --dataset aligned, and this is --dataset musdb"),
    ("--ext .flac", "--ext belongs to --dataset sourcefolder or trackfolder_var, and this is --dataset musdb"),
    (f"{FIXED} --is-wav", "--is-wav belongs to --dataset musdb, and this is --dataset trackfolder_fix"),
    (f"{FIXED} --silence-missing", "--silence-missing-targets belongs to --dataset trackfolder_var"),
    (f"{FIXED} --random-interferer-mix", "--random-interferer-mix belongs to"),
    ("--dataset aligned --root x --input-file a --output-file b --source-augmentations gain",
     "--source-augmentations belongs"),
    ("--dataset aligned --root x", "--dataset aligned needs --input-file, --output-file"),
    ("--dataset trackfolder_var --target-file x.wav", "--dataset trackfolder_var needs --root"),
    ("--dataset sourcefolder --root x --target-dir y", "needs --interferer-dirs"),
    (f"{VARYING} --target drums", "the target is named by --target-file, here v; leave --target out"),
    ("--model ./none", "--model ./none: there is no such folder"),
    ("--patience 0", "--patience=0 must be at least 1"), ("--epochs 0", "--epochs=0 must be"),
    ("--lr-decay-gamma 2", "--lr-decay-gamma=2.0 must be"), ("--seed -1", "--seed=-1 must be"),
    ("--seq-dur nan", "--seq-dur=nan must be")])
def test_what_cannot_be(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        values(text)


@pytest.mark.parametrize("text, message", [
    ("--dataset trackfolder", "use musdb, aligned, sourcefolder, trackfolder_fix, trackfolder_var. Did you mean"),
    ("--source-augmentations gain chanelswap", "Did you mean 'channelswap'"),
    ("--audio-backend sux", "Did you mean 'sox'"),
    ("--batchsize 3", "unrecognized arguments: --batchsize 3. Did you mean '--batch-size'"),
    ("--hidden-size x", "argument --hidden-size/--hidden_size: 'x' must be a whole number"),
    ("--epochs", "expected one argument"), ("--interferer-dirs", "expected at least one argument"),
    ("vocals", "unrecognized arguments: vocals.")])
def test_what_is_no_command_line(text, message, capsys):
    with pytest.raises(SystemExit) as end:
        values(text)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_compressed_songs_are_no_wav_files(tmp_path):
    (tmp_path / "songs" / "train").mkdir(parents=True)
    (tmp_path / "songs" / "train" / "A song.stem.mp4").touch()
    with pytest.raises(ConfigError, match="--is-wav: songs has the compressed songs of MUSDB18"):
        values("--root songs --is-wav")
    assert values("--root songs")["dset.musdb"] == str(tmp_path / "songs")


TEXTS = ["a b", "it's", '"x"', "[a,b]", "{a: b}", "true", "12", "1e3", "ü", "$x", "a=b", "\\", "a,b", "back\\\"", "~",
         "-x", "null", "", "x.wav", "sub/x.wav"]


def test_any_text_reaches_the_configuration():
    words = [VARIANT, f"dset.files.target={hydra(TEXTS[1])}", f"dset.files.interferers={hydra(TEXTS)}"]
    assert shlex.split(line(words)) == ["dora", "run", *words]
    files = resolved(words)["dset"]["files"]
    assert files["target"] == TEXTS[1] and files["interferers"] == TEXTS


@pytest.mark.parametrize("name", ["Lead Vox", "a-b (1)", "v.1", "a,b", "a=b: [c]", "_x"])
def test_names_of_targets(name):
    found = overrides(["--dataset", "trackfolder_var", "--root", "songs", "--target-file", f"{name}.wav"])
    config = read(resolved(found))
    assert config.target_names == [name] and config.dset.files.target == f"{name}.wav"


@pytest.mark.parametrize("name", ["12", "true", "\u00fc", "it's", "a~b", " a"])
def test_names_that_no_target_can_have(name):
    with pytest.raises(ConfigError, match="cannot be the name of a target.*rename its file or folder"):
        overrides(["--dataset", "trackfolder_var", "--root", "songs", "--target-file", f"{name}.wav"])


def test_the_table_of_the_page(repository):
    assert table() in (repository / "docs" / "openunmix_training.md").read_text()
    assert all(argument.datasets == DATASETS or set(argument.datasets) <= set(DATASETS) for argument in ARGUMENTS)


def test_help_lists_all(capsys):
    with pytest.raises(SystemExit) as end:
        get_parser("words").parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0 and all(argument.meaning in text for argument in ARGUMENTS)
