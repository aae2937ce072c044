"""Exchange scores with museval: `python -m tools.museval_scores export RECORD FOLDER`, or `import FOLDER`.

Export converts an evaluation.json to FOLDER/test/TRACK.json, which museval.MethodStore().add_eval_dir(FOLDER) reads.
Import converts a folder of museval's files to a record in demucs_results/runs/NAME, which reports can show.
"""

import argparse
import sys
from pathlib import Path

from demucs import schema
from demucs.arguments import Parser
from demucs.console import command
from demucs.errors import ConfigError
from demucs.metrics import museval_json
from demucs.runs.layout import EVALUATION, RESULTS
from demucs.schema import Evaluation


@command()
def main() -> int:
    parser = Parser(prog="python -m tools.museval_scores", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="convert a record to museval's files")
    export.add_argument("record", type=Path, help="an evaluation.json")
    export.add_argument("folder", type=Path,
                        help="folder for museval's files; its name is the name of the method in museval")
    read = commands.add_parser("import", help="convert museval's files to a record")
    read.add_argument("folder", type=Path, help="folder with TRACK.json, TRACK.json.gz or test/TRACK.json")
    read.add_argument("-n", "--name", help="name of the evaluation (default: that of the folder)")
    read.add_argument("--results", type=Path, default=RESULTS, help="folder for records (default: %(default)s)")
    args = parser.parse_args()
    if args.command == "export":
        paths = museval_json.write_folder(schema.load(Evaluation, args.record), args.folder)
        print(f"wrote {len(paths)} tracks to {args.folder / museval_json.SUBSET}")
    else:
        record = museval_json.read_folder(args.folder, name=args.name)
        path = args.results / "runs" / record.name / EVALUATION
        if path.exists() and schema.load(Evaluation, path).model != record.model:
            raise ConfigError(f"{path} is an evaluation of our own; choose another name with --name")
        schema.save(record, path)
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
