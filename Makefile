# make run: the main job. make test: the tests. make test-quick: those that take under two minutes in all, without
# Slurm, browser or GPU. make check: lint, format, types. make docs: the site, in build/site; make docs-serve shows it.
# Each sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-quick check docs docs-serve reference setup clean

export NO_MKDOCS_2_WARNING := 1

run: setup
	$(BIN)/python launch.py sweeps=quickstart

test: setup
	$(BIN)/python -m pytest -n 3 --dist loadgroup

test-quick: setup
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not slow and not slurm and not browser and not gpu"

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python -m mkdocs build --strict

docs-serve: setup
	$(BIN)/python -m mkdocs serve

# Made of the schema; a test holds it against that.
reference: setup
	$(BIN)/python -m rbp.config.reference > docs/config.md

setup: .venv/installed

# Installed anew when what the project needs has changed.
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is `$(PYTHON) --version`: Python 3.11 or newer is needed, as in make PYTHON=python3.12"; exit 1; }
	@echo "Installing some 6 GB of packages into .venv: a few minutes without a word."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,docs]'
	@touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build/site build/katex-*
