"""Programs whose stdout or stderr is gone, full or closed; real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from gantrain.common.streams import listener_left, losses, tolerant_streams
with tolerant_streams():
    for i in range(1000):
        print("line", i, "∇", flush=True)
        print("error", i, file=sys.stderr)
with open(sys.argv[1], "w") as file:
    print(listener_left(), *(f"{k}:{e.errno}" for k, e in sorted(losses().items())), file=file)
"""


@pytest.mark.parametrize(
    ("redirection", "expected"),
    [
        ("", "False"),
        ("| head -c 1", "True stdout:32"),
        (">/dev/full", "False stdout:28"),
        ("2>/dev/full", "False stderr:28"),
        (">/dev/full 2>&1", "False stderr:28 stdout:28"),
        (">&-", "False"),
        ("<&- >&- 2>&-", "False"),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "-u"])
def test_a_program_goes_on_without_a_listener(
    redirection: str, expected: str, unbuffered: str, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    script = f'"$0" {unbuffered} -c "$1" "$2" {redirection}; exit ${{PIPESTATUS[0]}}'
    command = ["bash", "-c", script, sys.executable, PROGRAM, str(seen)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert seen.read_text("utf-8").strip() == expected


def test_what_the_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"{tmp_path}/seen"],
        env={"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("line 0 \\u2207\n")
    assert len(done.stdout.splitlines()) == 1000
