"""Golden scores of a toy separator by the evaluation of published Demucs (4.1.0).

    .published/bin/python tests/golden/make_evaluation.py

writes evaluation.json beside this file.
"""

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

from demucs.evaluate import evaluate
from evaluation_cases import RATE, Leaky, write_tracks


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tracks(root)
        args = SimpleNamespace(
            dset=SimpleNamespace(musdb=str(root), musdb_samplerate=RATE), misc=SimpleNamespace(num_prints=1),
            test=SimpleNamespace(nonhq=None, workers=0, shifts=0, split=True, overlap=0.25, save=False))
        solver = SimpleNamespace(args=args, folder=root, model=Leaky(), device="cpu")
        scores = {name: float(value) for name, value in evaluate(solver, compute_sdr=True).items()}
    Path(__file__).with_name("evaluation.json").write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
