"""The LDraw library for tests, and libraries that tests write themselves."""

import os
from pathlib import Path

import pytest

VARIABLE = "GANTRAIN_TEST_LDRAW"


def library_folder() -> Path:
    """Return the folder of an LDraw library, or skip the test; with CI=true, fail instead."""
    beside = Path(__file__).parents[2] / "shared" / "ldraw"
    folder = Path(os.environ.get(VARIABLE, beside))
    if (folder / "parts").is_dir():
        return folder
    message = f"needs an LDraw library in {VARIABLE} or {beside}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def write_library(root: Path, **files: str) -> Path:
    """Write a library whose files are given by name: `parts__a`, `p__48__b` and so on."""
    for folder in ("parts", "p"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = root.joinpath(*name.split("__")).with_suffix(".dat")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


CUBE = """0 Cube
0 BFC CERTIFY CCW
4 16 -1 -1 -1 -1 -1 1 -1 1 1 -1 1 -1
4 16 1 -1 -1 1 1 -1 1 1 1 1 -1 1
4 16 -1 -1 -1 1 -1 -1 1 -1 1 -1 -1 1
4 16 -1 1 -1 -1 1 1 1 1 1 1 1 -1
4 16 -1 -1 -1 -1 1 -1 1 1 -1 1 -1 -1
4 16 -1 -1 1 1 -1 1 1 1 1 -1 1 1
2 24 -1 -1 -1 1 -1 -1
5 24 -1 -1 -1 1 -1 -1 0 0 0 1 1 1
"""
