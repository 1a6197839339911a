"""The page of a sweep in a browser."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gantrain.common.records import flatten
from gantrain.config import parse_config
from launch.__main__ import app
from launch.attempts import EARLY_STOP, write_marker
from launch.sweep_curves import curves_of
from launch.sweepdir import RUNS, write_settings
from tests.conftest import small_tree
from tests.report.conftest import Opener, wait_until, write_run


def write_sweep(folder: Path, runs: int, grids: int = 3) -> Path:
    """Write a sweep over learning rate, width and seed; run 2 is stopped, run 3 never ended."""
    folder.mkdir(parents=True)
    write_settings(folder, {"name": "rates", "metric": "quality/fid_lite0", "direction": "min"})
    lines = []
    for i in range(runs):
        rate = [1e-4, 2e-4, 4e-4, 1e-3, 2e-3][i % 5]
        width = [16, 32][i // 5 % 2]
        run = folder / "runs" / f"{i:012x}"
        write_run(run, points=60 if i != 2 else 20, grids=grids)
        tree = small_tree(
            Path("data/bricks"), run, generator={"width": width, "learning_rate": rate}
        )
        config = parse_config({**tree, "seed": i // 10}, "test")
        lines.append({"id": run.name, "flat": flatten(config.model_dump(mode="json"))})
        worse = 1 + abs(rate - 4e-4) * 500 + (width == 16) + i * 0.001
        text = (run / "metrics.jsonl").read_text().splitlines()
        scaled = [json.loads(line) for line in text]
        for line in scaled:
            if "quality/fid_lite0" in line:
                line["quality/fid_lite0"] *= worse
        (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, scaled)) + "\n")
        status = json.loads((run / "status.json").read_text())
        status["state"] = "finished" if i not in (2, 3) else "running"
        (run / "status.json").write_text(json.dumps(status))
    write_marker(folder / "runs" / f"{2:012x}", EARLY_STOP, reason="fid 80 is 9. of 10")
    (folder / RUNS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_page(folder: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["report", str(folder), *options])
    assert result.exit_code == 0, result.output
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(write_sweep(tmp_path_factory.mktemp("sweeps") / "rates", runs=20))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_without_requests(visit: Opener, page: str, scheme: str) -> None:
    seen = visit(page, scheme=scheme)
    assert seen.external_requests() == []
    assert seen.errors == []
    assert seen.page.locator("#lines path").count() == 20
    assert seen.accessibility_problems() == []


def test_the_best_run_and_the_main_effects_are_shown(visit: Opener, page: str) -> None:
    seen = visit(page).page
    first = seen.locator("#board-table tbody tr").first.locator("td").all_inner_texts()
    assert first[0] == "1"
    assert {"4e-4", "32"} <= set(first)
    heads = seen.locator("#board-table th").all_inner_texts()
    low, high = (float(end) for end in first[heads.index("95% interval")].split(" … "))
    assert low < float(first[1]) < high
    assert "the first" in seen.inner_text("#doubts")
    best = seen.locator("#wall-grid .card[data-run]").first
    assert best.get_attribute("data-run") == f"{7:012x}"
    assert seen.locator("#effect-list h3").count() == 2
    assert seen.locator("#effect-list .better").count() > 0


def test_the_quality_of_each_run_is_shown_and_found(visit: Opener, page: str) -> None:
    seen = visit(page).page
    heads = seen.locator("#board-table th").all_inner_texts()
    first = seen.locator("#board-table tbody tr").first.locator("td").all_inner_texts()
    assert first[heads.index("trend")] == "improving"
    level = first[heads.index("quality")]
    seen.locator("#wall").scroll_into_view_if_needed()
    card = seen.locator("#wall-grid .card .quality").first
    assert card.inner_text() == f"{level}, improving"
    assert "floor unknown" in str(card.get_attribute("title"))
    seen.fill("#find", f"{level}, improving")
    assert seen.inner_text("#shown") == "20 of 20 runs"
    seen.fill("#find", "no such level")
    assert seen.inner_text("#shown") == "0 of 20 runs"


def test_filters_apply_to_all_sections(visit: Opener, page: str) -> None:
    seen = visit(page).page
    seen.select_option("[data-key=width]", "32")
    assert seen.inner_text("#shown") == "10 of 20 runs"
    assert seen.locator(".card[data-run]:not([hidden])").count() == 10
    assert seen.locator("#lines path:not(.off)").count() == 10
    assert seen.locator("#board-table tbody tr:not([hidden])").count() == 5
    seen.fill("#find", "learning_rate=0.001")
    assert seen.inner_text("#shown") == "2 of 20 runs"
    seen.click("#clear")
    assert seen.inner_text("#shown") == "20 of 20 runs"


def test_dragging_along_an_axis_filters(visit: Opener, page: str) -> None:
    seen = visit(page).page
    axis = seen.locator("[data-axis='quality/fid_lite0']")
    axis.evaluate("it => it.scrollIntoView({block: 'center'})")
    box = axis.bounding_box()
    assert box is not None
    x = box["x"] + box["width"] / 2
    seen.mouse.move(x, box["y"] + box["height"] - 2)
    seen.mouse.down()
    seen.mouse.move(x, box["y"] + box["height"] * 0.7, steps=4)
    seen.mouse.up()
    kept = int(seen.inner_text("#shown").split(" ")[0])
    assert 0 < kept < 20
    shown = seen.locator(".card[data-run]:not([hidden])").first
    assert shown.get_attribute("data-run") == f"{7:012x}"


def test_the_curves_of_all_runs_share_a_chart(visit: Opener, page: str) -> None:
    seen = visit(page).page
    assert seen.evaluate("overlay.series.length") == 21
    assert "lower is better" in seen.inner_text("#curve-hint")
    # The best lie on top, in the colour at the best end of the legend.
    assert seen.evaluate("overlay.runs.at(-1).id") == f"{7:012x}"
    assert seen.evaluate("overlay.series.at(-1).stroke()") == seen.evaluate("colourAt(0)")
    run = Path(page.removeprefix("file://")).parent / "runs" / f"{7:012x}"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    measured = {x["images_seen"]: x["quality/fid_lite0"] for x in lines if "quality/fid_lite0" in x}
    images, values = seen.evaluate("[overlay.data[0], overlay.data.at(-1)]")
    shown = {seen: value for seen, value in zip(images, values, strict=True) if value is not None}
    assert shown == pytest.approx(measured, rel=1e-4)
    seen.select_option("[data-key=width]", "32")
    assert seen.evaluate("overlay.series.slice(1).filter((s) => s.show).length") == 10
    seen.select_option("#metric", "loss/generator")
    assert seen.evaluate("overlay.series.length") == 21
    seen.check("#curve-log")
    assert seen.evaluate("overlay.scales.y.distr") == 3


def test_a_curve_near_the_pointer_names_its_run(visit: Opener, page: str) -> None:
    seen = visit(page).page
    seen.locator("#overlay").scroll_into_view_if_needed()
    x, y = seen.evaluate(
        """(() => {
          const box = overlay.over.getBoundingClientRect(), last = overlay.data.at(-1);
          const i = last.findLastIndex((v) => v !== null);
          return [box.x + overlay.valToPos(overlay.data[0][i], "x") - 1,
            box.y + overlay.valToPos(last[i], "y")];
        })()"""
    )
    seen.mouse.move(x - 20, y)
    seen.mouse.move(x, y)
    wait_until(seen, "document.querySelector('#near a') !== null")
    assert "width=32" in seen.inner_text("#near")


def test_runs_link_to_their_pages(visit: Opener, page: str) -> None:
    seen = visit(page)
    link = seen.page.locator("#board-table tbody tr").first.locator("a").first
    assert link.get_attribute("href") == f"runs/{7:012x}/report.html"
    assert seen.page.locator("#wall-grid a").count() == 20
    link.click()
    seen.page.wait_for_selector("body[data-ready]")
    assert seen.page.inner_text("#name") == f"{7:012x}"


def test_links_follow_a_page_that_is_written_elsewhere(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "rates", runs=2, grids=1)
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "elsewhere" / "p.html"
    write_page(folder, "--no-run-pages", "--out", str(out))
    assert '"page":null' in out.read_text()
    write_page(folder, "--out", str(out))
    assert f'"page":"../rates/runs/{0:012x}/report.html"' in out.read_text()


def test_only_outdated_pages_of_runs_are_written_again(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "rates", runs=2, grids=1)
    write_page(folder)
    pages = [folder / "runs" / f"{i:012x}" / "report.html" for i in range(2)]
    for path in pages:
        path.write_text("kept")
        os.utime(path, (2e9, 2e9))
    os.utime(pages[1], (1, 1))
    write_page(folder)
    assert pages[0].read_text() == "kept"
    assert pages[1].read_text() != "kept"


def test_long_curves_are_averaged_over_common_spans() -> None:
    lines = {
        "a": [{"images_seen": 10 * i, "loss/generator": float(i)} for i in range(1, 1001)],
        "b": [{"images_seen": 16 * i, "loss/generator": 1.0} for i in range(1, 501)],
    }
    found = curves_of(lines, None, None)["loss/generator"]
    images, values = found["images"], found["values"]["a"]
    assert len(images) == 200
    # Each point is the mean of the lines since the point before it.
    for i in (0, 17, 199):
        inside = [x for x in lines["a"] if images[i] - 50 <= x["images_seen"] < images[i]]
        inside += [x for x in lines["a"][-1:] if i == 199]
        mean = sum(x["loss/generator"] for x in inside) / len(inside)
        assert values[i] == pytest.approx(mean, rel=1e-4)
    # The shorter run ends where it ended.
    assert found["values"]["b"][161:] == [None] * 39


def test_real_images_and_logarithmic_rates(visit: Opener, page: str) -> None:
    seen = visit(page).page
    assert seen.locator(".card.real img").count() == 1
    # 1e-4, 2e-4, 4e-4 are equally far apart; the title says why.
    at = "axes.find((axis) => axis.name.startsWith('learning_rate')).ticks.map(([, y]) => y)"
    first, second, third, *_ = seen.evaluate(at)
    assert third - second == pytest.approx(second - first)
    assert "learning_rate (log)" in seen.inner_text("#lines")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_differ_for_every_kind_of_colour_blindness(
    visit: Opener, page: str, scheme: str
) -> None:
    seen = visit(page, scheme=scheme).page
    ramp = seen.locator(".ramp")
    ramp.scroll_into_view_if_needed()
    session = seen.context.new_cdp_session(seen)
    for kind in ("none", "protanopia", "deuteranopia", "tritanopia", "achromatopsia"):
        session.send("Emulation.setEmulatedVisionDeficiency", {"type": kind})
        with Image.open(io.BytesIO(ramp.screenshot())) as image:
            row = [image.convert("RGB").getpixel((x, 5)) for x in (3, image.width - 4)]
        best, worst = (np.array(pixel, float) for pixel in row)
        assert np.abs(best - worst).sum() > 60, (kind, row)


def test_the_page_of_a_sweep_fits_a_telephone(visit: Opener, page: str) -> None:
    seen = visit(page, width=390).page
    assert seen.evaluate("document.documentElement.scrollWidth") == 390
    # Words keep their size, and the drawing scrolls where it is wider.
    height = "document.querySelector('#lines tspan').getBoundingClientRect().height"
    assert seen.evaluate(height) > 10
    assert seen.evaluate("getComputedStyle(document.querySelector('.filters')).position") == (
        "static"
    )


def test_samples_of_all_runs_are_shown_at_the_same_images_seen(visit: Opener, page: str) -> None:
    seen = visit(page).page
    seen.locator("#wall").scroll_into_view_if_needed()
    card = seen.locator(f"[data-run='{7:012x}']")
    last = card.locator("img").get_attribute("src")
    seen.focus("#when")
    seen.keyboard.press("Home")
    wait_until(seen, "document.getElementById('seen').textContent === '0 kimg'")
    assert card.locator("img").get_attribute("src") != last
    seen.keyboard.press("End")
    wait_until(seen, "document.getElementById('seen').textContent === '6 kimg'")
    # The stopped run has not seen that many images.
    assert "stopped" in seen.locator(f"[data-run='{2:012x}'] .gone").inner_text()


def test_stopped_runs_are_listed_with_their_reason(visit: Opener, page: str) -> None:
    seen = visit(page).page
    rows = seen.locator("#ended-table tbody tr").all_inner_texts()
    assert any("stopped" in row and "9. of 10" in row for row in rows)


@pytest.mark.alone
def test_two_hundred_runs_scroll_at_the_idle_frame_rate(visit: Opener, tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "many", runs=200, grids=2)
    seen = visit(write_page(folder, "--no-run-pages")).page
    assert seen.locator(".card[data-run]").count() == 200
    rounds = []
    for _ in range(4):  # other processes may occupy the cores for a while
        frames = seen.evaluate(_SCROLL)
        rounds.append((_median(frames["idle"]), _median(frames["scrolling"])))
        if rounds[-1][1] < 1.5 * rounds[-1][0]:
            return
    pytest.fail(f"milliseconds per frame, idle and scrolling: {rounds}")


def _median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


_SCROLL = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const measure = async (act) => {
    const times = []; let before = await frame();
    for (let i = 0; i < 60; i++) {
      act();
      const now = await frame();
      times.push(now - before);
      before = now;
    }
    return times;
  };
  document.getElementById("wall").scrollIntoView();
  await measure(() => {});
  const idle = await measure(() => {});
  const scrolling = await measure(() => scrollBy(0, 60));
  return { idle, scrolling };
}"""


def test_a_sweep_without_metrics_or_samples_has_a_page(visit: Opener, tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "young", runs=4, grids=0)
    for path in folder.glob("runs/*/metrics.jsonl"):
        path.unlink()
    seen = visit(write_page(folder))
    assert seen.errors == []
    assert seen.page.inner_text("#seen") == "no samples yet"


def test_a_folder_that_is_not_a_sweep_is_rejected(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert "no sweep was launched here" in result.output
