# Every target makes .venv and installs into it when pyproject.toml or constraints.txt asks for it.
# Another interpreter: make clean, then make PYTHON=python3.12 test

PYTHON ?= python3

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PARITY_INSTALLED := $(VENV)/.parity-installed
DOCS_INSTALLED := $(VENV)/.docs-installed

# Python compiles a module when it is first imported; to compile all 16,000 takes pip 50 of 120 seconds.
PIP_INSTALL := $(VENV_PYTHON) -m pip install --disable-pip-version-check --quiet --no-compile

# Packages of the caller's on PYTHONPATH would hide the pinned ones from pip and from the tests, and `user = true` in
# a pip.conf makes every installation into a virtual environment fail.
unexport PYTHONPATH PYTHONHOME
export PIP_USER := 0

# Slow files come first, see tests/conftest.py: processes then end at about the same time.
SIDE_BY_SIDE := --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))

.DEFAULT_GOAL := help
.PHONY: help ablation transfer test parity lint docs bench clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-16s %s\n", $$1, $$2 }'

ablation: $(INSTALLED)  ## train the default ablation (configs/digits.py); the report is runs/digits/report.html
	$(VENV_PYTHON) -m experiments.ablate --config=configs/digits.py

transfer: $(INSTALLED)  ## train the default transfer (configs/transfer.py); the report is runs/transfer/report.html
	$(VENV_PYTHON) -m experiments.finetune --config=configs/transfer.py

test: $(INSTALLED)  ## run the tests, on up to four cores
	$(VENV_PYTHON) -m pytest $(SIDE_BY_SIDE)

parity: $(PARITY_INSTALLED)  ## compare with Keras and PyTorch
	$(VENV_PYTHON) -m pytest $(SIDE_BY_SIDE) tests/parity

lint: $(INSTALLED)  ## check style, formatting and types
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy

docs: $(DOCS_INSTALLED)  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --strict

bench: $(INSTALLED)  ## time operators, steps and grids (ten minutes; after make parity, beside PyTorch)
	$(VENV_PYTHON) -m experiments.bench

clean:  ## remove .venv, caches and build output; keep runs/
	rm -rf $(VENV) build dist site *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv that works is brought up to date where it stands, so that what was added to it (an accelerator's jax) stays;
# one that is half made or of another Python is made again. The stamp comes last: after a failure there is none.
$(INSTALLED): pyproject.toml constraints.txt
	@if ! { $(VENV_PYTHON) -c '$(SUPPORTED)' && $(VENV_PYTHON) -m pip --version; } >/dev/null 2>&1; then \
	  "$(PYTHON)" -c '$(SUPPORTED)' >/dev/null 2>&1 || { \
	    echo "Needs Python 3.11 to 3.14, but $(PYTHON) is $$("$(PYTHON)" --version 2>&1 || true); try: make PYTHON=python3.11" >&2; \
	    exit 1; }; \
	  "$(PYTHON)" -c 'import ensurepip, venv' >/dev/null 2>&1 || { \
	    echo "$(PYTHON) has no venv module (Debian, Ubuntu: apt install python3-venv)" >&2; \
	    exit 1; }; \
	  "$(PYTHON)" -m venv --clear $(VENV); \
	fi
	@echo "Installing into $(VENV), about 1.3 GB: a few minutes"
	@$(PIP_INSTALL) --editable '.[dev]' --constraint constraints.txt
	@touch $@

$(PARITY_INSTALLED): $(INSTALLED)
	@echo "Installing Keras and PyTorch into $(VENV), about 1 GB: a few minutes"
	@$(PIP_INSTALL) --editable '.[dev,parity]' --constraint constraints.txt
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	@$(PIP_INSTALL) --editable '.[docs]' --constraint constraints.txt
	@touch $@
