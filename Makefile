# Everything runs from .venv; the files of Asterisk and the SIP clients live in the user's cache folder.
PYTHON ?= python3
WORKERS ?= 4
ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed
RUN := PYTHONPATH=contrib:. $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help venv trees test lint table demo bench soak

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

venv: $(STAMP) ## the Python environment in .venv

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is not Python 3.11 or later: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv >/dev/null 2>&1 || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	    || { echo "error: $(PYTHON) -m venv does not work: install the package python3-venv" >&2; exit 1; }; \
	  echo "installing the package python3-venv"; \
	  apt-get -qq update </dev/null; \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq -y install python3-venv </dev/null >/dev/null; \
	  $(PYTHON) -m venv --clear .venv; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-input -e '.[test]'
	@touch $@

trees: venv ## fetch Asterisk 22 and 16, sipp and baresip (once, no root)
	@$(RUN) -m private_asterisk

test: lint trees ## everything, on real servers; fails where Asterisk 22 cannot be had
	ARI_PRESENCE_REQUIRE=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: venv ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p ari_presence -p private_asterisk

table: venv ## write the table of layers into README.rst
	@$(RUN) -m tests.scenarios.layers

demo: trees ## a private Asterisk, the daemon, the board and a scripted caller
	@$(RUN) -m private_asterisk.demo $(ARGS)

bench: trees ## how fast, how big
	@$(RUN) tests/bench/run.py $(ARGS)

soak: trees ## the same for long, with faults
	@$(RUN) tests/bench/soak.py $(ARGS)
