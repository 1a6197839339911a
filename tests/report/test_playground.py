"""The latent playground in a browser, with images from the server or from the page itself."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gantrain.common.errors import UserError
from gantrain.inference.directions import Direction
from gantrain.models.networks import Generator
from gantrain.report.playground import PlayServer, export_playground, find_runtime, page_data
from tests.report.conftest import Opener, Visit, wait_until

SUM = (
    "document.getElementById('image').getContext('2d').getImageData(0, 0, 32, 32)"
    ".data.reduce((a, b) => a + b, 0)"
)


DIRECTIONS = [
    Direction("part=3001", torch.eye(8)[0], "is", 0.9),
    Direction("tilt", torch.eye(8)[1], "more", 0.01),
]


@pytest.fixture
def server(generator: Generator) -> Iterator[PlayServer]:
    with PlayServer(generator, page_data("bricks", generator, DIRECTIONS, 0), 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


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
