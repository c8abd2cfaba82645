# All commands of this repository. Only Python 3.11 or later and pip are needed beforehand.

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-lone lint format check clean

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed
LONE := .venv-lone
EXTRAS := exporters,optimizer,service,picture,demo,test,dev

# One thread per process: two test processes share two cores, and torch would start four threads.
export OMP_NUM_THREADS ?= 1

help:  ## list the commands
	@awk -F ':.*##' '/^[a-z-]+:.*##/ { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## make .venv with the whole product and the test tools in it (once; later runs are quick)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; set PYTHON=/path/to/python" >&2; exit 2; }
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing secateur and its tools into $(VENV) (a few minutes the first time)"
	@PIP_CONSTRAINT=constraints.txt $(RUN)/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[$(EXTRAS)]' 2> $(VENV)/install.log || { cat $(VENV)/install.log >&2; exit 1; }
	@touch $@

demo: venv  ## compress a trained network through the service, as a user would, and print the table
	@env -u OMP_NUM_THREADS $(RUN)/python -m service.demo.run

test: venv  ## all tests, with branch coverage
	@$(RUN)/python -m pytest --numprocesses 2 --cov --cov-report term $(PYTEST_ARGS) < /dev/null

test-lone: $(LONE)/.installed  ## tests of graph_analysis where only what it may import is installed
	@$(LONE)/bin/python -m pytest --quiet tests/unit/graph_analysis < /dev/null

# No extras: without torch, a runtime or the web. pytest and hypothesis are what the tests are written with.
$(LONE)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; set PYTHON=/path/to/python" >&2; exit 2; }
	@test -x $(LONE)/bin/python || $(PYTHON) -m venv $(LONE)
	@PIP_CONSTRAINT=constraints.txt $(LONE)/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable . hypothesis pytest 2> $(LONE)/install.log || { cat $(LONE)/install.log >&2; exit 1; }
	@touch $@

lint: venv  ## formatting, lint, types, import contracts
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports

format: venv  ## format and apply the safe fixes
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

check: lint test-lone test  ## exactly what CI runs; the wheel test is among the tests

clean:  ## remove what the commands above leave behind
	rm -rf $(VENV) $(LONE) demo-output dist build .coverage .coverage.* .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
