# make env          create .venv with everything that the demo, tests and benchmarks need
# make demo         segment real and generated images; masks and overlays go to demo/
# make test         run the tests on all cores, except those marked slow (make test PYTEST= runs all)
# make test-processors  run them with one thread and with the instruction sets of older processors
# make test-oldest  the same with the oldest versions that pyproject.toml allows
# make lint         ruff, mypy, import contracts
# make format       format the code
# make docs         generate docs/reference.md and docs/api.md
# make ui           build the annotation page into the package; needs Node 20, and only after changes
#                   in ui/, since the built page is committed
# make bench        measure speed and memory
# make clean        remove everything that these commands created

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready

.PHONY: env demo test test-processors test-oldest lint docs format ui bench clean
.DEFAULT_GOAL := env

env: $(READY)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "segscope needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) cannot create environments: its ensurepip is missing (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch is installed first and alone, so that no other package determines its build
$(READY): $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt pip
	$(PIP) install --quiet --constraint constraints.txt torch==2.13.0
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/segscope demo --out demo

PYTEST ?= -m "not slow"
# one process for each core, each with one thread
PARALLEL ?= -n logical --maxprocesses 8 --dist worksteal
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) --durations 25 $(PYTEST)

test-processors: $(READY)
	PYTHON=$(BIN)/python tests/run_on_processors.sh $(PYTEST)

test-oldest:
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip --disable-pip-version-check install --quiet -c constraints-oldest.txt torch==2.13.0
	$(VENV)-oldest/bin/python -m pip --disable-pip-version-check install --quiet -c constraints-oldest.txt -e '.[test]'
	$(VENV)-oldest/bin/python -m pytest $(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_api_reference.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui:
	cd ui && npm ci --no-audit --no-fund && npm test && npm run build

bench: $(READY)
	$(BIN)/segscope bench

clean:
	rm -rf $(VENV) $(VENV)-oldest demo build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
