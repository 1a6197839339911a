"""Commands that are asked to stop; real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

PROGRAM = """
import signal, sys, time
from gantrain.common.errors import UserError
from gantrain.common.stopping import run_command

def command():
    print("ready", flush=True)
    time.sleep(60)

sys.exit(run_command("program", command))
"""


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGINT, "program: interrupted.\n"),
        (signal.SIGTERM, "program: stopped by SIGTERM.\n"),
        (signal.SIGHUP, "program: stopped by SIGHUP.\n"),
    ],
)
def test_a_signal_is_one_line_and_a_status(number: signal.Signals, line: str) -> None:
    with start([sys.executable, "-c", PROGRAM]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate()
    assert errors == line
    assert process.returncode == 128 + number


def test_a_signal_that_nohup_disabled_stays_disabled() -> None:
    program = PROGRAM.replace("time.sleep(60)", "signal.raise_signal(signal.SIGHUP)")
    done = subprocess.run(
        ["sh", "-c", 'trap "" HUP; exec "$0" -c "$1"', sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")


def start(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_an_interrupted_import_and_its_workers_end_with_one_line_and_leave_nothing(
    tmp_path: Path,
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    Image.new("L", (600, 600)).save(source / "0.png")
    for i in range(1, 4000):
        os.link(source / "0.png", source / f"{i}.png")
    command = [sys.executable, "-m", "gantrain", "data", "import", str(source)]
    with start([*command, str(tmp_path / "set")]) as process:
        while not list(tmp_path.glob(".set*/*.tar")) and process.poll() is None:
            os.sched_yield()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
        _, errors = process.communicate()
    assert errors.strip() == "gantrain: interrupted."  # after the progress line
    assert process.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
