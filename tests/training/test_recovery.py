"""Runs that are stopped, killed, out of disk space or full of NaNs, and resume."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gantrain.runs.saver
import gantrain.training.loop
from gantrain.runs.checkpoint import Snapshot, write_checkpoint
from gantrain.runs.records import read_heartbeats
from gantrain.runs.run_lock import run_lock
from gantrain.training.batch import Batch
from gantrain.training.objectives import Dcgan
from tests.conftest import WGAN_GP, small_tree
from tests.curves import assert_same_end, curve, events, status
from tests.launching import TRAIN, Train, environment, train_alone, write_config

EVERYTHING: dict[str, dict[str, Any]] = {
    "discriminator": {"dropout": 0.3},
    "objective": {"label_flips": 0.1, "label_noise": 0.1, "label_smoothing": 0.1},
    "generator": {"norm": "batch"},
    "augment": {"flip": 0.5, "shift": 2, "diffaugment": ["translation", "cutout", "brightness"]},
}
WGAN_EVERYTHING: dict[str, dict[str, Any]] = {
    "discriminator": {**WGAN_GP["discriminator"], "dropout": 0.3},
    "objective": WGAN_GP["objective"],
    "augment": EVERYTHING["augment"],
}
Sections = dict[str, dict[str, Any]]


def config_of(tmp_path: Path, shards: Path, name: str, sections: Sections) -> Path:
    tree = small_tree(shards, tmp_path / name, **sections)
    return write_config(tmp_path / f"{name}.yaml", tree)


@pytest.fixture
def at_images(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Makes something happen in the first D step that begins at so many images seen."""

    def arrange(images: int, happen: Callable[[], object]) -> None:
        original, waiting = gantrain.training.loop.d_step, [happen]

        def d_step(gan: Any, objective: Any, batch: Batch) -> Any:
            if batch.rng.start == images and waiting:
                waiting.pop()()
            return original(gan, objective, batch)

        monkeypatch.setattr(gantrain.training.loop, "d_step", d_step)

    return arrange


def signals(*numbers: int) -> Callable[[], None]:
    def send() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return send


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
@pytest.mark.parametrize(
    ("sections", "images"),
    [pytest.param(EVERYTHING, 48, id="dcgan"), pytest.param(WGAN_EVERYTHING, 64, id="wgan-gp")],
)
def test_a_preempted_run_saves_a_checkpoint_and_resumes_bit_for_bit(
    number: signal.Signals,
    sections: Sections,
    images: int,
    shards: Path,
    tmp_path: Path,
    train: Train,
    at_images: Callable[[int, Callable[[], object]], None],
) -> None:
    uninterrupted = config_of(tmp_path, shards, "uninterrupted", sections)
    config = config_of(tmp_path, shards, "stopped", sections)
    assert train(uninterrupted).returncode == 0
    at_images(images, signals(number))
    stopped = train(config)
    assert stopped.returncode == 75
    assert f"Preempted by {number.name}" in stopped.stderr
    assert status(tmp_path / "stopped")["state"] == "preempted"
    assert 0 < status(tmp_path / "stopped")["images_seen"] < 160
    assert train(config).returncode == 0
    assert status(tmp_path / "stopped")["state"] == "finished"
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "stopped")


def test_one_interrupt_saves_and_a_second_one_stops_at_once(
    shards: Path,
    tmp_path: Path,
    train: Train,
    at_images: Callable[[int, Callable[[], object]], None],
) -> None:
    run = tmp_path / "run"
    config = config_of(tmp_path, shards, "run", {})
    at_images(48, signals(signal.SIGINT))
    done = train(config)
    assert done.returncode == 130
    assert "start again to resume" in done.stderr
    assert status(run)["state"] == "interrupted"
    saved = events(run, "checkpoint")
    at_images(96, signals(signal.SIGINT, signal.SIGINT))
    assert train(config).returncode == 130
    assert events(run, "checkpoint") == saved
    assert train(config).returncode == 0


def test_a_lost_terminal_saves_the_run(
    shards: Path,
    tmp_path: Path,
    train: Train,
    at_images: Callable[[int, Callable[[], object]], None],
) -> None:
    config = config_of(tmp_path, shards, "run", {})
    at_images(48, signals(signal.SIGHUP))
    done = train(config)
    assert done.returncode == 130
    assert "Interrupted by SIGHUP" in done.stderr
    assert status(tmp_path / "run")["state"] == "interrupted"
    assert status(tmp_path / "run")["images_seen"] == 64


@pytest.mark.parametrize("listener", ["| head -n 1", ">/dev/full", ">&- 2>&-"])
def test_a_run_trains_on_without_a_listener(listener: str, shards: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, shards, "run", {})
    script = f'"$@" 2>&1 {listener}; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *python(config)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert status(tmp_path / "run")["state"] == "finished"


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_before_the_training_is_one_line(
    number: signal.Signals, expected: int, shards: Path, tmp_path: Path
) -> None:
    config = config_of(tmp_path, shards, "run", {})
    # The first import of the trainer's main module is slow, and the signal arrives during it.
    (tmp_path / "torch.py").write_text(f"import signal; signal.raise_signal({number:d})")
    done = train_alone(config, changes={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == expected
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_killed_anywhere_loses_only_what_came_after_its_last_checkpoint(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    sections: Sections = {**EVERYTHING, "output": {"checkpoint_every_kimg": 0.064}}
    uninterrupted = config_of(tmp_path, shards, "uninterrupted", sections)
    killed = config_of(tmp_path, shards, "killed", sections)
    assert train(uninterrupted).returncode == 0
    done = train_alone(killed, fault="SIGKILL@112")
    assert done.returncode == -signal.SIGKILL
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"images_seen": 112, "loss/gen')  # as a kill inside a write leaves it
    again = train(killed)
    assert again.returncode == 0
    assert "resumes at 64" in again.stderr
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "killed")


def test_two_processes_do_not_train_in_one_directory(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    config = config_of(tmp_path, shards, "run", {})
    with run_lock(tmp_path / "run"):
        done = train(config)
    assert done.returncode == 2
    assert f"in use by process {os.getpid()}" in done.stderr
    assert train(config).returncode == 0


def test_a_clock_that_runs_backwards_changes_nothing(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = config_of(tmp_path, shards, "uninterrupted", {})
    backwards = config_of(tmp_path, shards, "backwards", {})
    assert train(uninterrupted).returncode == 0
    now = time.time()
    ticks = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now - 3600 * next(ticks))
    assert train(backwards, "training.total_kimg=0.08").returncode == 0
    assert train(backwards).returncode == 0
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "backwards")


@pytest.mark.parametrize("kind", ["dcgan", "wgan-gp"])
def test_joint_steps_and_lazy_penalties_resume_bit_for_bit(
    kind: str, shards: Path, tmp_path: Path, train: Train
) -> None:
    lazy = {**WGAN_GP["objective"], "penalty_every": 3}
    sections: Sections = {
        **(WGAN_GP | {"objective": lazy} if kind == "wgan-gp" else {}),
        "training": {"updates": "joint"},
        "output": {"log_every_kimg": 0.064},
    }
    uninterrupted, stopped = (
        config_of(tmp_path, shards, name, sections) for name in ("uninterrupted", "stopped")
    )
    assert train(uninterrupted).returncode == 0
    assert train(stopped, "training.total_kimg=0.096").returncode == 0
    assert train(stopped).returncode == 0
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "stopped")


def poison(monkeypatch: pytest.MonkeyPatch, bad: Callable[[int, int], bool]) -> None:
    """Make D's loss NaN where `bad(images seen, times that this step was tried)` says so."""
    original = Dcgan.d_loss
    tried: dict[int, int] = {}

    def d_loss(self: Dcgan, *arguments: Any) -> Any:
        start = arguments[-1].start
        tried[start] = tried.get(start, 0) + 1
        loss, metrics = original(self, *arguments)
        return (loss * float("nan") if bad(start, tried[start]) else loss), metrics

    monkeypatch.setattr(Dcgan, "d_loss", d_loss)


def test_a_step_without_a_finite_gradient_is_skipped_and_counted(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, lambda images, _: images in (48, 64))
    assert train(config_of(tmp_path, shards, "run", {})).returncode == 0
    counted = {
        e["images_seen"]: (e["count"], e["in_a_row"]) for e in events(tmp_path / "run")[1:-2]
    }
    assert counted == {64: (1, 1), 96: (1, 2)}
    lines = curve(tmp_path / "run")
    assert [line.get("health/skipped_steps", 0) for line in lines] == [0, 1, 1, 0, 0]


def test_many_bad_steps_roll_back_with_lower_learning_rates_and_the_run_recovers(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    sections: Sections = {
        "output": {"checkpoint_every_kimg": 0.064},
        "guard": {"bad_steps": 2},
    }
    poison(monkeypatch, lambda images, tried: images in (80, 96) and tried == 1)
    done = train(config_of(tmp_path, shards, "run", sections))
    assert done.returncode == 0, done.stderr
    (event,) = events(run, "rolled_back")
    assert event["to"] == 64
    assert "learning rates x0.5" in event["reason"]
    assert event["reason"] in done.stderr
    assert [line["images_seen"] for line in curve(run)] == [32, 64, 96, 128, 160]
    assert not any("health/skipped_steps" in line for line in curve(run))


def test_bad_steps_at_the_end_of_a_run_are_tried_again_too(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    sections: Sections = {
        "output": {"checkpoint_every_kimg": 0.064, "log_every_kimg": 0.064},
        "guard": {"bad_steps": 2},
    }
    # The last line, at 160 images, is of a log interval that is cut short.
    poison(monkeypatch, lambda images, tried: images >= 128 and tried == 1)
    done = train(config_of(tmp_path, shards, "run", sections))
    assert done.returncode == 0, done.stderr
    (event,) = events(run, "rolled_back")
    assert event["to"] == 128
    assert [line["images_seen"] for line in curve(run)] == [64, 128, 160]
    assert not any("health/skipped_steps" in line for line in curve(run))


def test_a_run_that_diverges_again_and_again_stops_with_a_diagnosis(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    sections: Sections = {
        "output": {"checkpoint_every_kimg": 0.064},
        "guard": {"bad_steps": 2, "rollbacks": 2},
    }
    config = config_of(tmp_path, shards, "run", sections)
    poison(monkeypatch, lambda images, _: images >= 80)
    for _ in range(2):  # a new start does not forget the roll-backs
        done = train(config)
        assert done.returncode == 3
        assert "2 roll-back(s), down to learning rates x0.25, did not help" in done.stderr
        assert "training.clip_norm" in done.stderr
        assert status(run)["state"] == "diverged"
    assert len(events(run, "rolled_back")) == 2


def test_a_run_that_diverges_before_its_first_checkpoint_reports_it_and_saves_nothing(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    config = config_of(tmp_path, shards, "run", {"guard": {"bad_steps": 2}})
    done = train(config, "discriminator.learning_rate=1e38", "training.total_kimg=1")
    assert done.returncode == 3
    assert "no checkpoint to roll back to" in done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


def on_small_disk(
    folder: Path, command: list[str], options: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with a file system of its own mounted at the folder."""
    folder.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(folder), *command],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=400,
        check=False,
    )


needs_mounts = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0,
    reason="may not mount file systems",
)


def python(config: Path) -> list[str]:
    return [sys.executable, str(TRAIN), "--config", str(config)]


@needs_mounts
def test_a_full_disk_stops_the_run_with_one_error_and_keeps_the_previous_checkpoint(
    shards: Path, tmp_path: Path
) -> None:
    sections: Sections = {
        "output": {"checkpoint_every_kimg": 0.032, "keep_checkpoints": 50},
        "training": {"total_kimg": 3.2},
    }
    config = config_of(tmp_path, shards, "run", sections)
    # Room for a few checkpoints; what is left is looked at before the disk goes away.
    look = ["sh", "-c", '"$@"; echo "status $?"; ls "$0/checkpoints"', str(tmp_path / "run")]
    done = on_small_disk(tmp_path / "run", [*look, *python(config)], "size=1m")
    assert "status 2" in done.stdout, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    kept = [name for name in done.stdout.split() if name.startswith("images-")]
    assert kept
    assert ".partial" not in done.stdout


@needs_mounts
def test_a_read_only_run_directory_is_one_error(shards: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, shards, "run", {})
    done = on_small_disk(tmp_path / "run", python(config), "ro")
    assert done.returncode == 2
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_rank_that_hangs_is_named_with_its_phase_and_the_job_ends(
    shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = config_of(tmp_path, shards, "run", {"guard": {"hang_seconds": 8}})
    done = train_alone(config, fault="hang@48")
    assert done.returncode == 76
    assert "rank 0" in done.stderr
    assert "stuck in phase D at 48 images" in done.stderr
    assert status(run)["state"] == "hung"
    assert events(run, "hung")
    (beat,) = read_heartbeats(run)
    assert beat["phase"] == "D"


def test_resume_refuses_what_cannot_change_and_lists_what_did(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    config = config_of(tmp_path, shards, "run", {})
    assert train(config, "training.total_kimg=0.08").returncode == 0
    for key, value in (("seed", "1"), ("generator.latent_size", "9")):
        done = train(config, f"{key}={value}")
        assert done.returncode == 2
        assert f"{key} was" in done.stderr
    done = train(config, "generator.learning_rate=1e-4")
    assert done.returncode == 0
    assert "generator.learning_rate: 0.0002 -> 0.0001" in done.stderr


def test_all_checkpoints_broken_is_one_error_not_a_new_run(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    config = config_of(tmp_path, shards, "run", {})
    assert train(config).returncode == 0
    for path in (tmp_path / "run" / "checkpoints").glob("*/ema.safetensors"):
        path.write_bytes(b"")
    done = train(config)
    assert done.returncode == 2
    assert "no intact checkpoint" in done.stderr
    assert "ema.safetensors: truncated or changed" in done.stderr


def test_training_continues_while_a_checkpoint_is_written(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    original_step, original_write = gantrain.training.loop.d_step, write_checkpoint
    steps: list[int] = []
    meanwhile: list[int] = []

    def d_step(gan: Any, objective: Any, batch: Batch) -> Any:
        steps.append(batch.rng.start)
        return original_step(gan, objective, batch)

    def slow_write(snapshot: Snapshot, run_dir: Path) -> Path:
        before = len(steps)
        deadline = time.monotonic() + 60  # a training that waits would make no step in it
        while not meanwhile and len(steps) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        meanwhile.append(len(steps) - before)
        return original_write(snapshot, run_dir)

    monkeypatch.setattr(gantrain.training.loop, "d_step", d_step)
    monkeypatch.setattr(gantrain.runs.saver, "write_checkpoint", slow_write)
    sections: Sections = {"output": {"checkpoint_every_kimg": 0.064}}
    config = config_of(tmp_path, shards, "run", sections)
    assert train(config, "training.total_kimg=0.112").returncode == 0
    assert meanwhile[0] > 0
