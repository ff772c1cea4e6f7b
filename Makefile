# Everything one does with this project. `make` alone lists it; each target makes what it needs first.

PYTEST := .venv/bin/python -m pytest
UNINDEXED := --no-emit-index-url --no-emit-find-links --no-header --no-annotate
COMPILE := .venv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes $(UNINDEXED)

# Nothing that is set for a real installation may steer tests, demo or benchmarks: they must never reach it.
ifeq ($(filter up,$(MAKECMDGOALS)),)
unexport $(filter DATABASE_% KAFKA_% DO_% SPACES_% DIGITALOCEAN_% FINANCE_% SKYAI_% JWT_% GATEWAY_% OTEL_%,$(.VARIABLES))
endif
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults check bench contracts lock up
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.complete ## make the environment .venv, as the locks say
	@echo "ready: .venv/bin/arcadia --help"

demo: .venv/.complete ## tell the story on a stack of its own, from nothing; KEEP=1 lets it run until Ctrl-C
	@.venv/bin/python -m dev.demo $(if $(KEEP),--keep)

test: .venv/.complete ## all tests but the long ones, on real PostgreSQL and Apache Kafka; ARGS="-k inventory" chooses, ARGS=-n0 runs one by one
	@$(PYTEST) -m "not long" -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-faults: .venv/.complete ## the long fault tests: processes killed and frozen, servers restarted underneath
	@$(PYTEST) -m long $(ARGS)

check: .venv/.complete ## lint, format, types, imports, contracts, migrations, locks
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/arcadia contracts check
	$(PYTEST) -q tests/project

bench: .venv/.complete .venv-bench/.complete ## the benchmarks; writes docs/benchmarks.md; ARGS="pipeline --json" runs one
	@.venv/bin/python -m bench $(or $(ARGS),--write)

contracts: .venv/.complete ## export the JSON Schemas, the AsyncAPI document and the table of topics
	@.venv/bin/arcadia contracts export

lock: .venv/.complete ## renew what pyproject.toml leaves open: requirements.lock, -dev.lock and -bench.lock
	@env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(COMPILE) $(ARGS) --output-file requirements.lock
	@env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(COMPILE) $(ARGS) --group dev --output-file requirements-dev.lock
	@env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(subst pyproject.toml,--group bench,$(COMPILE)) $(ARGS) --output-file requirements-bench.lock

up: ## everything in Docker: docker compose up, with the stand-ins and the Kafka UI
	@docker info >/dev/null 2>&1 || { echo "error: Docker does not answer. Start it, or use \`make demo\`, which needs none." >&2; exit 1; }
	docker compose --profile stand-ins --profile ui up --build --detach --wait

.venv/.complete: requirements-dev.lock pyproject.toml dev/setup.sh
	@dev/setup.sh

.venv-bench/.complete: requirements-bench.lock .venv/.complete
	@dev/setup.sh bench
