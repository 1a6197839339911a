"""Running `gantrain/train.py` puts gantrain/ first on the path, before Python's own modules."""

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import gantrain


def test_no_module_is_named_like_one_of_python_or_of_a_dependency() -> None:
    folder = Path(gantrain.__file__).parent
    ours = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    ours -= {"__init__", "__pycache__"}
    assert not ours & set(sys.stdlib_module_names)
    assert not ours & set(packages_distributions())
