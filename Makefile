# `make help` lists the targets. Each does the whole set-up first, and again only what has changed since.

SHELL := /bin/bash
PYTHON ?=
export PYTHON
REFERENCE := ../shared/reference
EXTRAS ?= train,evaluate,graphs,curves,automix,dev

.PHONY: help programs setup test unit chaos fuzz demo demo-long report oracle bench clean

help: ## this list
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+: +##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

programs:          ## soundstretch, ffmpeg, Slurm: apt as root, else a list of what is missing
	@slurm_scripts/install_programs.sh

setup: programs .venv/.ready-$(EXTRAS)  ## programs, and .venv with pinned packages

.venv/.ready-$(EXTRAS): pyproject.toml constraints.txt | programs
	slurm_scripts/make_venv.sh .venv -c constraints.txt -e '.[$(EXTRAS)]'
	@# diffq is compiled, which fails without gcc and Python's headers; all but quantisation works without it.
	.venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[quantize]' || \
		{ echo "diffq was not built: no quantisation-aware training (needs gcc and python3-dev)"; [[ -z $$CI ]]; }
	@touch $@

.published/.ready: tests/published.sh | .venv/.ready-$(EXTRAS)
	tests/published.sh .published || { echo "no published Demucs to compare with"; [[ -z $$CI ]]; }

.openunmix/.ready: tests/openunmix.sh | .venv/.ready-$(EXTRAS)
	tests/openunmix.sh .openunmix || { echo "no openunmix to compare with"; [[ -z $$CI ]]; }

# Compiled modules are kept, since tests start hundreds of processes that import them.
PYTEST := PYTHONDONTWRITEBYTECODE= .venv/bin/python -m pytest

test: setup .published/.ready .openunmix/.ready  ## all tests, and the slowest twenty (ARGS="-k name" for some of them)
	$(PYTEST) -n 4 --durations=20 $(ARGS)

unit: setup .published/.ready .openunmix/.ready  ## the tests without trainings, processes, Slurm and browser: some minutes
	$(PYTEST) -n 2 -m unit $(ARGS)

chaos: setup       ## 200 faults injected into a training on a private Slurm, results in docs/cluster.md: hours; resumable
	.venv/bin/python tests/slurm/chaos.py --kills 200 --figures docs/cluster.md

fuzz: setup        ## 10 000 mutated files through every reader, results in docs/map.md: some minutes (ARGS="--seed 1")
	.venv/bin/python tests/fuzz/fuzz.py --inputs 10000 --figures docs/map.md $(ARGS)

demo: setup        ## train, export, evaluate, separate and report, on a private Slurm: some minutes on two cores
	slurm_scripts/demo.sh

demo-long: setup   ## the same with a longer training: under an hour on two cores
	slurm_scripts/demo.sh --long

report: setup      ## figures and report of the newest run, and of ../shared/reference, if present, in outputs/reference
	for script in plot_results plot_scores report; do .venv/bin/python graphing_scripts/$$script.py || exit; done
	@[[ ! -d $(REFERENCE) ]] || { set -e; mkdir -p outputs/reference; \
		.venv/bin/python graphing_scripts/report.py $(REFERENCE)/runs --experiments $(REFERENCE)/signatures.json \
			--trained-on "MUSDB18-HQ train" --scored-on "MUSDB18-HQ test" --results outputs/reference; \
		.venv/bin/python graphing_scripts/plot_comparison.py $(REFERENCE)/museval/demucs-v2-seed4* --results outputs/reference; \
		.venv/bin/python graphing_scripts/plot_scores.py $(REFERENCE)/museval/* --results outputs/reference; }

oracle: setup .published/.ready .openunmix/.ready  ## published Demucs and openunmix on our packages, the peers of tests and benchmarks

.demucs_learn:
	git clone --quiet --bare https://github.com/piusssss/demucs_learn $@

bench: oracle .demucs_learn  ## docs/benchmarks.md: speed and memory beside published Demucs, measured in the same run
	.venv/bin/python -m benchmarks.run

clean: ## remove the environments; results of runs stay
	rm -rf .venv .published .openunmix .demucs_learn *.egg-info soundtouch/build soundtouch/src
