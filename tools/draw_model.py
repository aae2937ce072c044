"""Draw the diagram of a hybrid model: `python -m tools.draw_model htdemucs docs/images/htdemucs.png`.

Axes, strides, channels and the level where the branches are merged are those of a model with the published settings.
"""

import sys
from pathlib import Path

from demucs.arguments import Parser
from demucs.console import command
from demucs.models import zoo
from demucs.models.drawing import SUFFIXES, draw
from demucs.schema import SOURCES


@command()
def main() -> int:
    parser = Parser(prog="python -m tools.draw_model", description=__doc__)
    parser.add_argument("model", choices=("hdemucs", "htdemucs"))
    parser.add_argument("out", type=Path, help="picture to write, .svg, .png or .pdf")
    args = parser.parse_args()
    if args.out.suffix.lower() not in SUFFIXES:
        parser.error(f"{args.out}: give a name that ends in {' or '.join(SUFFIXES)}")
    draw(zoo.build(args.model, sources=SOURCES, audio_channels=2, samplerate=44100, segment=10), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
