"""Kinds of input: their generation from seeds, the entry point that reads them, and correct results.

An entry point may return or raise a `DemucsError`. Anything else that it raises is a defect.
"""

import contextlib
import io
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import typing as tp
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from demucs import schema
from demucs.audio import reading, stems
from demucs.data import index
from demucs.data.tracks import Track, Tracks
from demucs.downloads import archive as zip_files
from demucs.errors import DemucsError
from demucs.metrics import instrumental
from demucs.packages import openunmix, package, pickled, weights
from demucs.repositories import repository as models
from demucs.runs import requeue
from demucs.schema import Evaluation, ReleaseCard, RunCard, RunStatus
from demucs.separation import song
from demucs.separation.song_file import SongFile
from fuzz import mutations, seeds, texts
from tools import evaluate_instrumental

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "graphing_scripts"))

from records import readers  # noqa: E402

Chance = np.random.Generator
Mutate = tp.Callable[[bytes, bytes, Chance], bytes]
Use = tp.Callable[[Path, int], None]
PER_BYTE = 5000          # samples that one byte of a sound file may stand for: silence takes few


class Wrong(AssertionError):
    """A result that is not right."""


@dataclass(frozen=True)
class Kind:
    """Args:
        share: of all inputs.
        file: name of the mutated file.
        seeds: names in `seeds.everything`, of which one is mutated.
        mutate: bytes to bytes.
        use: what reads it; gets the folder of the file, and the number of the input, by which it chooses an entry point.
    """
    share: float
    file: str
    seeds: tp.Tuple[str, ...]
    mutate: Mutate
    use: Use


def require(condition: tp.Any, what: str) -> None:
    if not condition:
        raise Wrong(what)


# ------------------------------------------------------------------------------------------------------------------ sound

def use_sound(path: Path, number: int) -> None:
    """Three ways on which sound files come in: to be separated, read in parts, or as a stem of a dataset."""
    (separated, read_in_parts, as_stem)[number % 3](path)


def separated(path: Path) -> None:
    """At once and in blocks: the same samples, or an error in both cases."""
    try:
        wav = song.load_song(path, samplerate=seeds.RATE, channels=2)
    except DemucsError:
        with contextlib.suppress(DemucsError), SongFile(path, samplerate=seeds.RATE, channels=2) as blocks:
            raise Wrong(f"{blocks.length} samples in blocks, of a song that cannot be loaded")
        raise
    require(wav.dim() == 2 and len(wav) == 2 and wav.shape[1] > 0, f"audio of shape {tuple(wav.shape)}")
    require(torch.isfinite(wav).all(), "samples that are not finite")
    require(wav.shape[1] <= PER_BYTE * seeds.RATE * path.stat().st_size, f"{wav.shape[1]} samples")
    with SongFile(path, samplerate=seeds.RATE, channels=2) as blocks:
        require(blocks.length == wav.shape[1], f"{blocks.length} samples in blocks, {wav.shape[1]} at once")
        for start in range(0, blocks.length, 10_000):
            stop = min(start + 10_000, blocks.length)
            require(torch.allclose(blocks.read(start, stop), wav[:, start:stop], rtol=1e-6, atol=1e-6),
                    f"other samples in blocks, from {start} to {stop}")


def read_in_parts(path: Path) -> None:
    info = reading.probe(path)
    require(info.frames > 0 and info.samplerate > 0 and info.channels > 0, f"probed as {info}")
    wav, rate = reading.read(path)
    require(rate == info.samplerate and len(wav) == info.channels, f"{tuple(wav.shape)} at {rate} Hz, probed as {info}")
    require(0 < wav.shape[1] <= PER_BYTE * path.stat().st_size, f"{wav.shape[1]} samples")
    if path.suffix in (".wav", ".flac"):
        require(wav.shape[1] == info.frames, f"{wav.shape[1]} samples, probed as {info}")
    part, _ = reading.read(path, start=info.frames // 2, frames=100)
    require(part.shape[1] <= 100, f"{part.shape[1]} samples of a part of 100")


def as_stem(path: Path) -> None:
    """A track of two stems without a mixture; the other stem is as long as the seeds are."""
    folder = path.parent / "data" / "track"
    folder.mkdir(parents=True)
    shutil.copy(path, folder / f"vocals{path.suffix}")
    if path.suffix in (".wav", ".flac"):
        reading.write(folder / f"drums{path.suffix}", seeds.sound(5), seeds.RATE)
    else:
        shutil.copy(path, folder / f"drums{path.suffix}")
    files = {source: (folder / f"{source}{path.suffix}",) for source in seeds.SOURCES}
    songs = Tracks(folder.parent, [Track("track", files, mixed=tuple(seeds.SOURCES), folder=folder)], [])
    found = index.scan(songs, sources=seeds.SOURCES, cache_dir=path.parent / "cache", workers=1)
    track = found.tracks["track"]
    require(track.length > 0 and np.isfinite([track.mean, track.std]).all(), f"indexed as {track}")
    mixture = found.read("track", index.MIXTURE, 0, 1000)
    require(torch.isfinite(mixture).all(), "samples that are not finite")


# --------------------------------------------------------------------------------------------------------------- datasets

def use_zip(path: Path, number: int) -> None:
    """An archive of songs. Nothing is written outside of its folder, and no more than is allowed."""
    folder = path.parent / "outer" / "songs"
    try:
        zip_files.unpack(path, folder, most_bytes=100_000, most_files=20)
    finally:
        found = [each for each in path.parent.rglob("*") if each.is_file() and each != path]
        require(all(folder in each.parents for each in found), f"files elsewhere: {found}")
        require(sum(each.stat().st_size for each in found) <= 100_000 and len(found) <= 20, "too much")
        require(not any(each.is_symlink() for each in path.parent.rglob("*")), "links")


def use_stems(path: Path, number: int) -> None:
    """A stem file of MUSDB18, decoded to five files of the same length."""
    stems.decode(path, path.parent / "out")
    lengths = {reading.probe(path.parent / "out" / f"{name}.flac").frames for name in stems.STREAMS}
    require(len(lengths) == 1 and min(lengths) > 0, f"lengths {lengths}")


# ----------------------------------------------------------------------------------------------------------------- models

def values(chance: Chance) -> tp.Any:
    """What may stand in a pickle in the place of a part."""
    tensors = (torch.zeros(0), torch.zeros(1).expand(2 ** 40), torch.full((3,), float("nan")), torch.zeros(2, 2).half(),
               torch.zeros(3, dtype=torch.long), torch.eye(2).to_sparse(), torch.zeros(1, dtype=torch.complex64))
    return tensors[int(chance.integers(len(tensors)))] if chance.random() < 0.3 else texts.odd(chance)


def archive(parts: tp.Mapping[str, bytes]) -> bytes:
    """A zip file as torch writes them, with the right checksums."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return made.getvalue()


def mutate_archive(data: bytes, other: bytes, chance: Chance) -> bytes:
    """Mutate the bytes of the file, a part of it with a corrected checksum, or the content of the pickle."""
    action = chance.random()
    if action < 0.35:
        return mutations.mutate(data, other, chance)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(io.BytesIO(other)) as file:
        others = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    if action < 0.7:
        names = [name for name in parts if action > 0.5 or name.endswith("data.pkl")]
        name = names[int(chance.integers(len(names)))]
        parts[name] = mutations.mutate(parts[name], others.get(name.partition("/")[2], b""), chance)
        return archive(parts)
    try:
        content = torch.load(io.BytesIO(data), weights_only=True)
    except Exception:       # of published Demucs: it names classes
        name = next(name for name in parts if name.endswith("data.pkl"))
        parts[name] = texts.scribble(parts[name], others.get("data.pkl", b""), chance)
        return archive(parts)
    made = io.BytesIO()
    torch.save(texts.edit(content, chance, values), made)
    return made.getvalue()


def mutate_safetensors(data: bytes, other: bytes, chance: Chance) -> bytes:
    """Mutate the bytes of the file, or the content of its header, with the correct length."""
    if chance.random() < 0.4:
        return mutations.mutate(data, other, chance)
    size = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + size])
    if chance.random() < 0.5:
        metadata = head["__metadata__"]
        key = list(metadata)[int(chance.integers(len(metadata)))]
        if key not in ("klass", "checksum"):
            metadata[key] = json.dumps(texts.edit(json.loads(metadata[key]), chance))
        else:
            metadata[key] = str(texts.odd(chance))
        if chance.random() < 0.7:          # as an older version would have written it
            metadata.pop("checksum", None)
    else:
        head = texts.edit(head, chance)
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size:]


def use_package(path: Path, number: int) -> None:
    model = package.load(path) if number % 4 else models.get_model(path.stem, path.parent)
    require(weights.state_hash(model.state_dict()) == model.card.model_hash, "weights that are not those of the card")
    require(list(model.sources) == model.card.sources, "sources that are not those of the card")


def use_openunmix(path: Path, number: int) -> None:
    """A file of a folder of openunmix, with the files beside it; a checkpoint instead of the weights every fourth time."""
    for name in ("separator.json", "vocals.json", "vocals.pth"):
        if name != path.name:
            shutil.copy(seeds.OPENUNMIX / name, path.parent / name)
    if path.suffix == ".pth" and number % 4 == 0:
        content = {"state_dict": pickled.read(path), "epoch": 3}
        path.unlink()
        torch.save(content, path.with_suffix(".chkpnt"))
    model = openunmix.load(path.parent)
    require(model.sources == ["vocals"] == model.card.sources, f"sources {model.sources}")
    require(weights.state_hash(model.state_dict()) == model.card.model_hash, "weights that are not those of the card")
    require(sum(value.numel() for value in model.state_dict().values()) < 10 ** 7, "a model far larger than its file")


def use_bag(path: Path, number: int) -> None:
    """A bag of two models in its folder."""
    for seed, name in enumerate(("first", "second")):
        shutil.copy(models_folder() / f"{name}.th", path.parent / f"{name}.th")
    bag = models.get_model(path.stem, path.parent)
    require(len(bag.models) == len(bag.weights) > 0, "models without weights")
    require(np.isfinite(np.array(bag.weights, dtype=float)).all(), "weights that are not finite")
    require(bag.max_allowed_segment > 0, f"a segment of {bag.max_allowed_segment}")


def models_folder() -> Path:
    """Two models, made once in this process and its children."""
    folder = SCRATCH[0] / "models"
    if not folder.exists():
        for seed, name in enumerate(("first", "second")):
            net = seeds.model(seed)
            package.save(net, folder / f"{name}.th", card=seeds.card(net, name))
    return folder


# ---------------------------------------------------------------------------------------------------------------- records

def loading(kind: tp.Any) -> Use:
    """Reading of a record alone, and by the graphing scripts as a file and in a folder."""
    def use(path: Path, number: int) -> None:
        if number % 3 == 0:
            record = schema.load(kind, path) if kind is not list else schema.load_history(path)
            again = [each.to_history() for each in record] if kind is list else schema.to_plain(record)
            json.dumps(schema.finite(again), allow_nan=False)
            return
        run = readers.read_file(path) if number % 3 == 1 else readers.find_run(str(path.parent), path.parent / "none")
        for value in (run.sources, run.argv, run.parent, run.signature, run.written):
            str(value)
        for epoch in run.history:
            require(all(isinstance(key, str) for key in epoch.valid), "names of metrics that are no text")
            float(epoch.best or 0)
        for track in run.evaluation.tracks if run.evaluation else ():
            for metrics in track.frames.values():
                for frames in metrics.values():
                    schema.unpack_frames(frames)
            for source in track.scores.values():
                require(all(value is None or isinstance(value, (int, float)) for value in source.values()), "scores")
    return use


def use_card(path: Path, number: int) -> None:
    if number % 2:
        schema.load(ReleaseCard, path)
        return
    shutil.copy(models_folder() / "first.th", path.with_suffix(".th"))
    package.load(path.with_suffix(".th"))


def use_museval(path: Path, number: int) -> None:
    run = readers.read_file(path) if number % 2 else readers.find_run(str(path.parent), path.parent / "none")
    require(run.evaluation is not None or run.history or run.card, "nothing")


def use_instrumental(path: Path, number: int) -> None:
    """A result of the variants' notes, as its tool and as reports read it."""
    found = evaluate_instrumental.read(path)[0] if number % 2 else readers.read_file(path).evaluation
    if found is not None and found.sources == ["instrumental"]:
        each = instrumental.scores(found)
        require(each.frames > 0 and math.isfinite(each.mean), "no mean")


def use_requeue(path: Path, number: int) -> None:
    """What a batch script does with the folder of a run before and after its training, without a Slurm to ask."""
    search, os.environ["PATH"] = os.environ.get("PATH", ""), ""
    os.environ["SLURM_JOB_ID"] = "7"           # the job that the seeds are of
    if path.name == "checkpoint.json":
        shutil.copy(SCRATCH[0] / "seeds" / "checkpoint.th", path.parent)
    try:
        code, reason = requeue.begin(path.parent)
        require(isinstance(code, int) and "\n" not in reason, f"{code}: {reason}")
        verdict, reason = requeue.end(path.parent, exit_status=number % 2, preempted=False, words="", most=3)
        require(verdict in requeue.Verdict and "\n" not in reason, f"{verdict}: {reason}")
    finally:
        os.environ["PATH"] = search
        del os.environ["SLURM_JOB_ID"]
    if path.name == "status.json":
        schema.load(RunStatus, path)
    elif path.name == "checkpoint.th":
        pickled.read(path)
    elif path.name == "checkpoint.json":
        schema.load(schema.CheckpointRecords, path)


# ---------------------------------------------------------------------------------------------------------------- cluster

class Said(Exception):
    """Error of a shell script that ended with one line; treated as a `DemucsError`."""


def use_cluster(path: Path, number: int) -> None:
    """A dry run of a batch script with this cluster file: what it would run, or one line of ours at the end. The file is
    bash, and what bash or its commands say of it may stand before."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(path.parent), "LC_ALL": "C.UTF-8", "DEMUCS_CLUSTER": str(path)}
    done = subprocess.run(["bash", str(REPOSITORY / "slurm_scripts" / "evaluate_slurm.sh"), "--dry-run", "--local", "htdemucs"],
                          cwd=path.parent, env=environment, capture_output=True, stdin=subprocess.DEVNULL)
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if "Note:" not in line]
    require(done.returncode >= 0, f"ended by signal {-done.returncode}")
    if done.returncode == 0:
        require(not lines, f"status 0, and on stderr: {lines[:2]}")
        require(b"tools.test_pretrained" in done.stdout, "status 0 without a command")
        return
    ours = [line for line in lines if line.startswith("evaluate_slurm.sh: ")]
    require(len(ours) == 1 and ours == lines[-1:], f"status {done.returncode}, and {len(lines)} lines: {lines[:3]}")
    require(len(ours[0]) < 1000, f"a message of {len(ours[0])} characters: {ours[0][:300]}")
    raise Said(ours[0])


KINDS: tp.Dict[str, Kind] = {
    **{name: Kind(share, f"x.{name}", (name,), mutations.mutate, use_sound)
       for name, share in (("wav", 0.13), ("flac", 0.11), ("mp3", 0.11), ("m4a", 0.09), ("ogg", 0.09))},
    "zip": Kind(0.01, "x.zip", ("zip",), mutations.mutate, use_zip),
    "stems": Kind(0.005, "x.stem.mp4", ("stems",), mutations.mutate, use_stems),
    "package": Kind(0.11, "x.th", ("package",), mutate_archive, use_package),
    "published": Kind(0.06, "x.th", ("published",), mutate_archive, use_package),
    "safetensors": Kind(0.07, "x.safetensors", ("safetensors",), mutate_safetensors, use_package),
    "openunmix": Kind(0.01, "vocals.pth", ("openunmix",), mutate_archive, use_openunmix),
    "openunmix_target": Kind(0.003, "vocals.json", ("openunmix_target",), texts.mutate_json, use_openunmix),
    "openunmix_transform": Kind(0.003, "separator.json", ("openunmix_transform",), texts.mutate_json, use_openunmix),
    "bag": Kind(0.05, "x.yaml", ("bag",), texts.scribble, use_bag),
    "history": Kind(0.03, "history.json", ("history",), texts.mutate_json, loading(list)),
    "evaluation": Kind(0.03, "evaluation.json", ("evaluation",), texts.mutate_json, loading(Evaluation)),
    "run_card": Kind(0.02, "run_card.json", ("run_card",), texts.mutate_json, loading(RunCard)),
    "card": Kind(0.01, "x.json", ("card",), texts.mutate_json, use_card),
    "museval": Kind(0.01, "song.json", ("museval",), texts.mutate_json, use_museval),
    "instrumental": Kind(0.005, "result.json", ("instrumental",), texts.mutate_json, use_instrumental),
    "status": Kind(0.01, "status.json", ("status",), texts.mutate_json, use_requeue),
    "attempts": Kind(0.01, "attempts.json", ("attempts",), texts.mutate_json, use_requeue),
    "lock": Kind(0.005, "lock", ("lock",), texts.mutate_json, use_requeue),
    "checkpoint": Kind(0.01, "checkpoint.th", ("checkpoint",), mutate_archive, use_requeue),
    "checkpoint_records": Kind(0.005, "checkpoint.json", ("checkpoint_records",), texts.mutate_json, use_requeue),
    "cluster": Kind(0.015, "cluster.env", ("cluster",), texts.scribble, use_cluster),
}
SCRATCH: tp.List[Path] = []      # the folder of this process, once `inputs.prepare` was called
