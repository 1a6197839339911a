"""`~` and environment variables in path keys."""

import getpass
import re
from pathlib import Path

import pytest

from gantrain.common.errors import UserError
from gantrain.common.yaml_core import dump_yaml
from gantrain.config import dump_config, load_config
from gantrain.config.paths import path_keys
from tests.conftest import small_tree

KEYS = ("data.shards", "data.cache_dir", "output.run_dir")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/scratch/sets")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(small_tree(Path("shards"), Path("run"))), encoding="utf-8")
    return path


def value_of(config: Path, key: str, *overrides: str) -> str:
    section, _, name = key.partition(".")
    return str(getattr(getattr(load_config(config, overrides), section), name))


def test_the_path_keys_are_those_of_the_schema() -> None:
    assert tuple(path_keys()) == KEYS


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~", "/home/me"),
        ("~/sets/bricks", "/home/me/sets/bricks"),
        (f"~{getpass.getuser()}/x", str(Path(f"~{getpass.getuser()}/x").expanduser())),
        ("$DATA/bricks", "/scratch/sets/bricks"),
        ("${DATA}/bricks-$DATA", "/scratch/sets/bricks-/scratch/sets"),
        ("${UNSET:-/tmp}/bricks", "/tmp/bricks"),
        ("${DATA:-/tmp}/bricks", "/scratch/sets/bricks"),
        ("cost$$DATA", "cost$DATA"),
        ("a~b/~c", "a~b/~c"),
        ("a$5", "a$5"),
        ("./~x", "~x"),
    ],
)
def test_home_folders_and_variables_are_expanded(
    config: Path, key: str, written: str, meant: str
) -> None:
    tree = small_tree(Path("shards"), Path("run"))
    section, _, name = key.partition(".")
    tree[section][name] = written
    config.write_text(dump_yaml(tree))
    assert value_of(config, key) == meant
    if written != "~":  # which is null in YAML
        assert value_of(config, key, f"{key}={written}") == meant


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("$UNSET/x", "environment variable UNSET is not set"),
        ("${UNSET}/x", "environment variable UNSET is not set"),
        ("${EMPTY}/x", "environment variable EMPTY is empty"),
        ("~no-such-user/x", "no user 'no-such-user'"),
        ("${UNSET/x", "write $$ for a dollar sign"),
    ],
)
def test_an_undefined_variable_or_user_is_an_error_that_names_it(
    config: Path, key: str, written: str, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load_config(config, [f"{key}={written}"])
    assert f"{key}: {written!r}" in str(caught.value)


def test_urls_have_variables_and_commands_keep_theirs(config: Path) -> None:
    assert value_of(config, "data.shards", "data.shards=s3://b/${DATA}") == "s3://b//scratch/sets"
    command = "pipe:cat $UNSET/~/{name}"
    assert value_of(config, "data.shards", f"data.shards={command}") == command


@pytest.mark.parametrize("shards", ["~/a", "$DATA/b", "a$$b", "./~x", "s3://a/$$b", "pipe:cat $X"])
def test_a_run_keeps_the_path_that_it_used(
    config: Path, shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = load_config(config, [f"data.shards={shards}", "data.cache_dir=$DATA/$$c"])
    again = tmp_path / "again.yaml"
    again.write_text(dump_config(used), encoding="utf-8")
    monkeypatch.setenv("HOME", "/home/other")
    monkeypatch.delenv("DATA")
    assert load_config(again) == used
