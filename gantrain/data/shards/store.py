"""Access to the shards of a set: a folder is read in place, a remote set through a local cache."""

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

from gantrain.common.errors import UserError, os_reason
from gantrain.common.files import replacing
from gantrain.common.locks import exclusive_task, file_lock, size_and_mtime
from gantrain.data.shards.faults import ScratchError
from gantrain.data.shards.image_index import ImageIndex
from gantrain.data.shards.image_reader import ImageReader
from gantrain.data.shards.indexed_tar import open_indexed_tar, parse_index
from gantrain.data.shards.manifest import MANIFEST_NAME, Manifest, ShardEntry, load_manifest
from gantrain.data.shards.tar_index import open_shard
from gantrain.data.shards.transfer import RESTARTED, RESUMED, file_url, stream_url

_MIN_BACKOFF, _MAX_BACKOFF = 0.25, 15.0  # seconds between attempts
_MAX_DOWNLOAD_BYTES = 1 << 30
_OPEN_ATTEMPTS = 3

Result = TypeVar("Result")


class _DiskFullError(Exception):
    """The local disk cannot be written; another attempt would not help."""


def open_in_folder(
    folder: Path, entry: ShardEntry, indexes: Path | None = None, *, thorough: bool = False
) -> ImageReader:
    """Open a shard of a set in a folder, whichever tool wrote it.

    indexes: see `open_shard`. thorough: see `open_indexed_tar`. Both raise UserError.
    """
    path = folder / entry.name
    if entry.index is None:
        return open_shard(path, entry, indexes)
    where = folder / entry.index_name
    try:
        index = parse_index(where, entry, where.read_bytes())
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({os_reason(error)})") from None
    return open_indexed_tar(path, entry, index, thorough=thorough)


@dataclass(frozen=True)
class ShardStore:
    """Opens the shards of one set.

    location: the set's folder, or the URL that file names are appended to.
    scratch: local folder for downloaded shards and for indexes.
    limit: maximum total size of the downloaded shards in it, in bytes, over all sets.
    timeout: longest wait without progress, in seconds.
    retries: further attempts to fetch a file after the first.
    """

    location: Path | str
    scratch: Path
    limit: int
    timeout: float
    retries: int

    @property
    def remote(self) -> bool:
        """Whether shards must be fetched."""
        return isinstance(self.location, str)

    def manifest(self) -> Manifest:
        """Read the set's manifest, without checking its shards.

        Raises UserError if it cannot be read or is invalid.
        """
        if isinstance(self.location, Path):
            return load_manifest(self.location)
        url = file_url(self.location, MANIFEST_NAME)
        content = _retry(url, self.retries, lambda: self._download(url))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / MANIFEST_NAME).write_bytes(content)
            try:
                return load_manifest(Path(folder))
            except UserError as error:
                raise UserError(str(error).replace(f"{folder}/{MANIFEST_NAME}", url)) from None

    def open(self, entry: ShardEntry) -> ImageReader:
        """Open a shard; fetch it first if it is remote and not in the cache.

        Raises UserError naming the shard if it is not available.
        """
        for last in (False,) * (_OPEN_ATTEMPTS - 1) + (True,):
            path = self.fetch(entry)
            try:
                return self._open_file(path, entry)
            except UserError:
                # Another process may have evicted the shard between the fetch and the open.
                if last or not self.remote or path.exists():
                    raise
        raise AssertionError

    def _open_file(self, path: Path, entry: ShardEntry) -> ImageReader:
        indexes = self.scratch / "indexes"
        if isinstance(self.location, Path):
            return open_in_folder(self.location, entry, indexes)
        if entry.index is None:
            return open_shard(path, entry, indexes)
        return open_indexed_tar(path, entry, self._fetch_index(entry))

    def _fetch_index(self, entry: ShardEntry) -> ImageIndex:
        """Return the index of a remote tar; keep it in the scratch."""
        kept = self.scratch / "indexes" / f"{entry.index}.npz"
        with suppress(OSError, UserError):
            return parse_index(kept, entry, kept.read_bytes())
        url = file_url(str(self.location), entry.index_name)

        def download() -> bytes:
            content = self._download(url)
            if hashlib.sha256(content).hexdigest() != entry.index:
                raise OSError("its bytes have changed: SHA-256 differs from the manifest's")
            return content

        content = _retry(url, self.retries, download)
        with suppress(OSError), replacing(kept, concurrent=True) as temporary:  # only saves time
            temporary.write_bytes(content)
        return parse_index(url, entry, content)

    def fetch(self, entry: ShardEntry) -> Path:
        """Return the path of the shard's file on this machine; fetch it first if it is remote.

        One process downloads it; others that need it wait. Raises UserError as `open` does.
        """
        if isinstance(self.location, Path):
            return self.location / entry.name
        url = file_url(self.location, entry.name)
        folder = self.scratch / "shards"
        path = folder / f"{entry.sha256}.tar"
        partial = path.with_suffix(".partial")
        if _is_cached(path, entry):
            return path
        with exclusive_task(
            path.with_suffix(".lock"),
            f"fetch {url}",
            progress=lambda: size_and_mtime(partial),
            timeout=self.timeout + _MAX_BACKOFF,
        ):
            if not _is_cached(path, entry):
                try:
                    _evict(folder, self.limit - entry.bytes)
                    _retry(url, self.retries, lambda: self._download_to(partial, url, entry))
                    # One at a time: of two shards that arrive together, each must see the other.
                    with file_lock(folder / "shards.lock", wait=True):
                        _evict(folder, self.limit - entry.bytes)
                        partial.replace(path)
                except _DiskFullError as error:
                    raise ScratchError(
                        f"{partial}: cannot be written ({error}). Free some space, lower "
                        "data.shard_cache_gb, or choose another data.cache_dir."
                    ) from None
        return path

    def _download(self, url: str) -> bytes:
        content = b"".join(list(stream_url(url, 0, self.timeout))[1:])
        if len(content) > _MAX_DOWNLOAD_BYTES:
            raise UserError(f"{url}: {len(content)} bytes are too many for a manifest or an index.")
        return content

    def _download_to(self, partial: Path, url: str, entry: ShardEntry) -> None:
        """Make one attempt, which resumes from the bytes of earlier attempts where possible."""
        length = size_and_mtime(partial)[0]
        chunks = stream_url(url, length if length < entry.bytes else 0, self.timeout)
        resumes = next(chunks, RESTARTED) == RESUMED
        try:
            file = partial.open("ab" if resumes and length < entry.bytes else "wb")
        except OSError as error:
            raise _DiskFullError(os_reason(error)) from None
        with file:
            for chunk in chunks:
                try:
                    file.write(chunk)
                    file.flush()
                except OSError as error:
                    raise _DiskFullError(os_reason(error)) from None
                if file.tell() > entry.bytes:
                    break
        length = size_and_mtime(partial)[0]
        if length < entry.bytes:
            raise OSError(f"the connection ended after {length} of {entry.bytes} bytes")
        with partial.open("rb") as complete:
            digest = hashlib.file_digest(complete, "sha256").hexdigest()
        if length > entry.bytes or digest != entry.sha256:
            partial.unlink()
            raise OSError("its bytes have changed: length or SHA-256 differ from the manifest's")


def _retry(url: str, retries: int, attempt: Callable[[], Result]) -> Result:
    """Return the result of the first attempt that succeeds, with exponential backoff."""
    for n in range(retries + 1):
        try:
            return attempt()
        except OSError as error:
            reason = os_reason(error)
        if n < retries:
            pause = min(_MIN_BACKOFF * 2**n, _MAX_BACKOFF)
            # Jitter: otherwise many ranks would retry at the same moment.
            time.sleep(pause * random.uniform(0.5, 1.0))
    raise UserError(
        f"{url}: cannot be fetched after {retries + 1} attempts ({reason}). Check the server, or "
        "increase data.retries and data.timeout_s"
    )


def _is_cached(path: Path, entry: ShardEntry) -> bool:
    # A file gets this name only after its hash was verified, so its length is check enough.
    if size_and_mtime(path)[0] != entry.bytes:
        return False
    with suppress(OSError):
        os.utime(path)  # `_evict` removes the least recently used
        return True
    return False


def _evict(folder: Path, limit: int) -> None:
    """Remove the least recently used shards until the rest is within `limit` bytes.

    A process that has one of them open can still read it.
    """
    shards = sorted((size_and_mtime(path)[::-1], path) for path in folder.glob("*.tar"))
    total = sum(length for (_, length), _ in shards)
    for (_, length), path in shards:
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= length
