# One command each; all of them make .venv first if it is missing. Needs Python >= 3.11, make and git.
PYTHON ?= python3
BIN := .venv/bin
CLONE := .atelier/clone
# The demo at a size that CI can afford; tests/demo/check_demo.py knows what it must reach.
SMALL := --set models.fashion-classifier.training.kimg=100 --set models.fashion-gan.training.kimg=120 \
	--set models.fashion-denoise.training.kimg=60 --set models.fashion-inpaint.training.kimg=60 --set evaluation.cas_kimg=60
RUN_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo lint type test bench ci ci-demo

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

test: install  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile

bench: install  ## time the parts (benchmarks/)
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/crops.py

ci: lint type test ci-demo  ## what .ci/run runs

ci-demo: install  ## the demo, small, in a fresh clone
	rm -rf $(CLONE) && git clone --quiet . $(CLONE)
	$(MAKE) -C $(CLONE) demo RUN_FLAGS="$(SMALL)"
	cd $(CLONE) && .venv/bin/python -m pytest -q -p no:cacheprovider tests/demo/check_demo.py
	rm -rf $(CLONE)
