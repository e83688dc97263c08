# Everything this project can do, each target setting up what it needs in .venv. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
# A test that hangs where its own timeout does not reach it, in an event loop that closes, ends the run with a traceback.
TEST := $(BIN)/python -m pytest -n 2 --dist worksteal -o faulthandler_timeout=1500 -o faulthandler_exit_on_timeout=true
export UV_PYTHON_DOWNLOADS ?= never

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-all check fix bench docs package lowest clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## watch a chat service stream, resume and survive a killed worker (KEEP=1 leaves it running)
	@KEEP=$(KEEP) $(BIN)/python -m examples.stock_chat.demo $(ARGS)

test: $(VENV)/.dev ## run what shows nearly every fault within minutes (ARGS="tests/unit -k lease" for some)
	@$(TEST) $(ARGS)

test-long: $(VENV)/.dev $(VENV)/.demo ## run the tests that `make test` leaves out: long ones, and those of the second server
	@$(TEST) -m long $(ARGS)

test-all: test test-long ## run both

check: $(VENV)/.dev ## check format, lint, types, layers, known insecure constructs and house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive src
	$(BIN)/python scripts/check_house.py

fix: $(VENV)/.dev ## format, and repair what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench ## measure Sidelane beside its peers (QUICK=1: under three minutes; ARGS="drain --only arq,saq")
	@QUICK=$(QUICK) $(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.docs ## build the documentation into site/, check its links and run its code
	@$(BIN)/python tests/docs/generate.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@$(BIN)/python -m pytest tests/docs $(ARGS)
	@echo "Open site/index.html"

package: $(VENV)/.dev ## build sdist and wheel, and run README's example in a clean environment
	@$(BIN)/python scripts/check_package.py

lowest: $(VENV)/.dev ## run tests of stores, web, client and worker with the lowest version of each dependency
	@$(BIN)/python scripts/check_lowest.py $(ARGS)

clean: ## remove everything that was installed, built or cached here
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: a stamp each, renewed when pyproject.toml changes ---------------------------------------------------------

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Sidelane needs Python 3.11 or newer. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments here. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Making $(VENV) and getting uv, the installer (about 25 MB) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check uv
	@touch $@

$(VENV)/.dev: $(VENV)/.uv pyproject.toml
	@echo "Getting what Sidelane, its tests and its checks need (about 110 MB the first time) ..."
	@$(INSTALL) --editable . --group dev
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	@$(INSTALL) --group docs
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@$(INSTALL) --group bench
	@touch $@

$(VENV)/.demo: $(VENV)/.uv pyproject.toml
	@echo "Getting what the demo needs: a language model for the CPU and the program that runs it."
	@echo "That is about 300 MB to download the first time, and about 700 MB on disk ..."
	@$(INSTALL) --editable '.[demo]'
	@touch $@
