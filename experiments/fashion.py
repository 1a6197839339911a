"""Fashion-MNIST as Debian's package dataset-fashion-mnist provides it (Xiao et al. 2017)."""

import subprocess
import sys
from pathlib import Path

from gantrain.common.errors import UserError

PACKAGE = Path("/usr/share/datasets/fashion-mnist")  # with the four IDX files


def check_fashion(source: Path) -> None:
    """Raise UserError if the folder with the four IDX files is missing."""
    if not source.exists():
        raise UserError(
            f"{source}: no such folder; expected the four IDX files of Fashion-MNIST, which "
            "`apt-get install dataset-fashion-mnist` provides on Debian."
        )


def import_fashion(folder: Path, source: Path = PACKAGE) -> None:
    """Import the images as `gantrain data import` does, grey and at 32x32, unless they are there.

    Raises UserError if the data are missing.
    """
    if (folder / "manifest.json").exists():
        return
    check_fashion(source)
    command = [sys.executable, "-m", "gantrain", "data", "import", str(source), str(folder)]
    subprocess.run([*command, "--size", "32"], check=True)
