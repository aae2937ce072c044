"""Folders of runs, and names of the files in them."""

from pathlib import Path

EXPERIMENTS = Path("outputs") / "xps"      # EXPERIMENTS/SIGNATURE is the folder of a run, as Dora has it
MODELS = Path("release_models")            # MODELS/SIGNATURE.th is an exported model
RESULTS = Path("demucs_results")           # RESULTS/runs/SIGNATURE has the records of a run for reports

ARGV = ".argv.json"                        # overrides of the configuration, by Dora
BEST = "best.th"                           # package of the best weights so far
NEWEST = "checkpoint.th"                   # state of the training
PREVIOUS = "checkpoint_previous.th"        # the previous checkpoint
CHECKPOINT_RECORDS = "checkpoint.json"     # progress of the checkpoints
HISTORY = "history.json"                   # metrics of each epoch
RUN_CARD = "run_card.json"                 # settings and environment of the training, and its sessions
STATUS = "status.json"                     # state of the run
LEDGER = "ledger.jsonl"                    # beginning and end of each session
ATTEMPTS = "attempts.json"                 # starts of its job
LOCK = "lock"                              # process that trains the run
LOG = "train.log"
EXTENDED = "extended.json"                 # the run that it extends, and those that extend it
EVALUATION = "evaluation.json"             # in RESULTS/runs/SIGNATURE
OTHER_EVALUATIONS = "evaluation_*.json"    # beside it: on further test sets, and of reference separators
ORIGIN = "origin.txt"                      # in a song's folder and beside its excerpts: author, licence
STUDY = "study.json"                       # study of measures without references, in RESULTS/quality/SIGNATURE
