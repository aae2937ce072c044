"""Calls of the programs ffmpeg and ffprobe, without a shell, and with file names that cannot be taken for options."""

import functools
import re
import shutil
import stat
import struct
import typing as tp
from pathlib import Path

import numpy as np
import torch

from ..errors import AudioError, ToolError
from . import programs

# ffmpeg's names of the formats that contain audio themselves. Excluded are playlists, lists of files and pictures,
# devices, network streams, and text, all of which make ffmpeg open other files.
FORMATS = ("aa,aac,aax,ac3,ace,act,adp,ads,adx,aea,afc,aiff,aix,alaw,amr,amrnb,amrwb,apac,ape,apm,aptx,aptx_hd,"
           "argo_asf,asf,asf_o,ast,au,avi,avr,bfstm,bonk,boa,brstm,caf,codec2,dff,daud,dcstr,derf,dfpwm,dhav,dsf,dss,"
           "dts,dtshd,dv,dxa,ea,eac3,epaf,flac,flv,fsb,fwse,g722,g723_1,g726,g726le,g729,gsm,gxf,hca,hcom,iff,ilbc,"
           "iamf,ircam,iss,kvag,laf,lc3,live_flv,loas,lvf,lxf,matroska,webm,mca,mlp,mm,mmf,mods,mov,mp4,m4a,3gp,3g2,"
           "mj2,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,msf,mtaf,mtv,mulaw,musx,mxf,mxg,nistsphere,nsp,nut,nuv,ogg,oma,"
           "osq,paf,pmp,pp_bnk,psxstr,pva,pvf,qcp,qoa,r3d,rka,rl2,rm,rpl,rsd,rso,s337m,sbc,scd,sdr2,sds,sdx,shn,sln,"
           "smjpeg,smk,smush,sol,sox,spdif,svag,svs,swf,tak,thp,tiertexseq,truehd,tta,txd,vag,vividas,voc,vpk,vqf,"
           "w64,wady,wav,wavarc,wsaud,wsd,wsvqa,wtv,wv,wve,xa,xmd,xvag,xwma,yop")

VAGUE = ("Invalid data found when processing input", "Invalid argument", "Conversion failed!")


def existing_file(path: tp.Union[str, Path]) -> Path:
    """Absolute path of an audio file that exists.

    Raises AudioError if it is missing, inaccessible, not a regular file (folder, pipe, device), or empty.
    """
    path = Path(path).absolute()
    try:
        found = path.stat()
    except FileNotFoundError as error:
        dangling = path.is_symlink()
        raise AudioError(f"{path}: " + (f"is a link to {path.readlink()}, which is not there" if dangling else
                                        "no such file")) from error
    except (OSError, ValueError) as error:       # ValueError: a null byte in the name
        raise AudioError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(found.st_mode):
        raise AudioError(f"{path}: is a folder, not an audio file")
    if stat.S_ISFIFO(found.st_mode):
        raise AudioError(f"{path}: is a pipe, which can be read only once; save what it gives in a file first")
    if not stat.S_ISREG(found.st_mode):
        raise AudioError(f"{path}: is a device, not an audio file")
    if found.st_size == 0:
        raise AudioError(f"{path}: the file is empty (0 bytes); copy or download it again")
    return path


@functools.lru_cache(maxsize=None)
def program(name: str) -> str:
    """Path of the program `name`, ffmpeg or ffprobe. Raises ToolError if it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise ToolError(f"{name} is not installed: it is needed for audio that is neither wav, flac, mp3 nor ogg "
                        f"(`make setup`, or the package ffmpeg of apt or conda-forge)")
    return path


def installed() -> bool:
    """Whether both ffmpeg and ffprobe are on the PATH."""
    return shutil.which("ffmpeg") is not None and shutil.which("ffprobe") is not None


def complaint(said: bytes, path: Path) -> str:
    """Error message in `said`, what ffmpeg printed about the file `path`: one line without the name of the file; "" if
    it printed nothing.

    It is the last line, or the last specific one if that only names a category of errors.
    """
    if b"not on whitelist" in said:
        return "a kind of file that is not read here"
    lines = [re.sub(r"^\[[^\]]* @ 0x[0-9a-f]+\] *", "", line).strip()
             for line in said.decode(errors="replace").splitlines()]
    lines = [line.replace(f"file:{path}: ", "").replace(f"file:{path}", "the file") for line in lines
             if line and not line.startswith("Last message repeated")]
    specific = [line for line in lines if not line.endswith(VAGUE)]
    return (specific or lines or [""])[-1]


def run(command: tp.List[str], path: Path) -> bytes:
    """Standard output of a command that reads the file `path`. Raises AudioError with `path` and the command's message
    if its exit status is not 0, and OSError if it cannot be started."""
    done = programs.call(command)
    if done.returncode:
        raise AudioError(f"{path}: not audio that ffmpeg or libsndfile can read "
                         f"({complaint(done.stderr, path) or 'no reason given'})")
    return done.stdout


def input_arguments(path: Path) -> tp.List[str]:
    """Arguments of ffmpeg for the input file `path`, such that a disguised playlist cannot make it open other files."""
    return ["-protocol_whitelist", "file", "-format_whitelist", FORMATS, "-i", f"file:{path}"]


def decoding(path: Path, stream: str, *, before: tp.Sequence[str] = (), after: tp.Sequence[str] = ()) -> tp.List[str]:
    """Command that writes one stream of a file to standard output as wav with 32-bit floats; arguments and errors as in
    `decode`."""
    return [program("ffmpeg"), "-nostdin", "-loglevel", "error", *before, *input_arguments(path), "-map", stream,
            "-threads", "1", *after, "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]


class Decoded(tp.NamedTuple):
    """Decoded audio `wav` [A, L] float32 at `samplerate` Hz; `complaint` is ffmpeg's error message, or ""."""
    wav: torch.Tensor
    samplerate: int
    complaint: str


def decode(path: Path, stream: str, *, before: tp.Sequence[str] = (), after: tp.Sequence[str] = ()) -> Decoded:
    """Audio of one stream of a file, with the channels and sample rate that ffmpeg decodes, since headers may be wrong
    about both. If they change within the stream, ffmpeg converts the remainder to the channels and rate of the
    beginning. What precedes a damaged part is returned, with ffmpeg's message.

    Args:
        path: an existing file.
        stream: ffmpeg's name of the stream, such as "0:a:0".
        before: further input arguments.
        after: further output arguments.

    Raises:
        AudioError: if nothing can be decoded.
        ToolError: if ffmpeg is not installed.
    """
    done = programs.call(decoding(path, stream, before=before, after=after))
    said = complaint(done.stderr, path)
    header = _wav_header(done.stdout)
    if header is None or done.returncode and len(done.stdout) == header[2]:
        raise AudioError(f"{path}: not audio that ffmpeg or libsndfile can read ({said or 'no reason given'})")
    channels, samplerate, start = header
    whole = (len(done.stdout) - start) // (4 * channels) * channels
    samples = np.frombuffer(done.stdout, np.dtype("<f4"), count=whole, offset=start).reshape(-1, channels)
    return Decoded(torch.from_numpy(samples.T.astype(np.float32, order="C")), samplerate, said)


def _wav_header(data: bytes) -> tp.Optional[tp.Tuple[int, int, int]]:
    """(channels, sample rate in Hz, offset of the first sample in bytes) of ffmpeg's wav output; None if it has no
    header."""
    offset, form = 12, None
    while offset + 8 <= len(data):
        name, size = data[offset:offset + 4], struct.unpack_from("<I", data, offset + 4)[0]
        if name == b"fmt ":
            form = struct.unpack_from("<HI", data, offset + 10)
        if name == b"data":
            return None if form is None or not form[0] else (*form, offset + 8)
        offset += 8 + size
    return None
