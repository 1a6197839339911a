"""Sets that are elsewhere: fetched through a shard cache, from servers that drop and stall."""

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
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.store import ShardStore
from gantrain.data.shards.transfer import file_url
from tests.numbered import numbered_set, opened, sequence
from tests.unreliable_server import UnreliableServer, serving

pytestmark = pytest.mark.timeout(60)

FIRST = "shard-000000.tar"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[UnreliableServer]:
    """A set of 23 images in three shards, served."""
    with serving(numbered_set(tmp_path / "set")) as state:
        yield state


def store_of(server: UnreliableServer, tmp_path: Path, **changes: Any) -> ShardStore:
    settings = {"limit": 10**9, "timeout": 1.0, "retries": 3, **changes}
    return ShardStore(server.address, tmp_path / "scratch", **settings)


@pytest.mark.parametrize("mode", ["cache", "stream"])
def test_a_remote_set_is_the_local_one(mode: str, server: UnreliableServer, tmp_path: Path) -> None:
    remote = opened(server.address, tmp_path / "scratch", mode=mode)
    local = opened(server.folder, tmp_path / "other", mode=mode)
    assert sequence(remote, steps=60) == sequence(local, steps=60)
    assert {server.requests[entry] for entry in server.requests if entry.endswith("tar")} == {1}
    again = opened(server.address, tmp_path / "scratch", mode=mode)
    assert sequence(again, steps=60) == sequence(local, steps=60)
    assert {server.requests[entry] for entry in server.requests if entry.endswith("tar")} == {1}


@pytest.mark.parametrize(
    "mischief", ["503", "500", "429", "drop", "stall", "trickle", "mute", "flip"]
)
def test_a_try_that_fails_is_made_again(
    mischief: str, server: UnreliableServer, tmp_path: Path
) -> None:
    server.mischief[FIRST] = [mischief]
    entry = read_manifest(server.folder).shards[0]
    path = store_of(server, tmp_path).fetch(entry)
    assert path.read_bytes() == (server.folder / FIRST).read_bytes()
    assert server.requests[FIRST] == 2


@pytest.mark.parametrize("mischief", ["503", "drop", "mute"])
def test_the_manifest_is_fetched_with_as_much_patience(
    mischief: str, server: UnreliableServer, tmp_path: Path
) -> None:
    server.mischief["manifest.json"] = [mischief]
    assert store_of(server, tmp_path).manifest() == read_manifest(server.folder)
    assert server.requests["manifest.json"] == 2


def test_a_dropped_transfer_goes_on_where_it_was(server: UnreliableServer, tmp_path: Path) -> None:
    server.mischief[FIRST] = ["drop", "drop", "503"]
    entry = read_manifest(server.folder).shards[0]
    store_of(server, tmp_path).fetch(entry)
    assert server.requests[FIRST] == 4
    assert server.sent[FIRST] == entry.bytes


def test_a_server_without_ranges_is_asked_for_all_again(
    server: UnreliableServer, tmp_path: Path
) -> None:
    server.mischief[FIRST] = ["drop", "ranges off"]
    entry = read_manifest(server.folder).shards[0]
    path = store_of(server, tmp_path).fetch(entry)
    assert path.read_bytes() == (server.folder / FIRST).read_bytes()
    assert server.sent[FIRST] == entry.bytes // 2 + entry.bytes


@pytest.mark.parametrize(
    ("mischief", "words"),
    [
        ("503", "the server returned 503"),
        ("drop", "the connection ended"),
        ("stall", "stalled|timed out"),
        ("mute", "timed out|stalled"),
        ("flip", "its bytes have changed"),
    ],
)
def test_a_server_that_stays_bad_is_one_error_in_bounded_time(
    mischief: str, words: str, server: UnreliableServer, tmp_path: Path
) -> None:
    server.mischief[FIRST] = [mischief] * 9
    entry = read_manifest(server.folder).shards[0]
    began = time.monotonic()
    expected = rf"{server.address}/{FIRST}: cannot be fetched after 2 attempts \(.*({words})"
    with pytest.raises(UserError, match=expected):
        store_of(server, tmp_path, retries=1, timeout=0.5).fetch(entry)
    assert time.monotonic() - began < 4
    assert server.requests[FIRST] == 2


def test_a_shard_that_is_not_there_is_not_asked_for_again(
    server: UnreliableServer, tmp_path: Path
) -> None:
    entry = read_manifest(server.folder).shards[0]
    (server.folder / FIRST).unlink()
    with pytest.raises(UserError, match=rf"{FIRST}: the server returned 404"):
        store_of(server, tmp_path).fetch(entry)
    assert server.requests[FIRST] == 1


def test_a_server_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        address = server.address
    with pytest.raises(UserError, match=rf"{address}/manifest.json: cannot be fetched after 2"):
        opened(address, tmp_path / "scratch", mode="stream", retries=1)


def test_a_manifest_that_is_none_names_its_address(
    server: UnreliableServer, tmp_path: Path
) -> None:
    (server.folder / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=rf"^{server.address}/manifest.json: version is missing"):
        opened(server.address, tmp_path / "scratch")


def test_many_who_want_a_shard_fetch_it_once(server: UnreliableServer, tmp_path: Path) -> None:
    server.mischief[FIRST] = ["503"]
    entry = read_manifest(server.folder).shards[0]
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(store_of(server, tmp_path).fetch(entry)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 5
    assert server.requests[FIRST] == 2


def test_the_shard_cache_keeps_to_its_limit_and_drops_what_was_not_used_for_longest(
    server: UnreliableServer, tmp_path: Path
) -> None:
    entries = read_manifest(server.folder).shards
    limit = entries[0].bytes + entries[1].bytes
    store = store_of(server, tmp_path, limit=limit)
    reader = store.open(entries[0])
    for entry in (entries[1], entries[0], entries[2]):
        time.sleep(0.02)
        store.fetch(entry)
    kept = {path.stem for path in (tmp_path / "scratch" / "shards").glob("*.tar")}
    assert kept == {entries[0].sha256, entries[2].sha256}
    store.fetch(entries[1])
    assert not (tmp_path / "scratch" / "shards" / f"{entries[0].sha256}.tar").exists()
    assert len(reader.png(0)) > 50  # an open shard can be read on


@pytest.mark.parametrize("workers", [0, 1])
def test_streaming_through_a_cache_that_holds_one_shard_alone(
    workers: int, server: UnreliableServer, tmp_path: Path
) -> None:
    settings = {"mode": "stream", "shard_cache_gb": 50_000 / 1e9, "workers": workers}
    remote = opened(server.address, tmp_path / "scratch", **settings)
    local = opened(server.folder, tmp_path / "other", mode="stream")
    assert sequence(remote, steps=50) == sequence(local, steps=50)
    held = sum(path.stat().st_size for path in (tmp_path / "scratch/shards").glob("*.tar"))
    assert held <= 50_000


def test_a_pipe_runs_only_where_the_environment_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = numbered_set(tmp_path / "it's a set")
    address = f'pipe:cat "{place}"/{{name}}'
    with pytest.raises(UserError, match="GANTRAIN_PIPES=allow"):
        opened(address, tmp_path / "scratch", mode="stream")
    monkeypatch.setenv("GANTRAIN_PIPES", "allow")
    piped = opened(address, tmp_path / "scratch", mode="stream")
    assert sorted(sequence(piped, steps=23)) == list(range(23))


@pytest.mark.parametrize(
    ("command", "words"),
    [("cat /nowhere/{name}", "status 1"), ("sleep 60; echo {name}", "stalled")],
)
def test_a_pipe_that_fails_or_stalls_is_one_error(
    command: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANTRAIN_PIPES", "allow")
    began = time.monotonic()
    with pytest.raises(UserError, match=words):
        opened(f"pipe:{command}", tmp_path, mode="stream", retries=1, timeout_s=0.5)
    assert time.monotonic() - began < 5


def test_other_addresses_go_through_fsspec(tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    dataset = opened(f"file://{place}", tmp_path / "scratch", mode="stream")
    assert sorted(sequence(dataset, steps=23)) == list(range(23))
    shutil.rmtree(place)
    with pytest.raises(UserError, match=r"manifest.json: no such file"):
        opened(f"file://{place}", tmp_path / "scratch", mode="stream")
    with pytest.raises(UserError, match=r"nothing://x/manifest.json: .*nothing"):
        opened("nothing://x", tmp_path / "scratch", mode="stream")


def test_s3_without_its_library_says_what_to_install(tmp_path: Path) -> None:
    if importlib.util.find_spec("s3fs") is None:
        with pytest.raises(UserError, match=r"s3://bucket/set/manifest.json: .*s3fs"):
            opened("s3://bucket/set", tmp_path / "scratch", mode="stream")


def test_names_are_added_before_the_query_and_quoted_for_the_shell() -> None:
    assert file_url("https://h/set/?key=1", "a.tar") == "https://h/set/a.tar?key=1"
    assert file_url("pipe:cat {name}", "a b.tar") == "pipe:cat 'a b.tar'"
    with pytest.raises(UserError, match=r"\{name\}"):
        file_url("pipe:cat", "a.tar")


def test_a_full_disk_is_no_fault_of_the_shard(server: UnreliableServer, tmp_path: Path) -> None:
    entry = read_manifest(server.folder).shards[0]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match=r"cannot be written .*data\.shard_cache_gb"):
            store_of(server, tmp_path).fetch(entry)
        with pytest.raises(UserError, match=r"cannot be written"):
            opened(server.address, tmp_path / "s", mode="stream", on_error="skip", parts=["a"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert server.requests[FIRST] <= 2
