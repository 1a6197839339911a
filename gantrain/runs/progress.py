"""The live progress line of a run on a terminal; plain lines elsewhere, such as in a Slurm log."""

import math
from collections.abc import Iterable, Mapping
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from gantrain.common.text import describe_wait
from gantrain.config.quality import full_name
from gantrain.runs.standing import UNKNOWN, Standing

# The metrics to show, in this order, under the names that papers use.
_SHOWN = {
    "loss/discriminator": "D",
    "loss/generator": "G",
    "loss/wasserstein": "score gap",
    "loss/penalty": "penalty",
    "loss/r1": "R1",
    "loss/r2": "R2",
    "health/d_accuracy_real": "acc real",
    "health/d_accuracy_fake": "acc fake",
    "health/d_pair_accuracy": "acc pairs",
    "health/d_grad_norm": "|∇D|",
    "health/g_grad_norm": "|∇G|",
    "quality/fid": "FID",
    "quality/classes_made": "classes",
}


# What does not fit a narrow terminal is left out, the first of these first.
_DISPENSABLE = (
    *("health/g_grad_norm", "health/d_grad_norm", "loss/r2", "loss/r1", "loss/penalty"),
    *("health/d_pair_accuracy", "health/d_accuracy_fake", "health/d_accuracy_real"),
    *("quality/classes_made", "quality", "training", "loss/wasserstein", "quality/fid"),
    *("loss/generator", "loss/discriminator"),
)
_BAR_WIDTH = 16
_MIN_WIDTH_WITH_BAR = 100  # columns of the terminal
_REMAINING_WIDTH = 9  # of hours, minutes and seconds

_OF_LABELS = ("health/d_accuracy_real", "health/d_accuracy_fake")
_OF_CRITICS = "loss/wasserstein"


def summary(
    metrics: Mapping[str, float], standing: Standing = UNKNOWN, width: int | None = None
) -> str:
    """Return one line with the most important metrics, the diagnosis and the verdict.

    width: of the line in characters, if not all fits: gradients are left out first, and a
    diagnosis that is a problem last.
    """
    meaningful = meaningful_metrics(metrics)
    parts: dict[str, str] = {}
    for key, label in _SHOWN.items():
        name = full_name(key, metrics)
        if name in meaningful:
            parts[key] = f"{label} {metrics[name]:.3g}{accuracy_beside(name, metrics)}"
    parts |= standing.words
    dispensable = [x for x in _DISPENSABLE if not (x == "training" and standing.faulty)]
    for key in dispensable:
        if cell_len("  ".join(parts.values())) > (math.inf if width is None else width):
            parts.pop(key, None)
    return "  ".join(parts.values())


def meaningful_metrics(logged: Iterable[str]) -> list[str]:
    """Return the metrics of a run that mean something, of those that it has logged.

    Only the difference of a critic's scores means anything, so that it has no accuracy at 0.
    """
    names = list(logged)
    hidden = _OF_LABELS if _OF_CRITICS in names else ()
    return [name for name in names if name not in hidden]


def accuracy_beside(name: str, metrics: Mapping[str, float]) -> str:
    """Return the accuracy of the classifier that a metric hangs on, for display; "" otherwise."""
    accuracy = metrics.get("quality/classes_accuracy")
    hangs = name.startswith("quality/classes_") and accuracy is not None
    return f" (classifier {accuracy:.0%})" if hangs else ""


def describe_classes(metrics: Mapping[str, float]) -> str:
    """Return how many classes were generated, and asked for in vain, for display.

    metrics: of one measurement. "" if it says nothing about classes.
    """
    made, covered, accuracy = (
        metrics.get(f"quality/{name}")
        for name in ("classes_made", "classes_covered", "class_accuracy")
    )
    parts = []
    if made is not None and covered is not None:
        of_all = f" of {made / covered:.0f}" if covered else ""
        parts.append(f"{made:.0f}{of_all} made{accuracy_beside('quality/classes_made', metrics)}")
    if accuracy is not None:
        parts.append(f"{accuracy:.0%} of the images show the class asked for")
    return ", ".join(parts)


class ProgressLine:
    """Shows images seen, speed, losses and the remaining time. Silent unless `shown`."""

    def __init__(self, total: int, images_seen: int, *, shown: bool) -> None:
        self._shown = shown
        self._total = total
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._live = self._console.is_terminal
        self._bar_width = _BAR_WIDTH if self._console.width >= _MIN_WIDTH_WITH_BAR else 0
        self._bar = Progress(
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} images"),
            *([BarColumn(bar_width=self._bar_width)] if self._bar_width else []),
            TextColumn("{task.fields[speed]} images/s"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            speed_estimate_period=120,
            disable=not (shown and self._live),
        )
        self._task: TaskID = self._bar.add_task(
            "", total=total, completed=images_seen, speed="-", text=""
        )

    def __enter__(self) -> "ProgressLine":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(
        self,
        images_seen: int,
        speed: float,
        metrics: Mapping[str, float],
        standing: Standing = UNKNOWN,
    ) -> None:
        """Show the newest means, speed in images/s, and what is said of the run."""
        if not self._shown:
            return
        if self._live:
            start = f"{images_seen:,}/{self._total:,} images {speed:,.0f} images/s ETA "
            used = len(start) + _REMAINING_WIDTH + 1 + (self._bar_width + 1) * (self._bar_width > 0)
            text = summary(metrics, standing, self._console.width - used)
            self._bar.update(self._task, completed=images_seen, speed=f"{speed:,.0f}", text=text)
        else:
            text = summary(metrics, standing)
            left = max(self._total - images_seen, 0) / speed if speed else 0.0
            self._console.print(
                f"{images_seen:>9,}/{self._total:,} images  {speed:,.0f} images/s  "
                f"ETA {describe_wait(left)}  {text}",
                markup=False,
            )

    def print(self, message: str) -> None:
        """Print a line above the live one."""
        if self._shown:
            self._console.print(message, markup=False)
