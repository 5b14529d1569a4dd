# The commands of the project. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
ROOMS := common storage preprocessing kafka batch_processing streaming webapp pipeline infra benchmarks
SIZE ?= 3.4M
ECHARTS := webapp/static/vendor/echarts.min.js

# Real dumps beside the project, where there are any: tests and the demo use them.
ifneq ($(wildcard ../shared/data),)
export READERFLOW_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help setup setup-cluster setup-dev demo test test-embedded check format bench lock audit browser clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  ARGS=... is passed on, for instance: make demo ARGS=--no-serve"

setup: $(VENV)/.run $(ECHARTS) ## Install what ReaderFlow needs to run.

setup-cluster: $(VENV)/.cluster $(ECHARTS) ## Install what the cluster profile needs, too.

setup-dev: $(VENV)/.dev $(ECHARTS) build/typing/readerflow ## Install what its tests and checks need, too.

ifneq ($(findstring cluster,$(ARGS)),)
demo: setup-cluster
endif

demo: setup ## Take a real month from dump to page, then serve it.
	@$(BIN)/readerflow demo $(ARGS)

up: setup-cluster ## Start Kafka, HDFS, Cassandra and Spark on this machine: make up ARGS=kafka
	@$(BIN)/readerflow up $(ARGS)

down: setup ## Stop them; their data stays.
	@$(BIN)/readerflow down $(ARGS)

test: setup-dev browser ## Run all checks and tests; Kafka, HDFS, Spark and Cassandra are started for them.
	@$(MAKE) --no-print-directory check
	@infra/tests.sh $(ARGS)

test-embedded: setup-dev browser ## Run all tests but those that need Kafka, HDFS, Spark and Cassandra.
	@$(BIN)/pytest -m "not cluster" $(ARGS)

check: setup-dev ## Lint and type-check; writes nothing.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy $(addprefix -p readerflow.,$(ROOMS))
	@$(BIN)/shellcheck .ci/run infra/*.sh

format: setup-dev ## Format the code and mend what the linter can.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.bench $(ECHARTS) ## Measure ReaderFlow beside its peers: make bench SIZE=34M.
	@$(BIN)/python -m benchmarks.run --size $(SIZE) $(ARGS)

lock: $(VENV)/bin/python ## Pin all dependencies anew.
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile --quiet setup.py --generate-hashes --no-header --no-annotate -o requirements/run.lock
	@$(BIN)/uv pip compile --quiet setup.py --extra cluster --generate-hashes --no-header --no-annotate -o requirements/cluster.lock
	@$(BIN)/uv pip compile --quiet setup.py --extra cluster --extra test --extra dev --generate-hashes --no-header --no-annotate -o requirements/dev.lock
	@$(BIN)/uv pip compile --quiet requirements/bench.in --generate-hashes --no-header --no-annotate -o requirements/bench.lock

audit: setup-dev ## Look the pinned dependencies up in the advisory database (needs the net).
	@$(BIN)/pip-audit --requirement requirements/run.lock

browser: ## Install the browser that the page tests drive (Debian).
	@infra/browser.sh

clean: ## Remove what the other targets made, but no data.
	@rm -rf $(VENV) build node_modules webapp/static/vendor .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed; name it with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# The lock files list everything, with hashes: an install brings what was tested or nothing. pip is not to resolve
# anything itself: it would look at newer versions of what is asked for with an extra, and refuse them for want of a pin.
$(VENV)/.run: requirements/run.lock setup.py | $(VENV)/bin/python
	@echo "Installing ReaderFlow and its dependencies into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/run.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable . 2>/dev/null
	@touch $@

$(VENV)/.cluster: requirements/cluster.lock setup.py | $(VENV)/bin/python
	@echo "Installing the clients of Kafka, HDFS, Spark and Cassandra into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/cluster.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable . 2>/dev/null
	@touch $@ $(VENV)/.run

$(VENV)/.dev: requirements/dev.lock setup.py | $(VENV)/bin/python
	@echo "Installing ReaderFlow with its test tools into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable . 2>/dev/null
	@touch $@ $(VENV)/.run

$(VENV)/.bench: requirements/bench.lock | $(VENV)/.dev
	@echo "Installing the peers that benchmarks measure into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/bench.lock
	@touch $@

$(ECHARTS): package.json package-lock.json
	@infra/charts.sh

# mypy sees the top-level folders as readerflow.* through this link.
build/typing/readerflow:
	@mkdir -p $(@D) && ln -sfn ../.. $@
