# fastindex: `make help` lists what can be made. Nothing but Python 3.11 and make is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help run bench test faults faults-long lint types format clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(INSTALLED)  ## the main job on an example of 74,000 files: write it, index it, open it with the ONE client
	$(BIN)/python -m fastindex example example-data
	$(BIN)/python -m fastindex example-data
	$(BIN)/python -m fastindex example-data --hash
	$(BIN)/python examples/first_look.py example-data

bench: run  ## time the main job against other programs on the example, in pairs
	$(BIN)/python benchmarks/compare.py example-data

test: $(INSTALLED)  ## all tests but those that inject faults, in less than 90 s
	$(BIN)/python -m pytest

faults: $(INSTALLED)  ## prove each promise: kill, fail, fill, damage; one line with its figure for each
	FASTINDEX_ALL_PROMISES=1 $(BIN)/python -m pytest -m fault tests/faults

faults-long: $(INSTALLED)  ## the same with ten times as many tries (half an hour)
	FASTINDEX_FAULTS=long FASTINDEX_ALL_PROMISES=1 $(BIN)/python -m pytest -m fault --timeout 1800 tests/faults

lint: $(INSTALLED)  ## style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)  ## mypy, strict
	$(BIN)/mypy

format: $(INSTALLED)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what was made here: the environment, the example, caches
	rm -rf $(VENV) example-data .pytest_cache .mypy_cache .ruff_cache .hypothesis
