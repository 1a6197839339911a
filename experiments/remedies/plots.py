"""The plots of docs/experiments.md."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.remedies.plan import GROUPS
from experiments.remedies.results import CLASSES, FID, Result, select_arm
from gantrain.runs.paths import list_grids


def draw_plots(results: Sequence[Result], folder: Path) -> None:
    """Write the plots and the last sample grid of each arm's first seed to a folder, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    folder.mkdir(parents=True, exist_ok=True)
    for group in GROUPS:
        _plot_curves(results, group.name, tuple(group.arms), folder / f"{group.name}.png")
        for arm in ("none", "auto"):
            _copy_grid(results, group.name, arm, folder / f"{group.name}-{arm}.png")


def _plot_curves(results: Sequence[Result], group: str, arms: Sequence[str], path: Path) -> None:
    """Plot the median over the seeds of each arm, with the range shaded."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, name, label in zip(
        axes, (CLASSES, FID), ("classes generated, of 10", "FID (lite0)"), strict=True
    ):
        for arm in arms:
            curves = [x.curve(name) for x in select_arm(results, group, arm)]
            curves = [curve for curve in curves if curve[0]]
            if not curves:
                continue
            length = min(len(x) for x, _ in curves)
            values = np.array([y[:length] for _, y in curves])
            kimg = curves[0][0][:length]
            (line,) = axis.plot(kimg, np.median(values, 0), label=arm)
            axis.fill_between(
                kimg, values.min(0), values.max(0), color=line.get_color(), alpha=0.12
            )
        axis.set(xlabel="kimg", ylabel=label)
    axes[1].set_yscale("log")
    axes[1].legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _copy_grid(results: Sequence[Result], group: str, arm: str, path: Path) -> None:
    for result in select_arm(results, group, arm)[:1]:
        for _, grid in list_grids(result.folder)[-1:]:
            with Image.open(grid) as image:
                image.convert("L").save(path, optimize=True)
