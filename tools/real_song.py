"""Write the six seconds of a real song that the package stempeg has, with stems: `python -m tools.real_song demo/real`.

The folder is a test set for tools.test_pretrained --musdb. It is one excerpt, not MUSDB18: a score on it says nothing
about a score there. A folder that is complete is left as it is.
"""

import sys
import typing as tp
from pathlib import Path

import numpy as np
import torch

from demucs.arguments import Parser
from demucs.audio import reading
from demucs.audio.ffmpeg import program
from demucs.console import command, log_messages
from demucs.errors import AudioError, ToolError
from demucs.files import write_text
from demucs.runs.layout import ORIGIN
from demucs.schema import SOURCES

STREAMS = ("mixture", *SOURCES)      # of a stem file, in the order of MUSDB18
ABOUT = ("Six seconds of {song}, an excerpt in the Python package stempeg, which states the licence Creative Commons CC "
         "BY-NC-SA 3.0: no commercial use. The whole song is one of the 50 test songs of MUSDB18; a score on these six "
         "seconds is not a score on MUSDB18.\n")


def write_song(folder: Path) -> Path:
    """Write FOLDER/SONG/{mixture,SOURCE}.wav in 32-bit floats, as stempeg decodes them, and FOLDER/SONG/origin.txt. A
    folder that has all of them is left as it is.

    Returns FOLDER/SONG.

    Raises:
        ToolError: if stempeg, its stem file or ffmpeg is missing.
        AudioError: if the file cannot be decoded, or the song cannot be written.
    """
    try:
        import stempeg     # here, because its import takes a second and it belongs to the extra `evaluate`
    except ImportError as error:
        raise ToolError("the Python package stempeg is not installed: pip install -e '.[evaluate]'") from error
    path = Path(stempeg.example_stem_path())
    song = path.name.removesuffix(".stem.mp4")
    place = folder / song
    if (place / ORIGIN).exists():      # written last
        return place
    if not path.is_file():
        raise ToolError(f"{path}: no such file: stempeg {stempeg.__version__} came without its stem file; install "
                        f"stempeg 0.2.6")
    program("ffmpeg")
    try:
        streams, rate = stempeg.read_stems(str(path), dtype=np.float32)
    except (RuntimeError, ValueError, OSError) as error:
        raise AudioError(f"{path}: stempeg cannot decode it ({error}); install stempeg again") from error
    if len(streams) != len(STREAMS):
        raise AudioError(f"{path}: has {len(streams)} streams instead of {len(STREAMS)} ({', '.join(STREAMS)}); install "
                         f"stempeg 0.2.6")
    place.mkdir(parents=True, exist_ok=True)
    for name, samples in zip(STREAMS, streams):
        reading.write(place / f"{name}.wav", torch.from_numpy(samples.T), int(rate), clip="none", as_float=True)
    write_text(place / ORIGIN, ABOUT.format(song=song))
    return place


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    parser = Parser(prog="python -m tools.real_song", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the test set")
    args = parser.parse_args(argv)
    log_messages()
    print(write_song(args.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
