# make run · make test · make test-fast · make survive · make lint · make bench
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SMOKE  := configs/classification/mnli/distilbert/00_sft.yaml

.PHONY: run test test-fast survive lint bench
.DEFAULT_GOAL := run

# The stamp is newer than what decides the environment, so a second call installs nothing.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Forge needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25" "setuptools>=77"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps torchdistill==1.1.5  # reference for tests; its torchvision breaks torch
	touch $@

run: $(VENV)/.installed
	$(BIN)/python forge.py --config $(SMOKE) --max_steps 10

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/shellcheck run_training.sh site.example.sh .ci/run

test: $(VENV)/.installed lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal

test-fast: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal -m "not slow"

# Every way to interrupt a run, in full, with counts.
survive: $(VENV)/.installed
	FORGE_FULL=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/faults tests/slurm tests/invariants -rP

bench: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m bench
