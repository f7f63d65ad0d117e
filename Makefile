# Every target does its own set-up: a virtual environment from the hashed lock file.
PYTHON ?= python3
VENV   ?= .venv
RUN     = $(VENV)/bin/python -m
CONFIG ?= config.toml

.PHONY: help demo test check serve bench lock clean

help:
	@echo "make demo    show the whole gateway at work, on a sandbox (under a minute)"
	@echo "make test    lint, types, import rules and all tests"
	@echo "make serve   run the gateway with $(CONFIG)"
	@echo "make bench   measure it beside its peers"
	@echo "make check   lint, types and import rules only"

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(VENV)/.installed
	$(RUN) gateway demo

serve: $(VENV)/.installed
	$(RUN) gateway serve --config $(CONFIG)

check: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# CI runs the slow ones as well, and then, alone on the machine, those that make faults
# for real: `CI=true make test`.
test: check
	$(RUN) pytest -n 2 --dist loadfile -m "not chaos$(if $(CI),, and not slow)"
	$(if $(CI),$(RUN) pytest -n 2 --dist loadfile -m chaos)

bench: $(VENV)/.installed
	$(RUN) bench

# The lock files name versions and hashes, never an index. They keep the extras that are asked
# for (`pyjwt[crypto]==`): without them an older pip looks for the newest release, without a hash.
# The container is installed from the first, and has the driver of PostgreSQL.
lock: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet uv
	$(VENV)/bin/uv pip compile pyproject.toml --extra postgresql --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-emit-find-links --no-header -q -o requirements.lock
	$(VENV)/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-emit-find-links --no-header -q -o requirements-dev.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
