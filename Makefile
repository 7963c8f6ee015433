# Each target sets itself up on a bare machine with Python >= 3.11: `make certify`, `make test`, `make check`,
# `make docs`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: certify test soundness check docs clean

certify: $(VENV)/.installed
	$(BIN)/advverify certify zoo:digits-mlp --norm inf --eps 0.05

test: $(VENV)/.tested
	$(BIN)/python -m pytest -q -n 2

soundness: $(VENV)/.tested
	$(BIN)/python -m pytest -q -n 2 -m soundness

check: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.documented
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit("advverify needs Python >= 3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.tested: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install -q -c constraints.txt -e '.[test,dev]'
	touch $@ $(VENV)/.installed

$(VENV)/.documented: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build *.egg-info
