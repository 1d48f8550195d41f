# make sweep: sets up and runs the main job; make test: sets up and passes the tests.
# make quick: lint, types and the fast tests, for the inner loop; make test-slow: the tests of minutes;
# make test-long: signals at hundreds of random moments.
# Needs Python 3.11 or newer and a package index. PYTHON=python3.12 chooses another interpreter.

PYTHON ?= python3
VENV := .venv
WORKERS ?= auto

.PHONY: sweep quick test test-slow test-long check clean

sweep: $(VENV)/installed
	$(VENV)/bin/python -m experiments.sweep_blocks

quick: check
	$(VENV)/bin/python -m pytest tests -n $(WORKERS) -q -m 'not slow and not long and not thorough'

test: check
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/installed-tests
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m slow

test-long: $(VENV)/installed-tests
	$(VENV)/bin/python -m pytest -s -m long

check: $(VENV)/installed-tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version): needs Python 3.11 or newer, e.g. make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python setup.py pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-tests: $(VENV)/bin/python setup.py pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV)
