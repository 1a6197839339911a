"""A real browser, and artificial run directories."""

import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.system import require

_ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    require("a real browser", None if path else "no chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield launched
        launched.close()


@dataclass
class Visit:
    """An open page, with the errors on its console and the URLs that it requested."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def external_requests(self) -> list[str]:
        """URLs of requests beyond the page itself."""
        own = ("data:", "blob:", self.page.url.split("#")[0])
        return [url for url in self.requests if not url.startswith(own)]

    def accessibility_problems(self) -> list[str]:
        """Serious and critical findings of axe."""
        module = pytest.importorskip("axe_playwright_python")
        script = Path(module.__file__).parent / "axe.min.js"
        self.page.evaluate(script.read_text(encoding="utf-8"))
        violations = self.page.evaluate("async () => (await axe.run()).violations")
        return [
            f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:200]}"
            for v in violations
            if v["impact"] in ("serious", "critical")
        ]


def wait_until(page: Any, expression: str) -> None:
    """Wait until an expression is true. The page's policy blocks Playwright's wait_for_function."""
    deadline = time.monotonic() + 120
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"still false: {expression}"
        page.wait_for_timeout(20)


def unfold(page: Any) -> int:
    """Open all folded charts of the page of a run; return how many charts it has drawn."""
    page.evaluate("document.querySelectorAll('#folded details').forEach(it => { it.open = true })")
    wait_until(page, "[...document.querySelectorAll('#folded .charts')].every(it => it.firstChild)")
    return int(page.evaluate("document.querySelectorAll('.chart canvas').length"))


def metrics_by_chart(page: Any) -> dict[str, list[str]]:
    """Return the metrics of each chart that is drawn, by its title."""
    title = "box.querySelector('h3').textContent"
    return dict(page.evaluate(f"curves.charts.map(({{box, names}}) => [{title}, names])"))


class Opener:
    """Opens each page in its own browser context."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._contexts: list[Any] = []

    def __call__(self, url: str, *, scheme: str = "light", width: int = 1400) -> Visit:
        context = self._browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}
        )
        self._contexts.append(context)
        page = context.new_page()
        visited = Visit(page)
        page.on("console", lambda m: visited.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: visited.errors.append(str(error)))
        page.on("request", lambda request: visited.requests.append(request.url))
        page.goto(url)
        page.wait_for_selector("body[data-ready]", timeout=120_000)
        return visited

    def close(self, name: str) -> None:
        """Close all pages; with GANTRAIN_SCREENSHOTS=FOLDER, save a screenshot of each first."""
        folder = os.environ.get("GANTRAIN_SCREENSHOTS")
        for i, context in enumerate(self._contexts):
            if folder:
                safe = re.sub(r"\W+", "-", name)
                context.pages[0].screenshot(path=Path(folder) / f"{safe}-{i}.png", full_page=True)
            context.close()


@pytest.fixture
def visit(browser: Any, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Open a page: `visit(url)`."""
    opener = Opener(browser)
    yield opener
    opener.close(request.node.name)


def write_run(
    folder: Path, points: int = 300, grids: int = 6, tile: int = 32, **config: Any
) -> Path:
    """Write a run directory with curves, events and sample grids that improve."""
    (folder / "samples").mkdir(parents=True)
    tree = {
        "seed": 0,
        "data": {"shards": "data/bricks", "size": 64, "channels": 1},
        "generator": {"width": 32, "learning_rate": 2e-4},
        "objective": {"kind": "dcgan", "label_smoothing": 0.1},
        "training": {"total_kimg": points / 10, "batch_size": 64},
        "output": {"run_dir": str(folder)},
        **config,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    random = np.random.default_rng(0)
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for i in range(points):
            noise = random.normal(0, 0.05, 8)
            line = {
                "images_seen": 100 * (i + 1),
                "loss/discriminator": 0.69 - 0.2 * i / points + noise[0],
                "loss/generator": 0.8 + i / points + noise[1],
                "health/d_accuracy_real": min(1, 0.5 + 0.3 * i / points + noise[2]),
                "health/d_accuracy_fake": min(1, 0.5 + 0.4 * i / points + noise[3]),
                "health/d_grad_norm": math.exp(noise[4] + i / points),
                "health/g_grad_norm": math.exp(noise[5]),
                "health/d_logit_margin": 2 * i / points + noise[6],
                "speed/images_per_second": 200 + 30 * noise[7],
            }
            if i % max(points // 8, 1) == 0:
                line["quality/fid_lite0"] = 90 * math.exp(-3 * i / points) + 10
                line["interval/fid_lite0_low"] = line["quality/fid_lite0"] - 3
                line["interval/fid_lite0_high"] = line["quality/fid_lite0"] + 3
                line["quality/classes_covered"] = 1 - math.exp(-4 * i / points)
                line["quality/classes_accuracy"] = 0.93
            file.write(json.dumps(line) + "\n")
    last = 100 * points
    events = [
        {"images_seen": 0, "event": "starts"},
        {"images_seen": last // 3, "event": "diagnosis", "diagnosis": "mode collapse",
         "reason": "mode collapse </script><img src=x onerror=alert(1)>"},
        {"images_seen": last // 2, "event": "rolled_back", "reason": "not finite"},
        {"images_seen": last, "event": "checkpoint"},
    ]  # fmt: skip
    lines = [json.dumps({"time": 1.7e9 + i, **event}) for i, event in enumerate(events)]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    state = {"state": "running", "images_seen": last, "total_images": last, "time": 1.7e9}
    (folder / "status.json").write_text(json.dumps(state), encoding="utf-8")
    for i in range(grids):
        draw_grid(folder, last * i // max(grids - 1, 1), i / max(grids - 1, 1), tile)
    draw_grid(folder, None, 1.0, tile)
    return folder


def draw_grid(folder: Path, images: int | None, sharpness: float, tile: int) -> None:
    """Write a 4x4 grid of noisy discs as `fake-IMAGES.png`, or as `real.png` without `images`."""
    random = np.random.default_rng(images or 0)
    y, x = np.mgrid[-1 : 1 : tile * 1j, -1 : 1 : tile * 1j]
    shape = 230 - 150 * (np.hypot(x, y) < 0.6)
    noise = random.normal(0, 60 * (1 - sharpness) + 2, (4 * tile, 4 * tile))
    image = np.clip(np.tile(shape, (4, 4)) + noise, 0, 255).astype(np.uint8)
    name = "real.png" if images is None else f"fake-{images:09d}.png"
    Image.fromarray(image).save(folder / "samples" / name)
