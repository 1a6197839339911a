"""The commands of the README and of docs/ do what the pages say."""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from gantrain.cli.main import app
from tests.documented import Block, DocumentationError, blocks_of, has_shape, run_blocks
from tests.launching import ROOT, environment

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    block
    for path in PAGES
    for block in blocks_of(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
]
GROUPS = list(dict.fromkeys((block.page, block.group) for block in BLOCKS if block.group))
LAUNCHERS = ("python -m launch ", "gantrain-launch ")


@pytest.fixture
def clone(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder with the files of the repository, and the environment of a shell in it.

    The home folder has photos.
    """
    home, folder, programs = tmp_path / "home", tmp_path / "clone", tmp_path / "bin"
    for each in (home / "photos", folder, programs):
        each.mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name in ("configs", "gantrain", "launch", "slurm", "constraints.txt"):
            (folder / path.name).symlink_to(path)
    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 80)).save(home / "photos" / f"{i:02}.jpg")
    for name, module in {"gantrain": "gantrain", "gantrain-launch": "launch"}.items():
        script = f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n'
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    search = os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"]))
    columns = {"COLUMNS": "100", "TERM": "dumb"}
    return folder, environment(HOME=str(home), PATH=search, **columns)


@pytest.mark.parametrize(("page", "group"), GROUPS)
def test_what_a_page_tells_to_type_works(
    page: str, group: str, clone: tuple[Path, dict[str, str]]
) -> None:
    run_blocks([b for b in BLOCKS if (b.page, b.group) == (page, group)], *clone)


PAGE = """
<!-- runnable: greeting
say: loudly
-->

```sh
gantrain() { echo "$@ 1,234 images, 0.5 s"; }
gantrain say hello  # to everybody
```

```text
say hello loudly 5 images, 17.25 s
```

```sh
exit 1  # cannot be run
```

<!-- runnable: greeting -->

```console
$ mkdir inside && cd inside && seq 3 && \\
    echo end
1
…
end
$ cat ../inside/missing || true
cat: …missing: …
```
"""


def test_blocks_run_with_their_added_words_where_the_block_before_has_gone(tmp_path: Path) -> None:
    greeting, other, console = blocks_of("page", PAGE)
    assert (greeting.group, other.group, console.group) == ("greeting", "", "greeting")
    run_blocks([greeting, console], tmp_path, os.environ)
    assert (tmp_path / ".place").read_text() == f"{tmp_path}/inside\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('echo "$@', 'ehco "$@'),  # a command that fails
        ("5 images, 17.25 s", "5 pictures, 17.25 s"),
        ("17.25 s\n", "17.25 s\nbye\n"),
        ("…\nend", "end"),
        ("seq 3", "seq 0"),
        ("|| true", ""),
    ],
)
def test_a_page_that_is_wrong_is_found(tmp_path: Path, old: str, new: str) -> None:
    assert old in PAGE
    blocks = [b for b in blocks_of("page", PAGE.replace(old, new)) if b.group]
    with pytest.raises(DocumentationError, match="page: "):
        run_blocks(blocks, tmp_path, os.environ)


@pytest.mark.parametrize(
    ("printed", "documented", "same"),
    [
        ("340,000/340,000 images  513 images/s\n", "2,000/340,000 images 9 images/s", True),
        ("FID 66.2 (floor 1.4)", "FID nan (floor 1e-3)", True),
        ("fake-000001000.png", "fake-000340000.png", True),
        ("a\nb\nc\n", "a\n…\nc", True),
        ("a\nc\n", "a\n…\nc", True),
        ("a\nb\n", "a", False),
        ("run 2 of 3", "run two of 3", False),
        ("lite0", "lite1", False),  # a name, not a number
    ],
)
def test_only_numbers_and_ellipses_stand_for_other_text(
    printed: str, documented: str, same: bool
) -> None:
    assert has_shape(printed, documented) == same


def commands_in(block: Block) -> Iterator[list[str]]:
    """Yield the words after `gantrain` of each command, without those of the shell."""
    for step in block.steps:
        for line in step.commands.replace("\\\n", " ").splitlines():
            for launcher in LAUNCHERS:
                if line.startswith(launcher):
                    line = line.replace(launcher, "gantrain launch ", 1)
            if line.startswith("gantrain "):
                yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS}))
def test_every_command_and_option_that_a_page_names_exists(page: str) -> None:
    for block in BLOCKS:
        for words in commands_in(block) if block.page == page else ():
            command: Any = typer.main.get_command(app)
            while hasattr(command, "commands"):
                assert words[0] in command.commands, f"{page}: gantrain {' '.join(words)}"
                command, words = command.commands[words[0]], words[1:]
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
            for word in words:
                if word.startswith("-"):
                    assert word.partition("=")[0] in known, f"{page}: {command.name} {word}"
