"""Fill the tables of docs/experiments.md and draw its plots: `python -m experiments.report`.

Tables stand between `<!-- NAME -->` and `<!-- end -->`; the words around them are written by hand.
Plots need matplotlib.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.plan import all_runs, collapse_arms, strong_arms
from experiments.plots import draw_plots
from experiments.results import (
    Result,
    middle_and_range,
    of_arm,
    rank_correlation,
    read_results,
)

FID, PARTS, G_LOSS, D_LOSS = (
    "quality/fid_brick",
    "quality/parts_made",
    "loss/generator",
    "loss/discriminator",
)
_KINDS = ("dcgan", "wgan-gp", "dcgan-nearest", "dcgan-kernel-5")


def main() -> None:
    """Read the runs, rewrite the document."""
    parser = argparse.ArgumentParser(prog="python -m experiments.report")
    parser.add_argument("--out", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--document", type=Path, default=Path("docs/experiments.md"))
    options = parser.parse_args()
    results = read_results(all_runs(), options.out)
    text = options.document.read_text(encoding="utf-8")
    tables: dict[str, Callable[[Sequence[Result]], str]] = {
        "strong": lambda x: table_of_arms(x, "strong", tuple(strong_arms())),
        "collapse": lambda x: table_of_arms(x, "collapse", tuple(collapse_arms())),
        "kinds": lambda x: table_of_arms(x, "kinds", _KINDS),
        "correlations": table_of_correlations,
        "diagnoses": table_of_diagnoses,
        "checkerboards": table_of_checkerboards,
    }
    for name, table in tables.items():
        block = f"<!-- {name} -->\n{table(results)}\n<!-- end -->"
        start, end = text.index(f"<!-- {name} -->"), len("<!-- end -->")
        text = text[:start] + block + text[text.index("<!-- end -->", start) + end :]
    options.document.write_text(text, encoding="utf-8")
    draw_plots(results, options.document.parent / "experiments")
    print(f"{len(results)} of {len(all_runs())} runs: {options.document}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def table_of_arms(results: Sequence[Result], group: str, arms: Sequence[str]) -> str:
    """Quality at the end and what health said, arm by arm."""
    rows = []
    for arm in arms:
        of = of_arm(results, group, arm)
        said = [f"{x.verdict} ({sum(x.alarms.values())})" for x in of]
        rows.append(
            [
                arm,
                str(len(of)),
                middle_and_range([x.end(PARTS) for x in of]),
                middle_and_range([x.end(FID) for x in of]),
                middle_and_range([x.end("quality/swd") for x in of]),
                middle_and_range([x.end("quality/recall_brick") for x in of], 2),
                "; ".join(said),
            ]
        )
    header = ["arm", "seeds", "parts of 10", "FID (brick)", "SWD", "recall", "diagnosis (lines)"]
    return table(header, rows)


def table_of_correlations(results: Sequence[Result]) -> str:
    """Spearman's correlation of losses with FID over the measurements of each run."""
    pairs = [
        ("dcgan", "G's loss", G_LOSS),
        ("dcgan", "D's loss", D_LOSS),
        ("wgan-gp", "critic's loss", D_LOSS),
        ("wgan-gp", "Wasserstein estimate", "loss/wasserstein"),
        ("wgan-gp", "generator's loss", G_LOSS),
    ]
    rows = []
    for arm, label, name in pairs:
        found = [correlation_with_fid(x, name) for x in of_arm(results, "kinds", arm)]
        each = ", ".join(f"{value:+.2f}" for value in found)
        middle = f"{statistics.median(found):+.2f}" if found else "-"
        rows.append([arm, label, middle, each])
    return table(["kind", "curve", "median", "each seed"], rows)


def correlation_with_fid(result: Result, name: str) -> float:
    """Over the lines in which FID was measured; a loss is the mean since the line before."""
    lines = [line for line in result.lines if FID in line and name in line]
    return rank_correlation([line[name] for line in lines], [line[FID] for line in lines])


def table_of_diagnoses(results: Sequence[Result]) -> str:
    """What each run with a known fault, and each healthy one, was called."""
    rows, right, known = [], 0, 0
    alarmed, healthy = 0, 0
    for x in results:
        if x.run.group != "diagnoses":
            continue
        hit = x.verdict == x.run.truth
        said = ", ".join(f"{name} {count}" for name, count in x.alarms.items()) or "none"
        if x.run.truth == "healthy":
            healthy += 1
            alarmed += not hit
        else:
            known += 1
            right += hit
        rows.append([x.run.arm, x.run.truth, x.verdict, said, "yes" if hit else "**no**"])
    header = ["run", "truth", "first alarm", "lines under each alarm", "right"]
    summary = (
        f"Right on {right} of {known} faulty runs; alarms on {alarmed} of {healthy} healthy ones."
    )
    return table(header, rows) + "\n\n" + summary


def table_of_checkerboards(results: Sequence[Result]) -> str:
    """The spectrum's peaks at the stride's frequencies, over the second half of the training."""
    rows = []
    for arm in ("dcgan", "dcgan-nearest", "dcgan-kernel-5", "wgan-gp"):
        of = of_arm(results, "kinds", arm)
        late = [
            statistics.median(values[len(values) // 2 :])
            for values in (x.curve("quality/checkerboard")[1] for x in of)
            if values
        ]
        ends = middle_and_range([x.end(FID) for x in of])
        rows.append([arm, str(len(of)), middle_and_range(late), ends])
    return table(["arm", "seeds", "checkerboard score", "FID (brick)"], rows)


if __name__ == "__main__":
    main()
