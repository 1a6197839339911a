"""The shards of a set, wherever it is: a folder is read in place, a remote set through a cache."""

import hashlib
import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gantrain.common.errors import UserError
from gantrain.common.locks import exclusive_task, size_and_mtime
from gantrain.data.shards.faults import ScratchError, os_reason
from gantrain.data.shards.manifest import MANIFEST_NAME, Manifest, ShardEntry, load_manifest
from gantrain.data.shards.tar_index import ShardReader, open_shard
from gantrain.data.shards.transfer import location, pieces_of

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 15.0  # seconds between tries
_LONGEST_MANIFEST = 1 << 30  # bytes
_OPENINGS = 3

Outcome = TypeVar("Outcome")


class _FullDiskError(Exception):
    """The local disk refuses; another try would not help."""


@dataclass(frozen=True)
class ShardStore:
    """Opens the shards of one set.

    place: its folder, or the address that its files' names are added to.
    scratch: local folder for shards of remote sets, and for indexes.
    limit: bytes that the remote shards there may take, over all sets.
    timeout: longest wait without progress, in seconds.
    retries: further tries to fetch a file.
    """

    place: Path | str
    scratch: Path
    limit: int
    timeout: float
    retries: int

    @property
    def remote(self) -> bool:
        """Whether shards must be fetched."""
        return isinstance(self.place, str)

    def manifest(self) -> Manifest:
        """Read the set's manifest, without a look at its shards.

        Raises UserError if it cannot be had, or is no valid one.
        """
        if isinstance(self.place, Path):
            return load_manifest(self.place)
        url = location(self.place, MANIFEST_NAME)
        content = _tried(url, self.retries, lambda: self._read_whole(url))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / MANIFEST_NAME).write_bytes(content)
            try:
                return load_manifest(Path(folder))
            except UserError as error:
                raise UserError(str(error).replace(f"{folder}/{MANIFEST_NAME}", url)) from None

    def open(self, entry: ShardEntry) -> ShardReader:
        """Open a shard, fetched first if it is remote and not here yet.

        Raises UserError naming the shard if it cannot be had.
        """
        for last in (False,) * (_OPENINGS - 1) + (True,):
            path = self.fetch(entry)
            try:
                return open_shard(path, entry, self.scratch / "indexes")
            except UserError:
                # Another process may have needed the room between the fetch and the opening.
                if last or not self.remote or path.exists():
                    raise
        raise AssertionError

    def fetch(self, entry: ShardEntry) -> Path:
        """The shard's file on this machine.

        One process fetches it, others that want it wait. Raises UserError as `open` does.
        """
        if isinstance(self.place, Path):
            return self.place / entry.name
        url = location(self.place, entry.name)
        folder = self.scratch / "shards"
        path = folder / f"{entry.sha256}.tar"
        partial = path.with_suffix(".partial")
        if _is_whole(path, entry):
            return path
        with exclusive_task(
            path.with_suffix(".lock"),
            f"fetch {url}",
            progress=lambda: size_and_mtime(partial),
            timeout=self.timeout + _LONGEST_PAUSE,
        ):
            if not _is_whole(path, entry):
                try:
                    _make_room(folder, self.limit - entry.bytes)
                    _tried(url, self.retries, lambda: self._fetch_to(partial, url, entry))
                    partial.replace(path)
                except _FullDiskError as error:
                    raise ScratchError(
                        f"{partial}: cannot be written ({error}). Free some space, lower "
                        "data.shard_cache_gb, or choose another data.cache_dir."
                    ) from None
        return path

    def _read_whole(self, url: str) -> bytes:
        content = b"".join(list(pieces_of(url, 0, self.timeout))[1:])
        if len(content) > _LONGEST_MANIFEST:
            raise UserError(f"{url}: {len(content)} bytes are too many for a manifest.")
        return content

    def _fetch_to(self, partial: Path, url: str, entry: ShardEntry) -> None:
        """One try; what a try before it brought is kept."""
        have = size_and_mtime(partial)[0]
        pieces = pieces_of(url, have if have < entry.bytes else 0, self.timeout)
        goes_on = next(pieces, b"restart") == b""
        try:
            file = partial.open("ab" if goes_on and have < entry.bytes else "wb")
        except OSError as error:
            raise _FullDiskError(os_reason(error)) from None
        with file:
            for piece in pieces:
                try:
                    file.write(piece)
                    file.flush()
                except OSError as error:
                    raise _FullDiskError(os_reason(error)) from None
                if file.tell() > entry.bytes:
                    break
        length = size_and_mtime(partial)[0]
        if length < entry.bytes:
            raise OSError(f"the connection ended after {length} of {entry.bytes} bytes")
        with partial.open("rb") as whole:
            digest = hashlib.file_digest(whole, "sha256").hexdigest()
        if length > entry.bytes or digest != entry.sha256:
            partial.unlink()
            raise OSError("its bytes have changed: length or SHA-256 differ from the manifest's")


def _tried(url: str, retries: int, attempt: Callable[[], Outcome]) -> Outcome:
    """The outcome of the first try that succeeds, with longer and longer pauses in between."""
    for n in range(retries + 1):
        try:
            return attempt()
        except OSError as error:
            reason = os_reason(error)
        if n < retries:
            pause = min(_FIRST_PAUSE * 2**n, _LONGEST_PAUSE)
            # Many ranks would otherwise come back at the same moment.
            time.sleep(pause * random.uniform(0.5, 1.0))
    raise UserError(
        f"{url}: cannot be fetched, tried {retries + 1} times ({reason}). Check the server, or set "
        "data.retries and data.timeout_s higher"
    )


def _is_whole(path: Path, entry: ShardEntry) -> bool:
    # Only what has the right hash gets this name; a look at the length suffices.
    if size_and_mtime(path)[0] != entry.bytes:
        return False
    with suppress(OSError):
        os.utime(path)  # it is in use, which `_make_room` goes by
        return True
    return False


def _make_room(folder: Path, limit: int) -> None:
    """Remove the shards that were not used for longest, until the rest is within the limit.

    A process that has one of them open can go on reading it.
    """
    shards = sorted((size_and_mtime(path)[::-1], path) for path in folder.glob("*.tar"))
    total = sum(length for (_, length), _ in shards)
    for (_, length), path in shards:
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= length
