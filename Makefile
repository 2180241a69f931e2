# What a developer does. Needs Python 3.11 or newer and make; all else goes to .venv/.

BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --no-config --universal --generate-hashes --custom-compile-command "make lock" --quiet
EXTRAS := --extra embedded --extra llm --extra s3 --extra dev

.PHONY: help setup serve test test-docker lint lock browser bench bench-bridge chaos

help: ## Show this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Make .venv/ with everything pinned; PYTHON=… chooses the interpreter
	@tools/setup.sh

serve: setup ## Serve the agents in handlers/; HOST=… and PORT=… are honoured
	@exec $(BIN)/parley serve $(if $(HOST),--host "$(HOST)") $(if $(PORT),--port "$(PORT)")

# Four at once, also on two cores: most of these tests wait most of the time, for clients, takeovers and deaths.
test: lint browser ## Lint, then run all tests; ARGS=… goes to pytest
	@$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-docker: setup ## Try docker-compose.yml, with a Docker engine; ARGS=… goes to pytest
	@$(BIN)/pytest -m docker -rP tests/docker $(ARGS)

lint: setup ## Check style, types and layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/basedpyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-logo

chaos: setup ## Replay a run of the chaos suite: SEED=n; KEEP=folder leaves its journal and logs there
	@$(BIN)/python -m tests.chaos run --seed $(SEED) $(if $(KEEP),--keep "$(KEEP)")

bench: setup ## Measure beside the bare floor, python-socketio and Chainlit; ARGS="--only roundtrips --rounds 2"
	@tools/setup-bench.sh
	@$(BIN)/python -m bench $(ARGS)

bench-bridge: setup ## What make_async and run_sync cost, beside the others
	@$(BIN)/python -m bench.bridge

lock: $(BIN)/uv ## Pin the requirements anew; ARGS=--upgrade takes newer versions
	@$(LOCK) $(ARGS) requirements/build.in -o requirements/build.txt
	@$(LOCK) $(ARGS) pyproject.toml -o requirements/base.txt
	@$(LOCK) $(ARGS) pyproject.toml $(EXTRAS) -c requirements/base.txt -c requirements/build.txt -o requirements/dev.txt
	@$(LOCK) $(ARGS) pyproject.toml --extra bench -c requirements/dev.txt -o requirements/bench.txt
	@$(LOCK) $(ARGS) requirements/chainlit.in -o requirements/chainlit.txt

# Only where there is none yet: a broken lock must not stop its repair.
$(BIN)/uv:
	@tools/setup.sh

browser: ## Install Debian's Chromium, if it is not there
	@tools/need-chromium.sh
