"""Stem files of MUSDB18: an mp4 with five audio streams, the mixture and the sources.

They are decoded as a whole, to one file per stream. ffmpeg can decode from the middle of an AAC stream, but not always
to the same samples: where a frame has noise substitution, the noise depends on all frames before it. Samples have 16
bits, as the musdb package reads them.
"""

import logging
import secrets
import shutil
import typing as tp
from pathlib import Path

import soundfile

from ..errors import AudioError
from ..schema import SOURCES
from . import programs, streams
from .ffmpeg import complaint, existing_file, input_arguments, program

logger = logging.getLogger(__name__)

SUFFIX = ".stem.mp4"
STREAMS = ("mixture", *SOURCES)      # in the order of MUSDB18
FORMAT = ".flac"                     # of the decoded streams
DIFFERENCE = 4096                    # samples by which streams may differ in length: the ends of some codec blocks


def decode(path: tp.Union[str, Path], folder: tp.Union[str, Path]) -> None:
    """Decode a stem file to FOLDER/{mixture,drums,bass,other,vocals}.flac. The folder must not exist; it gets its name
    once all files are complete.

    Streams that differ in length by some codec blocks are cut to the shortest one. Damage that changes no length is a
    warning.

    Raises:
        AudioError: if the file has other streams, or is damaged, or if the folder cannot be written.
        ToolError: if ffmpeg is not installed.
    """
    path, folder = existing_file(path), Path(folder).absolute()
    description = streams.describe(path)
    indices = streams.audio_streams(description)
    if len(indices) != len(STREAMS):
        raise AudioError(f"{path}: has {len(indices)} audio streams instead of {len(STREAMS)} ({', '.join(STREAMS)}), so "
                         f"it is no stem file of MUSDB18")
    promised = max(streams.seconds_of(description, index) or 0. for index in indices)
    temporary = folder.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir(parents=True)
        said = _decode(path, temporary, indices)
        forms = {name: _form(temporary / f"{name}{FORMAT}", path, said) for name in STREAMS}
        lengths = [frames for frames, _ in forms.values()]
        # Where ffmpeg drops a damaged block of a stream, the rest of it is no longer aligned with the others.
        most = 0 if said else DIFFERENCE
        if max(lengths) - min(lengths) > most or not min(lengths) or \
                any(frames / rate < promised - streams.SHORTFALL for frames, rate in forms.values()):
            listed = ", ".join(f"{name} {frames}" for name, (frames, _) in forms.items())
            raise AudioError(f"{path}: damaged: its header promises {promised:.1f} s, and the samples that can be decoded "
                             f"are {listed} ({said or 'the rest is not there'}); copy or download it again")
        if max(lengths) > min(lengths):
            _decode(path, temporary, indices, min(lengths))
        if said:
            logger.warning("%s: in part damaged (ffmpeg: %s)", path, said)
        temporary.rename(folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise AudioError(f"{folder}: cannot be written ({error.strerror}); free some space there, or make it "
                             f"writable") from error
        raise


def _decode(path: Path, folder: Path, indices: tp.Sequence[int], frames: tp.Optional[int] = None) -> str:
    """Write the streams, cut after a number of frames. Returns ffmpeg's complaint, or ""."""
    outputs: tp.List[str] = []
    cut = ["-af", f"atrim=end_sample={frames}"] if frames is not None else []
    for name, index in zip(STREAMS, indices):
        outputs += ["-map", f"0:{index}", *cut, "-c:a", "flac", "-sample_fmt", "s16", "-map_metadata", "-1",
                    "-threads", "1", f"file:{folder / name}{FORMAT}"]
    done = programs.call([program("ffmpeg"), "-nostdin", "-y", "-loglevel", "error", *input_arguments(path), *outputs])
    said = complaint(done.stderr, path)
    if done.returncode:
        raise AudioError(f"{path}: cannot be decoded into {folder.parent} ({said or 'no reason given'}); download it "
                         f"again, or free some space there")
    return said


def _form(decoded: Path, path: Path, said: str) -> tp.Tuple[int, int]:
    """(samples, sample rate in Hz) of a decoded stream of `path`."""
    try:
        with soundfile.SoundFile(decoded) as file:
            return file.frames, file.samplerate
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path}: its stream {decoded.stem} cannot be decoded ({said or error}); copy or download it "
                         f"again") from error
