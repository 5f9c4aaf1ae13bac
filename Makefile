# Everything runs in a virtual environment of its own; `make test` is all a fresh machine needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: test lint types doctest check clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[lint]'
	touch $@

test: $(VENV)/.test
	FUNCTRANS_CHECK_PROGRAMS=1 $(BIN)/python -m pytest -q -n 2 -m 'not peers' tests

lint: $(VENV)/.lint
	$(BIN)/ruff check .

types: $(VENV)/.lint
	$(BIN)/mypy

doctest: $(VENV)/.test
	$(BIN)/python -m pytest -q --doctest-modules functrans

check: lint types doctest test

clean:
	rm -rf $(VENV)
