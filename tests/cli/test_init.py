"""`gantrain init`: a project of one's own, from the checkout and from an installed wheel."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from gantrain.cli.init import TEMPLATES
from gantrain.cli.main import app
from gantrain.common.errors import UserError
from gantrain.config import load_config
from gantrain.runs.paths import METRICS
from launch.sweepfile import load_sweep
from tests.launching import ROOT, environment
from tests.waiting import wait_until

CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def run_init(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["init", *map(str, words)])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_starts_a_project(name: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    result = run_init(project, "--config", name)
    assert result.exit_code == 0, result.output
    config = project / "configs" / f"{name}.yaml"
    assert config.read_bytes() == (ROOT / "configs" / f"{name}.yaml").read_bytes()
    sweep = load_sweep(project / "configs" / "sweeps" / f"{name}.yaml")
    assert Path(sweep.base).name == f"{name}.yaml"
    assert os.access(project / "slurm" / "train.sbatch", os.X_OK)
    for script in ("train.sbatch", "sweep.sbatch", "launch.sh"):
        assert (
            subprocess.run(["bash", "-n", project / "slurm" / script], check=False).returncode == 0
        )


def test_the_config_gets_the_shape_of_a_data_set_and_keeps_its_comments(
    shards: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    assert run_init(project, "--config", "dcgan", "--shards", shards).exit_code == 0
    config = load_config(project / "configs" / "dcgan.yaml")
    assert (config.data.shards, config.data.size, config.data.channels) == (shards, 32, 1)
    shipped = (ROOT / "configs" / "dcgan.yaml").read_text().splitlines()
    head, *written = (project / "configs" / "dcgan.yaml").read_text().splitlines()
    assert head.startswith("# Started from gantrain's dcgan.yaml")
    changed = [new for old, new in zip(shipped, written, strict=True) if old != new]
    assert changed == [f"  shards: {shards}", "  size: 32"]


def test_a_config_with_classes_becomes_one_without_for_a_set_that_has_none(
    shards: Path, tmp_path: Path
) -> None:
    assert run_init(tmp_path / "with", "--shards", shards).exit_code == 0
    assert load_config(tmp_path / "with/configs/quickstart.yaml").conditioning.active
    unlabelled = shutil.copytree(shards, tmp_path / "unlabelled")
    tree = json.loads((unlabelled / "manifest.json").read_text())
    (unlabelled / "manifest.json").write_text(json.dumps(tree | {"classes": {}}))
    assert run_init(tmp_path / "without", "--shards", unlabelled).exit_code == 0
    config = load_config(tmp_path / "without/configs/quickstart.yaml")
    assert (config.conditioning.kind, config.objective.kind) == ("none", "rpgan")
    text = (tmp_path / "without/configs/quickstart.yaml").read_text()
    assert "seven parts" not in text.split("conditioning:")[1].split("generator:")[0]
    assert "  size: 32 # 64 pixels cost" in text  # which is as it was


def test_a_second_init_keeps_what_was_edited(tmp_path: Path) -> None:
    assert run_init(tmp_path).exit_code == 0
    assert run_init(tmp_path).exit_code == 0  # nothing has another content
    config = tmp_path / "configs" / "quickstart.yaml"
    config.write_text(config.read_text() + "# mine\n")
    refused = run_init(tmp_path)
    assert isinstance(refused.exception, UserError)
    assert f"{config}: there already, with other content" in str(refused.exception)
    assert config.read_text().endswith("# mine\n")
    assert run_init(tmp_path, "--overwrite").exit_code == 0
    assert not config.read_text().endswith("# mine\n")


def test_mistakes_are_one_line_and_write_nothing(tmp_path: Path) -> None:
    unknown = run_init(tmp_path / "a", "--config", "biggan")
    assert "expected one of cgan_book, dcgan" in str(unknown.exception)
    missing = run_init(tmp_path / "a", "--shards", tmp_path / "no")
    assert f"{tmp_path / 'no'}: no such folder" in str(missing.exception)
    assert not (tmp_path / "a").exists()


def test_the_next_commands_are_those_of_the_project(tmp_path: Path) -> None:
    printed = run_init(tmp_path / "my project", "--config", "dcgan").stdout
    assert f"cd '{tmp_path / 'my project'}'" in printed
    assert "gantrain train configs/dcgan.yaml" in printed
    assert "gantrain launch sweep configs/sweeps/dcgan.yaml" in printed


def copy_source(target: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("gantrain", "launch", "configs", "slurm"):
        shutil.copytree(ROOT / folder, target / folder, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target)
    return target


def test_an_installed_wheel_makes_a_project_that_trains(shards: Path, tmp_path: Path) -> None:
    """Build the wheel, install it outside the checkout, and train, sweep and report with it."""
    python, wheels, site = sys.executable, tmp_path / "wheels", tmp_path / "site"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    no_network = ["--no-deps", "--no-build-isolation", "--no-index"]
    source = copy_source(tmp_path / "source")  # a build leaves files behind
    subprocess.run([*pip, "wheel", *no_network, "-w", wheels, source], check=True)
    (wheel,) = wheels.glob("gantrain-*.whl")
    subprocess.run([*pip, "install", *no_network, "--target", site, wheel], check=True)
    project = tmp_path / "project"
    project.mkdir()

    def run(*words: str | Path, module: str = "gantrain") -> str:
        done = subprocess.run(
            [python, "-P", "-m", module, *map(str, words)],
            env=environment(PYTHONPATH=str(site), CUDA_VISIBLE_DEVICES=""),
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [python, "-P", "-c", "import gantrain; print(gantrain.__file__)"]
    found = subprocess.run(
        where, env=environment(PYTHONPATH=str(site)), cwd=project, capture_output=True, check=True
    )
    assert str(site) in found.stdout.decode()
    run("init", "--shards", shards)
    small = ["training.total_kimg=0.064", "training.batch_size=16", "metrics.every_kimg=0"]
    small += ["generator.width=4", "discriminator.width=4", "training.mixed_precision=no"]
    small += ["output.log_every_kimg=0.032", "output.run_dir=runs/first"]
    run("train", "configs/quickstart.yaml", *small)
    assert (project / "runs/first" / METRICS).exists()
    run("report", "runs/first")
    sweep = project / "configs/sweeps/quickstart.yaml"
    tree = yaml.safe_load(sweep.read_text())
    values = dict(word.split("=") for word in small if not word.startswith("output.run_dir"))
    tree["set"] = {key: yaml.safe_load(value) for key, value in values.items()}
    tree |= {"grid": {"generator.learning_rate": [1.0e-4, 3.0e-4]}, "seeds": 1}
    tree |= {"metric": "loss/generator", "direction": "min"}
    sweep.write_text(yaml.safe_dump(tree))
    assert "2 runs" in run("launch", "plan", "configs/sweeps/quickstart.yaml")
    run("launch", "sweep", "configs/sweeps/quickstart.yaml")
    wait_until(
        lambda: run("launch", "status", "configs/sweeps/quickstart.yaml").count("finished") >= 2,
        every=3,
    )


def test_templates_are_the_files_of_the_project_themselves() -> None:
    assert (TEMPLATES / "configs").resolve() == ROOT / "configs"
    for path in (TEMPLATES / "slurm").iterdir():
        assert path.resolve() == ROOT / "slurm" / path.name
