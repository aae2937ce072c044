# `make help` lists the targets. Each does the whole set-up first, and again only what has changed since.

SHELL := /bin/bash
PYTHON ?=
export PYTHON
EXTRAS ?= train,evaluate,graphs,curves,dev

.PHONY: help programs setup test chaos demo demo-long oracle bench clean

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

.oracle/.ready: benchmarks/oracle-requirements.txt | programs
	PYTHON_BELOW=3.14 slurm_scripts/make_venv.sh .oracle -r benchmarks/oracle-requirements.txt

test: setup        ## all tests (ARGS="-k name" for some of them)
	.venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

chaos: setup       ## a training killed 200 times on a private Slurm, and its figures in docs/cluster.md: hours; goes on
	.venv/bin/python tests/slurm/chaos.py --kills 200 --figures docs/cluster.md

demo: setup        ## train, release, evaluate, separate and draw, on a private Slurm: some minutes on two cores
	slurm_scripts/demo.sh

demo-long: setup   ## the same with a longer training: under an hour on two cores
	slurm_scripts/demo.sh --long

oracle: setup .oracle/.ready  ## .oracle: published Demucs in its own environment, the peer of the benchmarks

bench: oracle      ## docs/benchmarks.md, beside published Demucs in the same run
	.venv/bin/python -m benchmarks.run

clean: ## remove the environments; what runs made stays
	rm -rf .venv .oracle *.egg-info soundtouch/build soundtouch/src
