"""A page in which sliders move through latent space: served on loopback, or as a file."""

import base64
import gzip
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantrain.common.errors import UserError
from gantrain.common.files import write_text
from gantrain.common.grids import to_bytes
from gantrain.inference.directions import Direction
from gantrain.inference.onnx import ONNX, export_onnx
from gantrain.inference.sampling import generate_images, sample_latents
from gantrain.models.networks import Generator
from gantrain.report.page import build_page

_SAMPLES = 24
_MOST_SLIDERS = 14
_MOST_AT_ONCE = 64  # latents in one request
# Of the npm package onnxruntime-web: the smallest build that runs on the CPU.
_RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")

# What the page needs of its policy: WebAssembly, code and weights as blobs, and the local server.
_ALLOWED = " 'wasm-unsafe-eval' blob:; connect-src 'self' data: blob:; worker-src blob:"


def play_data(
    name: str, generator: Generator, directions: Sequence[Direction], seed: int
) -> dict[str, Any]:
    """What the page needs beside a way to make images."""
    image = generate_images(generator, sample_latents(generator, 1, seed))
    clear = [d for d in directions if not d.weak][:_MOST_SLIDERS]
    return {
        "name": name,
        "channels": image.shape[1],
        "size": image.shape[2],
        "samples": _rounded(sample_latents(generator, _SAMPLES, seed)),
        "directions": [
            {"name": d.name, "score": d.score, "vector": _rounded(d.vector)} for d in clear
        ],
    }


def export_playground(generator: Generator, data: dict[str, Any], folder: Path) -> Path:
    """Write the page, `index.html`, with the generator and ONNX Runtime Web inside it.

    Beside it lies the generator as `generator.onnx`. Gives the page's path. Raises UserError if
    ONNX Runtime Web is nowhere to be found.
    """
    runtime = find_runtime()
    model = export_onnx(generator, folder / ONNX)
    code, wasm = (_packed((runtime / name).read_bytes()) for name in _RUNTIME)
    content = {**data, "model": _packed(model.read_bytes()), "runtime": code, "wasm": wasm}
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
        allowed=_ALLOWED,
    )


def find_runtime() -> Path:
    """The folder of ONNX Runtime Web's files, in `node_modules` here or further up."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        found = folder / "node_modules" / "onnxruntime-web" / "dist"
        if all((found / name).is_file() for name in _RUNTIME):
            return found
    raise UserError(
        f"{here / 'node_modules'}: no onnxruntime-web, which makes the images in the browser; "
        "run `npm install onnxruntime-web` here, or use `gantrain play` without --export."
    )


class PlayServer(ThreadingHTTPServer):
    """Serves the page and makes its images, to this machine alone."""

    daemon_threads = True

    def __init__(self, generator: Generator, data: dict[str, Any], port: int) -> None:
        self.page = _page(data).encode("utf-8")
        self.make: Callable[[bytes], bytes] = lambda body: _make(generator, body)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: PlayServer

    def do_GET(self) -> None:
        if self.path != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self._answer(self.server.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        # A page of another origin could name this port; its requests carry that origin.
        if self.headers.get("Origin", "") not in ("", self.server.url.rstrip("/")):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        length = int(self.headers.get("Content-Length") or 0)
        try:
            self._answer(self.server.make(self.rfile.read(length)), "application/octet-stream")
        except UserError as error:
            self.send_error(HTTPStatus.BAD_REQUEST, str(error))

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _make(generator: Generator, body: bytes) -> bytes:
    """Latents float32 (N, latent_size) as bytes to images uint8 (N, S, S, C) as bytes."""
    size = generator.latent_size
    if not body or len(body) % (4 * size) or len(body) > 4 * size * _MOST_AT_ONCE:
        raise UserError(f"expected 1 to {_MOST_AT_ONCE} latents of {size} float32.")
    latents = torch.from_numpy(np.frombuffer(body, "<f4").reshape(-1, size).copy())
    return to_bytes(generate_images(generator, latents)).tobytes()


def _rounded(latents: torch.Tensor) -> Any:
    return np.round(latents.numpy().astype(np.float64), 4).tolist()


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")
