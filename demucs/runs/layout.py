"""Where runs lie, and what the files in the folder of a run are called."""

from pathlib import Path

EXPERIMENTS = Path("outputs") / "xps"      # EXPERIMENTS/SIGNATURE is the folder of a run, for Dora and for us
MODELS = Path("release_models")            # MODELS/SIGNATURE.th: what is exported
RESULTS = Path("demucs_results")           # RESULTS/runs/SIGNATURE: what is kept of a run for reports

ARGV = ".argv.json"                        # overrides of the configuration, by Dora
BEST = "best.th"                           # package of the best weights so far
NEWEST = "checkpoint.th"                   # state of the training
PREVIOUS = "checkpoint_previous.th"        # the same, one checkpoint before
CHECKPOINT_RECORDS = "checkpoint.json"     # how far these have come
HISTORY = "history.json"                   # metrics of each epoch
RUN_CARD = "run_card.json"                 # what was trained how, session by session
STATUS = "status.json"                     # what the run is doing
LEDGER = "ledger.jsonl"                    # begin and end of each session
ATTEMPTS = "attempts.json"                 # account of the starts of its job
LOCK = "lock"                              # who trains it
LOG = "train.log"
EXTENDED = "extended.json"                 # which run it extends, and which ones extend it
EVALUATION = "evaluation.json"             # in RESULTS/runs/SIGNATURE
OTHER_EVALUATIONS = "evaluation_*.json"    # beside it: on further test sets, and of reference separators
STUDY = "study.json"                       # of measures without references, in RESULTS/quality/SIGNATURE
