"""The tables of docs/metrics.md from the battery's results."""

import json
from pathlib import Path
from typing import Any

from experiments.rulers.contenders import CONTENDERS
from experiments.tables import markdown_table

Result = dict[str, Any]


def tables_of(folder: Path) -> dict[str, str]:
    """Return the tables of all results in a folder, by the names of their places in the page."""
    results = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
    ]
    order = [*CONTENDERS, "c2st"]
    results.sort(key=lambda result: (order.index(result["ruler"]), result["ground"]))
    by_features = [result for result in results if result["ruler"] != "c2st"]
    return {
        "battery": _verdicts(by_features),
        "levels": _levels(by_features),
        "costs": _costs(by_features),
        "c2st": _verdicts([result for result in results if result["ruler"] == "c2st"], values=True),
    }


def _verdicts(results: list[Result], *, values: bool = False) -> str:
    """A row for each test, a column for each ruler and set; what failed is bold.

    values: whether to show what was measured also of the tests that passed.
    """
    header = ["test", *(f"{r['ruler']}, {r['ground']}" for r in results)]
    tests = list(dict.fromkeys(v["test"] for r in results for v in r["verdicts"]))
    rows = [[test, *(_cell(r, test, values) for r in results)] for test in tests]
    passed = ["passed", *(_passed(r) for r in results)]
    return markdown_table(header, [*rows, passed])


def _cell(result: Result, test: str, values: bool) -> str:
    for verdict in result["verdicts"]:
        if verdict["test"] == test:
            outcome = "yes" if verdict["passed"] else "**no**"
            shown = values or not verdict["passed"]
            return f"{outcome} ({verdict['value']})" if shown else outcome
    return "-"


def _passed(result: Result) -> str:
    outcomes = [verdict["passed"] for verdict in result["verdicts"]]
    return f"{sum(outcomes)} of {len(outcomes)}"


def _levels(results: list[Result]) -> str:
    """The metrics of the default ruler at each level of damage."""
    rows = []
    names = ("fid", "kid", "precision", "recall", "coverage")
    for result in results:
        if result["ruler"] != "lite0":
            continue
        for line in result["scores"]:
            if "fid" in line:
                values = (f"{line[name]:.3g}" for name in names)
                rows.append([result["ground"], line["damage"], f"{line['level']:g}", *values])
    return markdown_table(["set", "damage", "level", "FID", "KID × 1,000", *names[2:]], rows)


def _costs(results: list[Result]) -> str:
    rows = []
    for result in results:
        held_out = [s for s in result["scores"] if "accuracy" in s]
        rows.append(
            [
                result["ruler"],
                result["ground"],
                f"{result['opening_cpu_s']:.1f}",
                f"{result['cpu_s_per_1000']:.2f}",
                *(f"{s['coverage_of_ideal']:.2f}" for s in held_out),
                *(f"{s['accuracy']:.3f}" for s in held_out),
            ]
        )
    header = ["ruler", "set", "opening, CPU s", "1,000 images, CPU s"]
    return markdown_table(
        [*header, "coverage of held-out images, of the ideal", "neighbours' accuracy"], rows
    )
