"""Costs of models: `python -m tools.complexity [MODEL ...] [MODEL.KEY=VALUE ...]`.

Prints for each model its parameters, multiply-adds per second of audio by kind of operation, memory of the activations
of one example, the part of the mixture that a sample of the estimates depends on, and, with --time, the time for 180 s
of audio on this device and the fraction of the device's peak that it reaches. A MODEL is a name in the zoo, the
signature of a run or the name of a study; without any, all of the zoo are counted. docs/models.md explains the columns.
"""

import argparse
import dataclasses
import json
import sys
import typing as tp
from pathlib import Path

from demucs.arguments import Parser, number
from demucs.console import command
from demucs.errors import ConfigError
from demucs.ranges import SECONDS, Range
from demucs.schema import ModelCost, load_costs

ROUNDS = Range(1, 1000, whole=True)


@command(prints=True)
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    parser = Parser(prog="python -m tools.complexity", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help="models, and settings MODEL.KEY=VALUE that differ from the defaults")
    add("--as-published", action="store_true", help="variants of HTDemucs as their author's code has them")
    add("--sources", metavar="NAME,...", help="names of the sources (default: drums,bass,other,vocals)")
    add("--segment", type=number("--segment", SECONDS), metavar="SECONDS",
        help="audio of one forward pass (default: the segment of each model, at most 180 s)")
    add("--counts-only", action="store_true", help="leave out context and latency, which take seconds per model")
    add("--time", action="store_true", help="also measure the time, for which the device should be idle")
    add("-d", "--device", default="cpu", help="device for --time (default: %(default)s)")
    add("--rounds", type=number("--rounds", ROUNDS), default=3, metavar="N",
        help="forward passes for --time, of which the fastest counts, after one to warm up (default: %(default)s)")
    add("--json", action="store_true", help="print a JSON list of objects, with all numbers")
    add("--record", type=Path, action="append", default=[], metavar="FILE",
        help="take what is counted in FILE, an output of --json, instead of counting (may be repeated); with --time "
             "only the times are measured")
    add("--write", type=Path, metavar="PAGE", help="write the tables of docs/models.md instead of printing")
    args = parser.parse_args(argv)
    if args.record and (args.models or args.as_published or args.sources or args.segment or args.counts_only):
        raise ConfigError(f"--record {args.record[0]} has models and settings of its own: leave out the others")

    costs = _costs(args)
    if args.write:
        from demucs.costs import page
        page.write(args.write, costs)
    elif args.json:
        print(json.dumps([dataclasses.asdict(each) for each in costs], indent=1))
    else:
        from demucs.costs import page
        print(page.table(costs))
    return 0


def _costs(args: argparse.Namespace) -> tp.List[ModelCost]:
    known = [each for path in args.record for each in load_costs(path)] if args.record else None
    if known is not None and not args.time:
        return known
    from demucs.costs import receptive_field, speed
    from demucs.costs.count import counted
    from demucs.costs.subject import Subject, subjects
    from demucs.schema import SOURCES
    from demucs.separation.devices import usable_device

    device = usable_device(args.device)
    if known is None:
        chosen = subjects(args.models, segment=args.segment, as_published=args.as_published,
                          sources=args.sources.split(",") if args.sources else None)
    else:
        chosen = [Subject(each.model, each.settings, SOURCES if each.sources == len(SOURCES) else
                          tuple(f"source {place}" for place in range(each.sources)), each.run) for each in known]
    costs = []
    for place, subject in enumerate(chosen):
        name = f"{subject.model} {subject.run}".rstrip()
        print(f"{place + 1} of {len(chosen)}: {name}", file=sys.stderr, flush=True)
        found = counted(subject) if known is None else known[place]
        if known is None and not args.counts_only:
            found = receptive_field.with_context(found, subject)
        costs.append(speed.with_time(found, subject, device, rounds=args.rounds) if args.time else found)
    return costs


if __name__ == "__main__":
    sys.exit(main())
