# Two commands matter: `make demo` runs the main job, `make test` is the whole test command (`make check` its everyday part).
PYTHON ?= python3.11
PYTHON := $(shell command -v $(PYTHON) || command -v python3)
VENV := .venv
TRAINING_VENV := .venv-training
S3_VENV := .venv-s3
PIP_INSTALL := pip install --quiet --disable-pip-version-check
DEBIAN_PACKAGES := orthanc orthanc-dicomweb dcmtk dicom3tools default-jre-headless pixelmed-apps iproute2 openssl poppler-utils
PYTEST := $(VENV)/bin/python -m pytest
WORKERS ?= 2

.PHONY: demo test check lint unit system training packages lock clean

demo: $(VENV)/run.stamp
	$(VENV)/bin/egfr-dls demo

test: packages check system training

check: lint unit

lint: $(VENV)/test.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

unit: $(VENV)/test.stamp $(S3_VENV)/stamp
	$(PYTEST) -q -n $(WORKERS) -m "not system and not training"

system: $(VENV)/test.stamp $(S3_VENV)/stamp
	$(PYTEST) -q -n $(WORKERS) --dist loadfile -m "system and not training"

training: $(VENV)/test.stamp
	@if $(MAKE) --no-print-directory $(TRAINING_VENV)/stamp; \
	then $(TRAINING_VENV)/bin/python -m pytest -q -m training; \
	else echo "SKIPPED the training suite: PyTorch of requirements-training.lock cannot be installed here"; fi

# As root, what the tests run beside Python; else the suites that need it skip by name.
packages:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  missing=$$(for p in $(DEBIAN_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	  if [ -n "$$missing" ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; fi; \
	else echo "not root: suites whose programs are missing skip by name; to run them: apt-get install $(DEBIAN_PACKAGES)"; fi

# A virtual environment needs ensurepip, which Debian ships as python3-venv.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -q -y python3-venv; \
	  else echo "Python's venv module is missing: as root, apt-get install python3-venv"; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing from requirements.lock (the first time takes a minute or two)"
	$(VENV)/bin/python -m $(PIP_INSTALL) --require-hashes -r requirements.lock
	$(VENV)/bin/python -m $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/test.stamp: requirements-test.lock pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m $(PIP_INSTALL) --require-hashes -r requirements-test.lock
	$(VENV)/bin/python -m $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

$(TRAINING_VENV)/stamp: requirements-training.lock pyproject.toml
	$(PYTHON) -m venv $(TRAINING_VENV)
	$(TRAINING_VENV)/bin/python -m $(PIP_INSTALL) --require-hashes -r requirements-training.lock
	$(TRAINING_VENV)/bin/python -m $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

# The S3 server of the tests (moto).
$(S3_VENV)/stamp: requirements-s3-server.lock | $(VENV)/bin/python
	$(PYTHON) -m venv $(S3_VENV)
	$(S3_VENV)/bin/python -m $(PIP_INSTALL) --require-hashes -r requirements-s3-server.lock
	touch $@

# Re-make the lock files (needs uv). PyTorch is locked to its CPU builds (`2.13.0+cpu`), whose hashes stand in
# requirements-torch-cpu.hashes: the default build would bring several GB of CUDA packages.
UV_COMPILE_ANY := uv pip compile --python-version 3.11 --python-platform linux --generate-hashes --no-header --no-annotate --quiet
UV_COMPILE := $(UV_COMPILE_ANY) pyproject.toml requirements-build.in
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
  nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
  nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
lock:
	$(UV_COMPILE) --extra import --extra evaluate -o requirements.lock
	$(UV_COMPILE) --extra test -o requirements-test.lock
	$(UV_COMPILE_ANY) requirements-s3-server.in -o requirements-s3-server.lock
	$(UV_COMPILE) --extra test --extra training $(CUDA:%=--no-emit-package %) -o requirements-training.lock
	sed -i '/^# The following packages/,$$d; /^torch==/,/^[a-z].*==/{/^ /d}' requirements-training.lock
	sed -i '/^torch==/r requirements-torch-cpu.hashes' requirements-training.lock

clean:
	rm -rf $(VENV) $(TRAINING_VENV) $(S3_VENV) demo-out .mypy_cache .ruff_cache .pytest_cache
