# Everything runs in .venv, which `make setup` (or any target that needs it) makes once.
#   make setup PYTHON=python3.12     another Python, 3.10 or newer
#   make demo DATA=camvid:PATH       real images instead of synthetic streets
#   make setup TORCH=torch==2.8.0    another PyTorch
# PyPI's PyTorch for Linux carries several GB of CUDA. Without an NVIDIA GPU, take the small CPU build:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo

PYTHON ?= python3
TORCH ?= torch==2.13.0
DATA ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/installed
DEVICE_CODE := bisenet_edge/runtime $(wildcard bisenet_edge/*.py) $(wildcard bisenet_edge/cli/device*.py)
# What tests of cameras, pages, services and deliveries use; without a package its tests are skipped by name.
PACKAGES := python3-gi python3-gst-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-rtsp-server-1.0 \
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
  gstreamer1.0-plugins-ugly gstreamer1.0-libav chromium mosquitto openssh-server openssh-client \
  systemd dash gcc libc6-dev
JETSON_PACKAGES := $(PACKAGES) mmdebstrap qemu-user-static qemu-system-arm ipxe-qemu cpio kmod buildah crun
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# Spinning OpenMP threads starve everything else on a small machine.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types floors bench bench-full gpu test-jetson system-packages jetson-packages clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv with the package and its tools in it (once).

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "bisenet-edge needs Python 3.10 or newer; this is $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "  next: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "  next: sudo apt-get install -y python3-venv" >&2; exit 1; }
	@echo "Installing $(TORCH)"
	@$(PIP) install --quiet "$(TORCH)"
	@echo "Installing bisenet-edge and its tools"
	@$(PIP) install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)  ## The whole job once: export, check, profile, run, deploy.
	$(BIN)/bisenet-edge demo $(if $(DATA),--data '$(DATA)')

test: $(STAMP)  ## Run the tests, on two cores.
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: lint types floors test  ## Everything that must pass before a commit.

lint: $(STAMP)  ## Formatting and lint.
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(STAMP)  ## Static types.
	$(BIN)/mypy

floors: $(STAMP)  ## Who may import whom, and Python 3.8 for what runs on a device.
	$(BIN)/lint-imports
	$(BIN)/vermin -t=3.8- --no-tips --violations $(DEVICE_CODE)

bench: $(STAMP)  ## Speed beside PyTorch, ONNX Runtime, OpenVINO, NNCF and ncnn at 640x360.
	$(PIP) install --quiet --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks.speed --targets

bench-full: $(STAMP)  ## The same at three sizes, with scaling and several cameras.
	$(PIP) install --quiet --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks.speed --full

gpu: $(STAMP)  ## On a machine with an NVIDIA GPU: its tests and figures.
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python tests/benchmarks/gpu_torch.py

test-jetson: $(STAMP)  ## The Jetson side without a Jetson: emulated aarch64, cameras, services, containers (root).
	$(BIN)/python -m pytest -m emulated

system-packages:  ## Debian packages that some tests need (see PACKAGES above).
	$(SUDO) apt-get install -y --no-install-recommends $(PACKAGES)

jetson-packages:  ## Debian packages that `make test-jetson` needs.
	$(SUDO) apt-get install -y --no-install-recommends $(JETSON_PACKAGES)

clean:  ## Remove .venv and caches.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
