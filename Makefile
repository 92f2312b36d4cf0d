# Two commands set everything up: `make simulate` and `make test`.
# Both need Python 3.11 or newer with venv, and a network the first time.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
# A worker a core, eight at most: each has torch in its memory. ARGS="-n 0" for none, as --pdb needs.
CORES  := -n logical --maxprocesses 8 --dist worksteal
# A minor release of Flower, to be tried beside the one that is installed.
FLOWER ?=
OTHER  := $(VENV)/flower
FLOWER_TESTS := tests/flower tests/server/test_front.py tests/server/test_rounds.py \
    tests/server/test_strategies.py tests/clients/test_looking.py tests/simulations/test_simulate.py \
    tests/clients/test_worker.py::test_a_homes_process_loads_what_it_needs_alone

# What is compiled is kept, whatever the environment says: a test run is a hundred processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help simulate test quick slow flower lock face lint format types imports wheel release verify pins sbom audit clean
.DEFAULT_GOAL := help

help:  ## list what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

simulate: $(VENV)/.installed  ## train over 100 synthetic homes: make simulate ARGS="--seed 2"
	$(BIN)/fedhome simulate $(ARGS)

test: $(VENV)/.installed-dev  ## all tests but the slow ones, minutes: make test ARGS="-k report"
	$(BIN)/python -m pytest $(CORES) $(ARGS)

quick: $(VENV)/.installed-dev  ## the quick tests of every room, half a minute
	$(BIN)/python -m pytest $(CORES) -m "not slow and not long" $(ARGS)

# One worker begins with the tests of many processes and the other with all the rest:
# tests/helpers/hand_out.py.
# Properties are tried again, on as many examples as they say.
slow: $(VENV)/.installed-dev  ## the slow tests: processes, Flower's own run, the wheel, more examples
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or hypothesis" \
	    --hypothesis-profile many --durations 25 $(ARGS)

flower: $(OTHER)/.installed-$(FLOWER)  ## what touches Flower, under another release: make flower FLOWER=1.42
	$(OTHER)/bin/python -m pytest $(FLOWER_TESTS) $(ARGS)

lock: $(if $(FLOWER),$(OTHER)/.installed-$(FLOWER),$(VENV)/.installed-dev)  ## list anew what is used of Flower: make lock FLOWER=1.42
	PYTHONPATH=tests $(if $(FLOWER),$(OTHER),$(VENV))/bin/python -m helpers.flower_lock --write

face: $(VENV)/.installed-dev  ## list anew what users may rely on: names and signatures, and what --json prints
	PYTHONPATH=tests $(BIN)/python -m helpers.public_face
	PYTHONPATH=tests $(BIN)/python -m helpers.json_guide

lint: $(VENV)/.installed-dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev  ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.installed-dev  ## which package may import which
	$(BIN)/lint-imports

wheel: $(VENV)/.installed-dev  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist

release: $(VENV)/.installed-dev  ## build what is committed into dist/release and sign it: make release KEY=~/.ssh/id_ed25519
	PYTHONPATH=tests $(BIN)/python -m helpers.release make --key '$(KEY)'

verify: $(VENV)/.installed-dev  ## check a release's signature, and that this checkout gives it: make verify RELEASE=folder
	PYTHONPATH=tests $(BIN)/python -m helpers.release check '$(RELEASE)'

pins: $(VENV)/.installed-dev  ## write the lock, pins.txt: what make test installs, with hashes
	PYTHONPATH=tests $(BIN)/python -m helpers.pins $(ARGS)

sbom: $(VENV)/.installed-dev  ## write the list of components of the lock, dist/sbom.json (CycloneDX)
	@mkdir -p dist
	$(BIN)/uvx --python $(BIN)/python --from 'cyclonedx-bom>=7,<8' cyclonedx-py requirements pins.txt \
	    --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.json

audit: $(VENV)/.installed-dev  ## ask which packages of the lock have known vulnerabilities
	PYTHONPATH=tests $(BIN)/python -m helpers.audit

clean:  ## remove the virtual environment and what builds and tools left behind; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "$(PYTHON) is not there. On Debian or Ubuntu: apt-get install python3 python3-venv" >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "fedhome needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; \
	    echo "Name another one: make PYTHON=python3.12 ..." >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments." >&2; \
	    echo "On Debian or Ubuntu: apt-get install python3-venv" >&2; \
	    exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps make an install happen once, and again when pyproject.toml changes. Of the thousands
# of modules each is compiled when it is first imported: most never are.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --no-compile -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --no-compile -e '.[dev]'
	@touch $@ $(VENV)/.installed

# On top of the first environment, so that torch is not installed twice; what is here comes first.
$(OTHER)/.installed-$(FLOWER): $(VENV)/.installed-dev
	@test -n '$(FLOWER)' || { echo "which one? make flower FLOWER=1.42" >&2; exit 1; }
	$(BIN)/python -m venv --clear --without-pip $(OTHER)
	@for python in $(BIN) $(OTHER)/bin; do \
	    $$python/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; \
	done | { read -r beneath; read -r here; \
	    echo "import site; site.addsitedir('$$beneath')" > "$$here/0-beneath.pth"; }
	$(BIN)/python -m pip --python $(OTHER)/bin/python install --no-compile --no-build-isolation \
	    -e . 'flwr==$(FLOWER).*'
	@touch $@
