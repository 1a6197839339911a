"""The documentation names tests, modules and files that exist."""

import importlib.util
import re

import pytest

from tests.launching import ROOT

FAULT_TEST = re.compile(r"`(test_\w+\.py)`: `(\w+)`")
# The changelog names what earlier versions had.
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {ROOT / "CHANGELOG.md"})


def test_every_fault_of_the_reliability_page_has_its_test() -> None:
    rows = FAULT_TEST.findall((ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"))
    assert len(rows) > 20
    for file, name in rows:
        (module,) = (ROOT / "tests").rglob(file)
        assert f"def test_{name}(" in module.read_text(encoding="utf-8"), f"{file}: {name}"


@pytest.mark.parametrize("page", [str(path.relative_to(ROOT)) for path in PAGES])
def test_every_module_and_path_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for module in re.findall(r"python -m ([a-z_.]+)", text):
        assert importlib.util.find_spec(module) is not None, module
    paths = re.findall(
        r"\b(?:benchmarks|gantrain|launch|slurm|tests)/[\w/]+\.(?:py|txt|sbatch)", text
    )
    for path in paths:
        assert (ROOT / path).exists(), path
