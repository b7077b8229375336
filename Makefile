# make run: fresh machine -> environment, the whole pipeline on the sample marketplace (simulated), three searches, the report
# make test: fresh machine -> environment, all tests
PYTHON ?= python3
VENV ?= .venv
# Options for the installer, for example an index of CPU-only torch builds: make run PIP_FLAGS="--index-url URL"
PIP_FLAGS ?=
PY := $(VENV)/bin/python

.PHONY: run test lint setup test-containers clean

run: setup
	$(PY) pipeline.py run
	$(PY) pipeline.py demo

# Two processes with one thread each: threads of one test would wait for those of the other.
test: setup lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --no-loadscope-reorder

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test-containers: setup
	$(PY) -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e ".[containers]"
	$(PY) -m pytest -m containers tests/containers

setup: $(VENV)/.installed

# torch comes first, so that a CPU build is taken where the installer's options offer one; the rest follows the pins.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet $(PIP_FLAGS) -c constraints.txt torch
	$(PY) -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .towerline
