# make install    the environment, in .venv
# make demo       the environment, then the demo: generate pictures, train, evaluate, export, predict
# make serve-demo the environment, then the inspection service on the demo's detectors
# make test       the environment, then lint and all tests
# make test-fast  the environment, then lint and the tests that a change in hand needs: under 90 s
# make test-without-paddleclas   what the CI runs on other Pythons, with EXTRAS of its own
# make test-paddleclas PADDLECLAS_HOME=DIR   the tests inside a PaddleClas checkout's own engine
# make soak       the environment, then kills, spoilt files and long runs, see docs/reliability.md
# make tipc       the environment, then Paddle's TIPC chains on the CPU, see test_tipc/README.md
# make build      the environment, then wheel and source archive in dist/, checked
# make clean      removes the environment and all caches; output/ stays

PYTHON ?= python3
VENV ?= .venv
# Extras of the package. Left empty: all of them, with train instead of cpu where VENV already holds
# a Paddle.
EXTRAS ?=
# Further requirements, such as WITH='numpy<2'.
WITH ?=
# Which tests test-without-paddleclas runs.
MARKED ?= not paddleclas and not browser
# Processes that share the tests.
WORKERS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

TIPC := test_tipc/configs/SSPCAB_ResNet18
LITE := lite_train_lite_infer

.PHONY: install demo serve-demo test test-fast test-without-paddleclas test-paddleclas soak tipc build lint clean

install: $(STAMP)

# Python 3.11 stands before 3.12 because paddleclas does not install on 3.12.
$(STAMP): pyproject.toml setup.py
	@set -eu; \
	supported='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'; \
	if ! $(BIN)/python -c "$$supported" 2>/dev/null; then \
	  chosen=; \
	  for python in $(PYTHON) python3.11 python3.10 python3.12; do \
	    if $$python -c "$$supported" 2>/dev/null; then chosen=$$python; break; fi; \
	  done; \
	  if [ -z "$$chosen" ]; then \
	    echo "error: Python 3.10, 3.11 or 3.12 is needed; '$(PYTHON)' is" \
	      "$$($(PYTHON) --version 2>&1 || true). Give one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
	    exit 2; \
	  fi; \
	  if [ "$$chosen" != "$(PYTHON)" ]; then \
	    echo "$(PYTHON) is not Python 3.10, 3.11 or 3.12: taking $$chosen"; \
	  fi; \
	  $$chosen -m venv --clear $(VENV); \
	fi; \
	extras='$(EXTRAS)'; \
	if [ -z "$$extras" ]; then \
	  extras=cpu,paddleclas,onnx,openvino,serve,visualdl,test; \
	  if $(BIN)/python -c 'import sys, importlib.util as u; sys.exit(u.find_spec("paddle") is None)'; then \
	    extras=train,paddleclas,onnx,openvino,serve,visualdl,test; \
	  fi; \
	fi; \
	echo "installing ppcls_sspcab[$$extras] into $(VENV) ($$($(BIN)/python --version)); the first time" \
	  "takes some minutes"; \
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable ".[$$extras]" $(patsubst %,'%',$(WITH)); \
	touch $(STAMP)

demo: install
	$(BIN)/ppcls-sspcab demo

# The demo, if it was not run yet, and an export of each of its detectors.
serve-demo: install
	test -d demo_output || $(BIN)/ppcls-sspcab demo
	$(BIN)/ppcls-sspcab serve $$(for model in demo_output/*/inference; do \
	  echo "--model $$(basename $$(dirname $$model))=$$model"; done) --database sqlite:///demo_output/inspections.db --store demo_output/pictures

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Several processes of one thread each are faster than one process of several threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

test: lint
	$(PYTEST)

test-fast: lint
	$(PYTEST) -m 'not slow and not browser and not paddleclas'

soak: install
	$(BIN)/python tests/soak.py

tipc: export PATH := $(abspath $(BIN)):$(PATH)
tipc: export TIPC_GPU := no
tipc: install
	bash test_tipc/prepare.sh $(TIPC)/train_infer_python.txt $(LITE)
	bash test_tipc/test_train_inference_python.sh $(TIPC)/train_infer_python.txt $(LITE)
	bash test_tipc/test_train_inference_python.sh $(TIPC)/train_multi_device_infer_python.txt $(LITE)
	bash test_tipc/test_train_dy2static_python.sh $(TIPC)/train_dy2static_python.txt
	bash test_tipc/test_paddle2onnx.sh $(TIPC)/paddle2onnx_infer_python.txt
	bash test_tipc/test_ptq_inference_python.sh $(TIPC)/ptq_infer_python.txt
	bash test_tipc/prepare.sh $(TIPC)/train_infer_python.txt benchmark_train
	bash test_tipc/benchmark_train.sh $(TIPC)/train_infer_python.txt benchmark_train

test-without-paddleclas: EXTRAS = cpu,onnx,openvino,serve,visualdl,test
test-without-paddleclas: install
	$(PYTEST) -m '$(MARKED)' --ignore tests/benchmarks --ignore tests/tipc \
	  --ignore tests/test_soak.py

# Without PADDLECLAS_HOME they run in the wheel that still holds the engine, as `make test` does.
test-paddleclas: install
	PADDLECLAS_HOME='$(PADDLECLAS_HOME)' $(BIN)/python -m pytest tests/integrations

build: install
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
