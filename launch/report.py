"""`launch report`: a sweep as one page that opens from disk."""

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from gantrain.common.files import write_text
from gantrain.report.page import build_page
from gantrain.report.rundata import list_grids
from gantrain.report.thumbnails import encode, spread
from launch.curves import images_with, read_curve, value_at
from launch.leaderboard import Board, build_board, metrics_of
from launch.options import SweepArgument, say, standing_of, told
from launch.plan import ABSENT, differing_keys, run_name, short_names
from launch.states import RunState
from launch.sweepdir import read_settings, run_dir
from launch.watch_commands import checked_direction, checked_metric

PAGE = "report.html"
_WALL_BYTES = 12_000_000
_MOST_MOMENTS = 16
_TILES = 4  # of a grid, a side, that stand on the wall
_SIDE = 160  # pixels of a run's image there


def report(
    target: SweepArgument,
    metric: Annotated[str | None, typer.Option(help="a key of metrics.jsonl")] = None,
    direction: Annotated[str | None, typer.Option(metavar="min|max")] = None,
    kimg: Annotated[float | None, typer.Option(help="compare at this many kimg")] = None,
    out: Annotated[
        Path | None, typer.Option(help="the HTML; without it, report.html of the sweep")
    ] = None,
) -> None:
    """Write one page about a sweep: leader board, main effects, and every run's samples."""
    with told():
        sweep_dir, standing = standing_of(target, ask_slurm=False)
        settings = read_settings(sweep_dir)
        known = metrics_of(sweep_dir, standing.runs)
        wanted = metric or settings.get("metric") or _likely(known)
        board = None
        if known:
            board = build_board(
                sweep_dir,
                standing.runs,
                checked_metric(sweep_dir, standing.runs, wanted),
                checked_direction(direction or settings.get("direction") or "min"),
                kimg,
            )
        path = out or sweep_dir / PAGE
        name = str(settings.get("name") or sweep_dir.resolve().name)
        data = sweep_data(name, sweep_dir, standing.runs, board)
        page = build_page("sweep", f"{name} · gantrain", data, ("page", "sweep"), styles=("sweep",))
        write_text(path, page)
        say(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def sweep_data(
    name: str, sweep_dir: Path, runs: Sequence[RunState], board: Board | None
) -> dict[str, Any]:
    """What the page shows, as plain values."""
    keys = [key for key in differing_keys([run.flat for run in runs]) if key != "seed"]
    names = short_names(keys)
    moments, wall = build_wall(sweep_dir, runs)
    return {
        "name": name,
        "keys": [[key, names[key]] for key in keys],
        "board": _plain_board(board),
        "moments": moments,
        "runs": [
            {
                "id": run.run,
                "name": run_name(run.flat, keys) or run.run,
                "state": run.state,
                "reason": run.reason,
                "images": run.images,
                "total": run.total,
                "seed": run.flat.get("seed", 0),
                "values": [run.flat.get(key, ABSENT) for key in keys],
                "score": _score(sweep_dir, run, board),
                "wall": wall[run.run],
            }
            for run in runs
        ],
    }


def build_wall(
    sweep_dir: Path, runs: Sequence[RunState]
) -> tuple[list[int], dict[str, list[str | None]]]:
    """Images seen, and each run's image at each of them; None where the run had not come so far.

    The images show the same latents. There are fewer moments where more would make the page
    too long.
    """
    grids = {run.run: list_grids(run_dir(sweep_dir, run.run)) for run in runs}
    every = sorted({images for found in grids.values() for images, _ in found})
    moments = spread(every, _MOST_MOMENTS)
    cells = {run.run: _cells(grids[run.run], run.flat, moments) for run in runs}
    while len(moments) > 2 and _length(cells) > _WALL_BYTES:
        kept = spread(range(len(moments)), max(2, len(moments) * 3 // 4))
        moments = [moments[i] for i in kept]
        cells = {run: [found[i] for i in kept] for run, found in cells.items()}
    return moments, cells


def _cells(
    grids: Sequence[tuple[int, Path]], flat: dict[str, Any], moments: Sequence[int]
) -> list[str | None]:
    made: dict[Path, str | None] = {}
    cells: list[str | None] = []
    reach = max((images for images, _ in grids), default=-1)
    for moment in moments:
        place = bisect_right([images for images, _ in grids], moment) - 1
        if place < 0 or moment > reach:
            cells.append(None)
            continue
        path = grids[place][1]
        if path not in made:
            made[path] = _corner(path, flat)
        cells.append(made[path])
    return cells


def _corner(path: Path, flat: dict[str, Any]) -> str | None:
    """The grid's first 4x4 tiles."""
    step = int(flat.get("data.size", 64)) + 2  # the gap between tiles
    try:
        with Image.open(path) as opened:
            side = min(_TILES * step - 2, *opened.size)
            image = opened.convert("L" if opened.mode == "L" else "RGB").crop((0, 0, side, side))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    return encode(image, 70)


def _length(cells: dict[str, list[str | None]]) -> int:
    return sum(len(cell) for found in cells.values() for cell in found if cell)


def _plain_board(board: Board | None) -> dict[str, Any] | None:
    if board is None:
        return None
    return {
        "metric": board.metric,
        "direction": board.direction,
        "images": board.images,
        "rows": [[row.runs, row.mean, row.spread] for row in board.rows],
        "effects": [
            [e.key, e.value, e.runs, e.mean, e.best, e.against_mean] for e in board.effects
        ],
        "behind": board.behind,
    }


def _score(sweep_dir: Path, run: RunState, board: Board | None) -> float | None:
    if board is None:
        return None
    curve = read_curve(run_dir(sweep_dir, run.run))
    return value_at(curve, board.metric, min(board.images, images_with(curve, board.metric)))


def _likely(known: Sequence[str]) -> str | None:
    quality = [name for name in known if name.startswith("quality/fid")]
    return next(iter([*quality, *(n for n in known if n.startswith("loss/"))]), None)
