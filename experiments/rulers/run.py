"""Test the rulers on sets of real images: `python -m experiments rulers --shards FOLDER…`."""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.rulers.battery import GRADED, run_battery
from experiments.rulers.contenders import CONTENDERS, data_config
from experiments.rulers.grounds import load_ground
from experiments.rulers.report import tables_of
from experiments.rulers.two_sample import run_two_sample_battery
from experiments.tables import update_tables
from gantrain.data.shards.manifest import load_manifest


def main(arguments: Sequence[str]) -> None:
    """Run the battery for each ruler and set that has no result yet, and write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments rulers",
        description="Test rulers of image quality and write the tables of docs/metrics.md.",
    )
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="folders of the sets")
    rulers = [*CONTENDERS, "c2st"]
    parser.add_argument("--rulers", nargs="+", choices=rulers, default=rulers)
    parser.add_argument("--samples", type=int, default=500, help="images in the place of fakes")
    parser.add_argument("--references", type=int, default=2000, help="images to compare with")
    parser.add_argument("--out", type=Path, default=Path("runs/rulers"), help="folder of results")
    parser.add_argument("--document", type=Path, default=Path("docs/metrics.md"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for shards in options.shards:
        for ruler in options.rulers:
            path = options.out / f"{shards.name}-{ruler}.json"
            if not path.exists():
                result = _test(ruler, shards, options)
                path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    update_tables(options.document, tables_of(options.out))


def _test(ruler: str, shards: Path, options: argparse.Namespace) -> dict[str, object]:
    config = data_config(shards, load_manifest(shards).size, options.out / "scratch")
    ground = load_ground(config, options.samples, options.references)
    start = time.process_time()
    costs: dict[str, float] = {}
    if ruler == "c2st":
        verdicts, scores = run_two_sample_battery(ground, GRADED)
        costs["cpu_s"] = (time.process_time() - start) / len(scores)
    else:
        describe = CONTENDERS[ruler](config)
        costs["opening_cpu_s"] = time.process_time() - start
        verdicts, scores = run_battery(describe, ground)
        described = time.process_time()
        describe(ground.others)
        spent = time.process_time() - described
        costs["cpu_s_per_1000"] = 1000 * spent / len(ground.others)
    return {
        "ruler": ruler,
        "ground": ground.name,
        "samples": len(ground.others),
        **costs,
        "verdicts": [vars(verdict) for verdict in verdicts],
        "scores": [{"damage": k[0], "level": k[1], **v} for k, v in scores.items()],
    }
