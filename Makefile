# Every target installs what it needs first; the only list of Debian packages is packages.txt.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-soak check format install clean

demo: install
	./tools/demo

test: install
	$(BIN)/pytest -n 2 -m "not soak"

test-soak: install
	$(BIN)/pytest -m soak

check: install
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests

install: $(VENV)/.packages $(VENV)/.installed $(VENV)/.unpacked

$(VENV)/.packages: packages.txt
	./tools/install-packages packages.txt
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.packages requirements.lock pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.unpacked: $(VENV)/.packages packages.txt
	./tools/unpack-packages packages.txt $(VENV)/kubectl-debian
	touch $@

clean:
	rm -rf $(VENV)
