# Needs Python 3.11 or later (with venv), make and a package index. Nothing else is prepared.

.DEFAULT_GOAL := help
.PHONY: help demo test lint types clean

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

DEMO := .venv-demo
DEV := .venv
PACKAGED := $(shell find privacy sdk server lab -type f -not -name '*.pyc') LICENSE README.md

help:
	@echo 'make demo    caption the bundled clips, alone and with a verifier; installs no torch'
	@echo 'make test    install everything, then lint, types and all tests'
	@echo 'make lint    ruff, formatting and the rules on who may import whom'
	@echo 'make types   mypy, strict'
	@echo 'make clean   delete the environments and the caches'

demo: $(DEMO)/.installed
	@$(DEMO)/bin/ugsd demo

test: lint types
	@echo '== pytest'
	@$(DEV)/bin/python -m pytest -n 2

lint: $(DEV)/.installed
	@echo '== ruff check'
	@$(DEV)/bin/ruff check
	@echo '== ruff format --check'
	@$(DEV)/bin/ruff format --check
	@echo '== lint-imports'
	@$(DEV)/bin/lint-imports

types: $(DEV)/.installed
	@echo '== mypy'
	@$(DEV)/bin/mypy

# The stamps come last, so that an interrupted installation is taken up again.
$(DEMO)/.installed: pyproject.toml $(PACKAGED)
	@echo '== installing the base package into $(DEMO); a few minutes the first time'
	@test -x $(DEMO)/bin/pip || $(call python) -m venv $(DEMO)
	@$(DEMO)/bin/pip install --quiet .
	@touch $@

$(DEV)/.installed: pyproject.toml constraints.txt
	@echo '== installing the package with its dev, interop, lab, report and server extras into $(DEV); with torch'
	@test -x $(DEV)/bin/pip || $(call python) -m venv $(DEV)
	@$(DEV)/bin/pip install --quiet -c constraints.txt -e '.[dev,interop,lab,report,server]'
	@touch $@

clean:
	rm -rf $(DEMO) $(DEV) build dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find privacy sdk server lab tests examples -name __pycache__ -prune -exec rm -rf {} +

python = $(or $(PYTHON),$(error Python 3.11 or later is needed: install it, or name it as \
	make PYTHON=/path/to/python))
