# Everything runs in .venv, which the first target that needs it makes; PYTHON=... chooses the interpreter.
PYTHON ?= python3
BIN = .venv/bin
INSTALLED = .venv/.installed

.PHONY: help report paper pages verify scorecard test slow wheel stress bench lint format clean

help:
	@echo "make report   execute every notebook at preset quick and say where the pages are"
	@echo "make paper    the same at preset paper (longer)"
	@echo "make pages    what 'make report' has made, looked at in Chromium with the network cut, and a walk in JupyterLab"
	@echo "make verify   the scorecard: prediction, measurement, interval, verdict"
	@echo "make scorecard the same at preset paper, written into reports/README.md with its figures"
	@echo "make test     the test suite"
	@echo "make slow     the tests that the suite leaves out because they take long"
	@echo "make wheel    build the package, install it into an empty environment, and do there what a newcomer does first"
	@echo "make stress   sweeps that are killed again and again, disks that are full, and what a store of 10,000 runs costs"
	@echo "make bench    training, inference and landscapes against plain loops and JAX, as ratios"
	@echo "make lint     ruff and mypy"
	@echo "make format   rewrite the sources the way 'make lint' wants them"
	@echo "make clean    remove what the targets above have made, .venv included"

report: $(INSTALLED)
	@$(BIN)/tdlab report --preset quick --timeout 600

paper: $(INSTALLED)
	@$(BIN)/tdlab report --preset paper

pages: $(INSTALLED)
	@$(BIN)/python -m tests.pages.folder reports
	@$(BIN)/python -m pytest -q -m slow tests/pages

verify: $(INSTALLED)
	@$(BIN)/tdlab verify

scorecard: $(INSTALLED)
	@$(BIN)/tdlab verify --preset paper --readme reports/README.md

test: $(INSTALLED)
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile

slow: $(INSTALLED)
	@$(BIN)/python -m pytest -m slow

# What is installed is the wheel that was built from the sdist, so that both are tried.
wheel: $(INSTALLED)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[wheel]'
	@rm -rf dist
	@$(BIN)/python -m build -q --outdir dist .
	@empty=$$(mktemp -d) && trap 'rm -rf "$$empty"' EXIT && $(PYTHON) -m venv "$$empty" && \
	  "$$empty/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt dist/tdlab-*.whl && \
	  TDLAB_BIN="$$empty/bin" $(BIN)/python -m pytest tests/first_use tests/test_readme.py

stress: $(INSTALLED)
	@$(BIN)/python tests/stress/kills.py
	@$(BIN)/python -m tests.stress.disks
	@$(BIN)/python -m tests.stress.bookkeeping
	@$(BIN)/python -m tests.stress.throughput

bench: $(INSTALLED)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@$(BIN)/tdlab bench
	@$(BIN)/python tests/benchmarks/inference.py
	@$(BIN)/python tests/benchmarks/kernels.py
	@$(BIN)/python tests/benchmarks/transformer.py

lint: $(INSTALLED)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: $(INSTALLED)
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

clean:
	rm -rf .venv .*_cache dist
	find reports -mindepth 1 ! -name README.md ! -path 'reports/figures*' -delete
	find . -name __pycache__ -prune -exec rm -rf {} +

# The stamp comes last, so an install that was cut short is done again. pip says what failed; its warnings are left out.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "tdlab needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo not there); try: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing the pinned set into .venv; this takes a few minutes the first time."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dask,digits,hf,slurm,test,lint]'
	@touch $@
