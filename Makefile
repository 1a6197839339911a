# Two commands for a new user: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
QUICKSTART_PARTS := 3001,3003,3004,3005,3020,3022,3039,3040,3062,3068

.PHONY: install system quickstart test lint clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(INSTALLED) data/quickstart/manifest.json
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no \
		--dynamo_backend no gantrain/train.py --config configs/quickstart.yaml

data/quickstart/manifest.json: | $(INSTALLED)
	$(BIN)/gantrain data render data/quickstart --parts $(QUICKSTART_PARTS)

# What the tests need beside Python: a real Slurm and a real browser. Where they are missing and
# this is root on Debian they are installed; elsewhere those tests are skipped (fail with CI=true).
system:
	@command -v slurmctld slurmdbd munged mariadbd >/dev/null || ! command -v apt-get >/dev/null \
		|| [ "$$(id -u)" != 0 ] || slurm/local/install
	@command -v chromium >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] \
		|| (apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends chromium)

test: $(INSTALLED) system
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) data/quickstart runs/quickstart
