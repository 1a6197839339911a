"""What `accelerate launch` and its variables may change, and what the trainer says about it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gantrain.training.launcher_settings import remove_ignored_settings
from tests.conftest import small_config, small_tree
from tests.curves import assert_same_end
from tests.launching import ROOT, Train, environment, launch_command, write_config


def config_of(tmp_path: Path, shards: Path, name: str) -> Path:
    return write_config(tmp_path / f"{name}.yaml", small_tree(shards, tmp_path / name))


HARMFUL = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_DYNAMO_BACKEND": "eager",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_USE_MEGATRON_LM": "true",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
    "ACCELERATE_TORCH_DEVICE": "meta",
}


def test_variables_of_accelerate_change_nothing_and_are_named_in_one_line(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(config_of(tmp_path, shards, "without")).returncode == 0
    for name, value in HARMFUL.items():
        monkeypatch.setenv(name, value)
    done = train(config_of(tmp_path, shards, "with"))
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "ignored" in line)
    assert all(f"{name}={value}" in line for name, value in HARMFUL.items())
    assert "training.grad_accum_steps=1" in line
    assert_same_end(tmp_path / "without", tmp_path / "with")


@pytest.mark.parametrize(
    ("variables", "command", "described"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "no"}, [], []),
        (
            {"ACCELERATE_MIXED_PRECISION": "no"},
            ["accelerate", "launch", "--mixed_precision", "no"],
            ["ACCELERATE_MIXED_PRECISION=no (training.mixed_precision=bf16)"],
        ),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, ["--mixed_precision=bf16"], []),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1"}, [], []),
        ({"ACCELERATE_DYNAMO_BACKEND": "no", "ACCELERATE_DYNAMO_MODE": "max-autotune"}, [], []),
        ({"ACCELERATE_USE_FSDP": "false", "FSDP_VERSION": "2"}, [], []),
        ({"ACCELERATE_NEWLY_INVENTED": "1"}, [], ["ACCELERATE_NEWLY_INVENTED=1"]),
        ({"ACCELERATE_CPU_AFFINITY": "1", "OMP_NUM_THREADS": "3"}, [], []),
    ],
)
def test_only_what_asks_for_something_else_is_named(
    variables: dict[str, str],
    command: list[str],
    described: list[str],
    shards: Path,
    tmp_path: Path,
) -> None:
    config = small_config(shards, tmp_path / "run", training={"mixed_precision": "bf16"})
    left = dict(variables)
    assert remove_ignored_settings(config, left, command) == described
    assert set(left) <= {"ACCELERATE_CPU_AFFINITY", "OMP_NUM_THREADS"}


def test_a_launcher_with_another_precision_changes_no_weight(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    assert train(config_of(tmp_path, shards, "alone")).returncode == 0
    config = config_of(tmp_path, shards, "launched")
    command = launch_command(config)
    command[command.index("no")] = "bf16"
    done = subprocess.run(
        command,
        env=environment(ACCELERATE_GRADIENT_ACCUMULATION_STEPS="2"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ACCELERATE_MIXED_PRECISION=bf16 (training.mixed_precision=no)" in done.stderr
    assert_same_end(tmp_path / "alone", tmp_path / "launched")


PRINT_THREADS = """
import os, torch
from gantrain.config import TrainingConfig
from gantrain.training import threads
threads.slowdown = lambda number: float(os.environ["SLOWDOWN"])
threads.usable_cores = lambda: 6
threads.set_threads(TrainingConfig(total_kimg=1, cpu_threads=None))
print("threads", torch.get_num_threads())
"""


@pytest.mark.parametrize(
    ("options", "variables", "slowdown", "expected"),
    [
        ([], {}, 0.5, 6),
        ([], {"OMP_NUM_THREADS": "1"}, 0.5, 1),
        (["--num_cpu_threads_per_process", "1"], {}, 0.5, 1),
        (None, {"OMP_NUM_THREADS": "2"}, 0.5, 2),
        (None, {}, 5.0, 6),
    ],
)
def test_a_number_of_threads_that_the_user_chose_is_kept_and_busy_cores_are_a_warning(
    options: list[str] | None,
    variables: dict[str, str],
    slowdown: float,
    expected: int,
    tmp_path: Path,
) -> None:
    script = tmp_path / "print_threads.py"
    script.write_text(PRINT_THREADS)
    launcher = [str(Path(sys.executable).with_name("accelerate")), "launch", *(options or [])]
    launcher += ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no"]
    command = [*launcher, "--dynamo_backend", "no", str(script)]
    if options is None:
        command = [sys.executable, str(script)]
    kept = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    done = subprocess.run(
        command,
        env={**kept, "PYTHONPATH": str(ROOT), "SLOWDOWN": str(slowdown), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"threads {expected}" in done.stdout, done.stderr
    assert ("threads are 5.0 times slower" in done.stderr) is (slowdown > 1)
