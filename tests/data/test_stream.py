"""Remote sets: shards fetched through a cache, from servers that drop and stall."""

import importlib.util
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gantrain.common.errors import UserError
from gantrain.data.images.convert import Conversion
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.store import ShardStore
from gantrain.data.shards.transfer import file_url
from tests.numbered import numbered_set, open_numbered, read_numbers
from tests.unreliable_server import UnreliableServer, serving

FIRST = "shard-000000.tar"
# Seconds until a server that has gone silent is given up. Others get a long time, in case that this
# machine is busy.
TIMEOUTS = {"stall": 2.0, "trickle": 2.0, "mute": 2.0}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[UnreliableServer]:
    """An HTTP server with a set of 23 images in three shards."""
    with serving(numbered_set(tmp_path / "set")) as state:
        yield state


def make_store(server: UnreliableServer, tmp_path: Path, **changes: Any) -> ShardStore:
    settings = {"limit": 10**9, "timeout": 30.0, "retries": 3, **changes}
    return ShardStore(server.address, tmp_path / "scratch", **settings)


@pytest.mark.parametrize("mode", ["cache", "stream"])
def test_a_remote_set_yields_the_same_images_as_a_local_one(
    mode: str, server: UnreliableServer, tmp_path: Path
) -> None:
    remote = open_numbered(server.address, tmp_path / "scratch", mode=mode)
    local = open_numbered(server.folder, tmp_path / "other", mode=mode)
    assert read_numbers(remote, steps=60) == read_numbers(local, steps=60)
    assert {server.requests[entry] for entry in server.requests if entry.endswith("tar")} == {1}
    again = open_numbered(server.address, tmp_path / "scratch", mode=mode)
    assert read_numbers(again, steps=60) == read_numbers(local, steps=60)
    assert {server.requests[entry] for entry in server.requests if entry.endswith("tar")} == {1}


@pytest.mark.parametrize(
    "failure", ["503", "500", "429", "drop", "stall", "trickle", "mute", "flip"]
)
def test_a_failed_attempt_is_retried(
    failure: str, server: UnreliableServer, tmp_path: Path
) -> None:
    server.failures[FIRST] = [failure]
    entry = read_manifest(server.folder).shards[0]
    path = make_store(server, tmp_path, timeout=TIMEOUTS.get(failure, 30)).fetch(entry)
    assert path.read_bytes() == (server.folder / FIRST).read_bytes()
    assert server.requests[FIRST] == 2


@pytest.mark.parametrize("failure", ["503", "drop", "mute"])
def test_fetching_the_manifest_is_retried_as_well(
    failure: str, server: UnreliableServer, tmp_path: Path
) -> None:
    server.failures["manifest.json"] = [failure]
    store = make_store(server, tmp_path, timeout=TIMEOUTS.get(failure, 30))
    assert store.manifest() == read_manifest(server.folder)
    assert server.requests["manifest.json"] == 2


def test_a_dropped_transfer_resumes_where_it_stopped(
    server: UnreliableServer, tmp_path: Path
) -> None:
    server.failures[FIRST] = ["drop", "drop", "503"]
    entry = read_manifest(server.folder).shards[0]
    make_store(server, tmp_path).fetch(entry)
    assert server.requests[FIRST] == 4
    assert server.sent[FIRST] == entry.bytes


def test_without_range_support_a_transfer_restarts(
    server: UnreliableServer, tmp_path: Path
) -> None:
    server.failures[FIRST] = ["drop", "ranges off"]
    entry = read_manifest(server.folder).shards[0]
    path = make_store(server, tmp_path).fetch(entry)
    assert path.read_bytes() == (server.folder / FIRST).read_bytes()
    assert server.sent[FIRST] == entry.bytes // 2 + entry.bytes


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("503", "the server returned 503"),
        ("drop", "the connection ended"),
        ("stall", "stalled|timed out"),
        ("mute", "timed out|stalled"),
        ("flip", "its bytes have changed"),
    ],
)
def test_a_server_that_keeps_failing_is_one_error(
    failure: str, words: str, server: UnreliableServer, tmp_path: Path
) -> None:
    server.failures[FIRST] = [failure] * 9
    entry = read_manifest(server.folder).shards[0]
    expected = rf"{server.address}/{FIRST}: cannot be fetched after 2 attempts \(.*({words})"
    with pytest.raises(UserError, match=expected):
        make_store(server, tmp_path, retries=1, timeout=TIMEOUTS.get(failure, 30)).fetch(entry)
    assert server.requests[FIRST] == 2


def test_a_missing_shard_is_not_retried(server: UnreliableServer, tmp_path: Path) -> None:
    entry = read_manifest(server.folder).shards[0]
    (server.folder / FIRST).unlink()
    with pytest.raises(UserError, match=rf"{FIRST}: the server returned 404"):
        make_store(server, tmp_path).fetch(entry)
    assert server.requests[FIRST] == 1


def test_an_unreachable_server_is_one_error(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        address = server.address
    with pytest.raises(UserError, match=rf"{address}/manifest.json: cannot be fetched after 2"):
        open_numbered(address, tmp_path / "scratch", mode="stream", retries=1)


def test_the_error_of_an_invalid_manifest_names_its_url(
    server: UnreliableServer, tmp_path: Path
) -> None:
    (server.folder / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=rf"^{server.address}/manifest.json: version"):
        open_numbered(server.address, tmp_path / "scratch")


def test_concurrent_requests_fetch_a_shard_once(server: UnreliableServer, tmp_path: Path) -> None:
    server.failures[FIRST] = ["503"]
    entry = read_manifest(server.folder).shards[0]
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(make_store(server, tmp_path).fetch(entry)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 5
    assert server.requests[FIRST] == 2


def test_the_shard_cache_evicts_the_least_recently_used_beyond_its_limit(
    server: UnreliableServer, tmp_path: Path
) -> None:
    entries = read_manifest(server.folder).shards
    limit = entries[0].bytes + entries[1].bytes
    store = make_store(server, tmp_path, limit=limit)
    reader = store.open(entries[0])
    for entry in (entries[1], entries[0], entries[2]):
        time.sleep(0.02)
        store.fetch(entry)
    kept = {path.stem for path in (tmp_path / "scratch" / "shards").glob("*.tar")}
    assert kept == {entries[0].sha256, entries[2].sha256}
    store.fetch(entries[1])
    assert not (tmp_path / "scratch" / "shards" / f"{entries[0].sha256}.tar").exists()
    assert reader.read_image(0, Conversion(32, 1)).any()  # an open shard stays readable


@pytest.mark.parametrize("workers", [0, 1])
def test_streaming_works_if_only_one_shard_fits_the_cache(
    workers: int, server: UnreliableServer, tmp_path: Path
) -> None:
    settings = {"mode": "stream", "shard_cache_gb": 50_000 / 1e9, "workers": workers}
    remote = open_numbered(server.address, tmp_path / "scratch", **settings)
    local = open_numbered(server.folder, tmp_path / "other", mode="stream")
    assert read_numbers(remote, steps=50) == read_numbers(local, steps=50)
    cached = sum(path.stat().st_size for path in (tmp_path / "scratch/shards").glob("*.tar"))
    assert cached <= 50_000


def test_a_pipe_runs_only_if_the_environment_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = numbered_set(tmp_path / "it's a set")
    address = f'pipe:cat "{shards}"/{{name}}'
    with pytest.raises(UserError, match="GANTRAIN_PIPES=allow"):
        open_numbered(address, tmp_path / "scratch", mode="stream")
    monkeypatch.setenv("GANTRAIN_PIPES", "allow")
    piped = open_numbered(address, tmp_path / "scratch", mode="stream")
    assert sorted(read_numbers(piped, steps=23)) == list(range(23))


@pytest.mark.parametrize(
    ("command", "words", "timeout_s"),
    [("cat /nowhere/{name}", "status 1", 60), ("sleep 600; echo {name}", "stalled", 0.5)],
)
def test_a_pipe_that_fails_or_stalls_is_one_error(
    command: str, words: str, timeout_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANTRAIN_PIPES", "allow")
    with pytest.raises(UserError, match=words):
        open_numbered(f"pipe:{command}", tmp_path, mode="stream", retries=1, timeout_s=timeout_s)


def test_other_urls_are_read_through_fsspec(tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    dataset = open_numbered(f"file://{shards}", tmp_path / "scratch", mode="stream")
    assert sorted(read_numbers(dataset, steps=23)) == list(range(23))
    shutil.rmtree(shards)
    with pytest.raises(UserError, match=r"manifest.json: no such file"):
        open_numbered(f"file://{shards}", tmp_path / "scratch", mode="stream")
    with pytest.raises(UserError, match=r"nothing://x/manifest.json: .*nothing"):
        open_numbered("nothing://x", tmp_path / "scratch", mode="stream")


def test_s3_without_s3fs_names_the_missing_package(tmp_path: Path) -> None:
    if importlib.util.find_spec("s3fs") is None:
        with pytest.raises(UserError, match=r"s3://bucket/set/manifest.json: .*s3fs"):
            open_numbered("s3://bucket/set", tmp_path / "scratch", mode="stream")


def test_file_names_are_inserted_before_the_query_and_quoted_for_the_shell() -> None:
    assert file_url("https://h/set/?key=1", "a.tar") == "https://h/set/a.tar?key=1"
    assert file_url("pipe:cat {name}", "a b.tar") == "pipe:cat 'a b.tar'"
    with pytest.raises(UserError, match=r"\{name\}"):
        file_url("pipe:cat", "a.tar")


def test_a_full_disk_is_not_a_fault_of_the_shard(server: UnreliableServer, tmp_path: Path) -> None:
    entry = read_manifest(server.folder).shards[0]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match=r"cannot be written .*data\.shard_cache_gb"):
            make_store(server, tmp_path).fetch(entry)
        with pytest.raises(UserError, match=r"cannot be written"):
            open_numbered(
                server.address, tmp_path / "s", mode="stream", on_error="skip", classes=["a"]
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert server.requests[FIRST] <= 2
