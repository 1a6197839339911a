"""Charts of the page of a run: which metrics they show, and how they draw them in a browser."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from gantrain.health.verdict import Verdict
from gantrain.report.charts import Band, choose_charts, diagnosis_bands
from gantrain.report.run_page import write_run_page
from tests.report.conftest import Opener, metrics_by_chart, unfold, wait_until, write_run

FLOOR = {"time": 0, "images_seen": 0, "event": "floor", "scores": {"quality/fid_lite0": 7.0}}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = write_run(tmp_path_factory.mktemp("runs") / "bricks", grids=2)
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(FLOOR) + "\n")
    return write_run_page(run).as_uri()


def test_three_charts_say_which_values_are_better_and_show_the_floor(
    visit: Opener, page: str
) -> None:
    seen = visit(page).page
    titles = ["quality/fid_lite0", "quality/classes_covered", "loss"]
    assert seen.locator("#main-charts h3").all_inner_texts() == titles
    hints = seen.locator("#main-charts .hint").all_inner_texts()
    assert "lower is better" in hints[0]
    assert "real images against real ones, 7" in hints[0]
    assert "higher is better" in hints[1]
    assert "no best value" in hints[2].replace("neither loss has a", "no")
    # The floor is below all values of the run, which ends at 10, and yet in view.
    low, high = seen.evaluate(f"[{_scale(0, 'y')}.min, {_scale(0, 'y')}.max]")
    assert low < 7 < high
    # The others are folded, and drawn when they are opened.
    assert seen.locator("#folded canvas").count() == 0
    assert unfold(seen) > 3


def test_each_metric_has_one_chart_except_codes_and_repetitions() -> None:
    metrics = [
        "loss/discriminator", "loss/generator", "quality/fid_lite0", "interval/fid_lite0_low",
        "interval/fid_lite0_high", "quality/classes_covered", "quality/classes_accuracy",
        "health/diagnosis", "health/g_rate_share", "health/unheard_of", "speed/seconds_of_metrics",
        *(f"class/accuracy/{i}" for i in range(10)),
    ]  # fmt: skip
    found = choose_charts(metrics, Verdict("not measured"))
    shown = [name for chart in [*found.headline, *found.others] for name in chart.metrics]
    assert len(shown) == len(set(shown))
    assert set(metrics) - set(shown) == {"health/diagnosis", "health/g_rate_share"}
    assert [chart.title for chart in found.others if chart.section == "Classes"] == [
        "accuracy of each class (1 to 8)",
        "accuracy of each class (9 to 10)",
    ]


def test_the_metric_of_the_verdict_comes_first() -> None:
    metrics = ["loss/generator", "quality/fid_lite0", "quality/fid_classifier"]
    verdict = Verdict("far from the data", metric="quality/fid_classifier")
    assert choose_charts(metrics, verdict).headline[0].title == "quality/fid_classifier"
    assert choose_charts(["loss/generator"], Verdict("not measured")).headline[0].title == "loss"


def test_a_line_goes_on_to_neighbours_outside_the_zoom(visit: Opener, page: str) -> None:
    seen = visit(page).page
    # FID is measured at 100, 3,800, 7,500, …: none of it lies between 4,000 and 7,000.
    seen.evaluate("curves.zoom(4000, 7000)")
    wait_until(seen, f"{_scale(0, 'x')}.min === 4000")
    values = {
        images: 90 * math.exp(-3 * i / 300) + 10
        for i, images in ((37, 3800), (74, 7500))
    }  # fmt: skip
    step = (values[7500] - values[3800]) / (7500 - 3800)
    for fraction in (0.25, 0.75):
        expected = values[3800] + (4000 + 3000 * fraction - 3800) * step
        assert _is_drawn(seen, 0, 4000 + 3000 * fraction, expected)
        assert not _is_drawn(seen, 0, 4000 + 3000 * fraction, expected + 12)
    low, high = seen.evaluate(f"[{_scale(0, 'y')}.min, {_scale(0, 'y')}.max]")
    assert low < values[7500] < values[3800] < high


def test_a_sparse_metric_beside_a_dense_one_is_drawn_to_its_neighbours(
    visit: Opener, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "lazy", grids=0)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    for i, line in enumerate(lines):
        line |= {"loss/r1": 1.0} | ({"loss/r2": 5.0} if i % 100 == 0 else {})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = visit(write_run_page(run).as_uri()).page
    unfold(seen)
    index = [*metrics_by_chart(seen).values()].index(["loss/r1", "loss/r2"])
    seen.evaluate("curves.zoom(2000, 8000)")
    wait_until(seen, f"{_scale(index, 'x')}.min === 2000")
    assert _is_drawn(seen, index, 5000, 5.0)
    assert seen.evaluate(f"{_scale(index, 'y')}.max") > 5


def _scale(chart: int, axis: str) -> str:
    return f"curves.charts[{chart}].chart.scales.{axis}"


def _is_drawn(page: Any, chart: int, x: float, y: float) -> bool:
    """Return whether a chart has the colour of one of its lines at a point."""
    return bool(
        page.evaluate(
            """([i, x, y]) => {
              const { chart } = curves.charts[i], { ctx } = chart;
              const [px, py] = [chart.valToPos(x, "x", true), chart.valToPos(y, "y", true)];
              const near = ctx.getImageData(Math.round(px) - 2, Math.round(py) - 2, 5, 5).data;
              // Lines are anti-aliased.
              const off = (k, colour) => [1, 3, 5]
                .map((at, c) => Math.abs(near[k + c] - parseInt(colour.slice(at, at + 2), 16)))
                .reduce((sum, each) => sum + each, 0);
              const lines = chart.series.slice(1).map((s) => s.stroke(chart));
              const near25 = [...Array(25).keys()];
              return near25.some((k) => lines.some((line) => off(4 * k, line) < 120));
            }""",
            [chart, x, y],
        )
    )


def test_axes_may_be_logarithmic_and_in_time(visit: Opener, page: str) -> None:
    seen = visit(page)
    chart = seen.page
    chart.select_option("#y-axis", "log")
    assert chart.evaluate(f"{_scale(0, 'y')}.distr") == 3
    chart.select_option("#x-axis", "images log")
    assert chart.evaluate(f"{_scale(0, 'x')}.distr") == 3
    chart.select_option("#x-axis", "time")
    run = Path(page.removeprefix("file://")).parent
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    seconds = sum(100 / line["speed/images_per_second"] for line in lines)
    assert chart.evaluate(f"{_scale(0, 'x')}.max") == pytest.approx(seconds, abs=0.1)
    # All positions stay in images seen: the zoom, its centre, and the sample on display.
    chart.locator(".chart").first.focus()
    chart.keyboard.press("+")
    low, high = map(int, chart.evaluate("document.body.dataset.range").split(" "))
    assert (low, high) == pytest.approx((7575, 22525), abs=2)
    until = sum(100 / line["speed/images_per_second"] for line in lines[:75])
    assert chart.evaluate(f"{_scale(0, 'x')}.min") == pytest.approx(until, rel=0.02)
    assert seen.errors == []


def test_without_logged_speeds_there_is_no_axis_in_time(visit: Opener, tmp_path: Path) -> None:
    run = write_run(tmp_path / "slow", points=20, grids=0)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    del lines[3]["speed/images_per_second"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = visit(write_run_page(run).as_uri()).page
    assert seen.locator("#x-axis option").count() == 2


def test_the_diagnosis_is_a_named_band_that_zooms(visit: Opener, page: str) -> None:
    seen = visit(page).page
    assert seen.locator("#band span").all_inner_texts() == ["too early to say", "mode collapse"]
    assert "mode collapse: 10–30 kimg" in seen.inner_text("#band-legend")
    first = "document.querySelector('#band span').style.width"
    assert float(seen.evaluate(first).removesuffix("%")) == pytest.approx(33.1, abs=0.2)
    seen.evaluate("curves.zoom(12000, 30000)")
    assert seen.evaluate(first) == "0%"
    colours = seen.evaluate("[...curves.colours.values()]")
    assert len(set(colours)) == 2


def test_the_bands_follow_what_a_run_repeated() -> None:
    def diagnosis(images: int, name: str) -> dict[str, object]:
        return {"event": "diagnosis", "images_seen": images, "diagnosis": name}

    events = [
        diagnosis(100, "no fault seen"),
        diagnosis(300, "mode collapse"),
        diagnosis(400, "diverging"),
        {"event": "resumes", "images_seen": 200},
        diagnosis(350, "stalled"),
        diagnosis(500, "no fault seen"),
        {"event": "rolled_back", "images_seen": 600, "to": 400},
    ]
    assert diagnosis_bands(events, [100, 200, 700]) == [
        Band(0, 100, "too early to say", "soft"),
        Band(100, 350, "no fault seen", "good"),
        Band(350, 700, "stalled", "bad"),
    ]
    assert diagnosis_bands([], [100]) == []
    assert diagnosis_bands(events, []) == []


def test_a_critic_has_no_accuracy_anywhere_on_its_page(visit: Opener, tmp_path: Path) -> None:
    run = write_run(tmp_path / "critic", points=40, grids=0, objective={"kind": "wgan-gp"})
    lines = [
        json.loads(line) | {"loss/wasserstein": 2.0} for line in (run / "metrics.jsonl").open()
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = visit(write_run_page(run).as_uri()).page
    assert "score gap" in seen.locator("#main-charts h3").nth(2).inner_text()
    unfold(seen)
    assert "accuracy of D" not in metrics_by_chart(seen)
    assert "d_accuracy" not in seen.inner_text("#table")


def test_the_page_fits_a_telephone(visit: Opener, page: str) -> None:
    seen = visit(page, width=390)
    unfold(seen.page)
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
    small = seen.page.evaluate(
        "[...document.querySelectorAll('button, select, summary, nav a')]"
        ".filter((it) => it.getBoundingClientRect().height < 36).length"
    )
    assert small == 0
