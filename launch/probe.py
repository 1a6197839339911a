"""Short trainings on this machine: how fast runs are alone, and side by side on one device."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.pools import affinity, usable_cores
from gantrain.common.yaml_core import dump_yaml
from gantrain.runs.metrics_file import read_metrics
from launch import bootstrap
from launch.curves import median_speed
from launch.dotted import apply_settings
from launch.environment import with_cores
from launch.plan import PlannedRun

PACKS = (1, 2, 4, 8)
_CODE = Path(__file__).absolute().parents[1]
_MEASURE = "speed/seconds_of_metrics"
_GAIN = 1.05  # times the images/s of the pack before; with less, larger packs are not tried
_ALONE_ITERATIONS = 8
_LINE_SECONDS = 0.3  # between two lines of metrics, about
_LINES = 6  # of each run, after all have started
_TIMEOUT = 600.0  # seconds of one training
_POLL = 0.05


@dataclass(frozen=True)
class Alone:
    """What one run costs by itself.

    speed: images/s of training. start_seconds: beside training and measuring, in the whole run.
    first_measure_seconds, measure_seconds: the first measurement of quality, and each further one.
    on_cpu: whether it trained on the CPU.
    """

    speed: float
    start_seconds: float
    first_measure_seconds: float
    measure_seconds: float
    on_cpu: bool


@dataclass(frozen=True)
class PackSpeed:
    """Runs side by side on one device: images/s of each, on average, and of all together.

    problem: why they do not run side by side, empty if they do; the speeds are 0 then.
    """

    pack: int
    each: float
    total: float
    problem: str = ""


@dataclass(frozen=True)
class Probe:
    """The measurements of one run of a sweep."""

    run: str
    alone: Alone
    packs: list[PackSpeed] = field(default_factory=list)

    @property
    def best(self) -> PackSpeed:
        """The pack with the most images/s."""
        return max(self.packs, key=lambda each: each.total)

    def speed_of(self, pack: int) -> PackSpeed | None:
        """Return the measured speed of a pack; None if it was not tried."""
        return next((each for each in self.packs if each.pack == pack), None)


def probe(
    run: PlannedRun, packs: Sequence[int], needed: int, cores: int | None, cwd: Path
) -> Probe:
    """Train a run's first batches alone, then in packs, until more runs are not faster.

    packs: numbers of runs, ascending from 1. needed: the one of them that is tried in any case.
    cores: of a job, which its runs share; None: all of this machine. cwd: where the config's
    relative paths lead.

    Raises UserError with the trainer's last line of output if the run alone fails.
    """
    alone = _probe_alone(run, cores, cwd)
    measured: list[PackSpeed] = []
    gains = True
    for pack in packs:
        if not gains and pack != needed:
            continue
        measured.append(_probe_pack(run, pack, alone.speed, cores, cwd))
        if measured[-1].problem:
            break
        gains = len(measured) == 1 or measured[-1].total > measured[-2].total * _GAIN
    if measured[0].problem:
        raise UserError(f"the probe of run {run.id} failed: {measured[0].problem}")
    return Probe(run.id, alone, measured)


def _probe_alone(run: PlannedRun, cores: int | None, cwd: Path) -> Alone:
    step = _step(run)
    images = step * _ALONE_ITERATIONS
    changes: dict[str, Any] = {
        "training.total_kimg": images / 1000,
        "output.log_every_kimg": step / 1000,
        "output.checkpoint_every_kimg": 2 * images / 1000,
        "output.sample_every_kimg": 2 * images / 1000,
    }
    if run.flat["metrics.every_kimg"]:
        changes["metrics.every_kimg"] = images / 2000
    started = time.monotonic()
    with _trainers(run, 1, changes, cores, cwd) as (trainer,):
        try:
            status = trainer.process.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise UserError(f"the probe of run {run.id}: no end in {_TIMEOUT:.0f} s.") from None
        seconds = time.monotonic() - started
        lines, output = read_metrics(trainer.folder), trainer.output()
    speed = median_speed(lines)
    if status or not speed:
        raise UserError(f"the probe of run {run.id} failed: {_last_line(output)}")
    measured = [line[_MEASURE] for line in lines if _MEASURE in line]
    training = images / speed
    trains_classifier = re.search("training a classifier", output)  # once for the data set
    return Alone(
        speed=speed,
        start_seconds=max(seconds - training - sum(measured), 0.0),
        first_measure_seconds=measured[-1 if trains_classifier else 0] if measured else 0.0,
        measure_seconds=measured[-1] if measured else 0.0,
        on_cpu=" on cpu" in output,
    )


def _probe_pack(
    run: PlannedRun, pack: int, speed: float, cores: int | None, cwd: Path
) -> PackSpeed:
    step = _step(run)
    images_per_line = max(1, round(speed / pack * _LINE_SECONDS / step)) * step
    changes = {
        "training.total_kimg": 1e6,  # it is ended before
        "output.log_every_kimg": images_per_line / 1000,
        "output.checkpoint_every_kimg": 1e6,
        "output.sample_every_kimg": 1e6,
        "metrics.every_kimg": 0,
        "output.keep_best": None,
    }
    with _trainers(run, pack, changes, cores, cwd) as trainers:
        problem = _watch(trainers)
        if problem:
            return PackSpeed(pack, 0.0, 0.0, problem)
        total = sum(trainer.speed() for trainer in trainers)
    return PackSpeed(pack, total / pack, total)


@dataclass
class _Trainer:
    """A trainer and the moments (in seconds) at which its lines of metrics were seen."""

    process: subprocess.Popen[bytes]
    folder: Path
    log: Path
    seen: list[tuple[float, int]] = field(default_factory=list)

    def look(self) -> None:
        lines = read_metrics(self.folder)
        if lines and (not self.seen or lines[-1]["images_seen"] > self.seen[-1][1]):
            self.seen.append((time.monotonic(), int(lines[-1]["images_seen"])))

    def speed(self) -> float:
        (start, images), (end, more) = self.seen[0], self.seen[-1]
        return (more - images) / (end - start)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


def _watch(trainers: Sequence[_Trainer]) -> str:
    """Wait until each trainer has written enough lines since all started; return what failed."""
    deadline, started = time.monotonic() + _TIMEOUT, False
    while True:
        for trainer in trainers:
            trainer.look()
            if trainer.process.poll() is not None:
                return _last_line(trainer.output())
        if not started and all(trainer.seen for trainer in trainers):
            started = True
            for trainer in trainers:  # the first line includes warming up
                trainer.seen.clear()
        if started and all(len(trainer.seen) > _LINES for trainer in trainers):
            return ""
        if time.monotonic() > deadline:
            return f"too slow to measure in {_TIMEOUT:.0f} s"
        time.sleep(_POLL)


@contextmanager
def _trainers(
    run: PlannedRun, count: int, changes: Mapping[str, Any], cores: int | None, cwd: Path
) -> Iterator[list[_Trainer]]:
    """Start trainers at the same time; end them when the block ends."""
    shared = usable_cores() if cores is None else cores  # as the worker shares them in a job
    environment = with_cores(os.environ, max(1, shared // count))
    with tempfile.TemporaryDirectory(prefix="gantrain-probe-") as folder:
        trainers = []
        try:
            with _limited_to(cores):
                for index in range(count):
                    place = Path(folder) / str(index)
                    trainers.append(_start(run, changes, place, environment, cwd.absolute()))
            yield trainers
        finally:
            for trainer in trainers:
                with suppress(ProcessLookupError):
                    os.killpg(trainer.process.pid, signal.SIGKILL)
                trainer.process.wait()


@contextmanager
def _limited_to(cores: int | None) -> Iterator[None]:
    """Let processes that are started in this block run on this many cores."""
    if cores is None or not hasattr(os, "sched_setaffinity"):  # as on macOS
        yield
        return
    available = affinity()
    os.sched_setaffinity(0, sorted(available)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, available)


def _start(
    run: PlannedRun,
    changes: Mapping[str, Any],
    folder: Path,
    environment: Mapping[str, str],
    cwd: Path,
) -> _Trainer:
    folder.mkdir()
    always = {
        "training.world_size": 1,
        "wandb.mode": "disabled",
        "output.run_dir": str(folder / "run"),
        "output.resume": "never",
    }
    config, log = folder / "probe.yaml", folder / "log"
    tree = apply_settings(run.tree, {**changes, **always})
    config.write_text(dump_yaml(tree), encoding="utf-8")
    with log.open("wb") as file:
        process = subprocess.Popen(
            bootstrap.command(_CODE, "gantrain.train", "--config", str(config)),
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Trainer(process, folder / "run", log)


def _step(run: PlannedRun) -> int:
    """Return the images of one iteration, after which alone the trainer logs."""
    step: int = run.flat["training.batch_size"] * run.flat["objective.n_critic"]
    return step


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1] if lines else "it ended without a word"
