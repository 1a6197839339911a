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
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.common.grids import to_uint8
from gantrain.inference.directions import Direction, Kind
from gantrain.inference.sampling import generate_images, sample_latents
from gantrain.models.networks import Generator
from gantrain.report.playground import PlayServer, export_playground, find_runtime, page_data
from gantrain.report.sliders import name_classes, sliders_of
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


@pytest.mark.parametrize("width", [1440, 390])
def test_the_image_stays_in_view_and_may_be_random_and_saved(
    visit: Opener, server: PlayServer, width: int
) -> None:
    seen = visit(server.url, width=width).page
    assert seen.evaluate("document.documentElement.scrollWidth") == width
    seen.locator("#truncation").scroll_into_view_if_needed()
    seen.evaluate("scrollTo(0, document.body.scrollHeight)")
    box = seen.locator("#image").bounding_box()
    assert box is not None
    assert box["y"] >= 0
    assert box["y"] + box["height"] < 900
    before = seen.evaluate(SUM)
    seen.click("#random")
    wait_until(seen, f"{SUM} !== {before}")
    assert seen.locator("#gallery [aria-pressed=true]").count() == 0
    with seen.expect_download() as download:
        seen.click("#save")
    assert download.value.suggested_filename == "bricks.png"
    with Image.open(download.value.path()) as saved:
        assert saved.size == (32, 32)
        assert list(saved.convert("L").tobytes()) == seen.evaluate(PIXELS)


def _direction(name: str, score: float = 0.9, kind: Kind = "is") -> Direction:
    return Direction(name, torch.eye(8)[0], kind, score)


def test_the_two_values_of_an_attribute_share_a_slider() -> None:
    left, right = _direction("camera=L", 0.8), _direction("camera=R", 0.8)
    (slider,) = sliders_of([left, right], {})
    assert (slider.name, slider.low, slider.high) == ("camera", "L", "R")
    assert slider.vector is right.vector
    # Where only one of them is known well enough, it is the slider.
    (slider,) = sliders_of([left, _direction("camera=R", 0.5)], {})
    assert (slider.low, slider.high, slider.vector is left.vector) == ("R", "L", True)
    three = [_direction(f"camera={name}") for name in "LMR"]
    assert [slider.name for slider in sliders_of(three, {})] == [f"camera: {x}" for x in "LMR"]


def test_parts_have_names_and_angles_have_ends() -> None:
    names = {"3001": "Brick 2 x 4", "3003": "Brick 2 x 2"}
    found = sliders_of(
        [
            *(_direction(f"part={number}") for number in ("3001", "3003", "9")),
            *(_direction("yaw.cos", kind="cos"), _direction("yaw.sin", kind="sin")),
            _direction("tilt", kind="more"),
        ],
        names,
    )
    assert [(x.name, x.low, x.high) for x in found] == [
        ("part: Brick 2 x 4", "less", "more"),
        ("part: Brick 2 x 2", "less", "more"),
        ("part: 9", "less", "more"),
        ("yaw", "180°", "0°"),
        ("yaw", "270°", "90°"),
        ("tilt", "less", "more"),
    ]
    assert name_classes(["3001", "3003"], names) == ["Brick 2 x 4 (3001)", "Brick 2 x 2 (3003)"]
    assert name_classes(["3001", "shirt"], names) == ["3001", "shirt"]


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


def test_the_server_closes_after_the_images_that_are_being_generated(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()

    def generate(*given: Any) -> torch.Tensor:
        begun.set()
        assert release.wait(60)
        return generate_images(*given)

    received: list[bytes] = []
    server = PlayServer(generator, page_data("bricks", generator, DIRECTIONS, 0), 0)
    monkeypatch.setattr("gantrain.report.playground.generate_images", generate)
    body = b"\0" * 4 * generator.latent_size
    request = threading.Thread(target=lambda: received.append(server.generate(body)))
    request.start()
    assert begun.wait(60)
    closing = threading.Thread(target=server.server_close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    release.set()
    closing.join(60)
    request.join(60)
    assert len(received[0]) == 32 * 32


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
