"""Score a model or a bag of models on a test set: `python3 -m tools.test_pretrained --repo ./release_models -n SIG`.

Writes demucs_results/runs/SIG/evaluation.json, collects run card, history and example separations of the run beside it,
and prints the scores with the name of each way of averaging. Settings may also be given by their keys in the
configuration of training, as `test.shifts=2` or `dset.musdb=/data/musdb18hq`; they go before the flags.
"""

import argparse
import logging
import os
import sys
import typing as tp
from pathlib import Path

import torch
from torch import nn

from demucs import pretrained, schema
from demucs.errors import ConfigError, DemucsError
from demucs.inference import collect, experiments, tracks
from demucs.inference.apply import usable_device
from demucs.inference.bag import BagOfModels
from demucs.inference.evaluate import evaluate_tracks
from demucs.inference.outputs import folder_name
from demucs.inference.reference_separators import AverageSpectrumFilter, MixtureAsEstimate, Silence
from demucs.schema import Evaluation
from tools.overrides import KEYS, apply_overrides


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tools.test_pretrained", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY=VALUE", help=f"of {', '.join(KEYS)}")
    pretrained.add_model_flags(parser)
    add("--musdb", type=Path, default=Path(os.environ.get("DEMUCS_MUSDB", "datasets/musdbhq")),
        help="MUSDB18-HQ or a folder like it (default: $DEMUCS_MUSDB, here %(default)s)")
    add("--nonhq", type=Path, help="score on compressed MUSDB18 (.stem.mp4) in this folder instead")
    add("--dataset-name", help="what to call the test set in the records (default: found out)")
    add("--no-sdr", action="store_true", help="only nSDR: leave out museval's SDR, ISR, SIR and SAR, which are slow")
    add("--shifts", type=int, default=1, help="rounds of the shift trick (default: %(default)s)")
    add("--overlap", type=float, default=0.25, help="overlap of the segments (default: %(default)s)")
    add("--no-split", action="store_false", dest="split", help="do not cut songs in segments")
    add("--segment", type=float, help="seconds per segment (default: the model's)")
    add("--seed", type=int, default=0, help="of the shift trick (default: %(default)s)")
    add("-d", "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(here by default: %(default)s)")
    add("-j", "--workers", type=int, default=min(8, os.cpu_count() or 1),
        help="processes for museval (default: %(default)s)")
    add("--save", type=Path, metavar="FOLDER", help="keep all estimates as FOLDER/TRACK/SOURCE.mp3")
    add("--examples", type=int, default=2, help="tracks of which an excerpt is kept (default: %(default)s)")
    add("--reference-separators", action="store_true",
        help="also score silence, the mixture, and a fixed filter fitted on the training songs, by nSDR")
    add("--results", type=Path, default=experiments.RESULTS, help="where records go (default: %(default)s)")
    add("--experiments", type=Path, default=experiments.EXPERIMENTS, help="where runs lie (default: %(default)s)")
    return parser


def reference_separators(model: nn.Module, args: argparse.Namespace) -> tp.Dict[str, nn.Module]:
    """What a model is compared with, by the name that its record gets."""
    sources = list(model.sources)
    first = model.models[0] if isinstance(model, BagOfModels) else model
    sound: tp.Dict[str, tp.Any] = dict(audio_channels=model.audio_channels, samplerate=model.samplerate,
                                       segment=float(first.segment))
    train = [args.musdb / "train" / track.name
             for track in tracks.track_folders(args.musdb, sources=sources, split="train")]
    return {"silence": Silence(sources, **sound), "mixture": MixtureAsEstimate(sources, **sound),
            "average_filter": AverageSpectrumFilter.fit(train, sources, **sound)}


def run(args: argparse.Namespace) -> None:
    """Raises DemucsError where model, data or settings are not usable."""
    apply_overrides(args, args.overrides)
    if args.workers < 0:
        raise ConfigError(f"workers={args.workers}: the number of processes must be 0 or more")
    if args.nonhq and args.reference_separators:
        raise ConfigError("--reference-separators needs training songs as folders of wav files: leave --nonhq out")
    model = pretrained.get_model_from_args(args).to(usable_device(args.device))
    root = args.nonhq or args.musdb
    test = (tracks.musdb_stem_tracks if args.nonhq else tracks.track_folders)(root, sources=model.sources)
    dataset = args.dataset_name or ("MUSDB18 test" if args.nonhq else tracks.dataset_name(root))
    settings = {key: getattr(args, key) for key in ("shifts", "overlap", "split", "segment", "seed")}
    own_name = folder_name(args.sig or args.name)
    folder = args.results / "runs" / own_name
    separators = {own_name: model, **(reference_separators(model, args) if args.reference_separators else {})}

    experiments.collect_run(own_name, experiments=args.experiments, results=args.results)
    evaluations: tp.List[Evaluation] = []
    for name, separator in separators.items():
        own = separator is model
        logging.info("Scoring %s on %s (%d tracks)", name, dataset, len(test))
        sdr = own and not args.no_sdr      # museval takes minutes per song, and nSDR is enough to compare with
        scores = evaluate_tracks(
            separator, test, metrics=("nsdr", "bsseval") if sdr else ("nsdr",), **settings,
            workers=args.workers if sdr else 0, save_to=args.save if own else None,
            keep=collect.ExampleWriter(args.results / "examples" / name, model, count=args.examples) if own else None)
        record = collect.evaluation_record(separator, scores, name=name, dataset=dataset, settings=settings)
        schema.save(record, folder / ("evaluation.json" if own else f"evaluation_{name}.json"))
        evaluations.append(record)
    print(collect.score_tables(evaluations))
    print(f"\nrecords in {folder}")


def main() -> int:
    args = get_parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        run(args)
    except DemucsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
