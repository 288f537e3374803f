# setup · demo · test · lint · bench, each usable on a fresh machine with Python 3.11 and git
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/installed

.PHONY: setup demo test lint bench

setup: $(STAMP)

$(STAMP): requirements.txt requirements-nodeps.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --requirement requirements.txt
	$(RUN) -m pip install --quiet --no-deps --ignore-requires-python --requirement requirements-nodeps.txt
	touch $@

demo: setup
	$(RUN) demo.py

test: setup
	$(RUN) -m pytest

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: setup
	$(RUN) -m benchmarks.mel_latent
	$(RUN) -m benchmarks.evaluation
	$(RUN) -m benchmarks.control_envelope
	$(RUN) -m benchmarks.preprocess
	$(RUN) -m benchmarks.feature_cache
	$(RUN) -m benchmarks.synthetic
	$(RUN) -m benchmarks.video2rms
	$(RUN) -m benchmarks.cavp
	$(RUN) -m benchmarks.control
