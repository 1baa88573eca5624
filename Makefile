# One command each; all of them make .venv first if it is missing. Needs Python >= 3.11, make and git.
PYTHON ?= python3
BIN := .venv/bin
CLONE := .atelier/clone
# The demo at a size that CI can afford; tests/demo/check_demo.py knows what it must reach.
SMALL := --set models.fashion-classifier.training.kimg=100 --set models.fashion-gan.training.kimg=120 \
	--set models.fashion-denoise.training.kimg=60 --set models.fashion-inpaint.training.kimg=60 --set evaluation.cas_kimg=60
RUN_FLAGS ?=
# Two files at once, the longest first (tests/conftest.py): xdist's own order, by the number of tests in
# a file, would leave the flow tests to the end, where one worker waits for the other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo lint type test-fast test test-all test-stack test-outages docs bench gpu-quick ci ci-demo browser

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed  ## make .venv with everything in it

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $@

demo: install  ## data, four models, evaluation, registry, promotion; then pictures/
	$(BIN)/atelier run $(RUN_FLAGS)
	$(BIN)/atelier pictures -o pictures

lint: install  ## ruff: style, imports, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: install  ## mypy --strict
	$(BIN)/mypy

test-fast: install  ## no flow, MLflow, DVC, server, browser or process
	$(PYTEST) -m "not slow and not flow and not service"

test: install  ## all tests but the slowest
	$(PYTEST) -m "not slow"

test-all: install browser  ## all tests, with many examples of each property
	HYPOTHESIS_PROFILE=thorough $(PYTEST) --durations=20 --ignore tests/operate

test-stack: install  ## servers, schedules and kills: 5 minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --durations=20 tests/operate/test_stack.py

test-outages: install  ## missed ticks, and kills to the end: 20 minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --durations=20 tests/operate/test_outages.py

browser:  ## Chromium, for the tests that look at pages (Debian's; needs root)
	@command -v chromium > /dev/null || (apt-get -qq update && apt-get install -qqy --no-install-recommends chromium)

docs: install  ## the pages as a site: build/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

bench: install  ## time the parts (benchmarks/)
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/crops.py

gpu-quick: install  ## what a card would be tried with, small, on the CPU: 2 minutes
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/gpu.py --device cpu --quick --out build/gpu

ci: lint type docs test-all gpu-quick test-stack ci-demo  ## what .ci/run runs

ci-demo: install  ## the demo, small, in a fresh clone
	rm -rf $(CLONE) && git clone --quiet . $(CLONE)
	$(MAKE) -C $(CLONE) demo RUN_FLAGS="$(SMALL)"
	cd $(CLONE) && .venv/bin/python -m pytest -q -p no:cacheprovider tests/demo/check_demo.py
	rm -rf $(CLONE)
