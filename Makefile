# Two commands do everything: `make demo` runs the main job, `make test` passes the tests. Both make .venv first.
# Python 3.11 or newer is all that must be there. On a Linux machine without a GPU,
#   make install TORCH_INDEX=https://download.pytorch.org/whl/cpu
# fetches torch's small CPU build instead of the one with CUDA.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TORCH_INDEX ?=
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test slow lint bench clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[train,media,tts,fast,dev]"
	@touch $@

demo: install
	$(BIN)/utterloom demo --out demo

test: install
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

slow: install
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install
	$(BIN)/python benchmarks/loader.py

clean:
	rm -rf .venv demo
