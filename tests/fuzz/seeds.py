"""Seeds of the mutations: small valid sound files of all formats, models and records, generated on demand."""

import dataclasses
import functools
import io
import json
import subprocess
import typing as tp
import zipfile
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml

from demucs import schema
from demucs.audio import reading
from demucs.models import zoo
from demucs.packages import package, publish, quantised
from demucs.runs import progress
from demucs.schema import EpochRecord, Evaluation, ReleaseCard, RunCard, RunStatus, Session, TrackScores
from demucs.training.state import write_checkpoint

RATE = 8000                                # Hz
SOURCES = ["drums", "vocals"]
OPENUNMIX = Path(__file__).resolve().parents[1] / "golden" / "openunmix_files" / "trained"
SECONDS = 0.4
MODEL = {"sources": SOURCES, "audio_channels": 2, "samplerate": RATE, "segment": 1., "channels": 4, "depth": 2, "nfft": 256,
         "time_stride": 2}
Seeds = tp.Dict[str, tp.List[bytes]]


def sound(seed: int, channels: int = 2) -> torch.Tensor:
    """[channels, L] of noise under a tone."""
    chance = np.random.default_rng(seed)
    time = np.arange(int(SECONDS * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (220 + 55 * seed) * time)
    return torch.from_numpy((tone + 0.05 * chance.standard_normal((channels, len(time)))).astype(np.float32))


def sounds(folder: Path) -> Seeds:
    """Files of each format, as bytes."""
    made: Seeds = {"wav": [], "flac": [], "mp3": [], "m4a": [], "ogg": []}
    for number, (channels, bits) in enumerate([(2, 16), (1, 24), (2, 32), (3, 16)]):
        path = folder / f"{number}.wav"
        reading.write(path, sound(number, channels), RATE, bits=bits, as_float=bits == 32)
        made["wav"].append(path.read_bytes())
    soundfile.write(folder / "x.wav", sound(7).T.numpy(), RATE, format="WAVEX", subtype="PCM_16")
    soundfile.write(folder / "rf.wav", sound(8).T.numpy(), RATE, format="RF64", subtype="PCM_16")
    made["wav"] += [(folder / name).read_bytes() for name in ("x.wav", "rf.wav")]
    for number, bits in enumerate((16, 24)):
        reading.write(folder / "x.flac", sound(number), RATE, bits=bits)
        made["flac"].append((folder / "x.flac").read_bytes())
    for number, bitrate in enumerate((64, 128)):
        reading.write(folder / "x.mp3", sound(number), RATE * 2, mp3_bitrate=bitrate)
        made["mp3"].append((folder / "x.mp3").read_bytes())
    for name, options in {"vbr.mp3": ["-c:a", "libmp3lame", "-q:a", "5"], "aac.m4a": ["-c:a", "aac"],
                          "alac.m4a": ["-c:a", "alac"], "vorbis.ogg": ["-c:a", "libvorbis"],
                          "opus.ogg": ["-c:a", "libopus", "-ar", "48000"],
                          "moov.m4a": ["-c:a", "aac", "-movflags", "+faststart"]}.items():
        done = subprocess.run(["ffmpeg", "-nostdin", "-y", "-loglevel", "error", "-i", str(folder / "0.wav"),
                               "-fflags", "+bitexact", *options, str(folder / name)], capture_output=True)
        if done.returncode == 0:           # not every ffmpeg has all encoders
            made[name.rpartition(".")[2]].append((folder / name).read_bytes())
    return made


def datasets(folder: Path) -> Seeds:
    """Archives of songs, and stem files with five streams."""
    made: Seeds = {"zip": [], "stems": []}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as file:
            file.writestr("train/", b"")
            for name in ("train/A/drums.wav", "train/A/mixture.wav", "test/B & C/drums.wav"):
                file.writestr(zipfile.ZipInfo(name), name.encode() * 40, method)
        made["zip"].append(stream.getvalue())
    path = folder / "x.stem.mp4"
    done = subprocess.run(["ffmpeg", "-nostdin", "-y", "-loglevel", "error", "-i", str(folder / "0.wav"),
                           *5 * ["-map", "0:0"], "-fflags", "+bitexact", "-c:a", "aac", str(path)], capture_output=True)
    if done.returncode == 0:
        made["stems"].append(path.read_bytes())
    return made


@functools.lru_cache(maxsize=None)
def model(seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return zoo.build("hdemucs", **MODEL).eval()


def uniform(of: torch.nn.Module) -> quantised.State:
    """The weights of a model as a uniform quantiser stores them, not packed."""
    chance = torch.Generator().manual_seed(0)
    levels = [(torch.randint(0, 255, parameter.shape, dtype=torch.short, generator=chance), (-1., 1.))
              for parameter in of.parameters()]
    return {"quantized": levels, "float16": [], "others": [], quantised.MARK: True,
            "meta": {"klass": quantised.UNIFORM, "init_kwargs": {"bits": 8., "min_size": 0., "exclude": []}, "packed": False}}


def packages(folder: Path) -> Seeds:
    """Models of two weights in our format and in those of published Demucs."""
    made: Seeds = {"package": [], "published": [], "safetensors": []}
    for seed in range(2):
        net = model(seed)
        about = card(net, f"{seed:08x}")
        forms: tp.List[tp.Dict[str, tp.Any]] = [{"half": bool(seed)}]
        if not seed:
            forms.append({"quantizer_state": uniform(net)})
        for form in forms:
            package.save(net, folder / "x.th", card=about, **form)
            made["package"].append((folder / "x.th").read_bytes())
            for kind, name in (("demucs", "published"), ("safetensors", "safetensors")):
                path = folder / f"x{publish.KINDS[kind]}"
                publish.save(net, path, card=about, kind=kind, **form)
                made[name].append(path.read_bytes())
    return made


def run_card() -> RunCard:
    session = Session(started="2026-01-01T09:40:00+00:00", ended="2026-01-01T09:46:00+00:00", seconds=360., first_epoch=1,
                      last_epoch=2, world_size=4, device="cuda: NVIDIA A100", job="12", gpus={"NVIDIA A100": 4}, nodes=["n1"],
                      command=["python", "-m", "dora"], commit="abc1234")
    return RunCard(signature="1a2b3c4d", name="epochs=2", argv=["epochs=2"], model="hdemucs", model_settings={"channels": 4},
                   sources=SOURCES, samplerate=RATE, audio_channels=2, parameters=1000, seed=42, epochs=2, epochs_done=2,
                   batch_size=4, train_tracks=3, valid_tracks=1, commit="abc1234", versions={"torch": "2"},
                   sessions=[session, dataclasses.replace(session, job=None)], delta={"epochs": 2}, packages={"torch": "2"})


def history() -> tp.List[tp.Dict[str, tp.Any]]:
    valid = {"loss": 0.25, "nsdr": 2.5, **{f"nsdr_{source}": 1.5 for source in SOURCES}}
    return [EpochRecord(train={"loss": 0.3, "grad": 0.1}, candidates={"main": valid, "ema_batch_0": valid}, chosen="main",
                        best=0.25, penalty=1., test={"nsdr": 1.} if number else None, seconds={"train": 2.}).to_history()
            for number in range(3)]


def evaluation() -> Evaluation:
    tracks = [TrackScores(name=f"Song {number}", duration=2.5, seconds=1., condition=1e-5, ill_conditioned=False,
                          scores={source: {"SDR": 2., "nsdr": 1. + number} for source in SOURCES}, fingerprint="00ff",
                          frames={source: {"SDR": schema.pack_frames([1., 3., float("nan")])} for source in SOURCES})
              for number in range(3)]
    return Evaluation(name="1a2b3c4d", model="hdemucs", dataset="toy test", sources=SOURCES, tracks=tracks,
                      settings={"shifts": 1, "overlap": 0.25}, model_hash="0" * 16, commit="", versions={},
                      created="2026-01-01T00:00:00+00:00", device="cpu", expected=[track.name for track in tracks])


def museval() -> tp.Dict[str, tp.Any]:
    frames = [{"time": float(second), "duration": 1., "metrics": {name: 1.5 for name in ("SDR", "SIR", "SAR", "ISR")}}
              for second in range(3)]
    return {"targets": [{"name": source, "frames": frames} for source in SOURCES], "museval_version": "0.4.1"}


def instrumental() -> tp.List[tp.Dict[str, tp.Any]]:
    """Results of the variants' notes, a later and an earlier format."""
    lists = {"NSDR": [8.5], "SDR": [float("nan"), 10., 4.], "SIR": [float("nan"), float("inf"), float("inf")]}
    tracks = {f"Song {number}": {"scores": lists, "summary": {"valid_frames": 2}} for number in range(3)}
    about = {"model_name": "htdemucs", "shifts": 1, "overlap": 0.25}
    return [{"evaluation_metadata": about, "tracks": tracks}, {"tracks": {"Song": {"SDR": [1., 2.]}}, "summary": {}}]


def status() -> RunStatus:
    return RunStatus(signature="1a2b3c4d", state="running", reason="", epoch=2, step=3, steps=9, epochs=5, best_nsdr=None,
                     seconds_per_step=0.5, world_size=2, device="cpu", host="n1", process=1, job="7", restarts=0,
                     started="2026-01-01T00:00:00+00:00", updated="2026-01-01T00:00:00+00:00")


def card(of: torch.nn.Module, signature: str) -> ReleaseCard:
    """The same at any time and of any code, so that inputs can be made again."""
    made = package.new_card(of, signature=signature, epochs_done=1, epochs=2, valid={"nsdr": 1.}, argv=["epochs=2"])
    return dataclasses.replace(made, created="2026-01-01T00:00:00+00:00", commit="abc1234", versions={"torch": "2"})


def text(plain: tp.Any) -> bytes:
    return json.dumps(plain, indent=1).encode()


def records(folder: Path) -> Seeds:
    """JSON files that runs, evaluations and batch scripts leave, and a checkpoint."""
    checkpoint = {"history": history(), "position": {"step": 3, "candidates": {}, "tested": []},
                  "state": {"a": torch.zeros(3)}, "args": {"epochs": 2}, "format": 1}
    write_checkpoint(checkpoint, folder / "checkpoint.th")
    progress.note(folder, (2, 3, 0, 0), folder / "checkpoint.th")
    account = {"job": "7", "start": [1, 2, 0, 0], "fruitless": 1, "verdict": "AGAIN", "reason": "it was preempted"}
    return {"history": [text(history())], "evaluation": [text(schema.to_plain(evaluation()))],
            "run_card": [text(schema.to_plain(run_card()))], "card": [text(schema.sealed(schema.to_plain(card(model(), "first"))))],
            "museval": [text(museval())], "instrumental": [text(each) for each in instrumental()],
            "status": [text(schema.to_plain(status()))], "attempts": [text(account)],
            "lock": [text({"job": "9", "host": "n1", "process": 1})], "checkpoint": [(folder / "checkpoint.th").read_bytes()],
            "checkpoint_records": [(folder / "checkpoint.json").read_bytes()]}


def openunmix() -> Seeds:
    """The files of one target that openunmix wrote."""
    return {"openunmix": [(OPENUNMIX / f"{target}.pth").read_bytes() for target in ("vocals", "drums")],
            "openunmix_target": [(OPENUNMIX / "vocals.json").read_bytes()],
            "openunmix_transform": [(OPENUNMIX / "separator.json").read_bytes()]}


def bags() -> Seeds:
    made = [{"models": ["first", "second"], "weights": [[1, 0], [0., 1.]], "segment": 0.5},
            {"models": ["second"], "segment": 1}, {"models": ["first", "first"], "weights": [[1, 1], [0.5, 0]]}]
    return {"bag": [yaml.safe_dump(bag).encode() for bag in made]}


def clusters(repository: Path) -> Seeds:
    """The commented example, and the same with everything in use that runs no program."""
    example = (repository / "slurm_scripts" / "cluster.env.example").read_bytes()
    used = [line.removeprefix(b"#") for line in example.split(b"\n") if line.startswith((b"#export", b"#DEMUCS_"))
            and b"DEMUCS_CONDA_ENV" not in line and b"DEMUCS_PYTHON" not in line]
    return {"cluster": [b"\n".join(used) + b"\n", example]}


def everything(folder: Path, repository: Path) -> Seeds:
    """Kind of file -> its seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    return {**sounds(folder), **datasets(folder), **packages(folder), **records(folder), **bags(), **openunmix(),
            **clusters(repository)}
