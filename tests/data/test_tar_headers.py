"""Names and places of a tar's members, compared with Python's `tarfile`, whatever tool wrote it."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.config import DataConfig
from gantrain.data.loading.labelled import open_labelled_dataset
from gantrain.data.loading.opening import open_dataset
from gantrain.data.shards.contact_sheet import save_contact_sheet
from gantrain.data.shards.duplicates import image_digest
from gantrain.data.shards.manifest import ShardEntry, read_manifest
from gantrain.data.shards.reader import iterate_samples
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.tally import Tally
from gantrain.data.shards.tar_headers import read_members, split_member_name
from gantrain.data.shards.tar_index import index_shard, open_shard
from gantrain.data.shards.verify import verify_shards
from gantrain.data.shards.writer import write_shards
from tests.shard_sets import png

LONG = "a" * 90 + "/" + "ß" * 40  # longer than 100 bytes, which a plain header holds
KEYS = ["plain", "写真_0002", "дом 3", "école", "cafe\u0301", "v1.5/über", LONG, "l" * 130]

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def with_tarfile(path: Path) -> list[tuple[str, int, int]]:
    with tarfile.open(path, encoding="utf-8") as tar:
        return [(each.name, each.offset_data, each.size) for each in tar if each.isreg()]


def make_files(folder: Path, keys: list[str]) -> None:
    for i, key in enumerate(keys):
        path = folder / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(i, size=32))
        path.with_suffix(".json").write_text(json.dumps({"part": key}))


def write_manifest(folder: Path) -> None:
    """Write the manifest of the tars in a folder, as another tool would."""
    tally, entries = Tally(), []
    for path in sorted(folder.glob("*.tar")):
        count = 0
        for sample in iterate_samples(path):
            tally.compare(sample.key, sample.label, image_digest(sample.image))
            tally.add(sample.key, sample.label)
            count += 1
        entries.append(
            ShardEntry(name=path.name, count=count, bytes=path.stat().st_size, sha256=sha256(path))
        )
    manifest = tally.manifest(source="", size=32, channels=1, shards=entries)
    (folder / "manifest.json").write_text(manifest.to_json())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_set(folder: Path, keys: list[str], scratch: Path) -> None:
    """Check a set of one tar: index, names, verification, both kinds of loading."""
    write_manifest(folder)
    manifest = read_manifest(folder)
    (entry,) = manifest.shards
    path = folder / entry.name
    assert list(read_members(path)) == with_tarfile(path)  # the fast way raises nothing
    assert index_shard(path, entry).faults == ()
    reader = open_shard(path, entry)
    read = [reader.key(row) for row in range(entry.count)]
    assert sorted(read) == sorted(keys)
    assert [reader.label(row)["part"] for row in range(entry.count)] == read
    assert [reader.where(row) for row in range(entry.count)] == [
        f"{path}: {name}"
        for name, _, _ in with_tarfile(path)
        if (split_member_name(name) or ("", ""))[1] == "png"
    ]
    reader.close()
    assert verify_shards(folder, workers=1).problems == ()
    config = DataConfig(shards=folder, size=32, cache_dir=scratch)
    labelled = open_labelled_dataset(config)
    assert [labelled.key(row) for row in labelled.rows] == read
    for mode in ("cache", "stream"):
        opened = open_dataset(config.model_copy(update={"mode": mode, "workers": 0}))
        assert opened.total == len(keys)
    assert save_contact_sheet(folder, manifest, scratch / "sheet.png") == len(keys)


@pytest.mark.parametrize("tool", ["tar", "bsdtar"])
@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "v7"])
@pytest.mark.parametrize("dot", [False, True])
def test_tars_of_other_tools_are_read(tool: str, form: str, dot: bool, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    keys = [key for key in KEYS if form != "v7" or len(key.encode()) < 90]
    keys = [key for key in keys if form != "ustar" or len(key) != 130]  # has no slash to cut at
    make_files(tmp_path / "files", keys)
    (tmp_path / "set").mkdir()
    form = {("bsdtar", "gnu"): "gnutar"}.get((tool, form), form)
    names = ["."] if dot else sorted(p.name for p in (tmp_path / "files").iterdir())
    command = [tool, "-C", str(tmp_path / "files"), f"--format={form}", "-cf"]
    command += [str(tmp_path / "set" / "a.tar"), "--", *names]
    subprocess.run(command, check=True, env={"LC_ALL": "C.UTF-8"})
    # GNU tar lists a folder in no order, so the two members of a sample may be apart.
    path = tmp_path / "set" / "a.tar"
    assert list(read_members(path)) == with_tarfile(path)
    if not dot:
        check_set(tmp_path / "set", keys, tmp_path / "scratch")


@pytest.mark.parametrize("form", FORMATS)
def test_tars_of_pythons_tarfile_are_read(form: int, tmp_path: Path) -> None:
    keys = [key for key in KEYS if form != tarfile.USTAR_FORMAT or len(key) < 130]
    make_files(tmp_path / "files", keys)
    (tmp_path / "set").mkdir()
    with tarfile.open(tmp_path / "set" / "a.tar", "w", format=form) as tar:
        tar.add(tmp_path / "files", ".", recursive=False)
        for key in keys:
            for extension in ("png", "json"):
                tar.add(tmp_path / "files" / f"{key}.{extension}", f"./{key}.{extension}")
    check_set(tmp_path / "set", keys, tmp_path / "scratch")


def test_tars_of_webdataset_are_read(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with webdataset.TarWriter(str(tmp_path / "set" / "a.tar")) as writer:
        for i, key in enumerate(KEYS):
            writer.write({"__key__": key, "png": png(i, size=32), "json": {"part": key}})
    check_set(tmp_path / "set", KEYS, tmp_path / "scratch")


def test_our_own_tars_have_their_names_and_the_fast_index(tmp_path: Path) -> None:
    keys = ["写真_p0002", "дом 3", "ж" * 100]
    samples = [Sample(key, png(i, size=32), {"part": key}) for i, key in enumerate(keys)]
    write_shards(tmp_path / "set", samples, size=32, channels=1, source="")
    (tmp_path / "set" / "shard-000000.tar").rename(tmp_path / "set" / "a.tar")
    check_set(tmp_path / "set", keys, tmp_path / "scratch")


names = st.lists(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=140)
    .map(lambda name: name.strip("/"))
    .filter(lambda name: name.isprintable() and name),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(names, st.sampled_from(FORMATS), st.sampled_from([0, 1, 511, 512, 513]))
def test_any_names_are_those_of_tarfile(names: list[str], form: int, length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        with tarfile.open(path, "w", format=form, encoding="utf-8") as tar:
            for i, name in enumerate(names):
                member = tarfile.TarInfo(name)
                member.size = length
                member.mtime = 1.5 * i  # a fraction needs a pax header
                try:
                    tar.addfile(member, io.BytesIO(bytes(length)))
                except ValueError:  # too long for ustar
                    continue
        assert list(read_members(path)) == with_tarfile(path)


def test_rare_members_are_read_or_passed_over(tmp_path: Path) -> None:
    """Folders, links, a volume label, base-256 numbers, a global header, a pax size, contiguous."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE),
                           ("f", tarfile.FIFOTYPE), ("c.png", tarfile.CONTTYPE), ("V", b"V"),
                           ("a.png", tarfile.REGTYPE), ("v7.png", tarfile.AREGTYPE)):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.png"
            member.size = 5 if name.endswith(".png") else 0
            if name == "a.png":
                member.pax_headers = {"size": "5"}
            tar.addfile(member, io.BytesIO(b"12345"[: member.size]))
    content = bytearray(path.read_bytes())
    at = content.index(b"v7.png\0")
    content[at + 124 : at + 136] = b"\x80" + (5).to_bytes(11, "big")
    content[at + 148 : at + 156] = b" " * 8
    content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    path.write_bytes(content)
    assert list(read_members(path)) == with_tarfile(path)
    assert [name for name, _, _ in read_members(path)] == ["c.png", "a.png", "v7.png"]


def test_names_that_are_not_text_are_escaped(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("caf\udce9.png", "caf\udce9.json", "two\nlines\x1b[31m.png"):
            tar.addfile(tarfile.TarInfo(name))
    shown = ["caf\\xe9.png", "caf\\xe9.json", "two\\nlines\\x1b[31m.png"]
    assert [name for name, _, _ in read_members(tmp_path / "a.tar")] == shown


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.png", ("a", "png")),
        ("./a.PNG", ("a", "png")),
        ("././x/a.seg.png", ("x/a", "seg.png")),
        ("v1.0/a.json", ("v1.0/a", "json")),
        ("._a.png", None),
        ("x/._a.png", None),
        ("__MACOSX/x/._a.png", None),
        (".DS_Store", None),
        ("README", None),
        ("x.d/README", None),
    ],
)
def test_keys_and_extensions_are_those_of_webdataset(
    name: str, parts: tuple[str, str] | None
) -> None:
    assert split_member_name(name) == parts
    if parts is not None or "/." not in name:  # webdataset takes `x/._a.png` for part of `x/`
        theirs = webdataset.tariterators.base_plus_ext(name.replace("./", "") if parts else name)
        assert parts == (None if theirs[0] is None else (theirs[0], theirs[1].lower()))


def test_members_that_macos_adds_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with tarfile.open(tmp_path / "set" / "a.tar", "w") as tar:
        for i, key in enumerate(["one", "two"]):
            for extension, content in (("png", png(i, size=32)), ("json", b'{"part": "%s"}')):
                for name in (f"._{key}", key):
                    member = tarfile.TarInfo(f"{name}.{extension}")
                    data = b"\0\5\x16\7" if name != key else content.replace(b"%s", key.encode())
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    check_set(tmp_path / "set", ["one", "two"], tmp_path / "scratch")


def test_files_that_other_programs_leave_do_not_stop_the_training(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    samples = [Sample(f"k{i}", png(i, size=32), {}) for i in range(4)]
    write_shards(folder, samples, size=32, channels=1, source="")
    shard = (folder / "shard-000000.tar").read_bytes()
    for name in ("._shard-000000.tar", ".DS_Store", ".hidden.tar", "._manifest.json",
                 "shard-000001.tar.part", "shard-000001.tar.tmp", "x.tar.crdownload"):  # fmt: skip
        (folder / name).write_bytes(shard[:700])
    (folder / "folder.tar").mkdir()
    assert verify_shards(folder, workers=1).ok
    (folder / "empty.tar").touch()
    for on_error in ("fail", "skip"):
        config = DataConfig(shards=folder, size=32, cache_dir=tmp_path, on_error=on_error)
        dataset = open_dataset(config)
        assert dataset.total == 4
        assert [fault.where for fault in dataset.log.faults] == (
            [] if on_error == "fail" else [str(folder / "empty.tar")]
        )
    assert [problem.rsplit("/", 1)[1] for problem in verify_shards(folder, workers=1).problems] == [
        "empty.tar: not in the manifest"
    ]


def test_a_folder_with_only_system_files_counts_as_empty(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    samples = [Sample("k", png(1, size=32), {})]
    for _ in range(2):
        write_shards(folder, samples, size=32, channels=1, source="", overwrite=True)
        (folder / "._manifest.json").touch()
        (folder / "Thumbs.db").touch()
    (folder / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"contains thesis\.tex"):
        write_shards(folder, samples, size=32, channels=1, source="", overwrite=True)
