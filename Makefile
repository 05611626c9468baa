# The verbs of this house. `make demo` and `make test` need Python 3.11 or newer and nothing else.
#
#   PYTHON=python3.12     another interpreter for the virtual environment
#   TORCH_INDEX=<url>     one more package index for pip, e.g. that of another torch build
#   PIP_ARGS="..."        any further arguments of pip install
#   JOBS=4                test processes

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
PIP_ARGS ?=
JOBS ?= 2
OUT ?= out
DEMO_SEED ?= 0

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(PIP_ARGS) -c constraints.txt

QUIET := TRANSFORMERS_VERBOSITY=error DIFFUSERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1

.DEFAULT_GOAL := help
.PHONY: help demo studio test fmt lint types docs soak bench model-check clean dist

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# A stamp file says what is installed, so that nothing is installed twice.
$(VENV)/core.stamp: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no python3.11 or python3 on the path; set PYTHON=" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing crafts into $(VENV) (once; a few minutes)"
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp
	@echo "installing the test tools into $(VENV) (once)"
	@$(PIP_INSTALL) -e ".[dev]"
	@touch $@

demo: $(VENV)/core.stamp  ## eight tiles from eight sentences into out/, with the model that is shipped
	@$(BIN)/crafts generate --model mini --manifest docs/demo-prompts.csv --seed $(DEMO_SEED) --output $(OUT)
	@echo "eight synthetic tiles: $(OUT)/images/  one sheet: $(OUT)/grid.png  prompts: $(OUT)/metadata.csv"
	@echo "to use crafts yourself: . $(VENV)/bin/activate"

$(VENV)/serve.stamp: $(VENV)/core.stamp
	@$(PIP_INSTALL) -e ".[serve]"
	@touch $@

studio: $(VENV)/serve.stamp  ## the studio in the browser, with the model that is shipped
	@$(BIN)/crafts serve

test: $(VENV)/dev.stamp  ## all tests, on the CPU and without network
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile tests

fmt: $(VENV)/dev.stamp  ## format the code
	@$(BIN)/ruff check --fix --select I .
	@$(BIN)/ruff format .

lint: $(VENV)/dev.stamp  ## style, and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

types: $(VENV)/dev.stamp  ## check types
	@$(BIN)/mypy

docs: $(VENV)/core.stamp  ## write docs/cli.md from --help
	@$(BIN)/python docs/make_cli.py docs/cli.md

soak: $(VENV)/dev.stamp  ## the long runs that `make test` leaves out
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v -s -m soak tests

bench: $(VENV)/dev.stamp  ## speed beside diffusers', torchmetrics' and openslide's own
	@$(QUIET) $(BIN)/python bench/sampling.py
	@$(QUIET) $(BIN)/python bench/training.py
	@$(QUIET) $(BIN)/python bench/evaluation.py
	@$(QUIET) $(BIN)/python bench/tiling.py
	@$(QUIET) $(BIN)/python bench/start.py
	@$(QUIET) $(BIN)/python bench/loaded.py

dist: $(VENV)/core.stamp  ## a wheel with code and weights into dist/
	@rm -rf dist
	@$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps $(PIP_ARGS) -w dist .

model-check: $(VENV)/core.stamp  ## fresh tiles of the shipped model against the features on record
	@$(BIN)/python bench/model_check.py

clean:  ## remove the environment, the demo and all caches
	rm -rf $(VENV) $(OUT) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests bench recipes docs -name __pycache__ -type d -prune -exec rm -rf {} +
