"""What W&B has of a run, read back from W&B's own files in the run directory."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.paths import list_grids
from gantrain.runs.records import read_events

_SECONDS = 120.0  # longest wait for W&B's reader
_TIMING = "speed/"  # metrics that differ when the same steps are trained again


@dataclass
class WandbHistory:
    """What W&B has of a run.

    last_step: the newest step; 0 without any.
    from_images: images seen from which on the history is complete; what is earlier was uploaded and
        its files removed.
    """

    last_step: int = 0
    from_images: float = 0
    _rows: dict[int, list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, row: Mapping[str, Any]) -> None:
        """Add what was sent in one step."""
        if "images_seen" in row:
            self._rows[int(row["images_seen"])].append(row)
        self.last_step = max(self.last_step, int(row.get("_step", 0)))

    def has(self, images_seen: int, values: Mapping[str, Any]) -> bool:
        """Return whether W&B has these values at so many images seen, but for the timing."""
        wanted = {k: v for k, v in values.items() if not k.startswith(_TIMING)}
        return any(
            all(name in row and row[name] == value for name, value in wanted.items())
            for row in self._rows[images_seen]
        )

    def has_image(self, images_seen: int, name: str) -> bool:
        """Return whether W&B has an image of this name at so many images seen."""
        return any(
            key == name or key.startswith(f"{name}.")
            for row in self._rows[images_seen]
            for key in row
        )


def list_segments(run_dir: Path) -> list[Path]:
    """Return W&B's files of the starts of a run, oldest first."""
    return sorted((run_dir / "wandb").glob("*run-*/run-*.wandb"), key=_time_of)


def read_history(segments: Sequence[Path], before_step: int | None = None) -> WandbHistory:
    """Read back what W&B has recorded of a run, in all its starts.

    before_step: the first step that W&B's server lacks; None if the run is offline.

    Raises OSError, ValueError or subprocess.SubprocessError if W&B's files cannot be read.
    """
    history = WandbHistory()
    for number, segment in enumerate(segments):
        rows = list(_read_segment(segment))
        if number == 0 and rows and rows[0].get("_step", 0) > 1:
            history.from_images = float(rows[0].get("images_seen", 0))
        for row in rows:
            if before_step is None or row.get("_step", 0) < before_step:
                history.add(row)
    return history


def find_missing(run_dir: Path, history: WandbHistory) -> list[tuple[int, Mapping[str, Any]]]:
    """Return what the run directory has and W&B lacks: images seen and values, by images seen.

    A sample grid is a value of type Path.
    """
    missing: list[tuple[int, Mapping[str, Any]]] = []
    for line in read_metrics(run_dir):
        if not history.has(line["images_seen"], line):
            missing.append((line["images_seen"], line))
    for event in read_events(run_dir):
        kind, images_seen = event.get("event"), event.get("images_seen")
        if isinstance(kind, str) and isinstance(images_seen, int):
            value = {f"events/{kind}": 1}
            if not history.has(images_seen, value) and (images_seen, value) not in missing:
                missing.append((images_seen, value))
    for images_seen, path in list_grids(run_dir):
        if not history.has_image(images_seen, "samples/fake"):
            missing.append((images_seen, {"samples/fake": path}))
    missing = [each for each in missing if each[0] >= history.from_images]
    return sorted(missing, key=lambda each: each[0])


def _read_segment(path: Path) -> Iterator[dict[str, Any]]:
    from wandb.util import get_core_path

    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json"]
    done = subprocess.run(
        [*command, "--run-file", str(path.resolve()), str(path.resolve().parents[1])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=False,  # the file of a run that was killed ends in the middle of a record
    )
    for line in done.stdout.splitlines():
        record = json.loads(line)
        if record.get("type") == "history":
            yield record["history"]["item"]


def _time_of(segment: Path) -> str:
    return segment.parent.name.partition("run-")[2]
