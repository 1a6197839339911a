"""Start the processes of an implementation, run them one round at a time, and end them."""

import contextlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.settings import Settings

_ROOT = Path(__file__).parent.parent
_GRACE_SECONDS = 20.0
_LOG_LINES_SHOWN = 30


class JobError(Exception):
    """A process of a job ended too early; the message has the last lines of its log."""


@dataclass
class RankProcess:
    """One process of a job, and the benchmark's ends of its pipes."""

    process: subprocess.Popen[bytes]
    requests: IO[str]
    results: IO[str]
    log: Path

    def send(self, line: str) -> None:
        """Send a request. A process that is gone is reported by `receive`."""
        with contextlib.suppress(BrokenPipeError):
            self.requests.write(line + "\n")
            self.requests.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for the next result and return it. Raises JobError if the process has ended."""
        # Data workers inherit the pipe, so it stays open when the process itself dies.
        while not select.select([self.results], [], [], 0.5)[0]:
            if self.process.poll() is not None:
                raise JobError(self._log_tail())
        line = self.results.readline()
        if not line:
            raise JobError(self._log_tail())
        result: dict[str, Any] = json.loads(line)
        return result

    def _log_tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES_SHOWN:])


class Job:
    """The processes of one implementation, one for each rank, which run every round together."""

    def __init__(self, name: str, settings: Settings, python: str, folder: Path) -> None:
        self.name = name
        self.settings = settings.with_config(output={"run_dir": str(folder / f"run {name}")})
        self.rounds: list[dict[str, Any]] = []
        self.iterations = 0
        self.library = ""
        port = free_port()
        self._ranks = [
            start_rank(
                self.settings,
                python,
                folder / f"{name.replace(' ', '-')}-{rank}.log",
                rank_environment(settings, rank, port),
            )
            for rank in range(settings.ranks)
        ]

    def warm_up(self, seconds: float) -> None:
        """Wait for the warm-up, and choose the iterations that take about `seconds` a round."""
        results = [rank.receive() for rank in self._ranks]
        self.library = results[0]["library"]
        slowest = max(result["seconds_per_iteration"] for result in results)
        self.iterations = max(1, round(seconds / slowest))

    def run_round(self) -> None:
        """Run one round on all ranks and record it."""
        for rank in self._ranks:
            rank.send(str(self.iterations))
        results = [rank.receive() for rank in self._ranks]
        self.rounds.append(
            {
                **results[0],
                "images": sum(result["images"] for result in results),
                "seconds": max(result["seconds"] for result in results),
                "memory": sum(result["memory"] for result in results),
            }
        )

    @property
    def seconds_per_iteration(self) -> list[float]:
        """Seconds of an iteration in each round."""
        return [r["seconds"] / self.iterations for r in self.rounds]

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """End all processes including data workers, without a grace period after an error."""
        for rank in self._ranks:
            with contextlib.suppress(BrokenPipeError):
                rank.requests.close()
        for rank in self._ranks:
            with contextlib.suppress(subprocess.TimeoutExpired):
                rank.process.wait(_GRACE_SECONDS if kind is None else 0)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(rank.process.pid, signal.SIGKILL)
            rank.process.wait()
            rank.results.close()


def start_rank(
    settings: Settings, python: str, log: Path, variables: dict[str, str]
) -> RankProcess:
    """Start one rank in its own process group, so that its data workers can be killed with it."""
    requests, to_rank = os.pipe()
    from_rank, results = os.pipe()
    command = [python, "-m", "benchmarks.worker", settings.to_json(), str(requests), str(results)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(requests, results),
            start_new_session=True,
        )
    os.close(requests)
    os.close(results)
    return RankProcess(process, os.fdopen(to_rank, "w"), os.fdopen(from_rank, "r"), log)


def rank_environment(settings: Settings, rank: int, port: int) -> dict[str, str]:
    """Return this process's environment with the variables that torch and Accelerate expect."""
    distributed = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", *distributed))}
    variables = {**kept, "TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": str(settings.threads)}
    if not settings.threads:
        del variables["OMP_NUM_THREADS"]
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
    """Return a TCP port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class TimeLimit:
    """The time that a cell of a benchmark has, as seconds of the monotonic clock."""

    start: float
    end: float

    @staticmethod
    def share(deadline: float, parts: int) -> "TimeLimit":
        """Return the first of so many equal parts of the time until the deadline."""
        now = time.monotonic()
        return TimeLimit(now, now + (deadline - now) / parts)

    def half_is_over(self) -> bool:
        """Whether half of the time has passed."""
        return 2 * time.monotonic() > self.start + self.end

    def is_over_in(self, seconds: float) -> bool:
        """Whether so many seconds from now are more than is left."""
        return time.monotonic() + seconds > self.end


NO_LIMIT = TimeLimit(0.0, math.inf)


def run_interleaved(
    jobs: Sequence[Job],
    rounds: int,
    limit: TimeLimit = NO_LIMIT,
    after_round: Callable[[], object] = lambda: None,
) -> None:
    """Run `rounds` rounds of each job, one job at a time, reversing the order every time.

    limit: ends this earlier, but after one round at least.
    after_round: called after each round of all jobs.
    """
    for i in range(rounds):
        started = time.monotonic()
        for job in jobs if i % 2 == 0 else jobs[::-1]:
            job.run_round()
        after_round()
        print(f"\r  round {i + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        if i + 1 < rounds and limit.is_over_in(time.monotonic() - started):
            print(f"\nleft out for lack of time: {rounds - i - 1} rounds", end="", file=sys.stderr)
            break
    print(file=sys.stderr)
