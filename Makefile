# make setup | run | test | test-fast | check | docs | bench - everything happens in .venv of this folder.
PYTHON ?= python3
BIN := .venv/bin
WORKERS := $(shell echo $$(($$(nproc) + 2)))  # many tests wait for daemons and time limits
export OMP_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup run test test-fast check format docs bench clean

setup: .venv/.ready

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	$(BIN)/python -m ensemble_mtl.models.kernels  # once, instead of at the first run
	touch $@

.venv/.ready: .venv/.installed  # with every launcher, and what tests and checks need
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

run: .venv/.installed  ## a whole study on the embedded default: 84 members, table, report
	$(BIN)/ensemble-mtl run configs/quickstart.yaml

test: setup
	$(BIN)/python -m pytest -n $(WORKERS)

test-fast: setup  ## unit and contract tests: no root, no daemons, no network
	$(BIN)/python -m pytest -n $$(nproc) tests/unit tests/contracts

check: setup  ## lint, format, types, import contracts, every shipped configuration
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	for config in configs/*.yaml; do $(BIN)/ensemble-mtl validate "$$config" || exit 1; done

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## the tables of keys in docs/configuration.md, from the code
	$(BIN)/python docs/key_tables.py

bench: setup  ## the peers of the curvature benchmark may be missing; it says so
	-$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
