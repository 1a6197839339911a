"""Downloads over http(s), fsspec (s3, gs, …) and shell pipes, with a timeout on stalls."""

import http.client
import os
import select
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress

from gantrain.common.errors import UserError
from gantrain.common.extras import missing_packages
from gantrain.common.prefetch import poll

PIPES = "GANTRAIN_PIPES"

# The first chunk of a download; it carries no content.
RESUMED = b""  # the content begins at the requested offset
RESTARTED = b"restart"  # the content begins at offset 0

_CHUNK = 1 << 16  # bytes
_CHUNKS_AHEAD = 16
_MIN_SPEED = 1024  # bytes per second; a slower server counts as stalled
_PERMANENT_ERRORS = {400, 401, 403, 404, 405, 410}  # HTTP status codes not worth a retry


def file_url(location: str, name: str) -> str:
    """Return the URL of the file `name` of a remote set.

    Raises UserError if `location` is a pipe without a `{name}` placeholder.
    """
    if location.startswith("pipe:"):
        if "{name}" not in location:
            raise UserError(
                f"data.shards: {location!r} has no {{name}} placeholder; expected one for the "
                "file's name, as in pipe:ssh host cat set/{name}"
            )
        return location.replace("{name}", shlex.quote(name))
    path, separator, query = location.partition("?")
    return f"{path.rstrip('/')}/{name}{separator}{query}"


def stream_url(url: str, start: int, timeout: float) -> Iterator[bytes]:
    """Yield the content of a URL in chunks, from byte `start` if the server supports ranges.

    The first chunk is RESUMED or RESTARTED.

    timeout: length of a window in seconds; at least 1 KiB per second must arrive in each one.

    Raises OSError (TimeoutError for a stall) if another attempt may help, otherwise UserError.
    """
    if url.startswith("pipe:"):
        source = _from_pipe(url.removeprefix("pipe:"), timeout)
    elif url.startswith(("http://", "https://")):
        source = _from_http(url, start, timeout)
    else:
        source = _from_fsspec(url, start)
    return _enforce_speed(source, timeout)


def _from_http(url: str, start: int, timeout: float) -> Iterator[bytes]:
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            yield RESUMED if start and response.status == 206 else RESTARTED
            while chunk := response.read(_CHUNK):
                yield chunk
            if response.length:
                raise OSError(f"the connection ended {response.length} bytes early")
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _PERMANENT_ERRORS:
                raise UserError(
                    f"{url}: the server returned {error.code} {error.reason}; expected the file. "
                    "Check data.shards."
                ) from None
            raise OSError(f"the server returned {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from None
    except http.client.HTTPException as error:
        raise OSError(f"invalid response ({type(error).__name__})") from None
    except ValueError as error:
        raise UserError(f"{url}: not a URL ({error}). Check data.shards.") from None


def _from_pipe(command: str, timeout: float) -> Iterator[bytes]:
    if os.environ.get(PIPES) != "allow":
        raise UserError(
            f"data.shards: pipe: would run {command!r} in a shell. A config file alone must not do "
            f"that; if you trust it, set {PIPES}=allow in the environment."
        )
    yield RESTARTED
    with subprocess.Popen(
        ["/bin/sh", "-c", command], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            output = process.stdout.fileno()
            while True:
                if not select.select([output], [], [], timeout)[0]:
                    raise TimeoutError(f"stalled: no data for {timeout:g} seconds")
                chunk = os.read(output, _CHUNK)
                if not chunk:
                    break
                yield chunk
            if process.wait() != 0:
                raise OSError(f"the command exited with status {process.returncode}")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _from_fsspec(url: str, start: int) -> Iterator[bytes]:
    import fsspec  # type: ignore[import-untyped]

    try:
        with fsspec.open(url, "rb") as file:
            file.seek(start)
            yield RESUMED
            while chunk := file.read(_CHUNK):
                yield chunk
    except ImportError as error:
        if "s3fs" in str(error):
            raise missing_packages(f"{url}: URLs of S3", "s3fs") from None
        raise UserError(
            f"{url}: {error}. Install the missing package, or change data.shards."
        ) from None
    except FileNotFoundError:
        raise UserError(f"{url}: no such file. Check data.shards.") from None
    except ValueError as error:
        raise UserError(f"{url}: cannot be read ({error}). Check data.shards.") from None


def _enforce_speed(source: Iterator[bytes], timeout: float) -> Iterator[bytes]:
    """Yield the chunks of `source`; raise TimeoutError if they arrive too slowly."""
    window_end, received = time.monotonic() + timeout, 0

    def remaining() -> float:
        return max(window_end - time.monotonic(), 0.001)

    with closing(poll(source, _CHUNKS_AHEAD, remaining)) as chunks:
        for chunk in chunks:
            received += len(chunk or b"")
            if time.monotonic() >= window_end:
                if received < _MIN_SPEED * timeout:
                    raise TimeoutError(f"stalled: {received} bytes in {timeout:g} seconds")
                window_end, received = time.monotonic() + timeout, 0
            if chunk is not None:
                yield chunk
