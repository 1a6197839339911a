"""Real launches of the trainer, as a user makes them."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

ROOT = Path(__file__).parent.parent
TRAIN = ROOT / "gantrain" / "train.py"
FAULTY_TRAIN = ROOT / "tests" / "faulty_train.py"


def write_config(path: Path, tree: dict[str, Any]) -> Path:
    """Write a config file and return its path."""
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def launch_command(
    config: Path, *overrides: str, ranks: int = 1, script: Path = TRAIN
) -> list[str]:
    """Return the `accelerate launch` command of the README, for CPU ranks."""
    accelerate = Path(sys.executable).with_name("accelerate")
    several = ["--multi_gpu", "--main_process_port", "0"] if ranks > 1 else []
    return [
        *(str(accelerate), "launch", *several, "--num_processes", str(ranks)),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
        *(str(script), "--config", str(config), *overrides),
    ]


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without the variables of W&B and Slurm.

    Scripts in tests/ find the other modules there.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SLURM_"))}
    folders = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(folders), **changes}


def launch(
    config: Path,
    *overrides: str,
    ranks: int = 1,
    fault: str = "",
    script: Path = TRAIN,
    timeout: float = 400,
    changes: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Train until the process ends; capture stdout and stderr as text.

    script: instead of the trainer. changes: of the environment.
    """
    return subprocess.run(
        launch_command(config, *overrides, ranks=ranks, script=FAULTY_TRAIN if fault else script),
        env=environment(GANTRAIN_FAULT=fault, **(changes or {})),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def launch_several(
    *arguments: list[str], ranks: int, timeout: float = 400
) -> subprocess.CompletedProcess[str]:
    """Train several runs after each other in the same ranks, each with its own arguments."""
    script = ROOT / "tests" / "several_trainings.py"
    command = launch_command(Path("none"), ranks=ranks, script=script)
    words = [json.dumps(each) for each in arguments]
    return subprocess.run(
        [*command[: command.index("--config")], *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclass(frozen=True)
class Ended:
    """The exit status and output of a training run."""

    returncode: int
    stdout: str
    stderr: str


class Train(Protocol):
    """Trains with one rank in this process, which saves the time for imports."""

    def __call__(self, config: Path, *overrides: str) -> Ended: ...


def train_alone(
    config: Path,
    *overrides: str,
    fault: str = "",
    timeout: float = 400,
    changes: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `python gantrain/train.py`: one rank, with the exit status of the trainer."""
    script = FAULTY_TRAIN if fault else TRAIN
    return subprocess.run(
        [sys.executable, str(script), "--config", str(config), *overrides],
        env=environment(GANTRAIN_FAULT=fault, **(changes or {})),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
