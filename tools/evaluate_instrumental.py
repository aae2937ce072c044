"""Score and compare models on the instrumental, the mixture without the vocals: `python -m tools.evaluate_instrumental
RESULT...`.

RESULT is one of
    a file       an evaluation.json, or a result of the notes on variants of HTDemucs (.json, .json.gz)
    a folder     with an evaluation.json, with such files, or with separated songs as TRACK/instrumental.wav
    a model      signature or name, which is evaluated as tools.test_pretrained does, with the same record; what is
                 scored is not scored again. Without the model, its record in demucs_results/runs is read

A model of several sources is scored on the sum of its estimates but the vocals. Prints mean, median and standard
deviation over the frames of all tracks (SDR of BSSEval v4 in frames of one second), the medians of tracks, the nSDR of
tracks, differences of all pairs (later minus earlier), paired by song, and what they show. docs/instrumental.md explains
the numbers.
"""

import argparse
import dataclasses
import itertools
import logging
import sys
import typing as tp
from pathlib import Path

from demucs import schema
from demucs.arguments import Parser
from demucs.console import command, log_messages
from demucs.errors import ConfigError, DatasetError, DemucsError
from demucs.metrics import instrumental, instrumental_json, instrumental_text
from demucs.runs.layout import EVALUATION, EXPERIMENTS
from demucs.schema import Evaluation, InstrumentalReport, SchemaError
from tools.evaluate import add_flags, request_of
from tools.test_pretrained import SEPARATION, add_separation_flags

PREFIXES = ("academic_evaluation_", "all_tracks_evaluation_")     # of the files of the notes, before the name of a model

Found = tp.Tuple[Evaluation, str]       # an evaluation of the instrumental, and the file that it was read from


def get_parser() -> argparse.ArgumentParser:
    """Parser of this command line."""
    parser = Parser(prog="python -m tools.evaluate_instrumental", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("given", nargs="+", metavar="RESULT", help="file, folder or model, as above")
    add("--repo", type=Path, help="folder with the models (default: ./release_models, then the published ones)")
    add("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    add("--export", type=Path, metavar="FOLDER",
        help="write every result to FOLDER/NAME.json in the format of the notes")
    add("--page", type=Path, metavar="FILE", help="also write the results between the marks of this Markdown page")
    add_flags(parser)
    add_separation_flags(parser)
    parser.set_defaults(experiments=EXPERIMENTS)
    return parser


def found(argument: str, args: argparse.Namespace) -> tp.List[Found]:
    """Evaluations of the instrumental that `argument` names; a model or separated songs are evaluated first. The list is
    empty if other shards have not finished.

    Raises:
        DemucsError: if it cannot be read or evaluated.
    """
    path = Path(argument)
    if path.is_file():
        return [read(path)]
    if path.is_dir():
        return in_folder(path, args)
    if argument.endswith(instrumental_json.SUFFIXES):
        raise SchemaError(f"{path}: no such file")
    evaluated, record = of_model(argument, args)
    return [] if evaluated is None else [(instrumental_json.of_evaluation(evaluated), str(record))]


def read(path: Path) -> Found:
    """Evaluation in a file, an own record or a result of the notes. Raises SchemaError if it is neither."""
    plain = instrumental_json.read_json(path)
    if instrumental_json.is_instrumental(plain):
        name = path.name.split(".json")[0]
        whole = instrumental_json.read_plain(plain, name, str(path))
    else:
        whole = schema.from_plain(Evaluation, plain, where=str(path))
    return instrumental_json.of_evaluation(whole), str(path)


def in_folder(folder: Path, args: argparse.Namespace) -> tp.List[Found]:
    """Evaluations in a folder: its record, otherwise all result files in it, otherwise that of the separated songs."""
    if (folder / EVALUATION).is_file():
        return [read(folder / EVALUATION)]
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(instrumental_json.SUFFIXES))
    if files:
        return [read(path) for path in files]
    from demucs.evaluation.request import score_files
    request = request_of(args, folder.resolve().name)
    evaluated = collected(request.folder) if args.collect else score_files(request, folder)
    return [] if evaluated is None else [(instrumental_json.of_evaluation(evaluated), str(request.folder))]


def of_model(name: str, args: argparse.Namespace) -> tp.Tuple[tp.Optional[Evaluation], Path]:
    """Evaluation of the model `name`, and the folder of its record. If there is no such model, its record in
    demucs_results/runs is read."""
    from demucs import pretrained
    from demucs.evaluation.request import score_model
    from demucs.models.protocol import default_shifts
    from demucs.separation.defaults import ByModel
    from demucs.separation.outputs import folder_name

    request = request_of(args, folder_name(name))
    if args.collect:
        return collected(request.folder), request.folder
    record = request.folder / EVALUATION
    try:
        model = pretrained.get_model(name, args.repo)
    except DemucsError as error:
        if not record.is_file():
            raise
        logging.info("%s is read, since there is no such model here (%s)", record, error)
        return schema.load(Evaluation, record), record
    settings = {key: getattr(args, key) for key in SEPARATION}
    if isinstance(args.shifts, ByModel):
        settings["shifts"] = default_shifts(model)
    return score_model(request, model, settings=settings, precision=args.precision), request.folder


def collected(folder: Path) -> Evaluation:
    """First test set of the merged results of all shards in `folder`."""
    from demucs.evaluation import records
    return records.collect_records(folder)[0]


def named_apart(results: tp.Sequence[Found]) -> tp.List[Found]:
    """`results` with short names that are all different: that of the file without the prefix of the notes, the whole
    one, or with its folder in front."""
    def short(each: Evaluation) -> str:
        prefix = next((start for start in PREFIXES if each.name.startswith(start) and each.name != start), "")
        return each.name[len(prefix):]

    for names in ([short(each) for each, _ in results], [each.name for each, _ in results],
                  [f"{Path(file).resolve().parent.name}/{each.name}" for each, file in results]):
        if len(set(names)) == len(names):
            return [(dataclasses.replace(each, name=name), file) for (each, file), name in zip(results, names)]
    raise ConfigError(f"the results {', '.join(file for _, file in results)} are called the same, or one is given twice; "
                      f"give each once, under another name")


def run(args: argparse.Namespace) -> None:
    """Find or make all results, print them, and write what was demanded. Raises DemucsError if one cannot be used."""
    results = [each for argument in args.given for each in found(argument, args)]
    if not results:
        return
    results = named_apart(results)
    evaluations = [evaluation for evaluation, _ in results]
    report = compared(results)
    print("\n".join(["", *instrumental_text.table(report.results)]))
    if report.differences:
        print("\n".join(["", *map(instrumental_text.difference_line, report.differences)]))
        print("\n".join(["", *instrumental_text.split_lines(evaluations)]))
    print("\n".join(["", *report.sentences]))
    if args.export is not None:
        for evaluation in evaluations:
            path = args.export / f"{evaluation.name.replace('/', '_')}.json"
            instrumental_json.write_file(evaluation, path)
            print(f"wrote {path}")
    if args.json is not None:
        schema.save(report, args.json)
        print(f"wrote {args.json}")
    if args.page is not None:
        instrumental_text.write_page(report, args.page)


def compared(results: tp.Sequence[Found]) -> InstrumentalReport:
    """Report on evaluations of the instrumental and on all pairs of them, later minus earlier. A pair that shares too few
    songs has a sentence instead of differences."""
    from demucs.runs.provenance import commit, now
    evaluations = [evaluation for evaluation, _ in results]
    scores = [instrumental.scores(evaluation, file) for evaluation, file in results]
    differences, apart = [], []
    for earlier, later in itertools.combinations(evaluations, 2):
        try:
            differences += instrumental.differences(later, earlier)
        except DatasetError as error:
            apart.append(f"Not compared: {error}.")
    return InstrumentalReport(
        results=scores, differences=differences, commit=commit(), created=now(),
        sentences=[*instrumental_text.sentences(scores, evaluations, differences), *apart])


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    args = get_parser().parse_args(argv)
    log_messages()
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
