"""What there is to say of a run in a few lines, from the small files of its directory.

The end of a training, the head of a run's page, `gantrain watch` and `gantrain show` say it with
these words. Needs no torch.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from gantrain.common.command_line import MASK, as_typed
from gantrain.common.text import describe_seconds
from gantrain.runs.liveness import Silence, last_heartbeat, silence_of
from gantrain.runs.origin import machine_words
from gantrain.runs.paths import CONFIG, GENERATOR_BEST, REAL_SAMPLES, list_grids
from gantrain.runs.provenance import read_attempts, wall_seconds
from gantrain.runs.records import Record, read_status
from gantrain.runs.standing import Standing

ENDED_EARLY = ("preempted", "interrupted", "hung")
FAILED = ("failed", "diverged")
_LAUNCHED = "attempts.jsonl"  # of runs of a sweep, which the launcher starts


@dataclass(frozen=True)
class Overview:
    """The state of a run, what is said of it, and how it came about.

    state: of status.json, `unknown` without one. silence: if it shows no progress.
    attempts: of run.json, oldest first; empty in runs of version 0.2 and earlier.
    wall_seconds: of all starts together; None if they are not recorded.
    images_per_second: of the newest line of metrics; 0 if it is not known.
    updated: when it was last heard of, as Unix time; None if never.
    """

    run_dir: Path
    state: str
    reason: str
    silence: Silence | None
    images_seen: int
    total_images: int
    images_per_second: float
    standing: Standing
    attempts: list[Record]
    wall_seconds: float | None
    updated: float | None

    @property
    def newest(self) -> Record:
        """The newest start; empty if none is recorded."""
        return self.attempts[-1] if self.attempts else {}

    @property
    def state_words(self) -> str:
        """The state, or the silence in its place, and what to do about it."""
        if self.silence:
            to_do = "" if self.silence.stuck else f": start it again {self._how_to_continue}"
            return self.silence.words + to_do
        if self.state in ENDED_EARLY:
            return f"{self.state}: continue {self._how_to_continue}"
        if self.state in FAILED and self.reason:
            return f"{self.state}: {self.reason.splitlines()[0]}"
        if self.seconds_left is not None:
            return f"{self.state}, {describe_seconds(self.seconds_left)} left"
        return self.state

    @property
    def seconds_left(self) -> float | None:
        """The time until the end at the present speed; None unless it trains and that is known."""
        left = self.total_images - self.images_seen
        if self.state != "running" or self.silence or left <= 0 or self.images_per_second <= 0:
            return None
        return left / self.images_per_second

    @property
    def machine(self) -> str:
        """Ranks, device and precision, such as `2 ranks on cpu, bf16`; "" if not recorded."""
        return machine_words(self.newest)

    @property
    def host(self) -> str:
        """Where it trains or trained last; "" if that is not known."""
        return str((self.newest.get("hardware") or {}).get("host", ""))

    @property
    def headline(self) -> list[str]:
        """The parts of one line that says how a run is doing."""
        time = None if self.wall_seconds is None else describe_seconds(self.wall_seconds)
        where = f"on {self.host}" if self.host else ""
        parts = [self.state_words, *self.standing.lines, self.machine, time and f"{time} {where}"]
        return [part for part in parts if part]

    @property
    def ending(self) -> list[str]:
        """The lines that a training ends with."""
        time = "" if self.wall_seconds is None else f" after {describe_seconds(self.wall_seconds)}"
        why = f" ({self.reason})" if self.reason and self.state == "finished" else ""
        grids = list_grids(self.run_dir)
        samples = [f"samples: {path} (real images: {REAL_SAMPLES} beside it)" for _, path in grids]
        return [
            f"{self.state} at {self.progress}{time}{why}",
            *self.standing.lines,
            *samples[-1:],
            *(f"next: {command}" for command in self.next_commands),
        ]

    @property
    def progress(self) -> str:
        """Images seen, of how many, in kimg."""
        return f"{self.images_seen / 1000:,.4g} of {self.total_images / 1000:,.4g} kimg"

    @property
    def next_commands(self) -> list[str]:
        """The two commands that a person most likely wants next."""
        run = shlex.quote(str(self.run_dir))
        best = " --best" if (self.run_dir / GENERATOR_BEST).exists() else ""
        commands = [f"gantrain report {run}", f"gantrain sample {run}{best}"]
        unfinished = self.silence or self.state in ENDED_EARLY
        return [self.continuation, *commands][:2] if unfinished and self.continuation else commands

    @property
    def continuation(self) -> str:
        """The command that continues the run from its newest checkpoint, from the present folder.

        "" for a job of Slurm that the launcher has not submitted: its script is not known.
        """
        run, start = self.run_dir.absolute(), self.newest
        if (run / _LAUNCHED).exists() and run.parent.name == "runs":
            sweep = run.parents[1]
            return f"gantrain launch retry {shlex.quote(_from_here(sweep))} {run.name}"
        if start.get("slurm"):
            return ""
        folder = Path(start.get("folder", Path.cwd()))
        command = _again(run, start, folder)
        return command if folder == Path.cwd() else f"cd {shlex.quote(str(folder))} && {command}"

    @property
    def _how_to_continue(self) -> str:
        if self.continuation:
            return f"with `{self.continuation}`"
        return f"by submitting its job again ({self.newest.get('slurm', {}).get('job', '?')})"


def read_overview(run_dir: Path, standing: Standing | None = None) -> Overview:
    """Return what there is to say of a run. Files that are missing or broken leave it unsaid.

    standing: what is said of its training and quality; by default, what status.json says.
    """
    status, attempts = read_status(run_dir), read_attempts(run_dir)
    state, last_sign = status.get("state", "unknown"), last_heartbeat(run_dir)
    # Files of a run that has ended may have been copied since.
    updated = last_sign if state == "running" else status.get("time", last_sign)
    return Overview(
        run_dir=run_dir,
        state=state,
        reason=status.get("reason", ""),
        silence=silence_of(run_dir, status),
        images_seen=status.get("images_seen", 0),
        total_images=status.get("total_images", 0),
        images_per_second=status.get("images_per_second", 0.0),
        standing=standing or Standing.from_record(status),
        attempts=attempts,
        wall_seconds=wall_seconds(attempts, last_sign) if attempts else None,
        updated=updated,
    )


def _again(run: Path, start: Record, folder: Path) -> str:
    """Return the command that starts a run again from the folder that it was started from."""
    words = start.get("launcher") or start.get("command") or []
    ranks = start.get("ranks", 1)
    if ranks != start.get("ranks_here", ranks) and words and MASK not in " ".join(words):
        return as_typed(words)  # on each of several machines
    config = run / CONFIG
    if folder == Path.cwd():
        config = Path(_from_here(config))
    parts = ["gantrain", "train", str(config), *(["--ranks", str(ranks)] if ranks > 1 else [])]
    if start.get("run_dir", str(run)) != str(run):  # it was moved
        parts.append(f"output.run_dir={run}")
    return shlex.join(parts)


def _from_here(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
