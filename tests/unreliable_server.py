"""An HTTP server on loopback that misbehaves on request."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class UnreliableServer:
    """Serves the files of a folder.

    address: its URL.
    failures: by file name, the failures of its next requests, in order: "503", "404", "drop" (half
        the body, then the connection closes), "stall" (half the body, then nothing), "trickle" (a
        byte every 50 ms), "mute" (no response at all), "ranges off" (no partial responses), "flip"
        (one bit of the body is wrong). Later requests are served correctly.
    requests: number of requests, by name.
    sent: bytes of bodies sent, by name.
    """

    folder: Path
    address: str = ""
    failures: dict[str, list[str]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(folder: Path) -> Iterator[UnreliableServer]:
    """Serve a folder while the block runs."""
    state = UnreliableServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            respond(self, state)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()


def respond(handler: BaseHTTPRequestHandler, state: UnreliableServer) -> None:
    name = handler.path.strip("/")
    state.requests[name] += 1
    queue = state.failures.get(name, [])
    failure = queue.pop(0) if queue else ""
    if failure == "mute":
        state.closing.wait(30)
        return
    path = state.folder / name
    if failure.isdigit() or not path.is_file():
        handler.send_error(int(failure or 404))
        return
    body = path.read_bytes()
    length = handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
    first = 0 if failure == "ranges off" else int(length)
    if failure == "flip":
        body = body[:700] + bytes([body[700] ^ 1]) + body[701:]
    handler.send_response(206 if first else 200)
    handler.send_header("Content-Length", str(len(body) - first))
    handler.end_headers()
    send(handler, state, name, body[first:], failure)


def send(
    handler: BaseHTTPRequestHandler,
    state: UnreliableServer,
    name: str,
    body: bytes,
    failure: str,
) -> None:
    half = body[: len(body) // 2] if failure in ("drop", "stall", "trickle") else body
    state.sent[name] += len(half)  # before the client can have it
    handler.wfile.write(half)
    handler.wfile.flush()
    if failure == "stall":
        state.closing.wait(30)
    if failure == "trickle":
        for i in range(len(half), len(body)):
            if state.closing.is_set():
                return
            time.sleep(0.05)
            try:
                handler.wfile.write(body[i : i + 1])
            except OSError:  # the client gave up, as expected
                return
    if failure == "drop":
        handler.close_connection = True
