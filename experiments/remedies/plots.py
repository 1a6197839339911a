"""The plots of docs/experiments.md."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.remedies.plan import collapse_arms, strong_arms
from experiments.remedies.results import FID, PARTS, Result, select_arm
from gantrain.runs.paths import list_grids


def draw_plots(results: Sequence[Result], folder: Path) -> None:
    """Write the plots and the last sample grid of each arm's first seed to a folder, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    folder.mkdir(parents=True, exist_ok=True)
    _plot_curves(results, "strong", tuple(strong_arms()), folder / "strong.png")
    _plot_curves(results, "collapse", tuple(collapse_arms()), folder / "collapse.png")
    _plot_curves(results, "kinds", ("dcgan", "wgan-gp", "dcgan-nearest"), folder / "kinds.png")
    _plot_losses(results, folder / "losses.png")
    for group, arm in (
        ("strong", "none"),
        ("strong", "auto"),
        ("collapse", "none"),
        ("collapse", "auto"),
        ("kinds", "dcgan"),
        ("kinds", "wgan-gp"),
    ):
        _copy_grid(results, group, arm, folder / f"{group}-{arm}.png")


def _plot_curves(results: Sequence[Result], group: str, arms: Sequence[str], path: Path) -> None:
    """Plot the median over the seeds of each arm, with the range shaded."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, name, label in zip(
        axes, (PARTS, FID), ("parts generated, of 10", "FID (brick)"), strict=True
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


def _plot_losses(results: Sequence[Result], path: Path) -> None:
    """Plot the loss and the FID of each measurement as a point."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, arm, name in zip(
        axes, ("dcgan", "wgan-gp"), ("loss/generator", "loss/discriminator"), strict=True
    ):
        for x in select_arm(results, "kinds", arm):
            lines = [line for line in x.lines if FID in line and name in line]
            axis.plot(
                [line[name] for line in lines], [line[FID] for line in lines], "o-", ms=3, lw=0.5
            )
        network = "G" if arm == "dcgan" else "critic"
        axis.set(xlabel=f"{network} loss", ylabel="FID (brick)", title=arm, yscale="log")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _copy_grid(results: Sequence[Result], group: str, arm: str, path: Path) -> None:
    for result in select_arm(results, group, arm)[:1]:
        for _, grid in list_grids(result.folder)[-1:]:
            with Image.open(grid) as image:
                image.convert("L").save(path, optimize=True)
