"""Every command without the optional packages, and what trains and renders without Linux."""

import json
import os
import subprocess
import sys
from pathlib import Path

from gantrain.common.extras import _INSTALLED_BY
from tests.cli import test_bad_paths
from tests.cli.test_bad_paths import WORDS, Good
from tests.launch.conftest import ROOT
from tests.other_machines import python_path

good = test_bad_paths.good
OPTIONAL = {name for name, source in _INSTALLED_BY.items() if "gantrain[" in source}
OLD_SWEEP = str(ROOT / "tests" / "data" / "v0.1" / "sweep")
QUICKSTART = str(ROOT / "configs" / "sweeps" / "quickstart.yaml")
# What a command cannot do without a package of an extra.
NEEDS = {
    "data render": "gantrain[render]",
    "workspace": "gantrain[workspace]",
    "export": "gantrain[onnx]",
    "launch plan --script": "gantrain[cluster]",
    "play": "",  # needs JavaScript packages, which are not Python's
}
LAUNCH = {
    "launch plan": ["plan", QUICKSTART],
    "launch plan --script": ["plan", QUICKSTART, "--script", "-r", "executor=slurm"],
    **{f"launch {name}": [name, OLD_SWEEP] for name in ("status", "doctor", "leaderboard")},
    "launch report": ["report", OLD_SWEEP, "--out", "page.html", "--no-run-pages"],
    "launch tail": ["tail", OLD_SWEEP, "nosuch"],
    "launch retry": ["retry", OLD_SWEEP, "nosuch"],
    "launch cancel": ["cancel", OLD_SWEEP, "nosuch"],
    "launch submit": ["submit", "{config}", "--cluster", "{cluster}"],
}
RUN_ALL = """
import json, sys
from gantrain.cli.main import main
for name, words in json.loads(sys.argv[1]).items():
    print(f"== {name}", file=sys.stderr, flush=True)
    try:
        main(words)
    except SystemExit as end:
        print(f"status {end.code}", file=sys.stderr)
"""


def run_all(commands: dict[str, list[str]], folder: Path, path: str) -> str:
    """Run commands in one process, in a folder and with a PYTHONPATH; return what stderr gets.

    A line `== NAME` comes before each, and `status NUMBER` after it.
    """
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(commands)],
        env={**os.environ, "PYTHONPATH": path, "SLURM_TMPDIR": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


def test_without_optional_packages_a_command_works_or_says_what_to_install(
    good: Good, tmp_path: Path
) -> None:
    (good.here / "validation.txt").write_text("0.png\n")
    (tmp_path / "local.yaml").write_text("executor: debug\n")
    commands = {
        name: good.words(name, target=str(tmp_path / name))
        for name, words in WORDS.items()
        if words
    }
    del commands["data features"], commands["train"]  # which take long and are tested elsewhere
    commands |= {"workspace": ["workspace", "me", "bricks"], "schema": ["schema"]}
    for name, words in LAUNCH.items():
        places = {"config": good.here / "none.yaml", "cluster": tmp_path / "local.yaml"}
        commands[name] = ["launch", *(word.format(**places) for word in words)]
        commands[f"{name} --help"] = ["launch", words[0], "--help"]
    path = python_path(tmp_path / "hidden", without=sorted(OPTIONAL))
    errors = run_all(commands, tmp_path, f"{path}:{ROOT}")
    assert "Traceback" not in errors
    printed = dict(part.split("\n", 1) for part in errors.split("== ")[1:])
    assert set(printed) == set(commands)
    for name, text in printed.items():
        said = f"{name}: {text}"
        if name in NEEDS:
            *_, line, status = text.splitlines()
            assert status == "status 2", said
            assert not NEEDS[name] or line.endswith(f"pip install '{NEEDS[name]}'"), said
        elif name in ("arithmetic", "grid"):  # for want of attributes, as with the packages
            assert "no attribute" in text, said
        elif name.split()[-1] in ("tail", "retry", "cancel", "submit"):
            assert "nosuch" in text or "none.yaml" in text, said
        else:
            assert text.splitlines()[-1] in ("status 0", "status None"), said


def test_without_what_only_linux_has_images_are_rendered_imported_and_trained_on(
    good: Good, tmp_path: Path
) -> None:
    (good.here / "validation.txt").write_text("0.png\n")
    names = ("data render", "data import", "data verify", "train")
    commands = {name: good.words(name, target=str(tmp_path / name)) for name in names}
    commands["train"] += [f"output.run_dir={tmp_path / 'run'}", "training.total_kimg=0.032"]
    path = python_path(tmp_path / "hidden", linux=False)
    done = run_all(commands, tmp_path, f"{path}:{ROOT}")
    assert done.count("status 0") == done.count("status ") == len(names), done
    assert (tmp_path / "run" / "generator.safetensors").is_file()


def test_windows_is_one_line() -> None:
    code = "import sys; sys.platform = 'win32'; import gantrain"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("gantrain: Windows is not supported; use WSL")
    assert done.stderr.count("\n") == 1
