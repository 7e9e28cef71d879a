# Every target sets up what it needs: `make simulate` and `make test` work in a fresh clone.
#   make simulate ARGS="--set data.clients=50"      make test ARGS="-k codec"      make PYTHON=python3.12 test

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup simulate edge test check fuzz chaos proto wheel clean

READY := $(VENV)/.ready

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## make the virtual environment with the tested set of dependencies

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "phloem needs Python 3.11 or newer. Found " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12")'
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[data,dev,report,ray,shrink,tune]"
	@touch $@

simulate: $(READY) ## one simulated run on the embedded digits, with a report (ARGS: what `phloem simulate` takes)
	$(VENV)/bin/phloem simulate $(ARGS)

edge: $(READY) ## the same over real sockets: a server and two devices (ARGS: settings)
	VENV=$(VENV) scripts/edge $(ARGS)

test: $(READY) ## format, lint, types and tests: what CI runs (ARGS: what pytest takes)
	@VENV=$(VENV) scripts/check $(ARGS)

check: test ## the same

fuzz: $(READY) ## a million broken frames, then coverage-guided fuzzing of each codec (ARGS: --seconds 600)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[fuzz]"
	$(VENV)/bin/python -m tests.compression.sweep --frames 1000000
	$(VENV)/bin/python -m tests.compression.fuzz $(ARGS)

chaos: $(READY) ## kill a run at every labelled point of ten rounds, and go on each time (ARGS: --each)
	$(VENV)/bin/python -m tests.server.killed $(ARGS)
	$(VENV)/bin/python -m tests.link.test_exactly_once
	$(VENV)/bin/python -m tests.link.two_hosts
	$(VENV)/bin/python scripts/link_fleet.py 500 50
	$(VENV)/bin/python scripts/link_absent.py
	$(VENV)/bin/python scripts/link_absent.py --share 0.6 --set server.quorum=0.5
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m pytest -q tests/chaos/flower_engine.py

proto: $(READY) ## write the Python code of phloem/proto/*.proto
	$(VENV)/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. phloem/proto/*.proto

wheel: $(READY) ## build the wheel and the source archive into dist/
	$(VENV)/bin/python -m build

clean: ## remove the environment, caches and build products; keeps runs/
	rm -rf $(VENV) build dist *.egg-info *.fab .flwr-home .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
