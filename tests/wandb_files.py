"""What W&B has of a run, read back with W&B's own reader."""

import json
import subprocess
from pathlib import Path
from typing import Any

from wandb.util import get_core_path

from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.paths import list_grids
from tests.curves import events


def inspect(run: Path, *options: str) -> str:
    """What W&B's own reader makes of an offline run."""
    (file,) = run.resolve().glob("run-*.wandb")
    # What `wandb leet inspect` runs, without the seconds that `wandb` takes to start.
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *options]
    command += ["--run-file", str(file), str(file.parents[1])]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def history(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in inspect(run).splitlines()]
    return [r["history"]["item"] for r in records if r["type"] == "history"]


def assert_complete(run: Path) -> None:
    """Assert that W&B has each line of metrics, event and grid of a run, and each line once."""
    rows = [
        row for segment in sorted((run / "wandb").glob("offline-run-*")) for row in history(segment)
    ]
    assert [row["_step"] for row in rows] == sorted({row["_step"] for row in rows})
    for line in read_metrics(run):
        at = [r for r in rows if r["images_seen"] == line["images_seen"] and "loss/generator" in r]
        assert len(at) == 1
        assert {k: at[0][k] for k in line} == line
    sent = {(row["images_seen"], key.removesuffix("._type")) for row in rows for key in row}
    assert {(e["images_seen"], f"events/{e['event']}") for e in events(run)} <= sent
    assert {(images, "samples/fake") for images, _ in list_grids(run)} <= sent
