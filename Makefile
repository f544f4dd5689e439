# Needs Python 3.11 or later (with venv), make and a package index. Nothing else is prepared.

.DEFAULT_GOAL := help
.PHONY: help demo test lint types docs device-wheel sbom audit lock clean

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

DEMO := .venv-demo
DEV := .venv
LOCK := .venv-lock
SBOM := build/sbom.cdx.json
SITE := build/site
PACKAGED := $(shell find privacy sdk server lab -type f -not -name '*.pyc') LICENSE README.md

help:
	@echo 'make demo    caption the bundled clips, alone and with a verifier; installs no torch'
	@echo 'make test    install everything, then lint, types and all tests'
	@echo 'make lint    ruff, formatting and the rules on who may import whom'
	@echo 'make types   mypy, strict'
	@echo 'make docs    build the documentation site into $(SITE); every warning is an error'
	@echo 'make device-wheel  build/*+device*.whl: the package without verifier and laboratory'
	@echo 'make sbom    write $(SBOM): what the base install consists of (CycloneDX)'
	@echo 'make audit   ask an advisory service about every locked version; needs a network'
	@echo 'make lock    refresh requirements/*.lock after a change of dependencies;'
	@echo '             make lock UPGRADE=--upgrade takes the newest versions allowed'
	@echo 'make clean   delete the environments and the caches'

demo: $(DEMO)/.installed
	@$(DEMO)/bin/ugsd demo

test: lint types sbom
	@echo '== pytest'
	@$(DEV)/bin/python -m pytest -n 2 --dist worksteal

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

# No network is needed: pictures, fonts and scripts are in the repository or in the theme. The
# variable silences an announcement of the theme's authors about another program.
docs: $(DEV)/.installed
	@echo '== mkdocs build --strict'
	@NO_MKDOCS_2_WARNING=1 $(DEV)/bin/python -m mkdocs build --strict --site-dir $(SITE)

device-wheel: $(DEV)/.installed
	@$(DEV)/bin/python packaging/device_wheel.py build

sbom: $(DEV)/.installed
	@echo '== CycloneDX'
	@mkdir -p $(dir $(SBOM))
	@$(DEV)/bin/python -W ignore::UserWarning -m cyclonedx_py requirements requirements/base.lock \
		--pyproject pyproject.toml \
		--output-format JSON --output-reproducible --validate --output-file $(SBOM)

audit: $(DEV)/.installed
	@$(DEV)/bin/python -m ugsd_lab.cli.advisories requirements/base.lock requirements/dev.lock

# Every package but torch is installed from a lock: an exact version, and only a file whose SHA-256
# stands there. --no-deps, since a lock names all that is needed; pip check says if one does not.
# Packages that are published as source alone are built by the locked build tools as well.
PIP = bin/python -m pip
LOCKED := install --quiet --require-hashes --no-deps --no-build-isolation

# The stamps come last, so that an interrupted installation is taken up again.
$(DEMO)/.installed: pyproject.toml requirements/build.lock requirements/base.lock $(PACKAGED)
	@echo '== installing the base package into $(DEMO); a few minutes the first time'
	@test -x $(DEMO)/bin/pip || $(call python) -m venv $(DEMO)
	@$(DEMO)/$(PIP) $(LOCKED) -r requirements/build.lock
	@$(DEMO)/$(PIP) $(LOCKED) -r requirements/base.lock
	@$(DEMO)/$(PIP) install --quiet --no-deps --no-build-isolation .
	@$(DEMO)/$(PIP) check
	@touch $@

# torch has no hash: its builds for CPU and for CUDA are other files under one version, and either
# will do, so constraints.txt pins the version alone. It comes last: all that it needs on every
# platform is in dev.lock by then, and only what a CUDA build needs besides is fetched unlocked.
$(DEV)/.installed: pyproject.toml requirements/build.lock requirements/dev.lock constraints.txt
	@echo '== installing the package with its dev, docs, interop, lab and report extras into $(DEV); with torch'
	@test -x $(DEV)/bin/pip || $(call python) -m venv $(DEV)
	@$(DEV)/$(PIP) $(LOCKED) -r requirements/build.lock
	@$(DEV)/$(PIP) $(LOCKED) -r requirements/dev.lock
	@$(DEV)/$(PIP) install --quiet -r constraints.txt
	@$(DEV)/$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@$(DEV)/$(PIP) check
	@touch $@

# The locks hold for every platform and for Python 3.11 and later, and name no index. Versions that
# they already have stay unless UPGRADE asks for newer ones. torch is excluded while dev.lock is
# resolved (unlocked.in); torch.in has what it needs.
COMPILE = $(LOCK)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--prerelease disallow --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --no-annotate $(UPGRADE)

lock: $(LOCK)/.installed
	@cd requirements && ../$(COMPILE) --output-file uv.lock uv.in > /dev/null
	@cd requirements && ../$(COMPILE) --output-file build.lock build.in > /dev/null
	@cd requirements && ../$(COMPILE) --output-file base.lock -c build.lock ../pyproject.toml > /dev/null
	@cd requirements && ../$(COMPILE) --output-file dev.lock -c build.lock -c base.lock \
		--excludes unlocked.in --extra dev --extra docs --extra interop --extra lab --extra report \
		../pyproject.toml torch.in > /dev/null

$(LOCK)/.installed: requirements/uv.lock
	@test -x $(LOCK)/bin/pip || $(call python) -m venv $(LOCK)
	@$(LOCK)/$(PIP) $(LOCKED) -r requirements/uv.lock
	@touch $@

clean:
	rm -rf $(DEMO) $(DEV) $(LOCK) build dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find privacy sdk server lab tests examples -name __pycache__ -prune -exec rm -rf {} +

python = $(or $(PYTHON),$(error Python 3.11 or later is needed: install it, or name it as \
	make PYTHON=/path/to/python))
