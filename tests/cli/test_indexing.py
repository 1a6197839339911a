"""`gantrain data index`, and `gantrain data import` of the same tars."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gantrain.cli.data import data_app
from gantrain.common.errors import UserError
from gantrain.data.shards.manifest import read_manifest
from tests.foreign_tars import numbered_tars
from tests.shard_sets import names_in


def run(*arguments: object) -> Result:
    return CliRunner().invoke(data_app, [str(argument) for argument in arguments])


def stdout_of(result: Result) -> str:
    assert result.exception is None, result.exception
    return result.stdout


OPTIONS = ("--size", 32, "--workers", 1)


def test_index_prints_what_it_decided_and_what_it_left_out(tmp_path: Path) -> None:
    folder = numbered_tars(tmp_path / "set")
    content = (folder / "002.tar").read_bytes()
    damaged = content.replace(b"RIFF", b"XXXX", 1)
    assert damaged != content
    (folder / "002.tar").write_bytes(damaged)
    (folder / "003.tar").write_bytes(b"<html>404</html>")
    text = stdout_of(run("index", folder / "{000..003}.tar", *OPTIONS))
    lines = text.splitlines()
    assert lines[0] == "The images are the members jpg 8, png 8, webp 7."
    assert lines[1] == (
        "classes: 2 by label (from `.cls` of the samples; change with --classes): a 12, b 11"
    )
    assert "22 images in 3 tars" in text
    assert f"data.shards={folder}" in text
    assert "2 images or labels could not be read and are left out" in text
    assert "002.tar/folder/020.webp" in text
    assert "003.tar" in text
    shown = stdout_of(run("show", folder))
    assert "other tools', converted when decoded" in shown.replace("\n", " ")
    assert stdout_of(run("verify", folder, "--workers", 1)) == "OK: 22 images in 3 shards\n"


def test_index_passes_on_its_options(tmp_path: Path) -> None:
    folder = numbered_tars(tmp_path / "set")
    options = ("--channels", 3, "--fit", "pad", "--background", "#010203", "--label", "txt",
               "--image", ".PNG", "--max-megapixels", 2)  # fmt: skip
    stdout_of(run("index", folder, *OPTIONS, *options))
    manifest = read_manifest(folder)
    assert (manifest.size, manifest.channels, manifest.count) == (32, 3, 8)
    assert manifest.conversion is not None
    assert manifest.conversion.model_dump() == {
        "fit": "pad", "background": (1, 2, 3), "max_megapixels": 2.0
    }  # fmt: skip
    assert list(manifest.classes) == ["a caption"]
    names = ("--class-names", "cat,dog")
    assert "numbers" in str(run("index", folder, *OPTIONS, *names, "--overwrite").exception)
    stdout_of(run("index", folder, *OPTIONS, "--classes", "none", "--overwrite"))
    assert read_manifest(folder).classes == {}
    assert isinstance(run("index", folder, "--size", 33).exception, UserError)
    assert run("index", folder, "--splits", "x=maybe").exception is not None


def test_the_same_tars_can_be_imported(tmp_path: Path) -> None:
    folder = numbered_tars(tmp_path / "set")
    stdout_of(run("index", folder, *OPTIONS))  # whose files are then beside the tars
    text = stdout_of(run("import", folder, tmp_path / "own", *OPTIONS, "--label", "cls"))
    assert "source: webdataset tars (000.tar, 001.tar, 002.tar)" in text
    own, indexed = read_manifest(tmp_path / "own"), read_manifest(folder)
    assert own.classes == indexed.classes
    assert own.count == indexed.count == 23


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_index_points_from_a_compressed_tar_to_the_import(name: str, tmp_path: Path) -> None:
    import gzip

    folder = numbered_tars(tmp_path / "set", (2,))
    (tmp_path / name).write_bytes(gzip.compress((folder / "000.tar").read_bytes()))
    error = run("index", tmp_path / name, *OPTIONS).exception
    assert isinstance(error, UserError)
    assert f"{tmp_path / name}: compressed (gzip)" in str(error)
    command = str(error).split("`")[1].split()
    assert command[:3] == ["gantrain", "data", "import"]
    stdout_of(run("import", command[3], tmp_path / "own", *OPTIONS))
    assert names_in(tmp_path) == sorted([name, "own", "set"])


def test_tars_without_a_manifest_are_pointed_to_index(tmp_path: Path) -> None:
    folder = numbered_tars(tmp_path / "set", (2,))
    error = run("show", folder).exception
    assert "`gantrain data index`" in str(error)


def test_a_manifest_of_tars_is_valid_json_with_what_their_users_need(tmp_path: Path) -> None:
    folder = numbered_tars(tmp_path / "set")
    stdout_of(run("index", folder, *OPTIONS))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["version"] == 2
    assert [entry["count"] for entry in manifest["shards"]] == [10, 10, 3]
    assert sum(each["count"] for each in manifest["classes"].values()) == manifest["count"] == 23
