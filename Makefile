# fastindex: `make help` lists what can be made. Nothing but Python 3.11 and make is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := $(VENV)/.peers
TUTORIAL := $(VENV)/.tutorial
LOWEST := .venv-lowest
LIGHT := build client index info release report search verify
# No browser; and the client's answers to \w are those of pandas 3.1: that of numpy 2.0 takes it for ASCII.
NOT_LIGHT := browser or (hundred_questions and awkward)

.DEFAULT_GOAL := help
.PHONY: help run walkthrough bench bench-large bench-check test lowest faults faults-long lint types format clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(INSTALLED)  ## the main job on an example of 74,000 files: write it, index it, open it with the ONE client
	$(BIN)/python -m fastindex example example-data
	$(BIN)/python -m fastindex example-data
	$(BIN)/python -m fastindex example-data --hash
	$(BIN)/python examples/first_look.py example-data

$(TUTORIAL): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[tutorial]'
	@touch $@

walkthrough: $(TUTORIAL)  ## the tutorial "Releasing data with ONE" from start to end, in half a minute
	rm -rf walkthrough
	$(BIN)/python examples/release_walkthrough.py walkthrough

$(PEERS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

bench: $(PEERS)  ## measure on the example against all yardsticks: a few minutes; updates the README
	$(BIN)/python -m benchmarks.speed example example-hash example-rerun example-verify example-verify-hash --data bench-data
	$(BIN)/python -m benchmarks.release --data bench-data
	$(BIN)/python -m benchmarks.client --data bench-data
	$(BIN)/python -m benchmarks.look --data bench-data
	$(BIN)/python -m benchmarks.calls --data bench-data
	$(BIN)/python -m benchmarks.table

bench-large: $(PEERS)  ## the same on 1 M files, 8 GB and 10 M invented datasets: an hour, 20 GB of disk
	$(BIN)/python -m benchmarks.speed 1m 1m-hash 1m-one-folder big big-verify-hash growth --data bench-data
	$(BIN)/python -m benchmarks.memory --data bench-data
	$(BIN)/python -m benchmarks.waiting --data bench-data
	PATH=$(BIN):$$PATH $(BIN)/python -m benchmarks.stages example 1m --data bench-data --write
	$(BIN)/python -m benchmarks.table

bench-check: $(INSTALLED)  ## fail if a run is 15 % slower than at the commit in benchmarks/baseline.json: a minute
	$(BIN)/python -m benchmarks.check --data bench-data

test: $(INSTALLED)  ## all tests but those that inject faults, in less than 90 s
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Python 3.11, where it is there: of the lowest versions there are no wheels for newer ones.
$(LOWEST)/.installed: pyproject.toml
	$(or $(shell command -v python3.11),$(PYTHON)) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --editable '.[light]'
	@touch $@

lowest: $(LOWEST)/.installed  ## the light tests with the lowest versions that pyproject.toml allows, in a minute
	$(LOWEST)/bin/python -m pytest -n 2 --dist worksteal $(LIGHT:%=tests/jobs/test_%.py) -k 'not ($(NOT_LIGHT))'

faults: $(INSTALLED)  ## prove each promise: kill, fail, fill, damage; one line with its figure for each
	FASTINDEX_ALL_PROMISES=1 $(BIN)/python -m pytest -m fault

faults-long: $(INSTALLED)  ## the same with ten times as many tries (half an hour)
	FASTINDEX_FAULTS=long FASTINDEX_ALL_PROMISES=1 $(BIN)/python -m pytest -m fault --timeout 1800

lint: $(INSTALLED)  ## style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)  ## mypy, strict
	$(BIN)/mypy

format: $(INSTALLED)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what was made here: the environment, the example, caches
	rm -rf $(VENV) $(LOWEST) example-data walkthrough bench-data .pytest_cache .mypy_cache .ruff_cache .hypothesis
