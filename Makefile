# One-word commands.  `make demo` and `make test` do all set-up themselves on a
# Debian 12 machine; a second run does no needless work.
.DEFAULT_GOAL := help
SHELL := /bin/bash
JOBS ?= $(shell nproc)
PYTHON := third_party/python/bin/python

.PHONY: help setup build test demo load-check load-check-sanitized core cuda test-cuda cuda-compile bench-gpu test-asan test-tsan format lint clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## Install what is missing (Debian packages, LibTorch, Python packages)
	@tools/setup.sh

build: setup  ## Build every program into build/bin/
	@tools/build.sh cpu $(JOBS) programs

test: setup  ## Build and run every test
	@tools/build.sh cpu $(JOBS)
	@ctest --preset cpu --parallel $(JOBS)

demo: build  ## Start a server, make six pictures under out/demo/, stop it
	@$(PYTHON) tools/demo.py --bin build/bin --out out/demo

load-check: build  ## 64 requests at once, some cancelled or slow: nothing lost, wrong or leaked
	@$(PYTHON) tools/load_check.py --bin build/bin

load-check-sanitized: setup  ## The same with a fake model under ASan, UBSan and TSan
	@for preset in asan tsan; do \
	  tools/build.sh $$preset $(JOBS) load_check_programs && \
	  ctest --preset $$preset -R '^load_check' || exit 1; \
	done

core: setup  ## Build and test the cache and the engine alone (no torch, no gRPC)
	@tools/build.sh core $(JOBS)
	@ctest --preset core --parallel $(JOBS)

cuda:  ## Build everything for NVIDIA GPUs (needs none here; 2.4 GB of packages)
	@tools/setup.sh --cuda
	@tools/build.sh cuda $(JOBS)

test-cuda: cuda  ## Build and run every test for NVIDIA GPUs
	@[ -e /dev/nvidiactl ] || \
	  echo "[test] no NVIDIA GPU here: the tests labelled gpu will be skipped"
	@ctest --preset cuda --parallel $(JOBS)

cuda-compile:  ## Compile and link all CUDA code, not to run (0.1 GB more than build)
	@tools/setup.sh --cuda-compile
	@tools/build.sh cuda-compile $(JOBS) cuda_code

# INFINITY and HEATKV: checkouts of the authors' code, to be timed beside ours.
bench-gpu:  ## Build, measure speed and memory on this machine's NVIDIA GPU (out/gpu/bench-gpu.json)
	@tools/gpu_check.sh --profile $(if $(INFINITY),--infinity $(INFINITY)) \
	  $(if $(HEATKV),--heatkv $(HEATKV)) build bench \
	  $(if $(INFINITY)$(HEATKV),references)

test-asan: setup  ## Tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/build.sh asan $(JOBS)
	@ctest --preset asan --parallel $(JOBS)

test-tsan: setup  ## Tests of everything but the model under ThreadSanitizer
	@tools/build.sh tsan $(JOBS)
	@ctest --preset tsan --parallel $(JOBS)

format:  ## Format all C++ sources
	@git ls-files '*.h' '*.cc' '*.cu' | xargs clang-format -i

lint: build  ## Run clang-tidy over our sources
	@git ls-files '*.cc' | grep -v '^tests/' | xargs clang-tidy --quiet -p build/cpu

clean:  ## Remove what was built (third_party/ and ccache stay)
	@rm -rf build out
