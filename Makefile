# `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
SYSTEM ?= yes
ARGS ?=
# Many tests wait for other processes, so that one worker more than cores loses nothing.
WORKERS ?= $(shell expr $$(env -u OMP_NUM_THREADS nproc) + 1)
PARALLEL = --numprocesses $(WORKERS) --dist loadgroup
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DOCS := $(VENV)/.installed-docs
PIP_INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt --editable
PEER := torch-mimicry
QUICKSTART_PARTS := 3001,3003,3004,3005,3039,3062,4589
SLURM_PROGRAMS := slurmctld slurmdbd munged mariadbd patchelf
# Releases of Debian whose Slurm is newer than this one's; the first that can be had is tested as well.
SLURM_SUITES := forky trixie
RUNTIME := onnxruntime-web@1.30.0

.PHONY: help install quickstart system test lint docs speed gpu clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: $(INSTALLED) ## create the virtual environment with everything that development needs

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) '.[dev]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps $(PEER) # it wants TensorFlow
	touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(PIP_INSTALL) '.[docs]'
	touch $@

quickstart: $(INSTALLED) data/quickstart/manifest.json ## render bricks and train a small GAN
	$(BIN)/gantrain train configs/quickstart.yaml

data/quickstart/manifest.json: | $(INSTALLED)
	$(BIN)/gantrain data render data/quickstart --size 32 --parts $(QUICKSTART_PARTS) --tip 0

# Debian packages need root; elsewhere the tests of what is missing are skipped (CI=true: fail).
system: ## install the programs that tests need: a Slurm and a browser (Debian, root), a runtime (npm)
	@slurm=; newer=; chromium=; runtime=; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		for program in $(SLURM_PROGRAMS); do \
			command -v $$program >/dev/null || slurm='Slurm and MariaDB from Debian; '; \
		done; \
		[ -x .slurm/bin/slurmctld ] || newer='a newer Slurm from Debian, into .slurm; '; \
		command -v chromium >/dev/null || chromium='Chromium from Debian; '; \
	fi; \
	if command -v npm >/dev/null && ! [ -d node_modules/onnxruntime-web ]; then \
		runtime='onnxruntime-web from npm, into node_modules; '; \
	fi; \
	[ -n "$$slurm$$newer$$chromium$$runtime" ] || exit 0; \
	echo "make: installing $$slurm$$newer$$chromium$$runtime'make test SYSTEM=no' installs none of this."; \
	[ -z "$$slurm" ] || slurm/local/install || exit; \
	[ -z "$$newer" ] || for suite in $(SLURM_SUITES); do \
		slurm/local/install --suite $$suite .slurm && break; \
	done || exit; \
	[ -z "$$chromium" ] || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } || exit; \
	[ -z "$$runtime" ] || npm install --silent --no-save --no-package-lock $(RUNTIME)

ifeq ($(SYSTEM),no)
test: export GANTRAIN_SYSTEM = no
test: $(INSTALLED)
else
test: $(INSTALLED) system
endif
test: ## run the tests; SYSTEM=no: without Slurm and browser; WORKERS=1; ARGS='tests/models -k ema': some
	$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),$(PARALLEL) -m 'not alone')
	$(if $(ARGS),,$(BIN)/python -m pytest -m alone)

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED_DOCS) ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

speed: $(INSTALLED) ## fail if training is clearly slower than a plain PyTorch loop
	$(BIN)/python -m benchmarks.guard

# Without the network: the environment of this checkout if there is one, else PYTHON's packages.
gpu: ## test and measure this machine's GPU within 8 minutes, into docs/gpu/; skips without one
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu

clean: ## remove the virtual environment, the documentation and the quickstart's files
	rm -rf $(VENV) site data/quickstart runs/quickstart
