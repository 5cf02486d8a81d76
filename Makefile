# fastindex: `make help` lists what can be made. Nothing but Python 3.11 and make is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python  # a quarter of the time that pip takes
USER := $(VENV)/.user
DEV := $(VENV)/.dev
PEERS := $(VENV)/.peers
LOWEST := .venv-lowest
EXAMPLE := build/example
LIGHT := $(addprefix jobs/test_,build client index info release report search verify) commands/test_completion trees/test_exclude
# No browser; and the client's answers to \w are those of pandas 3.1: that of numpy 2.0 takes it for ASCII.
NOT_LIGHT := browser or (hundred_questions and awkward)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run dev check docs walkthrough package bench bench-large bench-check test test-long lowest newest windows faults faults-long filesystems-long lint types format clean
# Tests start many interpreters: one that compiles all that it imports takes 0.3 s more.
unexport PYTHONDONTWRITEBYTECODE

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(USER): pyproject.toml hatch_build.py fastindex/_kernel.c  # compiled where there is a compiler
	@echo 'Installing fastindex and the ONE client in $(VENV): 0.9 GB, about a minute'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	$(UV) --editable '.[example,one]'
	@touch $@

$(DEV): $(USER)
	@echo 'Installing what tests, checks and documentation need in $(VENV): 0.9 GB more, about a minute'
	$(UV) --editable '.[all]' --group dev
	@touch $@

run: $(USER)  ## the main job on an example of 74,000 files: write it, index it, open it with the ONE client
	$(BIN)/python -m fastindex example $(EXAMPLE)
	$(BIN)/python -m fastindex $(EXAMPLE)
	$(BIN)/python -m fastindex $(EXAMPLE) --hash
	$(BIN)/python examples/first_look.py $(EXAMPLE)
	@echo 'To have the command: . $(BIN)/activate; reports, releases and the rest need: pip install -e ".[all]"'

test: $(DEV)  ## the quick tests, in less than 90 s: all but those that are long or inject faults
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-long: $(DEV)  ## those that take more than about a second: browsers, clusters, object stores, many processes
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'long and not fault'

dev: $(DEV)  ## install all that developers need

check: lint types docs run package walkthrough test test-long lowest windows faults bench-check  ## all that CI runs, the quick parts first

docs: $(DEV)  ## the documentation, in build/docs; each example in it is run by the tests
	NO_MKDOCS_2_WARNING=1 PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/mkdocs build --strict

lint: $(DEV)  ## style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)  ## mypy, strict; and with what Python has on macOS
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin fastindex

format: $(DEV)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

walkthrough: $(DEV)  ## the tutorial "Releasing data with ONE" from start to end, in half a minute
	rm -rf walkthrough
	$(BIN)/python examples/release_walkthrough.py walkthrough

# Each alone in an empty environment, outside of the clone, as somebody who installs it has it.
package: $(DEV) run  ## wheel and sdist: build both, install each into an empty environment, run the main job
	rm -rf dist build/package
	$(BIN)/uv build --quiet --out-dir dist
	for made in $(CURDIR)/dist/one_fastindex-*.whl $(CURDIR)/dist/one_fastindex-*.tar.gz; do \
		$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/package/venv && \
		$(BIN)/uv pip install --quiet --python build/package/venv "$$made" && \
		mkdir -p build/package/index && cd build/package && \
		venv/bin/fastindex $(CURDIR)/$(EXAMPLE) --out index && \
		venv/bin/fastindex search $(CURDIR)/$(EXAMPLE) --index index --subject NYU-01 --count && \
		venv/bin/python -c 'import fastindex, pathlib; assert pathlib.Path(fastindex.__file__).with_name("py.typed").exists()' && \
		test -s venv/share/man/man1/fastindex.1 && \
		cd $(CURDIR) && rm -r build/package || exit 1; \
	done

# Python 3.11, where it is there: of the lowest versions there are no wheels for newer ones.
$(LOWEST)/.installed: pyproject.toml $(DEV)
	$(BIN)/uv venv --quiet --clear --python $(or $(shell command -v python3.11),$(PYTHON)) $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --editable '.[all]' --group light
	@touch $@

lowest: $(LOWEST)/.installed  ## the light tests with the lowest versions that pyproject.toml allows, in a minute
	$(LOWEST)/bin/python -m pytest -n 2 --dist worksteal -m 'not fault' $(LIGHT:%=tests/%.py) -k 'not ($(NOT_LIGHT))'

newest: $(DEV)  ## name what is not the newest in .venv: that of a fresh clone is, but for what other packages hold back
	$(BIN)/uv pip list --python $(BIN)/python --outdated

windows: $(DEV)  ## the main job with Python for Windows, in Wine (apt: wine64 binutils-mingw-w64-x86-64): a minute or two
	$(BIN)/python -m tests.windows build/windows

faults: $(DEV)  ## prove each promise: kill, fail, fill, damage; one line with its figure for each
	FASTINDEX_ALL_PROMISES=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m fault --durations 20

faults-long: $(DEV)  ## the same with ten times as many tries (half an hour)
	FASTINDEX_FAULTS=long FASTINDEX_ALL_PROMISES=1 $(BIN)/python -m pytest -m fault --timeout 1800

filesystems-long: $(DEV)  ## SMB and NFS from end to end, in a virtual machine of Debian's packages: 15 to 40 minutes
	$(BIN)/python -m tests.filesystems.machine

$(PEERS): $(DEV)
	$(UV) --group bench
	@touch $@

bench: $(PEERS)  ## measure on the example against all yardsticks: a few minutes; updates the documentation
	$(BIN)/python -m benchmarks.speed session example example-hash example-rerun example-verify example-verify-hash --data bench-data
	$(BIN)/python -m benchmarks.release --data bench-data
	$(BIN)/python -m benchmarks.client --data bench-data
	$(BIN)/python -m benchmarks.look --data bench-data
	$(BIN)/python -m benchmarks.calls --data bench-data
	$(BIN)/python -m benchmarks.table

bench-large: $(PEERS)  ## the same on 1 M files, 8 GB and 10 M invented datasets: an hour, 20 GB of disk
	$(BIN)/python -m benchmarks.speed 1m 1m-hash 1m-one-folder big big-verify-hash growth --data bench-data
	$(BIN)/python -m benchmarks.memory --data bench-data
	$(BIN)/python -m benchmarks.waiting --data bench-data
	$(BIN)/python -m benchmarks.updates --data bench-data
	PATH=$(BIN):$$PATH $(BIN)/python -m benchmarks.stages example 1m --data bench-data --write
	$(BIN)/python -m benchmarks.table

bench-check: $(DEV)  ## fail if a run is 15 % slower than at the commit in benchmarks/baseline.json: two minutes
	$(BIN)/python -m benchmarks.check --data bench-data

clean:  ## remove what was made here: the environment, the example, caches
	rm -rf $(VENV) $(LOWEST) walkthrough bench-data build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f fastindex/_kernel.abi3.so
