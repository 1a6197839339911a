"""Why a run ended early or cannot start: the causes that are known, and how each shows.

Advice has placeholders, such as {retry}, that `launch.advice` fills in.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gantrain.common.errors import DIVERGED_STATUS, HUNG_STATUS, REQUEUE_STATUS
from launch.attempts import Attempt
from launch.setup_lines import FAILED
from launch.states import RunState


@dataclass(frozen=True)
class Finding:
    """A cause, the line or fact that shows it, and the template of an advice."""

    cause: str
    evidence: str
    advice: str


@dataclass(frozen=True)
class Sign:
    """A cause that shows in a log, or in the reason for which Slurm lets a job wait."""

    cause: str
    pattern: re.Pattern[str]
    advice: str


_RAISE_MEM = "raise `mem`{mem} in {cluster}, then {retry}"
_EXCLUDE = "add {node} to `exclude`{exclude} in {cluster}, then {retry}"
_RESUME = "{resume}: it resumes from the newest checkpoint"
_LOSE_LESS = "lower `output.checkpoint_every_kimg`{checkpoint_every_kimg} {where}"

# Messages of this project keep the wording of version 0.1 too, for logs that it wrote.
_IN_LOGS = (
    Sign(
        "set-up failed",
        re.compile(
            f".*({re.escape(FAILED)}|module: command not found|Unable to locate a module).*"
        ),
        "correct `modules`{modules} or `setup` in {cluster}, then {retry}; a line of set-up that "
        "may fail ends in `|| true`",
    ),
    Sign(
        "out of GPU memory",
        re.compile(
            r".*(CUDA out of memory|OutOfMemoryError|CUDNN_STATUS_ALLOC_FAILED"
            r"|the memory of the GPU is exhausted).*"
        ),
        "{less_gpu_memory}",
    ),
    Sign(
        "out of memory",
        re.compile(
            r".*(oom[-_ ]kill|Out Of Memory|MemoryError|Cannot allocate memory"
            r"|the memory of the machine is exhausted).*"
        ),
        _RAISE_MEM,
    ),
    Sign(
        "world-size mismatch",
        re.compile(r".*(training\.world_size: .*|The launcher announced \d+ ranks.*)"),
        "make `nodes`{nodes} x `ranks_per_node`{ranks_per_node} in {cluster} the number of ranks, "
        "then {retry}",
    ),
    Sign(
        "import error",
        re.compile(r".*(ModuleNotFoundError|ImportError): .*"),
        "correct the environment with `modules`{modules} or `setup` in {cluster}, then {retry}",
    ),
    Sign(
        "no Python on the node",
        re.compile(
            r".*(execve\(\): .*: No such file or directory"
            r"|python[\d.]*: (No such file or directory|command not found|not found)"
            r"|error while loading shared libraries: ).*"
        ),
        "make the environment of the launcher available on {node}, or " + _EXCLUDE,
    ),
    Sign(
        "files not visible on the node",
        re.compile(
            r".*(couldn't chdir to|Stale file handle|can't open file '.*bootstrap\.py'"
            r"|No such file or directory: '.*/(elements\.json|configs/\w+\.yaml)'"
            r"|elements\.json: cannot be read|configs/\w+\.yaml: .*No such file|IO setup failed).*"
        ),
        "{retry}: a shared file system may show new files late; if it happens again, " + _EXCLUDE,
    ),
    Sign(
        "disk full",
        re.compile(r".*(No space left on device|Disk quota exceeded).*"),
        "free some space, or lower `output.keep_checkpoints`{keep_checkpoints} {where}, then "
        "{retry}",
    ),
    Sign(
        "lost connection between ranks",
        re.compile(r".*(Connection (closed|reset) by peer|NCCL (error|timeout)|Socket Timeout).*"),
        "see which rank ended first with {tail_other_rank}, then {retry}",
    ),
    Sign(
        "node without a working GPU",
        re.compile(r".*(no CUDA-capable device|CUDA error: .*|torch (sees|finds) no GPU).*"),
        _EXCLUDE + ", and report the node to the admins",
    ),
)

_OTHER_REQUEST = "then {cancel} and {retry}"
# Reasons for which a job waits until somebody acts. Others, such as Priority, pass by themselves.
_IN_QUEUE = (
    Sign(
        "more time than is allowed",
        re.compile(r".*(PartitionTimeLimit|WallDuration|AssociationTimeLimit|QOSTimeLimit).*"),
        f"lower `time`{{time}} in {{cluster}}, {_OTHER_REQUEST}",
    ),
    Sign(
        "account not accepted",
        re.compile(r".*(InvalidAccount|AccountNotAllowed|AssocNotAllowed).*"),
        f"correct `account`{{account}} in {{cluster}}, {_OTHER_REQUEST}",
    ),
    Sign(
        "QOS not accepted",
        re.compile(r".*(InvalidQOS|QOSNotAllowed|QOSUsageThreshold).*"),
        f"correct `qos`{{qos}} in {{cluster}}, {_OTHER_REQUEST}",
    ),
    Sign(
        "partition not available",
        re.compile(r".*(PartitionDown|PartitionInactive).*"),
        f"choose another `partition`{{partition}} in {{cluster}}, {_OTHER_REQUEST}",
    ),
    Sign(
        "more than the partition allows",  # which may be its time; Slurm does not say
        re.compile(r".*(PartitionConfig|PartitionNodeLimit).*"),
        "lower `time`{time} or `nodes`{nodes}, or choose another `partition`{partition} in "
        f"{{cluster}}, {_OTHER_REQUEST}",
    ),
    Sign(
        "more than any node has",
        re.compile(r".*(BadConstraints|Max\w+Per(Job|Node|User|Account)|MaxMemPerLimit).*"),
        "lower `mem`{mem}, `cpus_per_rank`{cpus_per_rank} or `gpus_per_node`{gpus_per_node}, or "
        f"correct `constraint`{{constraint}} in {{cluster}}, {_OTHER_REQUEST}",
    ),
    Sign(
        "no node that may be used",
        re.compile(r".*(ReqNodeNotAvail|NodeDown|Nodes required for job are DOWN).*"),
        "see `sinfo -R`; wait for the nodes, or change `exclude`{exclude}, `constraint`"
        f"{{constraint}} or `partition`{{partition}} in {{cluster}}, {_OTHER_REQUEST}",
    ),
    Sign(
        "held",
        re.compile(r".*(JobHeld(User|Admin)|[Hh]eld|JobHoldMaxRequeue|JobLaunchFailure).*"),
        "`scontrol release {job}` if the reason is gone, else {cancel} and {retry}",
    ),
    Sign(
        "waits for a job that failed",
        re.compile(r".*DependencyNeverSatisfied.*"),
        "{cancel} and {retry}",
    ),
)

# The trainer's one-line error message, or the last line of a traceback.
_ERROR_LINE = re.compile(
    r"^(?:gantrain(?: \(rank \d+\))?: |launch: |\w+(?:\.\w+)*(?:Error|Exception): ).*", re.M
)


def find_in_queue(run: RunState) -> Finding | None:
    """Return why a job that waits will not start by itself; None if it may."""
    if run.state not in ("pending", "requeued"):
        return None
    for sign in _IN_QUEUE:
        if sign.pattern.fullmatch(run.reason):
            return Finding(sign.cause, f"Slurm: {run.slurm}, {run.reason}", sign.advice)
    return None


def find_in_outcome(run: RunState, last: Attempt | None, state: str, reason: str) -> Finding | None:
    """Return what the trainer itself gave as the cause; state, reason: in its status file."""
    outcome = last.outcome if last else None
    if outcome == "diverged" or state == "diverged" or re.search(r" is (nan|-?inf) by ", reason):
        return Finding(
            "divergence",
            reason or f"exit status {DIVERGED_STATUS}",
            "it would diverge again: lower the learning rates, set `training.clip_norm`, or, under "
            "fp16, use `training.mixed_precision: bf16` {where}; that makes another run, which "
            "{sweep} submits",
        )
    if outcome == "hung" or state == "hung":
        return Finding(
            "hang",
            reason or f"the watchdog ended it (exit status {HUNG_STATUS})",
            f"{_RESUME}; if it hangs again at the same point, {_EXCLUDE}",
        )
    if outcome == "no-progress":
        return Finding(
            "no progress between interruptions",
            f"three jobs started and ended at {run.images:,} images",
            f"{_LOSE_LESS}, or raise `time`{{time}} in {{cluster}}, then {{retry}}",
        )
    return None


def find_in_log(log: str) -> Finding | None:
    """Return the first known cause whose sign is in a log, with the newest such line."""
    for sign in _IN_LOGS:
        matches = list(sign.pattern.finditer(log))
        if matches:
            return Finding(sign.cause, matches[-1].group(0), sign.advice)
    return None


def find_in_slurm(run: RunState) -> Finding | None:
    """Return what Slurm gives as the cause."""
    match run.slurm:
        case "OUT_OF_MEMORY":
            return Finding("out of memory", "Slurm: OUT_OF_MEMORY", _RAISE_MEM)
        case "TIMEOUT" | "DEADLINE":
            return Finding(
                "time limit",
                "Slurm: TIMEOUT, and the run wrote no checkpoint on the signal before it",
                f"{_RESUME}; raise `signal_seconds`{{signal_seconds}} in {{cluster}} if writing a "
                "checkpoint takes long",
            )
        case "PREEMPTED":
            return Finding("preempted", "Slurm: PREEMPTED, not requeued", _RESUME)
        case "NODE_FAIL" | "BOOT_FAIL":
            return Finding("node failure", f"Slurm: {run.slurm} on {run.nodes or '?'}", _RESUME)
    return None


def find_in_attempt(last: Attempt | None, starts: int) -> Finding | None:
    """Return what the worker's record of the newest start shows. starts: number of all starts."""
    if last is None:
        return None
    if last.outcome == "preempted":
        signals = ", ".join(last.signals) or f"exit status {REQUEUE_STATUS}"
        return Finding("interrupted", f"the trainer saved a checkpoint ({signals})", _RESUME)
    if last.end is None:
        return Finding(
            "killed from outside",
            f"job {last.job} on {last.host} recorded its start but no end"
            + (f"; started {starts} times" if starts > 1 else ""),
            "preempted without the user signal, the node failed, or out of memory: "
            f"{_RESUME}; {_LOSE_LESS} to lose less",
        )
    return None


def find_in_status(
    run: RunState, last: Attempt | None, reason: str, log: str, own_log: Sequence[str]
) -> Finding:
    """Return what remains: the error message, or that the run never started.

    reason: in the trainer's status file. log: of the ranks. own_log: last lines of the job's own.
    """
    if last is not None and last.outcome == "killed":
        return Finding(
            "killed by a signal",
            f"the trainer died of signal {-(last.exit or 0)}",
            f"signal 9 is most often the kernel's out-of-memory killer: {_RAISE_MEM}",
        )
    if last is None and not own_log and run.slurm == "FAILED" and not run.nodes:
        return Finding(
            "no node that may be used",
            "Slurm: FAILED before it had a node",
            "correct `exclude`{exclude}, `constraint`{constraint} or `partition`{partition}, or "
            "lower `mem`{mem} or `gpus_per_node`{gpus_per_node}, in {cluster}, then {retry}",
        )
    if last is None:
        evidence = own_log[-1] if own_log else "the run has no record of the job, which left no log"
        return Finding(
            "never started",
            evidence,
            "correct what the job's log says, then {retry}"
            if own_log
            else f"{{retry}}; if it happens again, {_EXCLUDE}",
        )
    errors = [reason] if reason else _ERROR_LINE.findall(log)
    if errors:
        return Finding("error", errors[-1], "correct the error, then {retry}")
    return Finding("error", f"exit status {last.exit}", "read the log with {tail}, then {retry}")
