# Everything sets up its own environment: `make demo` and `make test` work on a fresh clone.

PYTHON ?= python3
VENV ?= .venv
# Any requirement, options or wheel that pip understands.
TORCH ?= torch==2.13.0
# Options for pytest, as in `make test PYTEST_ARGS="-k render -x"`.
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow lint check evaluate bench docs clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: gradtrace needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "make: $(PYTHON) has no venv module; on Debian: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch goes first and by itself, so that no other requirement chooses a build of it.
$(VENV)/.torch: | $(BIN)/python
	$(PIP) $(TORCH)
	@touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.torch
	$(PIP) --editable . scikit-learn
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.torch
	$(PIP) --editable '.[dev]'
	@touch $@

setup: $(VENV)/.dev ## the environment that the rest needs

demo: $(VENV)/.demo ## trace the digits example; verdict, picture and trace
	@mkdir -p demo
	$(BIN)/gradtrace run --out demo/digits.gradtrace examples/digits.py
	$(BIN)/gradtrace show demo/digits.gradtrace
	$(BIN)/gradtrace render demo/digits.gradtrace --backward 1 --out demo/digits.svg
	@echo "demo/digits.svg is the graph of the first backward, demo/digits.gradtrace the trace"

test: $(VENV)/.dev ## the whole fast test suite
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

slow: $(VENV)/.dev ## the slow tests
	$(BIN)/python -m pytest -n 2 -m slow $(PYTEST_ARGS)

lint: $(VENV)/.dev ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## lint and test

evaluate: $(VENV)/.dev ## the verdicts on known faults and healthy programs
	$(BIN)/python tests/cases/evaluate.py

bench: $(VENV)/.dev ## what tracing costs
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/graph.py
	$(BIN)/python benchmarks/reading.py

docs: $(VENV)/.dev ## the command line reference, and the pages in docs/_build
	$(BIN)/python scripts/cli_reference.py
	$(BIN)/python -m sphinx --quiet -W -b html docs docs/_build

clean: ## everything that make made
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache
