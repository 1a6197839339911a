"""The latent playground in a browser, with images from the server or from the page itself."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from gantrain.common.errors import UserError
from gantrain.common.grids import to_uint8
from gantrain.inference.directions import Direction
from gantrain.inference.sampling import generate_images, sample_latents
from gantrain.models.networks import Generator
from gantrain.report.playground import PlayServer, export_playground, find_runtime, page_data
from tests.inference.conditional import COUNTS, conditional_generator
from tests.report.conftest import Opener, Visit, wait_until

SUM = (
    "document.getElementById('image').getContext('2d').getImageData(0, 0, 32, 32)"
    ".data.reduce((a, b) => a + b, 0)"
)

PIXELS = (
    "[...document.getElementById('image').getContext('2d').getImageData(0, 0, 32, 32).data]"
    ".filter((_, i) => i % 4 === 0)"
)


DIRECTIONS = [
    Direction("part=3001", torch.eye(8)[0], "is", 0.9),
    Direction("tilt", torch.eye(8)[1], "more", 0.01),
]


@contextmanager
def _serving(generator: Generator, start_class: int = 0) -> Iterator[PlayServer]:
    data = page_data("bricks", generator, DIRECTIONS, 0, start_class=start_class)
    with PlayServer(generator, data, 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def server(generator: Generator) -> Iterator[PlayServer]:
    with _serving(generator) as running:
        yield running


def _use_controls(seen: Visit) -> None:
    page = seen.page
    assert page.get_attribute("body", "data-ready") != "failed", page.inner_text("#how")
    assert page.locator("#gallery canvas").count() == 24
    # The weak direction has no slider.
    assert page.locator("#directions input").count() == 1
    for control in ("#d0", "#mix", "#truncation"):
        before = page.evaluate(SUM)
        page.focus(control)
        page.keyboard.press("End")
        wait_until(page, f"{SUM} !== {before}")
    start = page.evaluate(SUM)
    page.click("#reset")
    wait_until(page, f"{SUM} !== {start}")
    assert page.inner_text("output[for=d0]") == "0"
    before = page.evaluate(SUM)
    page.click("[aria-label='sample 5']")
    wait_until(page, f"{SUM} !== {before}")
    assert seen.errors == []


def test_sliders_change_the_image_through_the_server(visit: Opener, server: PlayServer) -> None:
    seen = visit(server.url)
    _use_controls(seen)
    assert all(
        url.startswith(server.url) for url in seen.external_requests() if "favicon" not in url
    )
    assert seen.accessibility_problems() == []


def test_sliders_change_the_image_without_a_server(
    visit: Opener, generator: Generator, tmp_path: Path
) -> None:
    try:
        find_runtime()
    except UserError as missing:
        pytest.skip(str(missing))
    data = page_data("bricks", generator, DIRECTIONS, 0)
    seen = visit(export_playground(generator, data, tmp_path).as_uri())
    _use_controls(seen)
    assert seen.external_requests() == []


def test_a_missing_runtime_is_reported_with_the_command_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: Generator
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="npm install onnxruntime-web"):
        export_playground(generator, {"name": "x"}, tmp_path)


@pytest.mark.parametrize(
    ("body", "origin", "status"),
    [
        (b"123", "", 400),
        (b"", "", 400),
        (bytes(4 * 8 * 65), "", 400),
        (bytes(32), "http://x.y", 403),
    ],
)
def test_the_server_rejects_invalid_and_foreign_requests(
    server: PlayServer, body: bytes, origin: str, status: int
) -> None:
    headers = {"Origin": origin} if origin else {}
    request = urllib.request.Request(server.url + "images", data=body, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as rejected:
        urllib.request.urlopen(request)
    assert rejected.value.code == status


def test_the_menu_of_classes_changes_the_images(visit: Opener) -> None:
    with _serving(conditional_generator(), start_class=1) as server:
        seen = visit(server.url)
        _use_class_menu(seen)
        assert seen.accessibility_problems() == []


def test_the_menu_of_classes_works_without_a_server(visit: Opener, tmp_path: Path) -> None:
    try:
        find_runtime()
    except UserError as missing:
        pytest.skip(str(missing))
    generator = conditional_generator()
    data = page_data("bricks", generator, [], 0, start_class=1)
    seen = visit(export_playground(generator, data, tmp_path).as_uri())
    _use_class_menu(seen)
    assert seen.external_requests() == []


def _use_class_menu(seen: Visit) -> None:
    page = seen.page
    assert page.get_attribute("body", "data-ready") != "failed", page.inner_text("#how")
    assert page.inner_text("#class").split("\n") == list(COUNTS)
    assert page.input_value("#class") == "1"
    _expect_shown(page, [0.0, 1.0, 0.0, 0.0])
    page.select_option("#class", "part3")
    _expect_shown(page, [0.0, 0.0, 0.0, 1.0])
    page.select_option("#to-class", "part0")
    page.focus("#class-mix")
    page.keyboard.press("End")
    _expect_shown(page, [1.0, 0.0, 0.0, 0.0])
    page.click("#reset")
    _expect_shown(page, [0.0, 0.0, 0.0, 1.0])
    assert seen.errors == []


def _expect_shown(page: Any, weights: list[float]) -> None:
    """Wait until the page shows sample 0 with these weights of classes, as PyTorch makes it."""
    generator = conditional_generator()
    latents = sample_latents(generator, 1, 0)
    expected = to_uint8(generate_images(generator, latents, torch.tensor([weights]))).flatten()
    # The page has rounded latents.
    close = f"((e) => {PIXELS}.every((v, i) => Math.abs(v - e[i]) <= 2))({expected.tolist()})"
    wait_until(page, close)
