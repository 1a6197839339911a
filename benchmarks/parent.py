"""The benchmark's side of its contenders: it starts them, lets one train at a time, ends them."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.settings import Settings

_ROOT = Path(__file__).parent.parent
_PATIENCE = 20.0  # seconds in which a contender may end by itself
_LINES_SHOWN = 30


class ContenderError(Exception):
    """A contender ended before its time; the message has the last lines that it printed."""


@dataclass
class Rank:
    """One process of a contender, and the benchmark's ends of its pipes."""

    process: subprocess.Popen[bytes]
    orders: IO[str]
    reports: IO[str]
    log: Path

    def tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # `hear` says why it is gone
            self.orders.write(line + "\n")
            self.orders.flush()

    def hear(self) -> dict[str, Any]:
        """The next report. Raises ContenderError when there will be none."""
        # Data workers hold the pipe open too, so that its end does not show that the rank is gone.
        while not select.select([self.reports], [], [], 0.5)[0]:
            if self.process.poll() is not None:
                raise ContenderError(self._last_words())
        line = self.reports.readline()
        if not line:
            raise ContenderError(self._last_words())
        report: dict[str, Any] = json.loads(line)
        return report

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LINES_SHOWN:])


class Contender:
    """The processes that train one way; all ranks make the same rounds together."""

    def __init__(self, name: str, settings: Settings, python: str, folder: Path) -> None:
        self.name = name
        self.settings = settings.changed(output={"run_dir": str(folder / f"run {name}")})
        self.rounds: list[dict[str, Any]] = []
        self.iterations = 0
        self.library = ""
        self._ranks: list[Rank] = []
        port = free_port()
        for rank in range(settings.ranks):
            log = folder / f"{name.replace(' ', '-')}-{rank}.log"
            self._ranks.append(start(self.settings, python, log, environment(settings, rank, port)))

    def get_ready(self, seconds: float) -> None:
        """Wait for the warm-up; rounds will take about so long."""
        reports = [rank.hear() for rank in self._ranks]
        self.library = reports[0]["library"]
        slowest = max(report["seconds_per_iteration"] for report in reports)
        self.iterations = max(1, round(seconds / slowest))

    def train(self) -> None:
        """One round."""
        for rank in self._ranks:
            rank.tell(str(self.iterations))
        reports = [rank.hear() for rank in self._ranks]
        self.rounds.append(
            {
                **reports[0],
                "images": sum(report["images"] for report in reports),
                "seconds": max(report["seconds"] for report in reports),
                "memory": sum(report["memory"] for report in reports),
            }
        )

    def __enter__(self) -> "Contender":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """End all processes, data workers too; at once if something went wrong."""
        for rank in self._ranks:
            with contextlib.suppress(BrokenPipeError):
                rank.orders.close()
        for rank in self._ranks:
            with contextlib.suppress(subprocess.TimeoutExpired):
                rank.process.wait(_PATIENCE if kind is None else 0)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(rank.process.pid, signal.SIGKILL)
            rank.process.wait()
            rank.reports.close()


def start(settings: Settings, python: str, log: Path, variables: dict[str, str]) -> Rank:
    """One rank in a process group of its own, which what it starts will belong to."""
    orders, to_rank = os.pipe()
    from_rank, reports = os.pipe()
    module = [python, "-m", "benchmarks.contender", settings.to_json(), str(orders), str(reports)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            module,
            cwd=_ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(orders, reports),
            start_new_session=True,
        )
    os.close(orders)
    os.close(reports)
    return Rank(process, os.fdopen(to_rank, "w"), os.fdopen(from_rank, "r"), log)


def environment(settings: Settings, rank: int, port: int) -> dict[str, str]:
    """This process's variables, with what torch's and Accelerate's ranks look for."""
    distributed = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", *distributed))}
    variables = {**kept, "OMP_NUM_THREADS": str(settings.threads), "TF_CPP_MIN_LOG_LEVEL": "2"}
    if settings.ranks == 1:
        return variables
    ranks = str(settings.ranks)
    return {
        **variables,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": ranks,
        "LOCAL_WORLD_SIZE": ranks,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def take_turns(contenders: Sequence[Contender], rounds: int) -> None:
    """So many rounds of each, in one order and then in the other."""
    for i in range(rounds):
        for contender in contenders if i % 2 == 0 else contenders[::-1]:
            contender.train()
        print(f"\r  round {i + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
