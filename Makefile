# Two commands for a new user: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
QUICKSTART_PARTS := 3001,3003,3004,3005,3039,3062,4589

.PHONY: install system quickstart test lint speed clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(INSTALLED) data/quickstart/manifest.json
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no \
		--dynamo_backend no gantrain/train.py --config configs/quickstart.yaml

data/quickstart/manifest.json: | $(INSTALLED)
	$(BIN)/gantrain data render data/quickstart --parts $(QUICKSTART_PARTS) --tip 0

# What the tests need beside Python: a real Slurm and a real browser. Where they are missing and
# this is root on Debian they are installed; elsewhere those tests are skipped (fail with CI=true).
system:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		for tool in slurmctld slurmdbd munged mariadbd; do \
			command -v $$tool >/dev/null || { slurm/local/install; break; }; \
		done; \
		command -v chromium >/dev/null || { apt-get update -qq && \
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; }; \
	fi
	@test -d node_modules/onnxruntime-web || ! command -v npm >/dev/null \
		|| npm install --silent --no-save --no-package-lock onnxruntime-web@1.30.0

test: $(INSTALLED) system
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Fails where the training is clearly slower than a plain PyTorch loop.
speed: $(INSTALLED)
	$(BIN)/python -m benchmarks.guard

clean:
	rm -rf $(VENV) data/quickstart runs/quickstart
