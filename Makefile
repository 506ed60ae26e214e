# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CAMPAIGN ?= workflows/quickstart.yaml

.PHONY: run test test-cluster setup check lowest validate bench clean
run: setup
	$(BIN)/nepal run $(CAMPAIGN)

test: setup
	$(BIN)/python -m pytest -m "not cluster"

# Everything that needs a server or SLURM, the long ones too. A server is found or made: see
# tests/cluster/mongo_servers.py; SLURM needs root and Debian's munge and slurm-wlm.
test-cluster: setup
	$(BIN)/python -m pytest tests/cluster --durations=0 --timeout=2400

setup: $(READY)

# Exact versions from the lock file; the package itself is installed in place.
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/nepal warmup
	touch $@

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src docs tests workflows benchmarks README.md

# The numerics, the store and whole campaigns on the lowest versions that pyproject.toml allows.
LOWEST := .venv-lowest
lowest: requirements-lowest.lock
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements-lowest.lock
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(LOWEST)/bin/python -m pytest -q -W ignore::DeprecationWarning -W ignore::UserWarning \
		-m "not dft and not slow" tests/unit/core tests/unit/io tests/unit/records tests/unit/engines \
		tests/unit/campaign tests/flows/test_campaign.py

# A finished silicon campaign beside its own DFT: `make validate CAMPAIGN=workflows/silicon-espresso.yaml`.
# The labels it needs are in docs/validation; OPTIONS=--label makes those that are not, by DFT.
validate: setup
	PYTHONPATH=docs/validation $(BIN)/python -m silicon $(CAMPAIGN) $(OPTIONS)

bench: setup
	for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

clean:
	rm -rf $(VENV) .venv-lowest .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +
