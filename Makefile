# make demo   the main job: ORGAN on real molecules, results in runs/demo
# make test   the tests
# make check  what .ci/run runs before the tests: style, types, spelling
# make gpu    on a machine with a GPU: the tests that need one, then the rollouts measured on it
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check gpu clean

demo: .venv/demo
	rm -rf runs/demo
	$(BIN)/tokengym train examples/organ_molecules.yaml --run runs/demo

test: .venv/dev
	$(BIN)/python -m pytest -n 2

gpu: .venv/dev
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python -m benchmarks.rollouts --device cuda

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[molecules]'
	touch $@

.venv/dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[molecules,music,parquet,assessors,sb3,texts,transformers,fcd,distributed,dev]'
	touch $@

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache
