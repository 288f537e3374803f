# setup · demo · studio · test · test-fast · lint · bench · results · docs, each usable on a fresh machine with Python 3.11 to 3.13 and git
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/installed
# PYTHON=/path/to/python chooses the Python of a new environment; without it, the first of these that fits
PYTHONS := python3.13 python3.12 python3.11 python3
FITS := import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# librosa has numba compile itself at its first use; processes that do so at once spoil each other's cache, and crash
WARM_UP := import torch; from evaluation.onsets import detect_onsets; detect_onsets(torch.rand(1, 44100), 44100)

.PHONY: setup demo studio test test-fast lint bench results docs

setup: $(STAMP)

$(RUN):
	@for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
		if "$$python" -c "$(FITS)" > /dev/null 2>&1; then exec "$$python" -m venv $(VENV); fi; \
	done; \
	echo "error: $(if $(PYTHON),PYTHON=$(PYTHON) is not,none of $(PYTHONS) is) a Python 3.11 to 3.13 with venv and pip:" \
		"install one, or give its path as PYTHON=" >&2; exit 2

$(STAMP): requirements.txt requirements-nodeps.txt | $(RUN)
	$(RUN) -m pip install --quiet --requirement requirements.txt
	$(RUN) -m pip install --quiet --no-deps --ignore-requires-python --requirement requirements-nodeps.txt
	$(RUN) -c "$(WARM_UP)"
	touch $@

demo: setup
	$(RUN) demo.py

# the page on which sounds are shaped by hand; ARGS="--port 9000" and so on
studio: setup
	$(RUN) studio.py $(ARGS)

# one process a core, at most four (each takes up to 4 GB), with one thread of torch each
test: setup
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# the tests of single functions and classes alone: no training, no other process, no bundled model; a minute and a half
test-fast: setup
	OMP_NUM_THREADS=1 $(RUN) -m pytest tests -m "not slow" --numprocesses auto --maxprocesses 4 --dist worksteal

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# speed and memory beside other programs, a table in outputs/; QUICK=1 leaves the full-size model out
bench: setup
	$(RUN) -m benchmarks.speed $(if $(QUICK),--quick)

# the figures of docs/results.md that need no recordings
results: setup
	$(RUN) -m benchmarks.mel_latent
	$(RUN) -m benchmarks.evaluation
	$(RUN) -m benchmarks.control_envelope
	$(RUN) -m benchmarks.readers
	$(RUN) -m benchmarks.preprocess
	$(RUN) -m benchmarks.feature_cache
	$(RUN) -m benchmarks.synthetic
	$(RUN) -m benchmarks.video2rms
	$(RUN) -m benchmarks.cavp
	$(RUN) -m benchmarks.control
	$(RUN) -m benchmarks.region_ends

docs: setup
	$(RUN) -m docs.commands
