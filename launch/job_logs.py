"""The logs of a run and of its jobs, and their last lines."""

from dataclasses import dataclass
from pathlib import Path

from launch.sweepdir import run_dir

_TAIL_BYTES = 64_000  # of each log, to search
_MAX_LENGTH = 300  # characters of a line that are shown


@dataclass(frozen=True)
class Log:
    """The end of a log file."""

    path: Path
    text: str

    def last_lines(self, count: int) -> list[str]:
        """Return its last lines that are not empty, without what progress bars overwrote."""
        lines = [line.rsplit("\r", 1)[-1].rstrip() for line in self.text.split("\n")]
        return [line[:_MAX_LENGTH] for line in lines if line.strip()][-count:]


def rank_logs(sweep_dir: Path, run: str, job: str) -> list[Log]:
    """Return what the ranks of a run wrote in this job, by rank; empty if they did not start."""
    paths = sorted((run_dir(sweep_dir, run) / "logs").glob("rank*.log"))
    logs = [Log(path, _since_start(_read_end(path), job)) for path in paths]
    return [log for log in logs if log.text]


def job_logs(sweep_dir: Path, job: str, token: str) -> list[Log]:
    """Return what the job itself wrote: Slurm, the set-up, srun and the worker.

    Errors come first, and logs that are empty are left out.

    token: the job's submission; if it is not known, all are searched.
    """
    logs = []
    for folder in sorted(sweep_dir.glob(f"jobs/{token or '*'}")):
        for name in (f"{job}_*log.err", f"{job}_*log.out", "controller.log" if token else ""):
            paths = sorted(folder.glob(name)) if name and job else []
            logs += [Log(path, _read_end(path)) for path in paths]
    return [log for log in logs if log.text.strip()]


def _since_start(log: str, job: str) -> str:
    start = log.rfind(f"--- job {job},")
    return log[start:] if start >= 0 else ""


def _read_end(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
