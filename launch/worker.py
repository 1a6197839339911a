"""What runs inside a job: `python -m launch.worker SWEEP_DIR TOKEN`, one process a rank.

It starts the trainer as a child for each run of its pack, passes signals on, stops runs that were
cancelled or that halving ends, writes down how each ended, and queues the job again where a run
was interrupted before its end. It imports no torch: it must be small, and soon ready for signals.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.files import write_json
from launch import attempts, slurm
from launch.attempts import Attempt, Outcome
from launch.curves import read_curve
from launch.halving import decide
from launch.outcomes import REQUEUE, outcome_of
from launch.ranks import Seat, distributed_environment, read_seat
from launch.sweepdir import config_file, job_dir, run_dir
from launch.sweepfile import EarlyStop

_POLL = 0.25
_HALVING_POLL = 2.0
_CANCEL_GRACE = 60.0  # seconds for a checkpoint before a run that must stop is killed
_OTHER_RANKS_GRACE = 10.0
_HARMLESS = ("finished", "preempted", "stopped", "cancelled")
_STUCK_AFTER = 3  # attempts from one and the same checkpoint

received: set[str] = set()


@dataclass
class Member:
    """One run of the pack, while its trainer lives."""

    run: str
    folder: Path
    child: subprocess.Popen[bytes]
    stopped: float | None = None  # when it was asked to stop
    stop_kind: Outcome | None = None
    judged_at: float = 0.0
    outcome: Outcome | None = None
    reason: str = ""


@dataclass
class Job:
    """What this process has to do, and where."""

    sweep_dir: Path
    token: str
    seat: Seat
    packs: list[list[str]]
    cwd: str
    early_stop: EarlyStop | None
    members: list[Member] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train this job's runs; gives the exit status: 0 if nothing failed."""
    sweep_dir, token = (arguments or sys.argv[1:])[:2]
    job = _read_job(Path(sweep_dir), token)
    if job.seat.rank == 0:
        started = {"job": job.seat.job.rsplit("_", 1)[0], "index": job.seat.index}
        write_json(job_dir(job.sweep_dir, token) / f"started-{job.seat.index}.json", started)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT):
        signal.signal(number, lambda n, _: _on_signal(job, n))
    worst = 0
    for pack in job.packs:
        worst = max(worst, run_pack(job, pack))
        if received - {"SIGCONT"}:
            break
    return worst


def run_pack(job: Job, pack: Sequence[str]) -> int:
    """Train the runs of a pack side by side to their ends; gives the worst exit status."""
    job.members = []
    for run in pack:
        folder = run_dir(job.sweep_dir, run)
        if not _settled(folder, job.seat.job):
            job.members.append(_start(job, run, folder, len(pack)))
    while any(member.outcome is None for member in job.members):
        for member in job.members:
            if member.outcome is None:
                _look_after(job, member)
        time.sleep(_POLL)
    interrupted = [m for m in job.members if m.outcome == "preempted"]
    failed = [m for m in job.members if m.outcome not in _HARMLESS]
    if interrupted and job.seat.under_slurm:
        return _queue_again(job.seat)
    if interrupted:
        return REQUEUE
    if failed and job.seat.rank:
        # Slurm ends the step with the first rank that fails; rank 0 has yet to write why.
        time.sleep(_OTHER_RANKS_GRACE)
    return max((abs(m.child.returncode) or 1 for m in failed), default=0)


def _read_job(sweep_dir: Path, token: str) -> Job:
    content = json.loads((job_dir(sweep_dir, token) / "elements.json").read_text(encoding="utf-8"))
    settings: dict[str, Any] = content["worker"]
    seat = read_seat()
    rule = settings.get("early_stop")
    return Job(
        sweep_dir=sweep_dir,
        token=token,
        seat=seat,
        packs=content["elements"][seat.index],
        cwd=settings["cwd"],
        early_stop=EarlyStop.model_validate(rule) if rule else None,
    )


def _settled(folder: Path, job: str) -> bool:
    # A job that was queued again must not train anew what it has already brought to an end.
    if attempts.read_status(folder).get("state") == "finished":
        return True
    if any(attempts.read_mark(folder, name) for name in (attempts.CANCEL, attempts.EARLY_STOP)):
        return True
    past = attempts.read_attempts(folder)
    return bool(past) and past[-1].job == job and past[-1].outcome not in (None, "preempted")


def _start(job: Job, run: str, folder: Path, pack: int) -> Member:
    seat = job.seat
    if seat.rank == 0:
        now = Attempt(
            job=seat.job,
            token=job.token,
            time=time.time(),
            images=attempts.newest_checkpoint(folder),
            restart=seat.restart,
            host=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        )
        attempts.write_start(folder, now)
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **distributed_environment(seat), "PYTHONUNBUFFERED": "1"}
    cpus = int(os.environ.get("SLURM_CPUS_PER_TASK", "0") or 0)
    if cpus:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cpus // pack)))
    if seat.under_slurm and seat.local_world_size > 1:
        environment.setdefault("NCCL_ASYNC_ERROR_HANDLING", "1")
    # Appended to: a run that goes on in another job keeps its story in one file a rank.
    with (logs / f"rank{seat.rank}.log").open("ab") as log:
        log.write(f"--- job {seat.job}, start {seat.restart + 1}\n".encode())
        log.flush()
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "gantrain.train"),
                *("--config", str(config_file(job.sweep_dir, run).absolute())),
            ],
            cwd=job.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Member(run, folder, child)


def _look_after(job: Job, member: Member) -> None:
    status = member.child.poll()
    if status is None:
        _stop_if_asked(job, member)
        return
    member.outcome = member.stop_kind or outcome_of(status, received)
    if member.outcome == "preempted" and _stuck(member.folder):
        member.outcome = "no-progress"
    if job.seat.rank == 0:
        attempts.write_end(
            member.folder,
            member.outcome,
            status,
            signals=sorted(received),
            slurm_state=_slurm_state(job.seat) if received else "",
        )
    elif member.outcome == "failed":
        line = {"rank": job.seat.rank, "exit": status, "host": socket.gethostname()}
        write_json(member.folder / "logs" / f"rank{job.seat.rank}-failed.json", line)


def _stop_if_asked(job: Job, member: Member) -> None:
    now = time.monotonic()
    if member.stopped is not None:
        if now - member.stopped > _CANCEL_GRACE:
            member.child.kill()
        return
    kind: Outcome | None = None
    if attempts.read_mark(member.folder, attempts.CANCEL):
        kind = "cancelled"
    elif attempts.read_mark(member.folder, attempts.EARLY_STOP):
        kind = "stopped"
    elif job.early_stop and job.seat.rank == 0 and now - member.judged_at > _HALVING_POLL:
        member.judged_at = now
        kind = "stopped" if _halve(member, job.early_stop) else None
    if kind is not None:
        member.stop_kind, member.stopped = kind, now
        member.child.send_signal(signal.SIGTERM)


def _halve(member: Member, rule: EarlyStop) -> bool:
    curve = read_curve(member.folder)
    total = attempts.read_status(member.folder).get("total_images", 0)
    verdict = decide(member.folder, curve, rule, total)
    if verdict is None:
        return False
    reason = verdict.sentence(rule.metric)
    attempts.write_mark(
        member.folder, attempts.EARLY_STOP, reason=reason, metric=rule.metric, **verdict.__dict__
    )
    return True


def _stuck(folder: Path) -> bool:
    # A run that never gets as far as a checkpoint would eat time for ever, without an error.
    ended = [a for a in attempts.read_attempts(folder) if a.outcome == "preempted"]
    starts = [a.images for a in ended[-_STUCK_AFTER + 1 :]]
    newest = attempts.newest_checkpoint(folder)
    return len(starts) == _STUCK_AFTER - 1 and all(images == newest for images in starts)


def _queue_again(seat: Seat) -> int:
    if seat.rank:
        return 0  # a failure would end the step before rank 0 has asked for the requeue
    state = _slurm_state(seat)
    # A preempted job is queued again by Slurm itself; a cancelled one must not come back.
    if state == "RUNNING":
        received.clear()
        try:
            slurm.call(["scontrol", "requeue", seat.job])
        except UserError as error:
            print(f"launch: not queued again: {error}", file=sys.stderr)
            return REQUEUE
        _wait_for_the_end()
    return REQUEUE


def _wait_for_the_end() -> None:
    # To end before Slurm has taken the requeue up would make the job a failed one.
    deadline = time.monotonic() + _CANCEL_GRACE
    while "SIGTERM" not in received and time.monotonic() < deadline:
        time.sleep(_POLL)


def _slurm_state(seat: Seat) -> str:
    if not seat.under_slurm:
        return ""
    try:
        return slurm.job_state(seat.job)
    except UserError:
        return ""


def _on_signal(job: Job, number: int) -> None:
    received.add(signal.Signals(number).name)
    # Slurm sends its signals to every process of a step; alone, the child has to be told.
    if not job.seat.under_slurm and number != signal.SIGCONT:
        for member in job.members:
            if member.child.poll() is None:
                member.child.send_signal(number)


if __name__ == "__main__":
    sys.exit(main())
