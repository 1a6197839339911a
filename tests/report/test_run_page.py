"""The page of a run in a browser."""

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.common.errors import UserError
from gantrain.inference.export import open_generator
from gantrain.report.run_page import write_run_page
from tests.report.conftest import Opener, metrics_by_chart, unfold, wait_until, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "bricks")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_run_page(run).as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_without_requests(visit: Opener, page: str, scheme: str) -> None:
    seen = visit(page, scheme=scheme)
    assert seen.external_requests() == []
    assert seen.errors == []
    assert seen.page.inner_text("#name") == "bricks"
    facts = seen.page.inner_text("#facts")
    assert "30 kimg of 30 kimg" in facts
    headline = seen.page.inner_text("#headline")
    assert re.search(r"quality: (far from|near) the data, .*FID .*floor unknown", headline)
    assert seen.page.locator("#main-charts canvas").count() == 3
    assert unfold(seen.page) >= 7
    assert seen.accessibility_problems() == []


def test_intervals_and_the_classifiers_accuracy_share_the_charts(visit: Opener, page: str) -> None:
    seen = visit(page).page
    unfold(seen)
    names = metrics_by_chart(seen)
    assert names["quality/fid_lite0"] == [
        "quality/fid_lite0", "interval/fid_lite0_low", "interval/fid_lite0_high",
    ]  # fmt: skip
    assert names["quality/classes_covered"] == [
        "quality/classes_covered",
        "quality/classes_accuracy",
    ]
    assert not [title for title in names if title.startswith("interval/")]


def test_the_slider_selects_the_samples(visit: Opener, page: str) -> None:
    seen = visit(page).page
    assert seen.inner_text("#seen") == "30 kimg"
    before = seen.get_attribute("#fake", "src")
    seen.focus("#when")
    seen.keyboard.press("Home")
    assert seen.inner_text("#seen") == "0 kimg"
    assert seen.get_attribute("#fake", "src") != before
    seen.keyboard.press("ArrowRight")
    assert seen.inner_text("#seen") == "6 kimg"
    assert seen.evaluate("document.getElementById('fake').naturalWidth") == 128
    seen.click("#play")
    wait_until(seen, "document.getElementById('seen').textContent === '30 kimg'")


def test_curves_zoom_together_by_mouse_and_keyboard(visit: Opener, page: str) -> None:
    seen = visit(page).page
    chart = seen.locator(".chart").nth(0)
    chart.scroll_into_view_if_needed()
    box = chart.locator(".u-over").bounding_box()
    assert box is not None
    seen.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 50)
    seen.mouse.down()
    seen.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50, steps=5)
    seen.mouse.up()
    low, high = _range(seen)
    assert 6_000 < low < 9_000
    assert 13_000 < high < 17_000
    ends = "[chart.scales.x.min, chart.scales.x.max].map(Math.round).join(' ')"
    assert set(seen.evaluate(f"curves.charts.map(({{chart}}) => {ends})")) == {f"{low} {high}"}
    chart.focus()
    seen.keyboard.press("0")
    assert _range(seen) == (100, 30_000)
    seen.keyboard.press("+")
    assert _range(seen)[0] > 5_000
    seen.click("#whole")
    assert _range(seen) == (100, 30_000)


def _range(page: Any) -> tuple[int, int]:
    low, high = page.evaluate("document.body.dataset.range").split(" ")
    return int(low), int(high)


def test_smoothing_can_be_undone(visit: Opener, page: str) -> None:
    seen = visit(page).page
    roughness = (
        "curves.charts[2].chart.data[1]"  # the losses, which are noisy
        ".reduce((sum, v, i, all) => sum + (i ? Math.abs(v - all[i - 1]) : 0), 0)"
    )
    before = seen.evaluate(roughness)
    seen.focus("#smooth")
    seen.keyboard.press("End")
    wait_until(seen, f"{roughness} < {before / 5}")
    seen.keyboard.press("Home")
    wait_until(seen, f"Math.abs({roughness} - {before}) < 1e-9")


def test_the_config_shows_changed_keys_and_filters(visit: Opener, page: str) -> None:
    seen = visit(page).page
    rows = seen.locator("#config-table tbody tr")
    assert sorted(rows.locator("td:first-child").all_inner_texts()) == [
        "generator.width", "objective.label_smoothing", "training.batch_size",
    ]  # fmt: skip
    seen.check("#all")
    assert rows.count() > 8
    seen.fill("#find", "learning")
    assert rows.locator("td:first-child").all_inner_texts() == ["generator.learning_rate"]


def test_schedules_have_charts_and_one_row_in_the_config(visit: Opener, tmp_path: Path) -> None:
    rate = {"from": 2e-4, "to": 0.0, "kind": "cosine", "end_kimg": None, "warmup_kimg": 1.0}
    betas = [0.5, {"from": 0.9, "to": 0.99}]
    network = {"width": 64, "learning_rate": rate, "betas": betas}
    folder = write_run(tmp_path / "scheduled", points=20, grids=1, generator=network)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    for i, line in enumerate(lines):
        line |= {"schedule/g_learning_rate": 1e-5 * i, "schedule/g_beta2": 0.9}
        line |= {"schedule/penalty_weight": float(i), "health/g_rate_share": 0.05 * i}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = visit(write_run_page(folder).as_uri())
    assert seen.errors == []
    unfold(seen.page)
    charts = metrics_by_chart(seen.page)
    assert charts["schedules of the learning rates"] == ["schedule/g_learning_rate"]
    assert charts["schedules of Adam's β₂"] == ["schedule/g_beta2"]
    assert charts["schedule/penalty_weight"] == ["schedule/penalty_weight"]
    assert not [title for title in charts if "rate_share" in title]
    rows = dict(
        zip(
            *(
                seen.page.locator(f"#config-table tbody td:nth-child({column})").all_inner_texts()
                for column in (1, 2)
            ),
            strict=True,
        )
    )
    assert rows["generator.learning_rate"] == "0.0002→0 cosine warm-up 1 kimg"
    assert rows["generator.betas"] == "[0.5, 0.9→0.99 linear]"


def test_events_are_listed_and_filtered(visit: Opener, page: str) -> None:
    seen = visit(page)
    rows = seen.page.locator("#event-table tbody tr")
    assert rows.count() == 3
    # Details are never parsed as HTML.
    assert "</script><img src=x" in rows.nth(1).inner_text()
    assert seen.page.locator("img[src=x]").count() == 0
    seen.page.select_option("#kind", "rolled_back")
    assert rows.count() == 1
    assert "not finite" in rows.inner_text()
    assert seen.page.evaluate("curves.marks.length") == 1


def test_every_control_is_accessible_by_keyboard(visit: Opener, page: str) -> None:
    seen = visit(page).page
    focused = set()
    for _ in range(60):
        seen.keyboard.press("Tab")
        focused.add(seen.evaluate("document.activeElement.id"))
    controls = {
        "play",
        "when",
        "smooth",
        "x-axis",
        "y-axis",
        "marks",
        "whole",
        "kind",
        "find",
        "all",
        "copy",
    }
    assert controls <= focused


@pytest.mark.alone
def test_a_page_with_ten_thousand_points_is_small_and_fast(visit: Opener, tmp_path: Path) -> None:
    path = write_run_page(write_run(tmp_path / "long", points=10_000, grids=30, tile=128))
    assert path.stat().st_size < 5_000_000
    seen = visit(path.as_uri())
    assert seen.page.evaluate("curves.images.length") == 10_000
    assert int(seen.page.evaluate("document.body.dataset.ready")) < 2000


def test_points_of_longer_runs_are_averaged(tmp_path: Path) -> None:
    run = write_run(tmp_path / "huge", points=25_000, grids=0)
    assert write_run_page(run).stat().st_size < 5_000_000


@pytest.mark.parametrize("missing", ["config.yaml", "metrics.jsonl", "status.json", "samples"])
def test_an_incomplete_run_has_a_page(
    visit: Opener, tmp_path: Path, run: Path, missing: str
) -> None:
    folder = shutil.copytree(run, tmp_path / "incomplete")
    path = folder / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"cut": ')
    seen = visit(write_run_page(folder).as_uri())
    assert seen.errors == []
    assert "events.jsonl: 1 line" in seen.page.inner_text("#notes")
    if path.suffix:
        assert missing in seen.page.inner_text("#notes")


def test_broken_files_are_noted(visit: Opener, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "broken", grids=2)
    (folder / "config.yaml").write_text("{: [")
    (folder / "status.json").write_text("[]")
    (folder / "samples" / "fake-000000000.png").write_bytes(b"not an image")
    (folder / "metrics.jsonl").write_text('{"images_seen": 1, "loss/generator": NaN}\n7\n')
    seen = visit(write_run_page(folder).as_uri())
    assert seen.errors == []
    notes = seen.page.inner_text("#notes")
    assert "config.yaml is not valid YAML" in notes
    assert "status.json cannot be read" in notes
    assert "metrics.jsonl: 1 line" in notes


def test_events_of_version_0_1_are_shown_under_their_new_names(
    visit: Opener, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "old", grids=0)
    events = [
        {"images_seen": 1000, "event": "goes_on", "notices": []},
        {"images_seen": 2000, "event": "resumes", "notices": []},
        {"images_seen": 3000, "event": "remedy", "knob": "g_rate", "after": 2.0},
        {"images_seen": 4000, "event": "remedy", "setting": "d_rate", "after": 0.5},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    seen = visit(write_run_page(folder).as_uri()).page
    rows = seen.locator("#event-table tbody tr").all_inner_texts()
    assert ["resumes" in row for row in rows] == [True, True, False, False]
    assert "setting: g_rate" in rows[2]
    assert "setting: d_rate" in rows[3]
    assert seen.evaluate("curves.marks.map((mark) => mark.tone).join()") == "link,link,good,good"


def test_a_folder_that_is_not_a_run_is_rejected(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"not a run directory; expected .*config\.yaml"):
            write_run_page(folder)


def test_the_command_prints_the_path_of_the_page(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(run), "--out", str(tmp_path / "p.html")])
    assert result.exit_code == 0
    assert str(tmp_path / "p.html") in result.output
    text = (tmp_path / "p.html").read_text()
    data = text.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["name"] == "bricks"


def test_the_rows_of_samples_have_the_names_of_their_classes(
    visit: Opener, conditional_run: Path, tmp_path: Path
) -> None:
    loaded = open_generator(conditional_run)
    seen = visit(write_run_page(conditional_run, tmp_path / "p.html", loaded).as_uri())
    assert seen.errors == []
    labels = seen.page.locator("#generated-rows li")
    assert labels.all_inner_texts() == [f"part{i}" for i in range(5)]
    # Two rows are spread over the five classes.
    for grid in ("#fake-rows li", "#real-rows li"):
        assert seen.page.locator(grid).all_inner_texts() == ["part0", "part2"]
    image = seen.page.locator("#generated").bounding_box()
    label = labels.nth(3).bounding_box()
    assert image is not None
    assert label is not None
    middle = label["y"] + label["height"] / 2 - image["y"]
    assert middle == pytest.approx(0.7 * image["height"], abs=0.02 * image["height"])
    assert seen.accessibility_problems() == []


def test_the_head_of_a_dead_run_says_so_and_how_to_start_it_again(
    visit: Opener, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "dead run", points=20, grids=1)
    started = time.time() - 20_000
    attempt = {"start": started, "ranks": 2, "ranks_here": 2, "device": "cpu", "precision": "bf16"}
    attempt |= {"hardware": {"host": "n7"}, "command": ["python", "a b.py", "<b>"]}
    (run / "run.json").write_text(json.dumps({"version": 1, "attempts": [attempt]}))
    os.utime(run / "status.json", (started + 7200, started + 7200))
    seen = visit(write_run_page(run).as_uri(), width=390, scheme="dark")
    assert seen.page.inner_text("#state") == "silent"
    head = seen.page.inner_text("#headline")
    assert head.startswith("silent for 3 h 33 min, probably dead: start it again with `gantrain ")
    assert "dead run/config.yaml' --ranks 2`" in head
    assert head.endswith("2 ranks on cpu, bf16 · 2 h on n7")
    assert "left" not in head
    assert "python 'a b.py' '<b>'" in seen.page.inner_text("#origin")
    assert seen.page.locator("#starts tbody tr").count() == 1
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
    assert seen.errors == []
    assert seen.accessibility_problems() == []
