# Everything runs in a virtual environment of its own; `make demo` and `make test` are all a fresh machine needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo examples test fuzz lint types doctest coverage peers bench bench-quick check clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/.examples: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[examples]'
	touch $@

$(VENV)/.peers: pyproject.toml $(VENV)/.test
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[peers]'
	touch $@

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[lint]'
	touch $@

demo: $(VENV)/.examples
	$(BIN)/python examples/digits.py

examples: $(VENV)/.examples
	for example in examples/*.py; do $(BIN)/python $$example || exit 1; done

test: $(VENV)/.test
	FUNCTRANS_CHECK_PROGRAMS=1 $(BIN)/python -m pytest -q -n 2 -m 'not peers' tests

# Many more random programs than the suite's, for the compiler.
fuzz: $(VENV)/.test
	FUNCTRANS_FUZZ=20000 FUNCTRANS_CHECK_PROGRAMS=1 $(BIN)/python -m pytest -q tests/compile/test_random_programs.py

lint: $(VENV)/.lint
	$(BIN)/ruff check .

types: $(VENV)/.lint
	$(BIN)/mypy

doctest: $(VENV)/.test
	$(BIN)/python -m pytest -q --doctest-modules functrans

# Fails if docs/coverage.md does not say what the tests' cases show; `python docs/coverage.py` writes it.
coverage: $(VENV)/.test
	$(BIN)/python docs/coverage.py --check

peers: $(VENV)/.peers
	$(BIN)/python -m pytest -q -n 2 -m peers tests/peers

bench: $(VENV)/.peers
	$(BIN)/python benchmarks/run.py

bench-quick: $(VENV)/.peers
	$(BIN)/python benchmarks/run.py --quick

check: lint types doctest coverage test

clean:
	rm -rf $(VENV)
