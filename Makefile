# What a person can ask for. `make` alone lists it.
#   PYTHON=/path/to/python3.12   the Python to make the environment with (default: newest of 3.13, 3.12, 3.11)
#   NB=notebooks/07-*.ipynb      which notebooks `make notebooks` runs (default: all)
#   ONLY='py3.12 numpy2.0'       which settings `make elsewhere` runs, by the words of their names
#   LIVE=no                      builds the book without its live chapters; PYODIDE_DIST=/path/to/it names a Pyodide for them
#   PORT=8000                    the first port `make book` tries
#   ARGS='-k engine -x'          anything more for pytest in `make test`
#   JOBS=1                       how many files `make test` runs at once (default: one a core, at most 4)

NB ?=
ONLY ?=
LIVE ?= auto
PORT ?= 8000
ARGS ?=
JOBS ?= logical
SEED ?= $(shell date +%s)
bin := .venv/bin
export PYTHON

.PHONY: help book site live pdf test bench fuzz mutations frameworks lab student regrade notebooks check-notebooks elsewhere lock clean env
.DEFAULT_GOAL := help

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

book: site ## build the book and serve it on this machine
	@$(bin)/python book/tools/serve.py _build/html --port $(PORT)

site: env ## build the book into _build/html, warnings as errors
	@$(bin)/python book/tools/build_site.py --live $(LIVE)

live: LIVE = required
live: site ## the same, and fail where the live chapters, which run in the browser, can't be built

pdf: site ## the same as one PDF, _build/gates.pdf, printed by a Chromium
	@$(bin)/python book/tools/print_book.py

test: env ## run every test, the notebooks' outputs included
	@$(bin)/python -m pytest -n $(JOBS) --maxprocesses=4 --dist loadfile $(ARGS)

frameworks: env ## install PyTorch, JAX, Keras and onnxruntime too, for the tests and benchmarks against them (1 GB)
	@$(bin)/python book/tools/install.py frameworks requirements-frameworks.lock

bench: env ## measure against autograd, PyTorch and JAX, about ten minutes (WHAT="lstm memory", QUICK=1, SHOW=1: benchmarks/README.md)
	@$(bin)/python -m benchmarks $(WHAT) $(if $(CORETYPE),--coretype $(CORETYPE)) \
		$(if $(AGAIN),--again) $(if $(QUICK),--quick) $(if $(SHOW),--show)

fuzz: env ## run 10,000 new random programs and cells, a few minutes (SEED=... for those of an earlier run)
	@HYPOTHESIS_PROFILE=fuzz $(bin)/python -m pytest -vv -n $(JOBS) --maxprocesses=4 --dist worksteal \
		--hypothesis-seed=$(SEED) tests/test_fuzz_engine.py tests/test_fuzz_cells.py $(ARGS)

lab: env ## open the notebooks in JupyterLab
	@$(bin)/jupyter lab --log-level=ERROR notebooks

student: env ## write the exercises without solutions, and a zip for a class, into student/
	@$(bin)/python book/tools/student_notebooks.py

regrade: env ## check handed-in student notebooks again (IN=folder or notebooks, SECONDS=60 for each answer)
	@$(bin)/python book/tools/regrade.py $(IN) --seconds $(or $(SECONDS),60)

mutations: env ## spoil every cell in every known way and show which tests notice
	@$(bin)/python tests/test_mutations.py

notebooks: env ## run notebooks again and store their outputs (NB=... for some)
	@$(bin)/python book/tools/run_notebooks.py $(NB)

check-notebooks: env ## run notebooks again and say which would be stored differently
	@$(bin)/python book/tools/run_notebooks.py --check $(NB)

elsewhere: env ## run notebooks under other processors' kernels, threads, Pythons and NumPys (NB=... ONLY=...)
	@$(bin)/python book/tools/elsewhere.py --only "$(ONLY)" $(NB)

lock: env ## choose the newest allowed versions again and write requirements.lock
	@$(bin)/python book/tools/lock.py

clean: ## remove the built site, caches and the environment
	@rm -rf _build .venv .venv-lock .venv-elsewhere .venv-live .pytest_cache .hypothesis .ipynb_checkpoints notebooks/.ipynb_checkpoints
	@find minigrad tests book -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

env: ## make the environment .venv from requirements.lock
	@sh book/tools/environment.sh
