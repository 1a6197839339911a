"""Find out why runs ended early, from their status, logs, attempts and Slurm, and what to do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gantrain.common.errors import DIVERGED_STATUS, HUNG_STATUS, REQUEUE_STATUS
from gantrain.runs.records import read_status
from launch.attempts import Attempt, read_attempts
from launch.states import ENDED_EARLY, RunState, with_damaged_metrics
from launch.sweepdir import run_dir

_TAIL_BYTES = 64_000  # of each log, to search


@dataclass(frozen=True)
class Diagnosis:
    """Why one run ended early: the cause, the line that shows it, and advice.

    damage: damaged files of the run.
    """

    run: str
    job: str
    cause: str
    evidence: str
    advice: str
    damage: tuple[str, ...] = ()


@dataclass(frozen=True)
class LogPattern:
    """A cause that shows in a log."""

    cause: str
    pattern: re.Pattern[str]
    advice: str


# Messages of this project keep the wording of version 0.1 too, for logs that it wrote.
_LOG_PATTERNS = (
    LogPattern(
        "out of GPU memory",
        re.compile(r".*(CUDA out of memory|OutOfMemoryError|CUDNN_STATUS_ALLOC_FAILED).*"),
        "lower training.batch_size or raise training.grad_accum_steps; with pack, pack fewer runs",
    ),
    LogPattern(
        "out of memory",
        re.compile(r".*(oom[-_ ]kill|Out Of Memory|MemoryError|Cannot allocate memory).*"),
        "raise `mem` in the cluster file",
    ),
    LogPattern(
        "world-size mismatch",
        re.compile(r".*(training\.world_size: .*|The launcher announced \d+ ranks.*)"),
        "make nodes x ranks_per_node the number of ranks; check `sbatch:` for --ntasks",
    ),
    LogPattern(
        "import error",
        re.compile(r".*(ModuleNotFoundError|ImportError): .*"),
        "fix the environment (`modules` and `setup` in the cluster file), then retry",
    ),
    LogPattern(
        "disk full",
        re.compile(r".*(No space left on device|Disk quota exceeded).*"),
        "free some space, or lower output.keep_checkpoints, then retry",
    ),
    LogPattern(
        "lost connection between ranks",
        re.compile(r".*(Connection (closed|reset) by peer|NCCL (error|timeout)|Socket Timeout).*"),
        "read the logs of the other ranks: one of them died first; then retry",
    ),
    LogPattern(
        "node without a working GPU",
        re.compile(r".*(no CUDA-capable device|CUDA error: .*|torch (sees|finds) no GPU).*"),
        "exclude the node (`exclude` in the cluster file), report it to the admins, retry",
    ),
)

# The trainer's one-line error message, or the last line of a traceback.
_ERROR_LINE = re.compile(
    r"^(?:gantrain(?: \(rank \d+\))?: |\w+(?:\.\w+)*(?:Error|Exception): ).*", re.M
)
_RESUBMIT = "submit the sweep again: the run resumes from its newest checkpoint"
_REPAIR = (
    "everything else of the run is read; repair or remove the line, or add the run's line to "
    "runs.jsonl again with `python -m launch sweep FILE`"
)

Finding = tuple[str, str, str]  # cause, evidence, advice


def diagnose_runs(sweep_dir: Path, runs: Sequence[RunState]) -> list[Diagnosis]:
    """Return a diagnosis for each run that ended early or has damaged files, in this order."""
    checked = with_damaged_metrics(sweep_dir, runs)
    return [diagnose(sweep_dir, r) for r in checked if r.state in ENDED_EARLY or r.damage]


def diagnose(sweep_dir: Path, run: RunState) -> Diagnosis:
    """Return why this run ended early, from the most reliable source that has an answer."""
    if run.state not in ENDED_EARLY:
        return Diagnosis(run.run, run.job, "damaged files", run.damage[0], _REPAIR, run.damage)
    folder = run_dir(sweep_dir, run.run)
    attempts = read_attempts(folder)
    last = attempts[-1] if attempts and attempts[-1].job == run.job else None
    status = read_status(folder)
    reason = str(status.get("reason", ""))
    log = _read_logs(sweep_dir, run, last)
    cause, evidence, advice = (
        _from_outcome(run, last, status.get("state", ""), reason)
        or _from_log(log)
        or _from_slurm(run)
        or _from_attempt(last, len(attempts))
        or _from_status(run, last, reason, log)
    )
    evidence = " ".join(evidence.split())[:200]
    return Diagnosis(run.run, run.job, cause, evidence, advice, run.damage)


def _from_outcome(run: RunState, last: Attempt | None, state: str, reason: str) -> Finding | None:
    outcome = last.outcome if last else None
    if outcome == "diverged" or state == "diverged" or re.search(r" is (nan|-?inf) by ", reason):
        return (
            "divergence",
            reason or f"exit status {DIVERGED_STATUS}",
            "it would diverge again: lower the learning rates, set training.clip_norm, or, "
            "under fp16, use training.mixed_precision=bf16",
        )
    if outcome == "hung" or state == "hung":
        return (
            "hang",
            reason or f"the watchdog ended it (exit status {HUNG_STATUS})",
            "retry: it resumes from the newest checkpoint; if it hangs again at the same point, "
            "exclude the node",
        )
    if outcome == "no-progress":
        return (
            "no progress between interruptions",
            f"three jobs started and ended at {run.images:,} images",
            "lower output.checkpoint_every_kimg, or raise `time` in the cluster file; then retry",
        )
    return None


def _from_log(log: str) -> Finding | None:
    for known in _LOG_PATTERNS:
        matches = list(known.pattern.finditer(log))
        if matches:
            return known.cause, matches[-1].group(0), known.advice
    return None


def _from_slurm(run: RunState) -> Finding | None:
    match run.slurm:
        case "OUT_OF_MEMORY":
            return "out of memory", "Slurm: OUT_OF_MEMORY", "raise `mem` in the cluster file; retry"
        case "TIMEOUT" | "DEADLINE":
            return (
                "time limit",
                "Slurm: TIMEOUT, and the run wrote no checkpoint on the signal before it",
                f"{_RESUBMIT}; raise signal_seconds if writing a checkpoint takes long",
            )
        case "PREEMPTED":
            return "preempted", "Slurm: PREEMPTED, not requeued", _RESUBMIT
        case "NODE_FAIL" | "BOOT_FAIL":
            return (
                "node failure",
                f"Slurm: {run.slurm} on {run.nodes or '?'}",
                "retry: it resumes from the newest checkpoint",
            )
    return None


def _from_attempt(last: Attempt | None, starts: int) -> Finding | None:
    if last is None:
        return None
    if last.outcome == "preempted":
        signals = ", ".join(last.signals) or f"exit status {REQUEUE_STATUS}"
        return "interrupted", f"the trainer saved a checkpoint ({signals})", _RESUBMIT
    if last.end is None:
        return (
            "killed from outside",
            f"job {last.job} on {last.host} recorded its start but no end"
            + (f"; started {starts} times" if starts > 1 else ""),
            "preempted without the user signal, the node failed, or out of memory: retry resumes "
            "from the newest checkpoint; lower output.checkpoint_every_kimg to lose less",
        )
    return None


def _from_status(run: RunState, last: Attempt | None, reason: str, log: str) -> Finding:
    if last is not None and last.outcome == "killed":
        return (
            "killed by a signal",
            f"the trainer died of signal {-(last.exit or 0)}",
            "signal 9 is most often the kernel's out-of-memory killer: raise `mem` and retry",
        )
    if last is None and run.state == "vanished":
        return (
            "never started",
            f"Slurm does not know job {run.job or '?'}, and the run has no record of it",
            "retry; if it happens again, read the job's own log in the sweep's jobs/ directory",
        )
    if reason:
        return "error", reason, "fix the error, then retry"
    errors = _ERROR_LINE.findall(log)
    if errors:
        return "error", errors[-1], "fix the error, then retry"
    status = f"exit status {last.exit}" if last else f"Slurm: {run.slurm or 'unknown'}"
    return "error", status, "read the log (python -m launch tail SWEEP RUN), then retry"


def _read_logs(sweep_dir: Path, run: RunState, last: Attempt | None) -> str:
    paths = sorted((run_dir(sweep_dir, run.run) / "logs").glob("rank*.log"))
    texts = [_newest_attempt(_tail(path), run.job) for path in paths]
    if last is None or last.end is None:
        # The worker did not start or was killed; the reason is in the output of srun and Slurm.
        texts += [_tail(path) for path in sweep_dir.glob(f"jobs/*/{run.job}*_log.err")]
    return "\n".join(texts)


def _newest_attempt(log: str, job: str) -> str:
    start = log.rfind(f"--- job {job},")
    return log[start:] if start >= 0 else ""


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
