"""A real Slurm for the session, and small sweeps on it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import draw_squares

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "slurm" / "local"
SLURM_CLUSTER = {"executor": "slurm", "partition": "low", "time": 30, "signal_seconds": 60}


@dataclass
class Cluster:
    """A Slurm that this test run started, with its own directory and ports."""

    folder: Path
    ports: int
    options: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What points Slurm's commands and slurm/local at this cluster."""
        return {
            "GANTRAIN_SLURM_DIR": str(self.folder),
            "GANTRAIN_SLURM_PORTS": str(self.ports),
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }

    def up(self, *options: str) -> None:
        """Start it, or take over other options; jobs live on."""
        self.options = options
        self._script("up", "--max-array", "9", *options)

    def down(self) -> None:
        """Stop it and forget it."""
        self._script("down", "--wipe")

    def call(self, *command: str) -> str:
        """One of Slurm's commands."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout.strip()

    def _script(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(LOCAL / name), *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Sweep:
    """A sweep of tiny trainings in a directory of its own."""

    folder: Path
    file: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where its runs go."""
        return self.folder / "sweep"

    def command(self, *arguments: str) -> list[str]:
        """`python -m launch` with these arguments."""
        return [sys.executable, "-m", "launch", *arguments]

    def run(
        self, *arguments: str, status: int = 0, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a launcher's command to its end."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**self.environment, **changes},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def json(self, name: str, *arguments: str) -> Any:
        """A launcher's command on this sweep, its JSON read."""
        return json.loads(self.run(name, str(self.file), *arguments, "--json").stdout)

    def runs(self) -> list[dict[str, Any]]:
        """The rows of `status`."""
        rows: list[dict[str, Any]] = self.json("status")["runs"]
        return rows

    def states(self) -> list[str]:
        """The runs' states."""
        return [row["state"] for row in self.runs()]

    def run_dir(self, run: str) -> Path:
        """The directory of a run."""
        return self.directory / "runs" / run

    def wait(self, *wanted: str, seconds: float = 240) -> list[dict[str, Any]]:
        """Wait until every run is in one of these states; gives the rows of `status`."""

        def there() -> list[dict[str, Any]] | None:
            rows = self.runs()
            return rows if all(row["state"] in wanted for row in rows) else None

        found: list[dict[str, Any]] = wait_until(
            there,
            seconds,
            lambda: f"{self.runs()}\n{self.logs()}",
        )
        return found

    def wait_images(self, run: str, images: int, seconds: float = 120) -> None:
        """Wait until a run has seen this many images."""
        path = self.run_dir(run) / "status.json"

        def seen() -> bool:
            return path.exists() and json.loads(path.read_text())["images_seen"] >= images

        wait_until(seen, seconds, lambda: f"{self.runs()}\n{self.logs()}", 0.05)

    def starts(self, run: str) -> list[dict[str, Any]]:
        """How often, and where, a run was started."""
        path = self.run_dir(run) / "attempts.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if line["event"] == "start"]

    def curve(self, run: str) -> list[dict[str, float]]:
        """A run's metrics, without the speeds."""
        return curve_of(self.run_dir(run))

    def logs(self) -> str:
        """The ends of all logs, for a failure's message."""
        paths = [*self.directory.glob("runs/*/logs/*"), *self.directory.glob("jobs/*/*_log.*")]
        return "\n".join(f"== {p}\n{p.read_text()[-1500:]}" for p in paths)


def curve_of(run_dir: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl, without the speeds."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("speed/")} for line in lines]


def wait_until(
    ask: Callable[[], Any],
    seconds: float,
    tell: Callable[[], str] = lambda: "",
    every: float = 0.5,
) -> Any:
    """Ask until the answer is true; gives the answer."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, f"not in {seconds} s: {tell()}"
        time.sleep(every)
    return answer


def base_tree(shards: Path, kimg: float = 0.16, **training: Any) -> dict[str, Any]:
    """A config that trains in a second once it has started."""
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
    """Makes a sweep file with a base config and a cluster file beside it."""

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
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "WANDB", "SUBMITIT"))
        }
        path = f"{ROOT}:{kept['PYTHONPATH']}" if "PYTHONPATH" in kept else str(ROOT)
        kept |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        return Sweep(tmp_path, file, {**kept, **(environment or {})})

    return make


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Slurm with accounting."""
    yield from _cluster(tmp_path_factory, "slurm", "slurmdbd", "mariadbd")


@pytest.fixture(scope="session")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Slurm without accounting, which forgets a job two seconds after its end."""
    yield from _cluster(tmp_path_factory, "bare", options=("--no-accounting", "--min-job-age", "2"))


@pytest.fixture
def on_slurm(
    slurm_cluster: Cluster, make_sweep: Callable[..., Sweep]
) -> Iterator[Callable[..., Sweep]]:
    """Makes sweeps on the Slurm with accounting, and takes their jobs away at the end."""

    def make(cluster: dict[str, Any] | None = None, **content: Any) -> Sweep:
        settings = {**SLURM_CLUSTER, **(cluster or {})}
        return make_sweep(settings, environment=slurm_cluster.environment, **content)

    yield make
    slurm_cluster.call("scancel", "--quiet", "--full", "--user=root")
    wait_until(lambda: not slurm_cluster.call("squeue", "-h"), 60)


def _cluster(
    factory: pytest.TempPathFactory, name: str, *programs: str, options: tuple[str, ...] = ()
) -> Iterator[Cluster]:
    missing = [p for p in ("slurmctld", "munged", *programs) if shutil.which(p) is None]
    reason = f"no {', '.join(missing)}; slurm/local/install" if missing else "needs root"
    if missing or os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail(f"the tests need a real Slurm: {reason}")
        pytest.skip(f"no Slurm: {reason}")
    cluster = Cluster(factory.mktemp(name), _free_ports())
    try:
        cluster.up(*options)
        yield cluster
    finally:
        cluster.down()


def _free_ports() -> int:
    # Below the range from which outgoing connections take theirs.
    for first in range(20_000 + os.getpid() % 1000 * 10, 32_000, 10):
        if all(_is_free(port) for port in range(first, first + 6)):
            return first
    raise AssertionError("no six free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
