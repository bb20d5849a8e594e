# What can be asked of this checkout: `make help`. Everything that is installed goes into .venv; nothing else is touched.

PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
# Stamps lie in .venv, so that removing it forgets them.
VENV_MADE := $(VENV)/.made
DEMO_READY := $(VENV)/.ready-for-demo
TEST_READY := $(VENV)/.ready-for-tests
# What an installation is made from: an editable one copies the scripts, and reads the rest from here.
INSTALLED_FROM := pyproject.toml $(wildcard rolesanywhere_helper/scripts/*)
DEBIAN_PACKAGES := python3 python3-venv

# Standard output belongs to the command that was asked for (`make demo` prints one JSON document): what is said while
# setting up goes to standard error. pip shows its own progress only to somebody who is watching.
SAY := printf '%s\n' >&2
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip $(shell test -t 2 || echo --quiet)

# From the Debian packages libtss2-dev, pkg-config, python3-dev and gcc (tests/peers/debian-packages.txt).
TPM_CAN_BE_BUILT := pkg-config --exists tss2-esys 2>/dev/null && command -v gcc >/dev/null

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check lint types contracts generated promises soak coverage clean

help:
	@echo 'make demo       set everything up, then turn a throwaway certificate into credentials on this machine'
	@echo 'make test       set everything up, then run every check and every test'
	@echo
	@echo 'make lint       ruff: rules and format'
	@echo 'make types      mypy --strict'
	@echo 'make contracts  who may import what (import-linter)'
	@echo 'make generated  write what is made from the program: manual pages, completion scripts, tables in docs/'
	@echo 'make promises   run the tests that prove a promise, and print promise, tests and result'
	@echo 'make soak       random requests for half an hour (make test: a minute)'
	@echo 'make coverage   the tests, with an HTML report of lines and branches in htmlcov/'
	@echo 'make clean      remove .venv and everything that building and testing left behind'
	@echo
	@echo 'Another interpreter: make PYTHON=python3.13 test (after make clean)'

demo: $(DEMO_READY)
	@$(BIN)/rolesanywhere-helper demo

test: check
	@$(SAY) 'test: pytest, with branch coverage'
	@$(BIN)/python -m pytest --numprocesses=auto --cov --cov-report=term

check: lint types contracts

lint: $(TEST_READY)
	@$(SAY) 'check: ruff'
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { $(SAY) 'hint: $(BIN)/ruff format .'; exit 1; }

types: $(TEST_READY)
	@$(SAY) 'check: mypy --strict'
	@$(BIN)/mypy --no-error-summary rolesanywhere_helper tests scripts $(wildcard bench/*.py certs-example/*.py)

contracts: $(TEST_READY)
	@$(SAY) 'check: import contracts'
	@$(BIN)/lint-imports

generated: $(TEST_READY)
	@$(BIN)/python -m scripts.generated

promises: $(TEST_READY)
	@$(BIN)/python scripts/promises.py

soak: $(TEST_READY)
	@$(SAY) 'soak: half an hour of random requests'
	@ROLESANYWHERE_FUZZ_SECONDS=1800 $(BIN)/python -m pytest -k fuzz tests/faults/test_http_edge.py

coverage: $(TEST_READY)
	@$(BIN)/python -m pytest --numprocesses=auto --cov --cov-report=html --cov-report=term

clean:
	@rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache demo
	@find rolesanywhere_helper tests bench scripts certs-example -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_MADE):
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		$(SAY) 'error: $(PYTHON) is not Python 3.11 or newer with venv'; \
		$(SAY) 'hint: sudo apt-get install -y $(DEBIAN_PACKAGES), or make PYTHON=python3.13'; \
		exit 2; }
	@$(SAY) 'setup: making .venv'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(DEMO_READY): $(INSTALLED_FROM) | $(VENV_MADE)
	@$(SAY) 'setup: installing rolesanywhere-helper, its libraries and the emulator (a minute on a first run)'
	@$(PIP) install --editable '.[emulator]' >&2
	@touch $@

# Debian 12 brings pip 23, which does not know dependency groups yet (25.1 does).
$(TEST_READY): $(INSTALLED_FROM) | $(VENV_MADE)
	@$(SAY) 'setup: upgrading pip in .venv'
	@$(PIP) install --upgrade 'pip>=25.1' >&2
	@$(SAY) 'setup: installing rolesanywhere-helper, its libraries and the emulator'
	@$(PIP) install --editable '.[emulator,pkcs11,spiffe]' >&2
	@$(SAY) 'setup: installing what reads keys in a TPM, if there is what it is built with (a minute on a first run)'
	@if $(TPM_CAN_BE_BUILT); then $(PIP) install --editable '.[tpm]' >&2; fi
	@$(SAY) 'setup: installing what the tests need: test runner, linters, real AWS clients (a minute or two on a first run)'
	@$(PIP) install --group test --group peers --group lint >&2
	@touch $@ $(DEMO_READY)
