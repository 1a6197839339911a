"""The plots of docs/experiments.md."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.plan import collapse_arms, strong_arms
from experiments.results import Result, of_arm

FID, PARTS = "quality/fid_brick", "quality/parts_made"


def draw_plots(results: Sequence[Result], folder: Path) -> None:
    """Write the PNGs; grids of samples of the first seeds beside them."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    folder.mkdir(parents=True, exist_ok=True)
    _curves(results, "strong", tuple(strong_arms()), folder / "strong.png")
    _curves(results, "collapse", tuple(collapse_arms()), folder / "collapse.png")
    _curves(results, "kinds", ("dcgan", "wgan-gp", "dcgan-nearest"), folder / "kinds.png")
    _losses(results, folder / "losses.png")
    for group, arm in (
        ("strong", "none"),
        ("strong", "auto"),
        ("collapse", "none"),
        ("collapse", "auto"),
        ("kinds", "dcgan"),
        ("kinds", "wgan-gp"),
    ):
        _grid(results, group, arm, folder / f"{group}-{arm}.png")


def _curves(results: Sequence[Result], group: str, arms: Sequence[str], path: Path) -> None:
    """Medians over the seeds, their range shaded."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, name, label in zip(
        axes, (PARTS, FID), ("parts made, of 10", "FID (brick)"), strict=True
    ):
        for arm in arms:
            curves = [x.curve(name) for x in of_arm(results, group, arm)]
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
        axis.set(xlabel="thousand images seen", ylabel=label)
    axes[1].set_yscale("log")
    axes[1].legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _losses(results: Sequence[Result], path: Path) -> None:
    """Each measurement as a point: a loss against the FID of the same moment."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, arm, name in zip(
        axes, ("dcgan", "wgan-gp"), ("loss/generator", "loss/discriminator"), strict=True
    ):
        for x in of_arm(results, "kinds", arm):
            lines = [line for line in x.lines if FID in line and name in line]
            axis.plot(
                [line[name] for line in lines], [line[FID] for line in lines], "o-", ms=3, lw=0.5
            )
        player = "G's" if arm == "dcgan" else "the critic's"
        axis.set(xlabel=f"{player} loss", ylabel="FID (brick)", title=arm, yscale="log")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _grid(results: Sequence[Result], group: str, arm: str, path: Path) -> None:
    found = of_arm(results, group, arm)
    grids = sorted((found[0].folder / "samples").glob("fake-*.png")) if found else []
    if grids:
        shutil.copyfile(grids[-1], path)
        with Image.open(path) as image:
            image.convert("L").save(path, optimize=True)
