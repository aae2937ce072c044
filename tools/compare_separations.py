"""Compare two folders of separated songs sample by sample: `python -m tools.compare_separations A B [--steps 1]`.

Names, lengths, sample rates and channels must be equal. Samples may differ by `--steps` 16-bit quantisation steps: two
programs with the same computation in 32-bit floats round one sample in a hundred thousand differently.
"""

import sys
from pathlib import Path

from demucs.arguments import Parser, number
from demucs.audio.comparison import SCALE, compare, songs
from demucs.console import command
from demucs.errors import AudioError
from demucs.ranges import Range


@command(prints=True)
def main() -> int:
    parser = Parser(prog="python -m tools.compare_separations", description=__doc__)
    parser.add_argument("first", type=Path, metavar="A")
    parser.add_argument("second", type=Path, metavar="B")
    parser.add_argument("--steps", type=number("--steps", Range(0, SCALE)), default=1,
                        help="largest difference allowed (default: %(default)s)")
    args = parser.parse_args()
    names = {folder: songs(folder) for folder in (args.first, args.second)}
    failed = not names[args.first] or set(names[args.first]) != set(names[args.second])
    if failed:
        print(f"error: {args.first} has {', '.join(names[args.first]) or 'no songs'}; "
              f"{args.second} has {', '.join(names[args.second]) or 'no songs'}", file=sys.stderr)
    for name in sorted(set(names[args.first]) & set(names[args.second])):
        try:
            largest, count, total = compare(names[args.first][name], names[args.second][name])
        except (ValueError, AudioError) as error:
            failed = True
            print(f"error: {name}: {error}", file=sys.stderr)
            continue
        failed = failed or not largest <= args.steps
        print(f"{name}: {count} of {total} samples differ; largest difference in steps of 16 bits: {largest:.3g}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
