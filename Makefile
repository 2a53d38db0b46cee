# Quick start: `make run`, then `make test`. Needs git, make and Python 3.11 or 3.12 with pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIPELINE ?= dfc
PARAMS ?= category=cable
# One per core that this machine, or its container, grants; 2 to 8.
TEST_WORKERS ?= $(shell { nproc 2>/dev/null || echo 2; cat /sys/fs/cgroup/cpu.max 2>/dev/null; } | \
  awk 'NR == 1 {n = $$1} NR == 2 && $$1 != "max" && $$1 / $$2 < n {n = $$1 / $$2} END {print (n < 2 ? 2 : (n > 8 ? 8 : int(n)))}')
SEEDS ?= 0,1,2
PHOTOGRAPHS ?=
PARTS ?= cookies,elpv
KOLEKTORSDD ?=
BENCHMARK ?=
export KEDRO_DISABLE_TELEMETRY := 1

.PHONY: run test test-fast test-slow browser lint setup benchmark compare results graph viz clean

run: setup ## run a pipeline: make run PIPELINE=dfc PARAMS=category=cable,dfc.epochs=5
	$(BIN)/kedro run --pipelines=$(PIPELINE) --params=$(PARAMS)

test: setup ## run the tests
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

test-fast: setup ## run the quick tests: none that starts Kedro sessions, processes or a browser
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile -m "not (slow or sessions or browser)"

test-slow: setup ## run the tests that take minutes each: kills at random moments, every order of two runs at once
	$(BIN)/pytest -m slow

browser: ## install the browser that tests of pages need (Debian, as root); without it they are skipped
	command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	  { apt-get update && apt-get install --yes --no-install-recommends chromium chromium-driver; }

lint: setup ## ruff, mypy, import-linter, hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/Dockerfile

setup: $(VENV)/.ready ## make .venv and install the locked dependencies

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	  { echo "$(PYTHON) is not Python 3.11 or 3.12; name one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the locked dependencies into $(VENV): minutes, and about 7 GB"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

benchmark: setup ## measure; writes benchmarks/results
	$(BIN)/python benchmarks/metrics_speed.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python tools/results.py

compare: setup ## all methods on the demo, on PARTS in PHOTOGRAPHS=/data, on kolektorsdd in KOLEKTORSDD=/data; then the tables
	$(BIN)/kedro benchmark --seeds=$(SEEDS) $(BENCHMARK)
ifneq ($(PHOTOGRAPHS),)
	$(BIN)/kedro benchmark --seeds=$(SEEDS) $(BENCHMARK) --name=photographs --categories=$(PARTS) \
	  --params=dataset=folder,data_root=$(PHOTOGRAPHS)
endif
ifneq ($(KOLEKTORSDD),)
	$(BIN)/kedro benchmark --seeds=$(SEEDS) $(BENCHMARK) --name=kolektorsdd --categories=kolektorsdd \
	  --params=dataset=folder,data_root=$(KOLEKTORSDD),image_size=640x256
endif
	$(BIN)/python tools/results.py --collect
	$(BIN)/python tools/page_picture.py

results: setup ## collect the latest runs into the tables and pictures of the documents
	$(BIN)/python tools/results.py --collect

graph: setup ## the picture of the graph in docs/pictures (needs Chromium)
	$(BIN)/python tools/graph_picture.py --collapse --pipeline $(PIPELINE)

viz: setup ## the graph, in a browser
	$(BIN)/kedro viz run --pipeline=$(PIPELINE)

clean: ## remove what runs wrote (not .venv, not data/01_raw)
	rm -rf data/0[2-8]_*/[!.]* mlflow.db .mlflow.db.lock mlartifacts .running .viz build
