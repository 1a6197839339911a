"""Bytes from elsewhere: http(s), whatever fsspec knows (s3, gs, …), and pipes. Nothing hangs."""

import http.client
import os
import select
import shlex
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from queue import Empty, Full, Queue

from gantrain.common.errors import UserError

PIPES = "GANTRAIN_PIPES"

_PIECE = 1 << 16
_LEAST_SPEED = 1024  # bytes a second; a server that is slower stalls
_REFUSALS = {400, 401, 403, 404, 405, 410}  # which another try does not change


def location(place: str, name: str) -> str:
    """Where the file `name` of a remote set is."""
    if place.startswith("pipe:"):
        if "{name}" not in place:
            raise UserError(
                f"data.shards: {place!r} has no {{name}} in it; expected one where the file's name "
                "goes, as in pipe:ssh host cat set/{name}"
            )
        return place.replace("{name}", shlex.quote(name))
    path, sign, query = place.partition("?")
    return f"{path.rstrip('/')}/{name}{sign}{query}"


def pieces_of(url: str, start: int, timeout: float) -> Iterator[bytes]:
    """The content of a URL, piece by piece, from byte `start` on where the server can do that.

    The first piece is b"" if the content begins at `start`, else b"restart".
    timeout: seconds in which at least `timeout` KiB must come.
    Raises OSError (TimeoutError for a stall) where another try may help, else UserError.
    """
    if url.startswith("pipe:"):
        source = _from_pipe(url.removeprefix("pipe:"), timeout)
    elif url.startswith(("http://", "https://")):
        source = _from_http(url, start, timeout)
    else:
        source = _from_fsspec(url, start)
    return _watched(source, timeout)


def _from_http(url: str, start: int, timeout: float) -> Iterator[bytes]:
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            yield b"" if start and answer.status == 206 else b"restart"
            while piece := answer.read(_PIECE):
                yield piece
            if answer.length:
                raise OSError(f"the connection ended {answer.length} bytes too soon")
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _REFUSALS:
                raise UserError(
                    f"{url}: the server answers {error.code} {error.reason}; expected the file. "
                    "Check data.shards."
                ) from None
            raise OSError(f"the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from None
    except http.client.HTTPException as error:
        raise OSError(f"no sound answer ({type(error).__name__})") from None
    except ValueError as error:
        raise UserError(f"{url}: not a URL ({error}). Check data.shards.") from None


def _from_pipe(command: str, timeout: float) -> Iterator[bytes]:
    if os.environ.get(PIPES) != "allow":
        raise UserError(
            f"data.shards: pipe: would run {command!r} in a shell. A config file alone may not do "
            f"that; if you trust it, set {PIPES}=allow in the environment."
        )
    yield b"restart"
    with subprocess.Popen(
        ["/bin/sh", "-c", command], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            output = process.stdout.fileno()
            while True:
                if not select.select([output], [], [], timeout)[0]:
                    raise TimeoutError(f"stalled: no byte in {timeout:g} seconds")
                piece = os.read(output, _PIECE)
                if not piece:
                    break
                yield piece
            if process.wait() != 0:
                raise OSError(f"the command ended with status {process.returncode}")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _from_fsspec(url: str, start: int) -> Iterator[bytes]:
    import fsspec  # type: ignore[import-untyped]

    try:
        with fsspec.open(url, "rb") as file:
            file.seek(start)
            yield b""
            while piece := file.read(_PIECE):
                yield piece
    except ImportError as error:
        raise UserError(f"{url}: {error}. Install what it names, or change data.shards.") from None
    except FileNotFoundError:
        raise UserError(f"{url}: no such file. Check data.shards.") from None
    except ValueError as error:
        raise UserError(f"{url}: cannot be read ({error}). Check data.shards.") from None


def _watched(source: Iterator[bytes], timeout: float) -> Iterator[bytes]:
    """Pass pieces on from a thread of their own, whose silence cannot hold this one."""
    queue: Queue[bytes | BaseException | None] = Queue(16)
    given_up = threading.Event()

    def put(item: bytes | BaseException | None) -> None:
        while not given_up.is_set():
            with suppress(Full):
                queue.put(item, timeout=0.1)
                return

    def carry() -> None:
        try:
            with closing(source):  # type: ignore[type-var]
                for piece in source:
                    put(piece)
                    if given_up.is_set():
                        return
            put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=carry, daemon=True, name="transfer").start()
    window_end, came = time.monotonic() + timeout, 0
    try:
        while True:
            try:
                item = queue.get(timeout=max(window_end - time.monotonic(), 0.001))
            except Empty:
                item = b""
            if item is None:
                return  # the end
            if isinstance(item, BaseException):
                raise item
            came += len(item)
            if time.monotonic() >= window_end:
                if came < _LEAST_SPEED * timeout:
                    raise TimeoutError(f"stalled: {came} bytes in {timeout:g} seconds")
                window_end, came = time.monotonic() + timeout, 0
            yield item
    finally:
        given_up.set()
