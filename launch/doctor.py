"""Why a run died, from its status, its log, the worker's notes and Slurm; and what to do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch import attempts
from launch.attempts import Attempt
from launch.states import DEAD, RunState
from launch.sweepdir import run_dir

_TAIL = 64_000  # bytes of a log that are searched


@dataclass(frozen=True)
class Diagnosis:
    """The cause of one run's end."""

    run: str
    job: str
    cause: str
    evidence: str
    advice: str


@dataclass(frozen=True)
class Sign:
    """A cause, what its line in a log looks like, and what to do."""

    cause: str
    pattern: re.Pattern[str]
    advice: str


_SIGNS = (
    Sign(
        "out of GPU memory",
        re.compile(r".*(CUDA out of memory|OutOfMemoryError|CUDNN_STATUS_ALLOC_FAILED).*"),
        "lower training.batch_size or raise training.accumulate; with pack, pack fewer runs",
    ),
    Sign(
        "out of memory",
        re.compile(r".*(oom[-_ ]kill|Out Of Memory|MemoryError|Cannot allocate memory).*"),
        "raise `mem` in the cluster file",
    ),
    Sign(
        "world-size mismatch",
        re.compile(r".*(training\.world_size: .*|The launcher announced \d+ ranks.*)"),
        "let nodes x ranks_per_node be the ranks that start; check `sbatch:` for --ntasks",
    ),
    Sign(
        "import error",
        re.compile(r".*(ModuleNotFoundError|ImportError): .*"),
        "mend the environment: `modules` and `setup` in the cluster file; then retry",
    ),
    Sign(
        "disk full",
        re.compile(r".*(No space left on device|Disk quota exceeded).*"),
        "make room, or lower output.keep_checkpoints; then retry",
    ),
    Sign(
        "ranks lost each other",
        re.compile(r".*(Connection (closed|reset) by peer|NCCL (error|timeout)|Socket Timeout).*"),
        "look at the other ranks' logs: one of them died first; then retry",
    ),
    Sign(
        "node without a working GPU",
        re.compile(r".*(no CUDA-capable device|CUDA error: .*|torch sees no GPU).*"),
        "exclude the node (`exclude` in the cluster file), tell the admins, retry",
    ),
)

# The trainer's one line on a mistake, or the end of a traceback.
_LAST_WORDS = re.compile(
    r"^(?:gantrain(?: \(rank \d+\))?: |\w+(?:\.\w+)*(?:Error|Exception): ).*", re.M
)


def examine(sweep_dir: Path, runs: Sequence[RunState]) -> list[Diagnosis]:
    """A diagnosis for every dead run, in the sweep's order."""
    return [diagnose(sweep_dir, run) for run in runs if run.state in DEAD]


def diagnose(sweep_dir: Path, run: RunState) -> Diagnosis:
    """Why this run died; the most certain witness is asked first."""
    folder = run_dir(sweep_dir, run.run)
    past = attempts.read_attempts(folder)
    last = past[-1] if past and past[-1].job == run.job else None
    status = attempts.read_status(folder)
    log = _read_logs(sweep_dir, run, last)
    cause, evidence, advice = (
        _from_outcome(run, last, status.get("state", ""), str(status.get("reason", "")))
        or _from_log(log)
        or _from_slurm(run, last, past)
        or _from_status(run, last, str(status.get("reason", "")), log)
    )
    return Diagnosis(run.run, run.job, cause, " ".join(evidence.split())[:200], advice)


Finding = tuple[str, str, str]


def _from_outcome(run: RunState, last: Attempt | None, state: str, reason: str) -> Finding | None:
    outcome = last.outcome if last else None
    if outcome == "diverged" or state == "diverged" or re.search(r" is (nan|-?inf) by ", reason):
        return (
            "divergence",
            reason or "exit status 3",
            "it would diverge again: lower the learning rates, set training.clip_norm, or, "
            "under fp16, use training.mixed_precision=bf16",
        )
    if outcome == "hung" or state == "hung":
        return (
            "hang",
            reason or "the watchdog ended it (exit status 76)",
            "retry: it goes on from the newest checkpoint; if it hangs again at the same place, "
            "exclude the node",
        )
    if outcome == "no-progress":
        return (
            "no progress between interruptions",
            f"three jobs began and ended at {run.images:,} images",
            "lower output.checkpoint_every_kimg, or raise `time` in the cluster file; then retry",
        )
    return None


def _from_log(log: str) -> Finding | None:
    for sign in _SIGNS:
        found = list(sign.pattern.finditer(log))
        if found:
            return sign.cause, found[-1].group(0), sign.advice
    return None


def _from_slurm(run: RunState, last: Attempt | None, past: Sequence[Attempt]) -> Finding | None:
    go_on = "launch the sweep again: it goes on from the newest checkpoint"
    match run.slurm:
        case "OUT_OF_MEMORY":
            return "out of memory", "Slurm: OUT_OF_MEMORY", "raise `mem` in the cluster file; retry"
        case "TIMEOUT" | "DEADLINE":
            return (
                "time limit",
                "Slurm: TIMEOUT, and the run wrote no checkpoint on the signal before it",
                f"{go_on}; raise signal_seconds if writing a checkpoint takes long",
            )
        case "PREEMPTED":
            return "preempted", "Slurm: PREEMPTED, not queued again", go_on
        case "NODE_FAIL" | "BOOT_FAIL":
            return "node failure", f"Slurm: {run.slurm} on {run.nodes or '?'}", f"retry; {go_on}"
    if last is not None and last.outcome == "preempted":
        signals = ", ".join(last.signals) or "exit status 75"
        return "interrupted", f"the trainer left a checkpoint ({signals})", go_on
    if last is not None and last.end is None:
        return (
            "killed from outside",
            f"job {last.job} on {last.host} wrote nothing more after its start"
            + (f"; started {len(past)} times" if len(past) > 1 else ""),
            "preempted without the user signal, a node that died, or out of memory: retry goes on "
            "from the newest checkpoint; lower output.checkpoint_every_kimg to lose less",
        )
    return None


def _from_status(run: RunState, last: Attempt | None, reason: str, log: str) -> Finding:
    if last is not None and last.outcome == "killed":
        return (
            "killed by a signal",
            f"the trainer ended with signal {-(last.exit or 0)}",
            "signal 9 is most often the kernel's, for want of memory: raise `mem` and retry",
        )
    if last is None and run.state == "vanished":
        return (
            "never started",
            f"job {run.job or '?'} is not known to Slurm, and left no trace",
            "retry; if it happens again, look at the job's own log in the sweep's jobs/ directory",
        )
    if reason:
        return "error", reason, "mend what it names, then retry"
    code = f"exit status {last.exit}" if last else f"Slurm: {run.slurm or 'unknown'}"
    said = _LAST_WORDS.findall(log)
    if said:
        return "error", said[-1], "mend what it names, then retry"
    return "error", code, "read the log: python -m launch tail SWEEP RUN; then retry"


def _read_logs(sweep_dir: Path, run: RunState, last: Attempt | None) -> str:
    paths = sorted((run_dir(sweep_dir, run.run) / "logs").glob("rank*.log"))
    texts = [_since(_tail(path), run.job) for path in paths]
    if last is None or last.end is None:
        # The worker itself did not start, or was killed: srun and Slurm wrote why.
        texts += [_tail(path) for path in sweep_dir.glob(f"jobs/*/{run.job}*_log.err")]
    return "\n".join(texts)


def _since(log: str, job: str) -> str:
    # Only the newest attempt counts: an error before a retry is past.
    place = log.rfind(f"--- job {job},")
    return log[place:] if place >= 0 else ""


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return file.read().decode("utf-8", errors="replace")
