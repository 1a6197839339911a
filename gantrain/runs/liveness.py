"""Whether a run that should be training still does. Needs no torch.

All that show runs use `silence_of`, so that they agree about which are alive. It goes by the dates
of files: no process asks another machine whether a process lives there.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gantrain.common.files import file_system_time
from gantrain.common.text import describe_seconds
from gantrain.runs.paths import STATUS, heartbeat_file, list_heartbeats
from gantrain.runs.records import Record, read_heartbeats

# Heartbeats are 5 s apart, and NFS may show them a minute late.
ALIVE_SECONDS = 120.0
_MISSED_LINES = 3  # of metrics, where there are no heartbeats to go by
_START_SECONDS = 600.0  # from the start of a process to its first heartbeat: data are opened
_STUCK_SECONDS = 300.0  # in one phase, of which the longest are a measurement and a checkpoint


@dataclass(frozen=True)
class Silence:
    """How long a run that should be training has shown no progress.

    stuck: the phase that its slowest rank is in, if its processes still live; "" if they are
        probably dead.
    """

    seconds: float
    stuck: str = ""

    @property
    def words(self) -> str:
        """What to say of the run in place of its state."""
        if self.stuck:
            return f"no progress for {describe_seconds(self.seconds)}: {self.stuck}"
        return f"silent for {describe_seconds(self.seconds)}, probably dead"


def last_heartbeat(run_dir: Path) -> float | None:
    """Return when a heartbeat or the status was last written; None if neither was.

    A Unix time by the clock of the file system, since the time in the file is by that of the
    machine that wrote it.
    """
    return _newest([*list_heartbeats(run_dir), run_dir / STATUS])


def seconds_since_heartbeat(run_dir: Path, now: float) -> float | None:
    """Return the age of a run's last heartbeat; None without one.

    now: the file system's time, see `file_system_time`.
    """
    moment = last_heartbeat(run_dir)
    return None if moment is None else max(0.0, now - moment)


def beats_since(run_dir: Path, moment: float) -> list[Record]:
    """Return the newest heartbeat of each rank that wrote one after a moment, by rank.

    moment: by the file system's clock. Files of an earlier start with more ranks are older.
    """
    beats = []
    for beat in read_heartbeats(run_dir):
        written = _newest([heartbeat_file(run_dir, beat.get("rank", 0))])
        if written is not None and written > moment:
            beats.append(beat)
    return beats


def silence_of(
    run_dir: Path, status: Record, *, now: float | None = None, started: float | None = None
) -> Silence | None:
    """Return how long a run that should be training has shown no progress; None if it does.

    status: its status file. now: the file system's time. started: when its newest process was
    started, if that is known from elsewhere; it begins the status anew only minutes later.
    """
    starting = started is not None and (last_heartbeat(run_dir) or 0.0) < started
    if status.get("state") != "running" and not starting:
        return None
    now = file_system_time(run_dir) if now is None else now
    if started is not None and starting:
        age = max(0.0, now - started)
        return Silence(age) if age >= _START_SECONDS else None
    age = seconds_since_heartbeat(run_dir, now) or 0.0
    if age >= _allowed_seconds(run_dir, status):
        return Silence(age)
    # The rank that has begun the fewest phases keeps the others waiting.
    beats = beats_since(run_dir, now - ALIVE_SECONDS)
    slowest = min(beats, key=lambda beat: beat.get("phases_begun", 0), default={})
    seconds = slowest.get("seconds_in_phase", 0.0)
    if seconds < _STUCK_SECONDS or slowest.get("phase") == "start":
        return None
    return Silence(seconds, f"rank {slowest.get('rank', 0)} is in phase {slowest.get('phase')}")


def _allowed_seconds(run_dir: Path, status: Record) -> float:
    """Return how long a living run may write nothing.

    Where heartbeats cannot be written, the status is, with each line of metrics: how far apart
    these are depends on the log interval and the speed.
    """
    beat, line = _newest(list_heartbeats(run_dir)), _newest([run_dir / STATUS])
    if beat is not None and (line is None or beat >= line - ALIVE_SECONDS):
        return ALIVE_SECONDS
    return max(ALIVE_SECONDS, _MISSED_LINES * float(status.get("log_seconds", 0.0)))


def _newest(paths: list[Path]) -> float | None:
    times = []
    for path in paths:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times, default=None)
