"""Which room may import which. Arrows point down: a room never imports one that is above it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The rooms that each room may import, besides itself.
ALLOWED: dict[str, set[str]] = {
    "common": set(),
    "config": {"common"},
    "models": {"common", "config"},
    "data": {"common", "config"},
    "health": {"common", "config"},
    "runs": {"common", "config"},
    "training": {"common", "config", "models", "data", "health", "runs"},
    "metrics": {"common", "config", "models", "data", "training"},
    "inference": {"common", "config", "models", "data", "runs", "metrics"},
    "report": {"common", "config", "models", "health", "runs", "inference"},
    "cli": {
        *("common", "config", "models", "data", "health", "runs"),
        *("metrics", "inference", "report", "__init__.py", "train.py", "launch"),
    },
    # The entry point, the public API and `python -m gantrain`.
    "train.py": {"common", "config", "data", "runs", "training", "metrics", "inference"},
    "__init__.py": {"runs", "inference"},
    "__main__.py": {"common", "cli"},
    "launch": {"common", "config", "runs", "health", "report", "__init__.py"},
}
# Torch takes a second to import, which launchers and --help need not wait for.
TORCH_FREE = [
    "gantrain",
    "gantrain.config",
    "gantrain.health.diagnosis",
    "gantrain.health.remedies",
    "gantrain.runs.paths",
    "gantrain.runs.records",
    "gantrain.cli.main",
    "launch.__main__",
]


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if parts[0] == "launch" else parts[1]


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a module, at the top or in a function, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield node.lineno, node.module
            if node.module == "gantrain":
                yield from ((node.lineno, f"gantrain.{alias.name}") for alias in node.names)


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    for line, module in imported_modules(path):
        package, _, rest = module.partition(".")
        if package == "launch":
            yield line, "launch"
        elif package == "gantrain":
            first = rest.partition(".")[0]
            is_room = (ROOT / "gantrain" / first).is_dir() and first
            is_module = (ROOT / "gantrain" / f"{first}.py").is_file()
            yield line, first if is_room else f"{first}.py" if is_module else "__init__.py"


def test_no_room_imports_one_above_it() -> None:
    wrong = []
    for path in sorted([*(ROOT / "gantrain").rglob("*.py"), *(ROOT / "launch").rglob("*.py")]):
        room = room_of(path)
        for line, other in imported_rooms(path):
            if other != room and other not in ALLOWED[room]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {room} imports {other}")
    assert wrong == []


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {p.name for p in (ROOT / "gantrain").iterdir() if (p / "__init__.py").is_file()}
    assert rooms == {name for name in ALLOWED if not name.endswith(".py")} - {"launch"}
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {room for room, below in ALLOWED.items() if below <= done and room not in done}
        assert ready, f"a cycle among {set(ALLOWED) - done}"
        done |= ready


def test_the_check_sees_an_arrow_that_runs_up(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    source = "def f():\n    from gantrain.training.loop import train\n    import launch.plan\n"
    path.write_text(source)
    assert [room for _, room in imported_rooms(path)] == ["training", "launch"]


@pytest.mark.parametrize("module", TORCH_FREE)
def test_no_torch_is_imported_by(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


TEXTS = [
    path
    for folder in ("gantrain", "launch", "docs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".md", ".js", ".html", ".css", ".yaml")
]


def test_names_of_the_field_are_kept() -> None:
    """`image` is the word for what a GAN makes; the old one had spread over 600 places."""
    old = "pic" + "ture"
    assert [str(p.relative_to(ROOT)) for p in TEXTS if old in p.read_text("utf-8").lower()] == []


def test_no_training_is_called_healthy() -> None:
    """It is `no fault seen`: the images may be bad all the same. Files of version 0.2 say so."""
    old_files = '_NAMES_OF_0_2 = {"healthy": NO_FAULT}'
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in [*TEXTS, ROOT / "README.md"]
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"\bhealthy\b(?!-)", line, re.IGNORECASE) and line != old_files
    ]
    assert found == []  # healthy-a is the name of an experiment's run
