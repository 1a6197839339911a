"""A real Slurm for the test session, and small sweeps."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import draw_squares
from tests.system import require
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "slurm" / "local"
SLURM_CLUSTER = {"executor": "slurm", "partition": "low", "time": 30, "signal_seconds": 60}


@dataclass
class SlurmCluster:
    """A Slurm that this test session started, with its own directory and ports.

    prefix: where `slurm/local/install --suite` put its programs; "" for those on PATH.
    """

    folder: Path
    ports: int
    prefix: str = ""
    options: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that select this cluster for Slurm's commands and slurm/local."""
        path = os.environ["PATH"]
        return {
            "GANTRAIN_SLURM_DIR": str(self.folder),
            "GANTRAIN_SLURM_PORTS": str(self.ports),
            "GANTRAIN_SLURM_PREFIX": self.prefix,
            "PATH": f"{self.prefix}/bin:{path}" if self.prefix else path,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }

    def up(self, *options: str) -> None:
        """Start it, or restart it with other options; jobs keep running."""
        self.options = options
        self._script("up", "--max-array", "9", *options)

    def down(self) -> None:
        """Stop it and remove its state."""
        self._script("down", "--wipe")

    def call(self, *command: str) -> str:
        """Run one of Slurm's commands and return its output."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        return done.stdout.strip()

    def _script(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(LOCAL / name), *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Sweep:
    """A sweep of tiny training runs in its own directory."""

    folder: Path
    file: Path
    environment: dict[str, str] = field(default_factory=dict)
    name: str = "sweep"

    @property
    def directory(self) -> Path:
        """The sweep directory."""
        return self.folder / self.name

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of `python -m launch` with these arguments."""
        return [sys.executable, "-m", "launch", *arguments]

    def run(
        self, *arguments: str, status: int = 0, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the launcher until it exits; assert its exit status."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**self.environment, **changes},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def json(self, name: str, *arguments: str) -> Any:
        """Run a command of the launcher on this sweep and return its JSON output."""
        return json.loads(self.run(name, str(self.file), *arguments, "--json").stdout)

    def runs(self) -> list[dict[str, Any]]:
        """Return the rows of `status`."""
        rows: list[dict[str, Any]] = self.json("status")["runs"]
        return rows

    def states(self) -> list[str]:
        """Return the runs' states."""
        return [row["state"] for row in self.runs()]

    def run_dir(self, run: str) -> Path:
        """Return the directory of a run."""
        return self.directory / "runs" / run

    def wait(self, *states: str, seconds: float = 480) -> list[dict[str, Any]]:
        """Wait until every run is in one of these states; return the rows of `status`."""

        def rows_in_states() -> list[dict[str, Any]] | None:
            rows = self.runs()
            return rows if all(row["state"] in states for row in rows) else None

        rows: list[dict[str, Any]] = wait_until(
            rows_in_states, seconds, lambda: f"{self.runs()}\n{self.logs()}"
        )
        return rows

    def wait_images(self, run: str, images: int, seconds: float = 400) -> None:
        """Wait until a run has seen this many images."""
        path = self.run_dir(run) / "status.json"

        def seen() -> bool:
            return path.exists() and json.loads(path.read_text())["images_seen"] >= images

        wait_until(seen, seconds, lambda: f"{self.runs()}\n{self.logs()}", 0.05)

    def starts(self, run: str) -> list[dict[str, Any]]:
        """Return the start of each attempt of a run."""
        path = self.run_dir(run) / "attempts.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if line["event"] == "start"]

    def curve(self, run: str) -> list[dict[str, float]]:
        """Return a run's metrics, without the speeds."""
        return curve_of(self.run_dir(run))

    def logs(self) -> str:
        """Return the ends of all logs, for assertion messages."""
        paths = [*self.directory.glob("runs/*/logs/*"), *self.directory.glob("jobs/*/*_log.*")]
        return "\n".join(f"== {p}\n{p.read_text()[-1500:]}" for p in paths)


def curve_of(run_dir: Path) -> list[dict[str, float]]:
    """Return the lines of metrics.jsonl, without the speeds."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("speed/")} for line in lines]


def base_tree(shards: Path, kimg: float = 0.16, **training: Any) -> dict[str, Any]:
    """Return a config that trains within a second once it has started."""
    return {
        "data": {"shards": str(shards), "size": 32},
        "generator": {"width": 4, "latent_size": 8},
        "discriminator": {"width": 4},
        "training": {"total_kimg": kimg, "batch_size": 16, "device": "cpu", **training},
        "metrics": {"every_kimg": 0},
        "output": {
            "run_dir": "unused",
            "log_every_kimg": 0.032,
            "sample_every_kimg": 100,
            "checkpoint_every_kimg": 0.4,
            "grid": [2, 2],
        },
    }


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of tiny images."""
    from gantrain.data.shards.writer import write_shards

    folder = tmp_path_factory.mktemp("launch-data") / "squares"
    write_shards(
        folder, draw_squares(64), size=32, channels=1, source="squares", images_per_shard=64
    )
    return folder


@pytest.fixture
def make_sweep(tmp_path: Path, squares: Path) -> Callable[..., Sweep]:
    """Writes a sweep file, its base config and its cluster file."""

    def make(
        cluster: dict[str, Any] | None = None,
        base: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        **content: Any,
    ) -> Sweep:
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(base or base_tree(squares)))
        (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster or {"executor": "local"}))
        tree = {"name": "sweep", "base": "base.yaml", "dir": str(tmp_path / "sweep")}
        tree |= {"cluster": str(tmp_path / "cluster.yaml"), "metric": "loss/discriminator"}
        file = tmp_path / "sweep.yaml"
        file.write_text(yaml.safe_dump({**tree, **content}, sort_keys=False))
        others = ("SLURM", "WANDB", "GANTRAIN_JOB")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        path = f"{ROOT}:{kept['PYTHONPATH']}" if "PYTHONPATH" in kept else str(ROOT)
        kept |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        return Sweep(tmp_path, file, {**kept, **(environment or {})})

    return make


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """A Slurm with accounting."""
    yield from run_cluster(tmp_path_factory, "slurm", "slurmdbd", "mariadbd", options=("--limits",))


@pytest.fixture(scope="session")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """A Slurm without accounting, which forgets a job two seconds after it ends."""
    yield from run_cluster(
        tmp_path_factory, "bare", options=("--no-accounting", "--min-job-age", "2")
    )


@pytest.fixture
def on_slurm(
    slurm_cluster: SlurmCluster, make_sweep: Callable[..., Sweep]
) -> Iterator[Callable[..., Sweep]]:
    """Makes sweeps on the Slurm with accounting, and cancels their jobs at the end."""

    def make(cluster: dict[str, Any] | None = None, **content: Any) -> Sweep:
        settings = {**SLURM_CLUSTER, **(cluster or {})}
        return make_sweep(settings, environment=slurm_cluster.environment, **content)

    yield make
    slurm_cluster.call("scancel", "--quiet", "--full", "--user=root")
    wait_until(lambda: not slurm_cluster.call("squeue", "-h"), 480)


def run_cluster(
    factory: pytest.TempPathFactory,
    name: str,
    *programs: str,
    options: tuple[str, ...] = (),
    prefix: str = os.environ.get("GANTRAIN_SLURM_PREFIX", ""),
) -> Iterator[SlurmCluster]:
    """Start a Slurm for a fixture, stop it afterwards; skip or fail where it cannot run.

    programs: needed besides Slurm and munge. options: of slurm/local/up. prefix: see SlurmCluster.
    """
    cluster = SlurmCluster(factory.mktemp(name), _free_ports(), prefix)
    path = cluster.environment["PATH"]
    slurm = f"{prefix}/bin/slurmctld" if prefix else "slurmctld"
    needed = (slurm, "munged", *programs)
    missing = [program for program in needed if shutil.which(program, path=path) is None]
    problem = f"no {', '.join(missing)}" if missing else "root starts it" if os.geteuid() else None
    require("a real Slurm", problem)
    try:
        cluster.up(*options)
        yield cluster
    finally:
        cluster.down()


def _free_ports() -> int:
    # Below the range of outgoing connections.
    for first in range(20_000 + os.getpid() % 1000 * 10, 32_000, 10):
        if all(_is_free(port) for port in range(first, first + 6)):
            return first
    raise AssertionError("no six consecutive free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
