"""What Slurm says: every call to its commands, each asking about all jobs at once."""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gantrain.common.errors import UserError

_SECONDS = 60
# States in which Slurm still has plans for a job.
ALIVE = {
    *("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "RESIZING"),
    *("REQUEUE_HOLD", "REQUEUE_FED", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT"),
}


@dataclass(frozen=True)
class JobFact:
    """One array task as Slurm sees it."""

    state: str
    reason: str = ""
    nodes: str = ""
    exit_code: str = ""

    @property
    def alive(self) -> bool:
        """Whether it runs or will run."""
        return self.state in ALIVE


@dataclass(frozen=True)
class Facts:
    """Array tasks ("12_3") to what Slurm says of them; `trouble` if it could not be asked."""

    jobs: dict[str, JobFact] = field(default_factory=dict)
    accounting: bool = False
    trouble: str = ""


@dataclass(frozen=True)
class ClusterLimits:
    """What the cluster's configuration says that the launcher must know."""

    max_array_size: int
    accounting: bool


def call(command: Sequence[str]) -> str:
    """Run one of Slurm's commands; gives its output.

    Raises UserError with the command's own words if it fails or does not answer.
    """
    # Colours and formats that the user set for the eye would break the reading.
    kept = {k: v for k, v in os.environ.items() if not re.match("(SQUEUE|SACCT|SINFO)_", k)}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env={**kept, "SLURM_TIME_FORMAT": "%s"},
        )
    except FileNotFoundError:
        raise UserError(
            f"{command[0]}: not found, so there is no Slurm here; choose `cluster: local`, "
            "or run this where sbatch is."
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]}: Slurm did not answer in {_SECONDS} s.") from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip().split("\n")[-1]
        raise UserError(f"{command[0]}: {words or f'exit status {done.returncode}'}")
    return done.stdout


def read_limits() -> ClusterLimits:
    """Ask for the cluster's configuration: one call."""
    text = call(["scontrol", "show", "config"])
    array = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    kind = re.search(r"^AccountingStorageType\s*=\s*(\S+)", text, re.MULTILINE)
    # Up to 22.05 a cluster without slurmdbd says "none"; later ones say "(null)".
    accounting = kind is not None and kind.group(1).endswith("slurmdbd")
    return ClusterLimits(int(array.group(1)) if array else 1001, accounting)


def ask(job_ids: Iterable[str], users: Iterable[str]) -> Facts:
    """What Slurm knows of these array jobs: three calls, however many they are.

    Does not raise: `trouble` says why if Slurm could not be asked.
    """
    ids = sorted(set(job_ids), key=lambda job: int(job) if job.isdigit() else 0)
    if not ids:
        return Facts()
    try:
        limits = read_limits()
        jobs = _accounted(ids) if limits.accounting else {}
        # What the controller says is newer than what the accounts say.
        jobs |= _queued(sorted(set(users)), set(ids))
    except UserError as error:
        return Facts(trouble=str(error))
    return Facts(jobs, limits.accounting)


def find_by_name(name: str) -> str | None:
    """The id of the job that was submitted under this name, if the cluster has ever seen one."""
    seen = call(["squeue", "-h", "-a", "-t", "all", f"--name={name}", "-o", "%F"]).split()
    if not seen and read_limits().accounting:
        lines = call(
            ["sacct", "-n", "-X", "-P", "-a", "-S", "now-30days", f"--name={name}", "-o", "JobID"]
        ).split()
        seen = [line.split("_")[0].split(".")[0] for line in lines]
    return seen[0] if seen else None


def job_state(job: str) -> str:
    """One job's state from the controller, as the worker inside the job asks for it.

    A job that is being ended is COMPLETING to Slurm, whatever ends it; here it is told apart, for
    there may be no accounts to ask later.
    """
    text = call(["scontrol", "show", "job", job])
    state = _field(text, "JobState")
    if state != "COMPLETING":
        return state
    if _field(text, "PreemptTime") not in ("", "None", "Unknown"):
        return "PREEMPTED"
    limit, run = (_seconds(_field(text, name)) for name in ("TimeLimit", "RunTime"))
    return "TIMEOUT" if limit is not None and run is not None and run >= limit else "CANCELLED"


def _field(text: str, name: str) -> str:
    found = re.search(rf"(?:^|\s){name}=(\S+)", text)
    return found.group(1) if found else ""


def _seconds(text: str) -> int | None:
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _queued(users: Sequence[str], ids: set[str]) -> dict[str, JobFact]:
    format_ = "%F|%K|%T|%r|%N"
    lines = call(["squeue", "-h", "-r", "-a", "-t", "all", "-u", ",".join(users), "-o", format_])
    jobs = {}
    for line in lines.splitlines():
        job, index, state, reason, nodes = line.split("|", 4)
        if job in ids:
            jobs[f"{job}_{index}"] = JobFact(state, reason, nodes)
    return jobs


def _accounted(ids: Sequence[str]) -> dict[str, JobFact]:
    columns = "JobID,State,ExitCode,NodeList"
    lines = call(["sacct", "-n", "-X", "-P", "-j", ",".join(ids), "-o", columns])
    jobs = {}
    for line in lines.splitlines():
        job, state, exit_code, nodes = line.split("|", 3)
        # "CANCELLED by 1000" names who did it.
        jobs[job] = JobFact(state.split()[0], "", nodes, exit_code)
    return jobs
