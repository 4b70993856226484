# Everything runs in a private virtual environment; nothing is installed outside of this folder, except system
# packages that the tests need, when `make test` runs as root.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Three workers, also on the two cores of a small machine: the slow tests wait for processes and silences, but a stop
# has its time limit, and four crowd it.
WORKERS ?= 3
SOAK ?= 32
FUZZ ?= 60
TARGETS ?=
MATRIX ?= wan.jsonl
# What of the suite `make test` runs, in the words of pytest: all of it.
TESTS :=

.DEFAULT_GOAL := help
.PHONY: help demo up down test test_integration test_resume test_reconnect test_network test_coverage fuzz lint format build bench bench_wan clean

help:
	@echo "make demo              send files between two processes and compare them"
	@echo "make up                run a server with TLS, Redis and a relay in containers (DOMAIN=p2pal.example.org)"
	@echo "make down              stop it; its data stay"
	@echo "make test              the whole test suite (TESTS=tests/unit/disk for a part)"
	@echo "make test_integration  only the end-to-end tests (real processes on loopback)"
	@echo "make test_resume       only the tests of stops, kills and other misfortunes (SOAK=1000 for as many of each)"
	@echo "make test_reconnect    only the tests that cut a network of their own (root, Linux)"
	@echo "make test_network      only the tests across NATs, firewalls and relays, and the table of them (root, Linux)"
	@echo "make test_coverage     only the unit tests: what of the code they reach, which has a floor"
	@echo "make fuzz              fuzz what reads hostile input for a minute (FUZZ=3600 for as many seconds, TARGETS=frame)"
	@echo "make lint              ruff, mypy --strict (for Linux, macOS and Windows), import-linter"
	@echo "make format            let ruff format the code"
	@echo "make build             wheel and sdist in dist/"
	@echo "make bench             print the performance table"
	@echo "make bench_wan         print the matrix of long, lossy and shared links against TCP (root, Linux; two hours)"

$(VENV)/.run: pyproject.toml scripts/venv.sh
	@sh scripts/venv.sh "$(PYTHON)" "$(VENV)" .
	@touch $@

$(VENV)/.dev: pyproject.toml scripts/venv.sh
	@sh scripts/venv.sh "$(PYTHON)" "$(VENV)" '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml scripts/venv.sh
	@sh scripts/venv.sh "$(PYTHON)" "$(VENV)" '.[bench]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
	@$(BIN)/python scripts/demo.py

up:
	@sh deploy/compose/check.sh
	@sh deploy/compose/env.sh .env "$(DOMAIN)"
	docker compose up --detach --build --wait --remove-orphans

down:
	@sh deploy/compose/check.sh
	docker compose down --remove-orphans

test: $(VENV)/.dev
	@sh scripts/system.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

test_integration: $(VENV)/.dev
	@sh scripts/system.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/e2e

test_resume: $(VENV)/.dev
	@sh scripts/system.sh
	P2PAL_SOAK=$(SOAK) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/e2e/test_resume.py tests/e2e/test_resume_rounds.py \
		tests/e2e/test_resume_misfortunes.py

test_reconnect: $(VENV)/.dev
	@sh scripts/system.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/network/test_reconnect.py tests/network/test_interfaces.py

test_network: $(VENV)/.dev
	@sh scripts/system.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/network

test_coverage: $(VENV)/.dev
	@sh scripts/system.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov=p2pal tests/unit

$(VENV)/.fuzz: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary wrtc --only-binary atheris -e '.[fuzz]' || echo "there is no atheris for this Python: inputs are mutated blindly"
	@touch $@

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ) $(TARGETS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin src
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build

bench: $(VENV)/.bench
	$(BIN)/python bench/run.py

bench_wan: $(VENV)/.bench
	$(BIN)/python bench/wan.py --whole --json $(MATRIX)

clean:
	rm -rf $(VENV) dist .coverage* htmlcov .mypy_cache .ruff_cache .pytest_cache .fuzz .hypothesis .import_linter_cache
