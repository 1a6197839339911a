"""Slurm's commands. Each query covers all jobs at once, so their number does not grow."""

import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

from gantrain.common.errors import UserError
from launch.environment import slurm_client_environment

_TIMEOUT = 60  # seconds
_CONTROLLER = ("SlurmctldHost[0]", "SlurmctldPort")
_VISIBILITY = ("AccountingStorageType", "PrivateData")
_RETRIES = re.compile(r"(Slurm [^:]*), sleeping and retrying")  # sbatch says so once
_RETRY_SECONDS = 2.0  # between its second try, after one second, and its third, after three
_UNCONFIGURED = re.compile(
    "configuration source|process configuration file|cannot stat file|ClusterName needs to be"
)
_UNREACHABLE = re.compile("Unable to contact slurm controller|no response from Slurm")
# Every other state, those that later versions add included, is of a job that runs or will run: at
# worst a run is submitted again too late, but never twice.
ENDED_STATES = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
}


class SubmitLimitError(UserError):
    """Slurm accepts no more jobs for now, or fewer; the message is its name for the limit."""


@dataclass(frozen=True)
class JobName:
    """A job or array task, and its name, which distinguishes it from others of the same number.

    cluster: Slurm's name for the cluster, empty if unknown.
    """

    job: str  # empty if unknown
    name: str
    cluster: str = ""


@dataclass(frozen=True)
class TaskInfo:
    """One array task as Slurm reports it."""

    state: str
    reason: str = ""
    nodes: str = ""
    exit_code: str = ""

    @property
    def active(self) -> bool:
        """Whether it runs or will run."""
        return bool(self.state) and self.state not in ENDED_STATES


@dataclass(frozen=True)
class TaskInfos:
    """What Slurm reports on tasks, by NAME_INDEX, and NAME for a job that is no array.

    error: why the query failed, empty if it did not. cluster, controller: the one that was asked.
    private: whether it shows users their own jobs only.
    """

    tasks: dict[str, TaskInfo] = field(default_factory=dict)
    error: str = ""
    cluster: str = ""
    controller: str = ""
    private: bool = False

    @cached_property
    def names(self) -> set[str]:
        """The names of the jobs of which Slurm knows at least one task."""
        return {task.partition("_")[0] for task in self.tasks}


@dataclass(frozen=True)
class ClusterLimits:
    """The part of the cluster's configuration that the launcher needs.

    controller: host and port, since clusters may have the same name.
    max_array_size: tasks of an array; 0 if the cluster has no arrays. private: whether users see
    their own jobs only.
    """

    cluster: str
    controller: str
    max_array_size: int
    accounting: bool
    private: bool = False


def run_command(command: Sequence[str]) -> str:
    """Run one of Slurm's commands and return its output.

    Raises UserError with the command's own message if it is missing, fails or does not respond.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            # Without an abbreviation of the tasks that sacct shows in one line.
            env={**slurm_client_environment(), "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"},
        )
    except FileNotFoundError:
        raise UserError(
            f"{command[0]}: not found, so this machine has no Slurm; choose `cluster: local`, "
            "or run this where sbatch is."
        ) from None
    except subprocess.TimeoutExpired as error:
        said = error.stderr if isinstance(error.stderr, bytes) else b""  # also in text mode
        message = f"no response from Slurm in {_TIMEOUT} s"
        raise _failure(command[0], f"{said.decode(errors='replace')}\n{message}") from None
    if done.returncode:
        message = (done.stderr or done.stdout).strip()
        raise _failure(command[0], message or f"exit status {done.returncode}")
    return done.stdout


def _failure(command: str, message: str) -> UserError:
    """Return the error for a failed command of Slurm: its last line, and what can be done."""
    line = message.strip().split("\n")[-1].removeprefix(f"{command}: ")
    if _UNCONFIGURED.search(message):
        return UserError(
            f"{command}: Slurm's commands are installed here, but they know no cluster ({line}); "
            "run this on a login node, set SLURM_CONF, or choose `cluster: local`."
        )
    if _UNREACHABLE.search(message):
        return UserError(
            f"{command}: {line}; Slurm's controller does not answer, which `scontrol ping` tells "
            "too. Try again later, or choose `cluster: local`."
        )
    return UserError(f"{command}: {line}")


def submit_script(script: Path, lock: int) -> str:
    """Submit a job script with sbatch and return the job's id.

    lock: a descriptor that sbatch inherits and keeps open until it ends.

    Raises SubmitLimitError if Slurm accepts no job of this size for now; UserError with sbatch's
    own message if it is missing or fails.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        try:
            process = subprocess.Popen(
                ["sbatch", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                pass_fds=(lock,),
                env=slurm_client_environment(),
            )
        except FileNotFoundError:
            raise UserError("sbatch: not found, so this machine has no Slurm.") from None
        full = _end_retries(process, errors)
        output = " ".join(process.communicate()[0].split())
        message = _read(errors)
    match = re.search(r"job (\d+)", output)
    if match is not None and process.returncode == 0:
        return match.group(1)
    if limit := re.search(r"\w*(Submit|MaxJobCount)\w*Limit\w*", message):
        raise SubmitLimitError(limit.group())
    if full:
        raise SubmitLimitError(full)
    if not process.returncode:
        raise UserError(f"sbatch: no job id in its output ({output}).")
    raise _failure("sbatch", message)


def _end_retries(process: "subprocess.Popen[str]", errors: IO[str]) -> str:
    """Wait for sbatch, or end its retries, which take minutes where the queue is full.

    Returns why it retried, empty if it did not.
    """
    deadline, reason = None, ""
    while process.poll() is None:
        if deadline is None and (match := _RETRIES.search(_read(errors))):
            deadline, reason = time.monotonic() + _RETRY_SECONDS, match.group(1)
        if deadline is not None and time.monotonic() > deadline:
            process.terminate()
            break
        time.sleep(0.05)
    return reason


def _read(file: IO[str]) -> str:
    file.seek(0)
    return " ".join(file.read().split())


def read_limits() -> ClusterLimits:
    """Return the limits in the cluster's configuration; one call."""
    text = run_command(["scontrol", "show", "config"])
    setting = {
        name: match.group(1)
        for name in (*_CONTROLLER, "ClusterName", "MaxArraySize", *_VISIBILITY)
        if (match := re.search(rf"^{re.escape(name)}\s*=\s*(\S+)", text, re.MULTILINE))
    }
    size = int(setting.get("MaxArraySize", 1001))
    if match := re.search(r"\bmax_array_tasks=(\d+)", text):
        size = min(size, int(match.group(1)))
    # Without slurmdbd, Slurm up to 22.05 reports "none" and later versions "(null)".
    accounting = setting.get("AccountingStorageType", "").endswith("slurmdbd")
    private = "jobs" in setting.get("PrivateData", "").split(",")
    controller = ":".join(setting.get(name, "") for name in _CONTROLLER)
    return ClusterLimits(setting.get("ClusterName", ""), controller, size, accounting, private)


def query_jobs(jobs: Iterable[JobName]) -> TaskInfos:
    """Return what Slurm knows of the tasks of these jobs; three calls for any number.

    A job number says little: clusters count alike, and may start again. Jobs of another cluster or
    with another name are left out. A failed query does not raise; `error` has its message.
    """
    wanted = list(jobs)
    if not wanted:
        return TaskInfos()
    try:
        limits = read_limits()
        numbers = {j.name: j.job for j in wanted if j.job and j.cluster in ("", limits.cluster)}
        tasks = _query_accounting(numbers) if numbers and limits.accounting else {}
        if numbers:
            # The controller is more up to date than the accounting database.
            tasks |= _query_queue(numbers)
    except UserError as error:
        return TaskInfos(error=str(error))
    return TaskInfos(tasks, "", limits.cluster, limits.controller, limits.private)


def cancel_jobs(jobs: Iterable[JobName]) -> None:
    """Cancel jobs or array tasks, but none of the same number with another name.

    Raises UserError with scancel's message if it fails.
    """
    by_name: dict[str, list[str]] = {}
    for job in jobs:
        by_name.setdefault(job.name, []).append(job.job)
    for name, numbers in by_name.items():
        run_command(["scancel", f"--name={name}", *numbers])


def find_by_name(name: str) -> str | None:
    """Return the id of the job with this name; None if the cluster has never had one."""
    ids = run_command(["squeue", "-h", "-a", "-t", "all", f"--name={name}", "-o", "%F"]).split()
    if not ids and read_limits().accounting:
        lines = run_command(
            ["sacct", "-n", "-X", "-P", "-a", "-S", "now-30days", f"--name={name}", "-o", "JobID"]
        ).split()
        ids = [line.split("_")[0].split(".")[0] for line in lines]
    return ids[0] if ids else None


def job_state(job: str, restart: int) -> str:
    """Return one job's state from the controller, as the worker inside the job needs it.

    restart: how often the job had been requeued when that worker started. If it was requeued since,
    its state is REQUEUED: what the controller says is about a later start.

    Slurm reports every job that is being ended as COMPLETING. This returns the cause instead,
    PREEMPTED, TIMEOUT or CANCELLED, since without accounting it cannot be queried later.
    """
    text = run_command(["scontrol", "show", "job", job])
    state = _field(text, "JobState")
    if int(_field(text, "Restarts") or 0) > restart:
        return "REQUEUED"
    if state != "COMPLETING":
        return state
    if _field(text, "PreemptTime") not in ("", "None", "Unknown"):
        return "PREEMPTED"
    limit, elapsed = (_parse_seconds(_field(text, name)) for name in ("TimeLimit", "RunTime"))
    if limit is not None and elapsed is not None and elapsed >= limit:
        return "TIMEOUT"
    return "CANCELLED"


def _field(text: str, name: str) -> str:
    match = re.search(rf"(?:^|\s){name}=(\S+)", text)
    return match.group(1) if match else ""


def _parse_seconds(text: str) -> int | None:
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _query_queue(numbers: Mapping[str, str]) -> dict[str, TaskInfo]:
    jobs = ",".join(sorted(set(numbers.values())))
    columns = "%F|%K|%T|%r|%N|%j"
    try:
        output = run_command(["squeue", "-h", "-r", "-a", "-t", "all", "-j", jobs, "-o", columns])
    except UserError as error:
        if "Invalid job id" in str(error):  # squeue's answer if it knows none of them
            return {}
        raise
    tasks = {}
    for line in output.splitlines():
        job, index, state, reason, nodes, name = line.split("|", 5)
        if numbers.get(name) == job:
            task = f"{name}_{index}" if index.isdecimal() else name
            tasks[task] = TaskInfo(state, reason, nodes)
    return tasks


def _query_accounting(numbers: Mapping[str, str]) -> dict[str, TaskInfo]:
    jobs = ",".join(sorted(set(numbers.values())))
    # With all jobs of a number, as the newest may be another one. The last line of a requeued job
    # has its present state.
    columns = "JobID,State,ExitCode,NodeList,JobName"
    output = run_command(["sacct", "-n", "-X", "-P", "-D", "-j", jobs, "-o", columns])
    tasks: dict[str, TaskInfo] = {}
    for line in output.splitlines():
        ids, state, exit_code, nodes, name = line.split("|", 4)
        job = ids.split("_")[0]
        if numbers.get(name) == job:
            nodes = "" if nodes == "None assigned" else nodes
            # "CANCELLED by 1000" includes the user.
            info = TaskInfo(state.split()[0], "", nodes, exit_code)
            tasks |= dict.fromkeys(expand_tasks(name + ids.removeprefix(job)), info)
    return tasks


def expand_tasks(ids: str) -> list[str]:
    """Return the tasks that sacct shows in one line, as 12_[0,2-5%1], since none has started."""
    match = re.fullmatch(r"([^_]+)_\[([\d,:-]+)(?:%\d+)?\]", ids)
    if match is None:
        return [ids]
    job, tasks = match.groups()
    indices: list[int] = []
    for part in tasks.split(","):
        bounds, _, step = part.partition(":")
        first, _, last = bounds.partition("-")
        indices += range(int(first), int(last or first) + 1, int(step or 1))
    return [f"{job}_{index}" for index in indices]
