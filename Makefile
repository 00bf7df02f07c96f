# One door to the suite. `make help` lists it; README.md explains it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

DATA   ?= synthetic
PRESET ?= smoke
RECIPE ?= paper
SEEDS  ?= 0
JOBS   ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
PYTHON ?= python3
VENV   ?= .venv
CHAPTERS ?= notebooks/*.ipynb

STAMP := $(VENV)/.installed
BIN   := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)

# VENV=FOLDER names an environment of somebody's own where it is there and was not made here: it is used as it is, and
# nothing is installed into it but by `make setup`.
OURS  := $(filter file,$(origin VENV))$(shell grep -sxF '$(CURDIR)' '$(STAMP)')$(if $(wildcard $(BIN)/python),,new)
READY := $(if $(OURS),$(STAMP),named)

# uv takes local wheels from where pip is told to look for them (uv separates by commas, pip by blanks).
comma := ,
empty :=
blank := $(empty) $(empty)
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(subst $(blank),$(comma),$(strip $(PIP_FIND_LINKS)))
endif
# Without byte code every kernel start costs seconds more.
unexport PYTHONDONTWRITEBYTECODE

SUITE = $(DATA)-$(PRESET)-$(RECIPE)
# PROFILE=slurm: jobs go to the cluster that profiles/slurm describes (docs/cluster.md).
WHERE = $(if $(PROFILE),--workflow-profile profiles/$(PROFILE),--cores $(JOBS))
SNAKE = snakemake $(WHERE) --keep-going --rerun-incomplete --scheduler greedy --quiet rules host \
        --config data=$(DATA) preset=$(PRESET) recipe=$(RECIPE) "seeds=$(SEEDS)"

.PHONY: help setup named reproduce resume report scarcity leaderboard gpu-queue lease video cluster slides lab test lint unit notebooks outputs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18
	@echo
	@echo "Variables (here with their values): DATA=$(DATA) PRESET=$(PRESET) RECIPE=$(RECIPE) SEEDS=$(SEEDS) JOBS=$(JOBS)"
	@echo "  DATA    synthetic | mocap          PRESET  smoke | compact | small | medium | base | large"
	@echo "  RECIPE  paper | released           SEEDS   e.g. \"0 1 2\""
	@echo "  PROFILE none here; slurm | kubernetes: the jobs run on that cluster, see docs/cluster.md"
	@echo "  VENV    where the suite is installed ($(VENV)); one that is there already is used as it is"
	@echo "One table alone, training what is missing: make table5 DATA=mocap PRESET=base (table1 table2 table5 ... table8 figure6 scarcity leaderboard)"

setup: $(STAMP) ## make .venv and install the suite into it (runs by itself when needed)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "m2v needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e ".[all]"
	@echo '$(CURDIR)' > $@

named:
	@test -x $(BIN)/m2v || { echo "$(VENV) has no m2v; make setup VENV=$(VENV) installs the suite into it"; exit 1; }

reproduce: $(READY) ## run the whole suite and build the book; does only what is not done yet
	@status=0; $(SNAKE) || status=$$?; \
	echo; echo "The report: file://$(CURDIR)/reports/html/index.html"; \
	[ $$status -eq 0 ] || echo "Not everything ran (see above): failed notebooks are red in the report, make resume goes on."; \
	exit $$status

resume: $(READY) ## go on after a killed or failed run
	@$(SNAKE) --unlock
	@$(MAKE) --no-print-directory reproduce

report: $(READY) ## build the book again from what has run
	@m2v report --suite $(SUITE)

# One table alone: m2v_lib/experiments/tables.yaml says which groups of rows and which chapter that is.
define one-table
@words=$$(m2v rows $@ --targets) && $(SNAKE) "tables=$${words#* }" chapters=$${words%% *} -- \
    reports/executed/$(SUITE)/suite.json reports/executed/$(SUITE)/$${words%% *}.ok
@m2v report --suite $(SUITE)
endef

table% figure%: $(READY)
	$(one-table)

scarcity leaderboard: $(READY)
	$(one-table)

gpu-queue: $(READY) ## the real runs wanted on mocap, next unfinished first; RUN=1 runs them on the GPU of this machine
	@m2v queue --preset base --device cuda $(if $(RUN),--run)

lease: ## check the engine on a GPU that is lent for MINUTES (default 9), train what fits, pack the records
	@$(PYTHON) -m m2v_lib.cli queue --preset $(if $(filter smoke,$(PRESET)),compact,$(PRESET)) --device cuda --workers 2 --compile --bench medium base --lease $(or $(MINUTES),9)

video: .venv-video/.installed ## the detector that `m2v lift VIDEO` needs, in an environment of its own (1 GB)

.venv-video/.installed: | $(READY)
	$(PYTHON) -m venv .venv-video
	$(BIN)/uv pip install --quiet --python .venv-video/bin/python --compile-bytecode "mediapipe==0.10.21" "av>=14,<19"
	@touch $@

cluster: $(READY) ## what PROFILE=slurm and PROFILE=kubernetes need, into .venv (docs/cluster.md)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[cluster]"

slides: $(READY) ## the chapters as slides for teachers: reports/slides/index.html
	@python -m m2v_lib.report.slides

lab: $(READY) ## open the notebooks in Jupyter Lab
	jupyter lab notebooks

test: lint unit notebooks ## ruff, mypy, pytest, and every notebook against its stored outputs

lint: $(READY)
	ruff check .
	mypy

unit: $(READY)
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadscope

notebooks: $(READY)
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadscope --nbval --nbval-current-env \
	    --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks

outputs: $(READY) ## store the outputs of CHAPTERS, run with their defaults (after a change that they show)
	folder=$$(mktemp -d); trap "rm -rf $$folder" EXIT; \
	M2V_RUNS=$$folder/runs M2V_STORE=$$folder/stores OMP_NUM_THREADS=1 jupyter nbconvert --to notebook --inplace --execute \
	    --ExecutePreprocessor.record_timing=False $(CHAPTERS)

clean: ## remove what was generated: runs, stores, executed notebooks, book (keeps .venv, data/ and reports/records)
	rm -rf reports/runs reports/stores reports/executed reports/html reports/slides reports/.book-* .snakemake
