PYTHON ?= python3
BIN    := .venv/bin
DEMO   := runs/demo

.PHONY: demo test deep test-gpu check clean

# Trains the demo model (or goes on with it), then writes 500 characters of it.
demo: .venv/demo
	@$(BIN)/tinygrad-rnn train charlm --out $(DEMO) $(if $(wildcard $(DEMO)/checkpoint.json),--resume)
	@$(BIN)/tinygrad-rnn generate $(DEMO) --length 500 --temperature 0.7 --seed 1

test: check
	$(BIN)/pytest tests

check: .venv/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tinygrad_rnn README.md docs

# Searches for hours for the case that fails.
deep: .venv/test
	HYPOTHESIS_PROFILE=deep $(BIN)/pytest tests/test_catalogue.py tests/kernels tests/nn

# On a machine with a GPU: the catalogue and training with CuPy.
test-gpu: .venv/test,cuda13
	$(BIN)/pytest -m gpu tests

# A stamp a set of extras: nothing is installed twice.
.venv/demo .venv/test .venv/test,cuda13: .venv/%: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tinygrad_rnn needs Python 3.11 or later")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

clean:
	rm -rf .venv runs build dist
