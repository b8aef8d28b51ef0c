# Two commands: `make run` and `make test`. They need Python >= 3.11 and make, and nothing else.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Without byte code each start would compile everything again, for seconds.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

setup: $(STAMP) ## the environment alone, from the hashed lock file

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "gateway needs Python >= 3.11: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

run: setup ## the gateway on 127.0.0.1:8080, with an embedded PostgreSQL and a demo team
	$(BIN)/gateway serve --demo

demo: setup ## walk through the main job with the official SDKs; exit status 0 only if all is right
	$(BIN)/python -m scripts.demo

# What pytest says where TESTS holds none of a kind.
NO_TESTS := 5
test: setup ## every test, real PostgreSQL included
	$(BIN)/python -m pytest -n 2 -m "not alone" $(TESTS) || [ $$? = $(NO_TESTS) ]
	$(BIN)/python -m pytest -m alone $(TESTS) || [ $$? = $(NO_TESTS) ]

test-fast: setup ## the pure rooms alone: no database, no sockets
	$(BIN)/python -m pytest -q tests/unit tests/properties tests/test_tidy.py

check: setup ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: setup ## put the code into the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

migrate: setup ## bring the schema up to date, the site's own migrations included
	$(BIN)/gateway migrate

ROUNDS ?= 10
SCENARIOS ?= all
CONTENDERS ?= gateway,aiohttp,aiohttp_again,nginx,envoy,direct
bench: setup ## what the product costs beside a bare relay, nginx and envoy; writes docs/benchmarks
	$(BIN)/python -m bench.run --rounds $(ROUNDS) --scenarios $(SCENARIOS) --contenders $(CONTENDERS)

bench-admission: setup ## what admission, hold and journal add before a request goes up
	$(BIN)/python -m bench.admission

SOAK ?= 1000000
soak: setup ## a request's memory: resident size and open files over SOAK requests
	$(BIN)/python -m bench.soak --requests $(SOAK)

bench-gate: setup ## fail where the product's CPU against a bare relay's has grown (bench/gate.json)
	$(BIN)/python -m bench.gate

TRIALS ?= 100
cap-trials: setup ## race workers to a cap TRIALS times; prints the largest overspend and its bound
	$(BIN)/python -m scripts.cap_trials --trials $(TRIALS)

N ?= 1000
WORKERS ?= 1
kill-test: setup ## kill the whole product N times under load, and audit its ledger; WORKERS=, SEED=, KILL="--embedded"
	$(BIN)/python -m scripts.kill_test --kills $(N) --workers $(WORKERS) $(if $(SEED),--seed $(SEED)) $(KILL)

nth-kill: setup ## kill the gateway at every suspension point of every request path; NTH="--kinds await"
	$(BIN)/python -m scripts.nth_kill $(NTH)

SECONDS ?= 30
outage-test: setup ## take the database away in every way, SECONDS each; prints what clients noticed
	$(BIN)/python -m scripts.outage_test --seconds $(SECONDS)

bench-posting: setup ## rows a second and CPU a row of the ledger; BENCH="--backlog 1000000 --verify 10000000"
	$(BIN)/python -m scripts.bench_posting $(BENCH)

bench-scale: setup ## a request's cost by teams, keys, ledger and workers; BENCH="--rows 10000000 --parts ledger"
	$(BIN)/python -m scripts.scale $(BENCH)

recordings: setup ## the meter against recorded provider streams, where they are at hand
	$(BIN)/python scripts/check_recordings.py

prices: setup ## our prices against the second source's, rate by rate
	$(BIN)/python -m scripts.check_prices

docs: setup ## write what documents say of the code: settings, telemetry names, the map
	$(BIN)/python -m scripts.write_docs

lock: ## resolve the lock files anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group dev -o requirements-dev.lock

clean: ## remove the environment and what was built; data in ./var stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup run demo test test-fast check fmt migrate bench bench-admission bench-gate soak cap-trials kill-test nth-kill outage-test bench-posting bench-scale recordings prices docs lock clean
