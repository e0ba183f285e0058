# Everything sets itself up in .venv: `make demo` and `make test` need Python >= 3.11 and make only.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
JOBS ?= 2
COUNT ?= 120
SEED ?= 0
LARGE ?= 6000
DATA ?= $(MODELS)/../data

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs coverage mutate benchmark clean

help:
	@echo "make demo    run the main job on the model that ships with the package"
	@echo "make test    formatting, lint, types and tests, as in CI"
	@echo "make lint    formatting, lint and types only"
	@echo "make format  rewrite the files as ruff formats them"
	@echo "make docs    build the documentation, strictly"
	@echo "make coverage   the tests again, with the lines that none of them runs"
	@echo "make mutate   the faults that no test notices, of a random choice"
	@echo "make benchmark MODELS=DIR   compare with the other tools"
	@echo "make clean   remove .venv, caches and build results"

demo: $(STAMP)
	@$(BIN)/onnxslim demo -o build/demo

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test: lint
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# mkdocs in an environment of its own: nothing else needs it.
docs: $(STAMP)
	@test -x .venv/docs/bin/mkdocs || { $(BIN)/python -m venv --system-site-packages .venv/docs && .venv/docs/bin/python -m pip install --quiet -e '.[cpu,docs]'; }
	@.venv/docs/bin/mkdocs build --strict --quiet && echo "build/site/index.html"

# Which lines no test runs; twice as slow as the tests alone. Contexts are for the next target.
coverage: $(STAMP)
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --cov --cov-context=test --cov-report=term:skip-covered

# Which small faults no test notices, of a random choice.
mutate: $(STAMP)
	@test -f build/coverage || { echo "make: first 'make coverage': it finds the tests of every line" >&2; exit 1; }
	@$(BIN)/python benchmarks/mutate.py --coverage build/coverage --count $(COUNT) --seed $(SEED)

# One table per topic, in build/benchmark; MODELS is a folder of .onnx files, DATA one with samples
# (NAME.calib.npz, NAME.test.npz). Downloads the other tools, takes hours; LARGE is the size of the
# large models of diff. Where another tool is better, a script ends with 1: the others run all the same.
benchmark: $(STAMP)
	@test -n "$(MODELS)" || { echo "make: say which models: make benchmark MODELS=/path/to/folder" >&2; exit 1; }
	@mkdir -p build/benchmark
	-@$(BIN)/python benchmarks/simplify.py $(MODELS) --markdown build/benchmark/simplify.md
	-@$(BIN)/python benchmarks/prune.py $(MODELS) --data $(DATA) --markdown build/benchmark/prune.md
	-@$(BIN)/python benchmarks/quantize.py $(MODELS) --data $(DATA) --markdown build/benchmark/quantize.md
	-@$(BIN)/python benchmarks/diff.py --large $(LARGE) --markdown build/benchmark/diff.md
	-@$(BIN)/python benchmarks/diff_speed.py --nodes $(LARGE) $$((4 * $(LARGE))) --markdown build/benchmark/diff_speed.md
	@ls build/benchmark/*

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find onnxslim passes tests samples benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Installed once; again only when pyproject.toml changes.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python >= 3.11 found; install one, or set PYTHON=/path/to/python3" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@echo "installing the project and its tools into .venv ..."
	@$(BIN)/python -m pip install --quiet -e '.[cpu,dev]'
	@touch $@
