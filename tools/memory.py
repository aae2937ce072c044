"""Count the memory that a training takes on each GPU, without one: `python -m tools.memory [-f SIG] [KEY=VALUE...]`.

The passes of the training are made on tensors without data, so the count takes seconds and little memory: parameters,
gradients, the optimiser's state, averages, the batch, and the activations of every layer, at the peak of a training step
and at that of the validation of a song. On a GPU, torch and CUDA take some hundred MiB more, and convolutions their
workspaces. 1 MiB is 2 ** 20 bytes, as in nvidia-smi.
"""

import argparse
import json
import sys
import typing as tp
from pathlib import Path

from demucs.arguments import Parser, number
from demucs.console import command
from demucs.ranges import SECONDS, WORLD_SIZE


@command(prints=True)
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    parser = Parser(prog="python -m tools.memory", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-f", "--from-sig", metavar="SIG", help="add the overrides to those of this experiment")
    parser.add_argument("--gpus", type=number("--gpus", WORLD_SIZE), default=1, metavar="N",
                        help="number of GPUs that the batch is split over (default: %(default)s)")
    parser.add_argument("--cpu", action="store_true",
                        help="count the operations of a CPU, and add what Python and its libraries take")
    parser.add_argument("--song", type=number("--song", SECONDS), default=240., metavar="SECONDS",
                        help="longest song of the validation set (default: %(default)g)")
    parser.add_argument("--layers", action="store_true", help="show the activations of every layer")
    parser.add_argument("--json", action="store_true", help="print JSON, with all bytes")
    parser.add_argument("--measure", action="store_true",
                        help="make two training steps on noise here, and print what they took (on the CPU: the whole "
                             "process); needs that memory")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the tables of docs/small_gpus.md: minutes")
    parser.add_argument("--table", action="append", default=[], metavar="NAME", help="with --write, only this table")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_args(argv)

    from demucs import memory, memory_page
    if args.write:
        memory_page.write(args.write, only=args.table)
        return 0
    config = memory.configuration(args.overrides, args.from_sig)
    if args.measure:
        measured = memory.measure(config)
        print(json.dumps({"measured": measured}) if args.json else f"{memory_page.mebibytes(measured)} MiB measured")
        return 0
    found = memory.count(config, world_size=args.gpus, gpu=not args.cpu, song=args.song)
    if args.json:
        print(json.dumps({"train": found.train, "valid": found.valid}))
        return 0
    print(memory_page.report(config, found, world_size=args.gpus, layers=args.layers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
