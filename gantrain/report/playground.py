"""The latent playground: a page with sliders, served on loopback or saved as one file."""

import base64
import gzip
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantrain.common.errors import UserError
from gantrain.common.files import write_text
from gantrain.common.grids import to_uint8
from gantrain.inference.directions import Direction
from gantrain.inference.onnx import ONNX, export_onnx
from gantrain.inference.sampling import generate_images, sample_latents
from gantrain.models.networks import Generator
from gantrain.report.page import build_page
from gantrain.report.sliders import name_classes, sliders_of

_SAMPLES = 24
_MAX_BATCH_SIZE = 64  # latents per request
# The smallest build in the npm package onnxruntime-web that runs on the CPU.
_RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")

# Allows WebAssembly, code and weights in blobs, and requests to the local server.
_POLICY = " 'wasm-unsafe-eval' blob:; connect-src 'self' data: blob:; worker-src blob:"


def page_data(
    name: str,
    generator: Generator,
    directions: Sequence[Direction],
    seed: int,
    *,
    start_class: int = 0,
    part_names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the page's data as plain values; assets/play.js reads these keys.

    directions: weak ones get no slider, and the two values of an attribute share one.
    start_class: with conditioning, index of the class that the page starts with.
    part_names: the names of LEGO parts by number.
    """
    part_names = part_names or {}
    conditioning = generator.conditioning
    latents = sample_latents(generator, 1, seed)
    first = torch.tensor([start_class]) if conditioning.class_counts else None
    image = generate_images(generator, latents, first)
    return {
        "name": name,
        "channels": image.shape[1],
        "size": image.shape[2],
        "samples": _rounded(sample_latents(generator, _SAMPLES, seed)),
        "directions": [
            {**vars(slider), "vector": _rounded(slider.vector)}
            for slider in sliders_of(directions, part_names)
        ],
        "classes": name_classes(conditioning.class_names, part_names),
        "start_class": start_class,
    }


def export_playground(generator: Generator, data: dict[str, Any], folder: Path) -> Path:
    """Write `index.html` with the generator and ONNX Runtime Web inside it; return its path.

    The generator is also written next to it, as `generator.onnx`. Raises UserError if ONNX Runtime
    Web is not installed.
    """
    runtime = find_runtime()
    model = export_onnx(generator, folder / ONNX)
    code, wasm = (_compress((runtime / name).read_bytes()) for name in _RUNTIME)
    content = {**data, "model": _compress(model.read_bytes()), "runtime": code, "wasm": wasm}
    path = folder / "index.html"
    write_text(path, _page(content))
    return path


def _page(data: dict[str, Any]) -> str:
    return build_page(
        "play",
        f"{data['name']} · gantrain",
        data,
        ("page", "play"),
        styles=("play",),
        policy=_POLICY,
    )


def find_runtime() -> Path:
    """Return the folder of ONNX Runtime Web's files.

    It is searched for in `node_modules` of the working directory and its parents. Raises UserError
    if it is not installed.
    """
    current = Path.cwd()
    for folder in (current, *current.parents):
        dist = folder / "node_modules" / "onnxruntime-web" / "dist"
        if all((dist / name).is_file() for name in _RUNTIME):
            return dist
    raise UserError(
        f"{current / 'node_modules'}: onnxruntime-web, which runs the generator in the browser, is "
        "not installed; run `npm install onnxruntime-web` here, or use `gantrain play` without "
        "--export."
    )


class PlayServer(ThreadingHTTPServer):
    """Serves the page and its images, to this machine only."""

    daemon_threads = True

    def __init__(self, generator: Generator, data: dict[str, Any], port: int) -> None:
        self.page = _page(data).encode("utf-8")
        self._generator = generator
        self._generating = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def generate(self, body: bytes) -> bytes:
        """Return the images of a request; see `_generate`."""
        with self._generating:
            return _generate(self._generator, body)

    def server_close(self) -> None:
        """Stop serving, after the images that are being generated.

        The process aborts if it exits while a thread is inside torch, so none enters it again.
        """
        super().server_close()
        self._generating.acquire()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: PlayServer

    def do_GET(self) -> None:
        if self.path != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self._respond(self.server.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        # Pages of other origins can send requests to this port too; browsers add their origin.
        if self.headers.get("Origin", "") not in ("", self.server.url.rstrip("/")):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        length = int(self.headers.get("Content-Length") or 0)
        try:
            images = self.server.generate(self.rfile.read(length))
            self._respond(images, "application/octet-stream")
        except UserError as error:
            self.send_error(HTTPStatus.BAD_REQUEST, str(error))

    def _respond(self, content: bytes, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Suppress the access log."""


def _generate(generator: Generator, body: bytes) -> bytes:
    """Return images uint8 (N, S, S, C), as raw bytes.

    body: float32 (N, latent_size + K), latents followed by the weights of the K classes.
    """
    size, known = generator.latent_size, len(generator.conditioning.class_counts)
    row = 4 * (size + known)
    if not body or len(body) % row or len(body) > row * _MAX_BATCH_SIZE:
        weights = f" and {known} weights of classes" if known else ""
        raise UserError(f"expected 1 to {_MAX_BATCH_SIZE} latents of {size} float32{weights}.")
    rows = torch.from_numpy(np.frombuffer(body, "<f4").reshape(-1, size + known).copy())
    latents, classes = torch.split(rows, [size, known], 1)
    made = generate_images(generator, latents, classes if known else None)
    images: bytes = to_uint8(made).tobytes()
    return images


def _rounded(latents: torch.Tensor) -> Any:
    return np.round(latents.numpy().astype(np.float64), 4).tolist()


def _compress(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")
