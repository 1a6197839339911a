"""A real HTTP server on loopback that does as badly as it is told."""

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
    mischief: for a file's name, what happens to its next requests, in turn: "503", "404", "drop"
        (half the body, then the connection closes), "stall" (half the body, then silence),
        "trickle" (a byte now and then), "mute" (no answer at all), "ranges off" (no partial
        answers), "flip" (one byte of the body is another). Then it is served as it should be.
    requests: how many there were, by name.
    sent: bytes of bodies, by name.
    """

    folder: Path
    address: str = ""
    mischief: dict[str, list[str]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(folder: Path) -> Iterator[UnreliableServer]:
    """Serve a folder while the block runs."""
    state = UnreliableServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, state)

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


def answer(handler: BaseHTTPRequestHandler, state: UnreliableServer) -> None:
    name = handler.path.strip("/")
    state.requests[name] += 1
    queue = state.mischief.get(name, [])
    mischief = queue.pop(0) if queue else ""
    if mischief == "mute":
        state.closing.wait(30)
        return
    path = state.folder / name
    if mischief.isdigit() or not path.is_file():
        handler.send_error(int(mischief or 404))
        return
    body = path.read_bytes()
    length = handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
    first = 0 if mischief == "ranges off" else int(length)
    if mischief == "flip":
        body = body[:700] + bytes([body[700] ^ 1]) + body[701:]
    handler.send_response(206 if first else 200)
    handler.send_header("Content-Length", str(len(body) - first))
    handler.end_headers()
    send(handler, state, name, body[first:], mischief)


def send(
    handler: BaseHTTPRequestHandler,
    state: UnreliableServer,
    name: str,
    body: bytes,
    mischief: str,
) -> None:
    half = body[: len(body) // 2] if mischief in ("drop", "stall", "trickle") else body
    handler.wfile.write(half)
    handler.wfile.flush()
    state.sent[name] += len(half)
    if mischief == "stall":
        state.closing.wait(30)
    if mischief == "trickle":
        for i in range(len(half), len(body)):
            if state.closing.is_set():
                return
            time.sleep(0.05)
            try:
                handler.wfile.write(body[i : i + 1])
            except OSError:  # the client gave up, as it should
                return
    if mischief == "drop":
        handler.close_connection = True
