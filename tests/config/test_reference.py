"""The reference of config keys: complete, and the same in the command and in the documentation."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from gantrain.cli import main as cli
from gantrain.common.errors import UserError
from gantrain.common.yaml_core import load_yaml
from gantrain.config import dump_config, known_keys, parse_config
from gantrain.config.reference import REQUIRED, SCHEDULE, reference, sections, select
from tests.launching import ROOT

TABLES = reference()
DCGAN = ("generator.backbone: dcgan", "discriminator.backbone: dcgan", "objective.kind: dcgan")


def test_it_has_every_key_once_for_each_choice_with_a_meaning() -> None:
    found = [(key.name, table.condition) for table in TABLES for key in table.keys]
    assert len(found) == len(set(found))
    schedule = tuple(f".{key.name}" for key in TABLES[-1].keys)
    # `kind` is a key of schedules and of sections.
    expected = {k for k in known_keys() if k.count(".") < 2 or not k.endswith(schedule)}
    assert {name for name, _ in found} - {s[1:] for s in schedule} == expected - set(sections())
    assert all(key.meaning and key.values for table in TABLES for key in table.keys)


def test_its_defaults_are_those_of_a_config_that_has_only_what_is_required() -> None:
    required = {k.name for table in TABLES[:-1] for k in table.keys if k.default == REQUIRED}
    assert required == {"data.shards", "training.total_kimg", "output.run_dir"}
    tree = {"data": {"shards": "s"}, "training": {"total_kimg": 1}, "output": {"run_dir": "r"}}
    defaults = load_yaml(dump_config(parse_config(tree, "test")))
    # dcgan is the default where a section has several tables.
    for table in TABLES[:-1]:
        for key in table.keys if table.condition in ("", *DCGAN) else ():
            section, _, name = key.name.rpartition(".")
            if key.name not in required:
                value = (defaults[section] if section else defaults)[name]
                assert load_yaml(f"x: {key.default}")["x"] == value, key


def test_a_section_or_a_key_is_shown_alone() -> None:
    result = CliRunner().invoke(cli.app, ["config", "guard"])
    assert result.exit_code == 0
    assert "guard.bad_steps: 20  # a whole number" in result.output
    assert "training" not in result.output
    (table,) = select("data.size")
    assert [key.name for key in table.keys] == ["data.size"]


@pytest.mark.parametrize("key", ["generator.learning_rate", "ema.half_life_kimg.warmup_kimg"])
def test_a_key_that_takes_a_schedule_is_shown_with_the_keys_of_a_schedule(key: str) -> None:
    assert [table.section for table in select(key)] == [key.split(".")[0], SCHEDULE]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("traning", "nearest known one is 'training'; the sections are data, generator"),
        ("lr", "write generator.learning_rate or discriminator.learning_rate"),
        ("data.sizes", "nearest known one is 'data.size'"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(wanted: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        select(wanted)


def test_the_page_about_config_files_has_what_the_schema_says() -> None:
    command = [sys.executable, "docs/config_reference.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
