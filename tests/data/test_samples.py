"""Samples: validation, decoding, and reading from tars."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.data.shards.reader import iterate_samples
from gantrain.data.shards.samples import Sample, check_key, check_png_header, decode_image, split_of
from gantrain.data.shards.writer import add_sample


def png(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


GREY = np.arange(16, dtype=np.uint8).reshape(4, 4)
RGB = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def tar_of(path: Path, members: dict[str, bytes], **options: object) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for option, value in options.items():
                setattr(member, option, value)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "a\\b", "a\nb", "a\0b", "é" * 121, "\udc80"])
def test_an_invalid_key_is_rejected(key: str) -> None:
    with pytest.raises(UserError, match="key"):
        check_key(key)


def test_the_split_defaults_to_train_and_unknown_splits_are_rejected() -> None:
    assert split_of({}) == "train"
    assert split_of({"split": "validation"}) == "validation"
    with pytest.raises(UserError, match=r"'test'; expected one of train, validation"):
        split_of({"split": "test"})


def test_the_header_check_reports_actual_and_expected_format() -> None:
    check_png_header(Sample("a", png(GREY), {}), 4, 1)
    check_png_header(Sample("a", png(RGB), {}), 4, 3)
    with pytest.raises(UserError, match=r"8-bit RGB PNG of 4x4.*expected an 8-bit L PNG of 4x4"):
        check_png_header(Sample("a", png(RGB), {}), 4, 1)
    with pytest.raises(UserError, match="16-bit"):
        check_png_header(Sample("a", png(GREY.astype(np.uint16)), {}), 4, 1)
    with pytest.raises(UserError, match="not a PNG"):
        check_png_header(Sample("a", b"GIF89a", {}), 4, 1)


def test_decoding_returns_channels_first() -> None:
    assert np.array_equal(decode_image(png(GREY), 4, 1, where="x"), GREY[None])
    assert np.array_equal(decode_image(png(RGB), 4, 3, where="x"), RGB.transpose(2, 0, 1))
    with pytest.raises(UserError, match=r"tar: k\.png.*RGB of 4x4 pixels; expected L of 4x4"):
        decode_image(png(RGB), 4, 1, where="tar: k.png")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_image_decodes_to_the_right_shape_or_is_rejected(data: st.DataObject) -> None:
    image = bytearray(png(GREY))
    for _ in range(data.draw(st.integers(1, 3))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(image[: data.draw(st.integers(0, len(image)))])
    try:
        pixels = decode_image(damaged, 4, 1, where="x")
    except UserError:
        return
    assert pixels.shape == (1, 4, 4)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, float("nan")])
def test_an_invalid_label_is_not_written(value: object) -> None:
    label = {"part": value}
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as tar:
        with pytest.raises(UserError, match="'k'"):
            add_sample(tar, Sample("k", png(GREY), label))  # type: ignore[arg-type]
        assert tar.getnames() == []


def test_members_may_be_in_either_order_with_others_in_between(tmp_path: Path) -> None:
    image = png(GREY)
    shard = tar_of(
        tmp_path / "a.tar",
        {
            "a.json": b'{"part": "1"}',
            "a.png": image,
            "a.txt": b"?",
            "b.png": image,
            "b.json": b"{}",
        },
    )
    assert list(iterate_samples(shard)) == [
        Sample("a", image, {"part": "1"}),
        Sample("b", image, {}),
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b""}, r"a\.json is missing; the sample has a\.png"),
        ({"a.json": b"{}"}, r"a\.png is missing; the sample has a\.json"),
        ({"a.png": b"", "a.json": b"{"}, r"a\.json is not JSON"),
        ({"a.png": b"", "a.json": b"\xff\xfe\xff"}, r"a\.json is not JSON"),
        ({"a.png": b"", "a.json": b"[" * 100_000}, r"a\.json is not JSON"),
        ({"a.png": b"", "a.json": b"[]"}, r"a\.json is not a JSON object"),
        ({"a.png": b"", "a.json": b'{"x": null}'}, r"a\.json: 'x' is None"),
    ],
)
def test_an_invalid_member_is_named(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    shard = tar_of(tmp_path / "set.tar", members)
    with pytest.raises(UserError, match=rf"set\.tar: {message}"):
        list(iterate_samples(shard))


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "no numbers"},
        {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 60)},
        {"size": "-512"},
        {"size": str(1 << 70)},
    ],
)
def test_invalid_lengths_in_headers_are_an_error(tmp_path: Path, headers: dict[str, str]) -> None:
    shard = tar_of(tmp_path / "set.tar", {"a.png": b"x", "a.json": b"{}"}, pax_headers=headers)
    with pytest.raises(UserError, match=r"set\.tar: cut short or broken"):
        list(iterate_samples(shard))


def test_members_named_like_paths_are_rejected_and_not_extracted(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    shard = inside / "evil.tar"
    with tarfile.open(shard, "w") as tar:
        for name in ("../escaped.png", "../escaped.json", str(tmp_path / "absolute.png")):
            member = tarfile.TarInfo(name)
            member.size = 2
            tar.addfile(member, io.BytesIO(b"{}"))
    with pytest.raises(UserError, match=r"evil\.tar"):
        list(iterate_samples(shard))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.tar", "inside"]
