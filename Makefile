# `make search` and `make test` are all a newcomer needs; both create the environment first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Without DATA a plan's own data are used; the first example's are the built-in faces.
DATA ?=
PLAN ?= $(if $(filter-out demo,$(DATA)),examples/fer2013.yaml,examples/quick.yaml)
# Some systems put a NAME of their own into the environment.
ifneq ($(origin NAME),command line)
NAME := $(basename $(notdir $(PLAN)))-$(shell date +%Y%m%d-%H%M%S)
endif

.PHONY: search test test-slow screenshots lint lock environment clean

search: $(READY)
	@$(BIN)/fertune search $(PLAN) $(if $(DATA),--data "$(DATA)") --name $(NAME)
	@$(BIN)/fertune select runs/$(NAME)
	@$(BIN)/fertune export runs/$(NAME)

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# The pictures in docs/, as tests take them in a real Chromium.
screenshots: $(READY)
	FERTUNE_SCREENSHOTS=docs $(BIN)/python -m pytest tests/test_results_report_browser.py tests/test_search_board.py \
		tests/test_results_demo.py -k "browser or report or page"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

environment: $(READY)

# uv installs the locked versions in seconds; where it is missing it comes through pip, into the environment itself.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "fertune needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if command -v uv >/dev/null 2>&1; then uv=uv; \
		else $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; uv=$(BIN)/uv; fi; \
		echo "installing the locked packages (a few GB the first time) ..."; \
		$$uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock && \
		$$uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

lock:
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --all-extras --python-version 3.11 \
		pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
