"""The private methods of submitit that the launcher calls, in the installed version."""

from pathlib import Path

import pytest
import submitit

from gantrain.common.errors import UserError
from launch import submitit_adapter


def test_installed_submitit_has_the_private_methods() -> None:
    problems = submitit_adapter.incompatibilities()
    assert not problems, (
        f"submitit {submitit.__version__} has changed: {'; '.join(problems)}. Adapt "
        "launch/submitit_adapter.py, or narrow the version range in pyproject.toml."
    )


@pytest.mark.parametrize("name", submitit_adapter.PRIVATE_METHODS)
def test_missing_method_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class_name, method = name.split(".")
    without = type(class_name, (), {})
    monkeypatch.setattr(submitit, class_name, without)
    (problem,) = submitit_adapter.incompatibilities()
    assert problem == f"submitit.{name} is gone; the launcher calls it"
    setattr(without, method, lambda self, renamed: None)
    (problem,) = submitit_adapter.incompatibilities()
    assert problem.startswith(f"submitit.{name} takes ('self', 'renamed')")


def test_no_other_module_uses_submitit() -> None:
    folder = Path(submitit_adapter.__file__).parent
    users = {
        path.name
        for path in folder.glob("*.py")
        if "import submitit\n" in path.read_text() or "from submitit " in path.read_text()
    }
    assert users == set()  # the adapter itself imports it on demand, by name


def test_script_is_an_array_that_runs_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    parameters = {"job_name": "token", "time": 30, "array_parallelism": 2, "setup": ["export A=1"]}
    script = submitit_adapter.slurm_script(tmp_path, "python -m x", "token", 3, parameters)
    assert "#SBATCH --array=0-2%2" in script
    assert "#SBATCH --job-name=token" in script
    assert "export A=1" in script
    (srun,) = (line for line in script.splitlines() if line.startswith("srun "))
    assert srun.endswith(" python -m x")


def test_no_srun_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: -1))
    with pytest.raises(UserError, match="no Slurm"):
        submitit_adapter.slurm_script(tmp_path, "x", "token", 1, {})


def test_submitit_missing_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(UserError, match=r"gantrain\[cluster\]"):
        submitit_adapter.incompatibilities()
