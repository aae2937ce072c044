"""Train Open-Unmix with the arguments of its own training script:

    python -m tools.train_openunmix --root /datasets/musdb18hq --target vocals
    python -m tools.train_openunmix --root data --dataset trackfolder_var --target-file vocals.flac --ext .wav

Prints the signature of the experiment and the `dora run` line of the same training, and trains. The same command again
continues from the last checkpoint. In the end the network is written to the folder of --output, in the format of
openunmix. Names of arguments may have hyphens or underscores. docs/openunmix_training.md has the key of the
configuration that each argument sets.
"""

import argparse
import os
import sys
import typing as tp
from pathlib import Path
from unittest import mock

from demucs.console import command, log_messages
from demucs.errors import ConfigError, DemucsError, PackageError
from demucs.ranges import RANK, from_environment
from demucs.runs.layout import EXPERIMENTS, NEWEST
from tools.openunmix_arguments import BY_DEST, get_parser
from tools.openunmix_output import require_usable, write_folder
from tools.openunmix_overrides import PREVIEW, changed, line, plain_values, sizes_of, values_of


def notes_of(args: argparse.Namespace) -> tp.List[str]:
    """Sentences about arguments that something else replaces here, and about songs that are downloaded."""
    notes = []
    if args.root is None:
        notes.append(f"--root is not given: the 7-second preview of MUSDB18 is downloaded to {PREVIEW}, for tests only")
    if args.audio_backend not in (None, "soundfile"):
        notes.append(f"--audio-backend {args.audio_backend}: audio is read by soundfile, with the same samples")
    if args.unidirectional:
        notes.append("--unidirectional: openunmix cannot read such a network, so no folder is written for it after the "
                     "training; tools.export exports it")
    return notes


def check_checkpoint(checkpoint: tp.Optional[str], signature: str) -> None:
    """Raise ConfigError if --checkpoint names a checkpoint that this training does not continue from: it continues from
    its own one, without that argument."""
    own = EXPERIMENTS / signature
    if checkpoint is not None and not (own / NEWEST).exists():
        raise ConfigError(f"--checkpoint {checkpoint}: a training continues from its own checkpoint, when the same "
                          f"command is called again, and {own} has none. Leave --checkpoint out to begin this "
                          f"training; to begin it with the weights of a folder that openunmix wrote, give --model "
                          f"{checkpoint} instead")


def train(overrides: tp.Sequence[str]) -> None:
    """Train the experiment with these overrides in this process, as `dora run` does. Raises SystemExit if it fails or
    is interrupted."""
    from dora.__main__ import main as dora

    with mock.patch.object(sys, "argv", ["dora", "-P", "demucs", "run", "--", *overrides]):
        dora()


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    parser = get_parser(__doc__)
    parser.add_argument("--dry-run", action="store_true", help="only print signature and overrides")
    args = parser.parse_args(argv)
    log_messages()
    if args.no_cuda:
        os.environ["DEMUCS_DEVICE"] = "cpu"
    output = Path(args.output or BY_DEST["output"].default).expanduser()
    values = values_of(args)
    values.update(sizes_of(args, values))

    from demucs.signature import signature as signature_of     # reads the environment
    overrides = changed(values, plain_values())
    signature = signature_of(overrides)
    if from_environment("RANK", 0, RANK) == 0:
        print(f"signature {signature}, in {EXPERIMENTS / signature}")
        print(line(overrides, cpu=bool(args.no_cuda)), flush=True)
        for note in notes_of(args):
            print(note, file=sys.stderr)
    check_checkpoint(args.checkpoint, signature)
    require_usable(output)
    if args.dry_run:
        return 0
    train(overrides)
    return finish(signature, next(iter(values["dset.targets"])), output)


def finish(signature: str, target: str, output: Path) -> int:
    """Write the folder `output` of a training that is done. Returns the exit status: 1 for one that was stopped."""
    from demucs.runs.status import last_said

    if from_environment("RANK", 0, RANK):       # the first process writes the folder
        return 0
    status = last_said(EXPERIMENTS / signature)
    if status is None or status.state != "done":
        raise DemucsError(f"the training {signature} is not complete, so {output} is not written; the same command "
                          f"continues it")
    try:
        write_folder(signature, target, output)
    except PackageError as error:
        print(f"warning: {error}", file=sys.stderr)
        print(f"The training is complete: python -m tools.export {signature}")
        return 0
    print(f"{output}: {target} with the best weights of {signature}, in the format of openunmix")
    return 0


if __name__ == "__main__":
    sys.exit(main())
