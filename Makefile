# Everything here needs python3 (3.11 or newer) and make; the first call builds a virtual environment in .venv.

VENV   := .venv
PY     := $(VENV)/bin/python
SYSTEM_PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: help venv demo test slow lint types soak fuzz bench clean

help:
	@echo "make venv   build $(VENV) with everything needed"
	@echo "make demo   three sites on this machine: cut off, write on, heal, converge"
	@echo "make test   the tests: some minutes"
	@echo "make slow   the tests that take longer, which CI runs too"
	@echo "make lint   ruff"
	@echo "make types  mypy --strict"
	@echo "make fuzz   every decoder for a minute"
	@echo "make soak   the long forms, hours; each adds a line to docs/soak.jsonl"
	@echo "make bench  the benchmarks, as JSON lines"

venv: $(VENV)/.complete

# The stamp is written last: an interrupted installation is begun again.
$(VENV)/.complete: pyproject.toml
	@test -n "$(SYSTEM_PYTHON)" || { echo "crdtsync needs Python 3.11 or newer: install it, then call make again" >&2; exit 1; }
	test -x $(PY) || $(SYSTEM_PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: venv
	$(VENV)/bin/crdtsync demo

test: venv
	$(PY) -m pytest -q -n auto --dist worksteal

slow: venv
	$(PY) -m pytest -q -m slow -n auto --dist worksteal

lint: venv
	$(VENV)/bin/ruff check .

types: venv
	$(VENV)/bin/mypy --strict crdtsync

# Which forms: make soak FORMS="seeds kills"; all of them are named by python -m tests.soak --list
soak: venv
	$(PY) -m tests.soak $(FORMS)

fuzz: venv
	$(PY) -m tests.fuzz --seconds 60

bench: venv
	$(PY) benchmarks/bench_replication.py

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -type d -exec rm -rf {} +
