"""Import of image folders: Kaggle's layout, class folders, and damaged files."""

import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.data.importing.filenames import label_from_name, unique_keys
from gantrain.data.importing.pipeline import ImportReport, import_images
from gantrain.data.importing.validation_lists import load_validation_list, match_validation_list
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.reader import iterate_shard
from gantrain.data.shards.samples import decode_image
from gantrain.data.shards.verify import verify_shards
from tests.shard_sets import read_all, save_image


def run_import(source: Path, target: Path, **options: Any) -> ImportReport:
    return import_images(source, target, **{"size": 8, "workers": 1, **options})


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    """A small copy of the Kaggle folder: three parts, four views, two cameras."""
    source = tmp_path / "lego-brick-images"
    for part in ("3001 brick 2x4", "3046 roof corner inside tile 2x2", "32123 half bush"):
        for view in range(4):
            for camera in "LR":
                save_image(source / "dataset" / f"{part} {view:03d}{camera}.png")
    (source / "Validation.txt").write_bytes(
        b"\xef\xbb\xbf3001 brick 2x4 000L.png\r\n\r\ndataset\\32123 half bush 003R.PNG\r\ngone.png"
    )
    return source


# Kaggle's folder


@pytest.mark.parametrize("inner", ["", "dataset"])
def test_kaggles_folder_imports_unchanged(kaggle: Path, tmp_path: Path, inner: str) -> None:
    target = tmp_path / "set"
    report = run_import(kaggle / inner, target)
    manifest = read_manifest(target)
    assert {part: (each.name, each.count) for part, each in manifest.classes.items()} == {
        "3001": ("brick 2x4", 8),
        "3046": ("roof corner inside tile 2x2", 8),
        "32123": ("half bush", 8),
    }
    assert manifest.splits == {"train": 22, "validation": 2}
    validation = [each for each in read_all(target) if each.label["split"] == "validation"]
    assert {each.key for each in validation} == {"3001_brick_2x4_000L", "32123_half_bush_003R"}
    assert {(each.label["view"], each.label["camera"]) for each in validation} == {
        (0, "L"),
        (3, "R"),
    }
    assert report.plan.validation_list == kaggle / "Validation.txt"
    assert report.plan.validation_missing == ("gone.png",)
    assert report.ignored == {}
    assert verify_shards(target, workers=1).ok
    saved = json.loads((target / "import-report.json").read_text())
    assert saved.pop("duplicates")["distinct"] == 1  # the test's images have one colour
    assert saved == {
        "source": "folder of image files",
        "classes": {
            "rule": "name",
            "reason": "no class folders, and 24 of 24 file names are like "
            "`3001 brick 2x4 000L.png`",
        },
        "split_folders": [],
        "notes": [report.lost_colours],
        "unreadable": [],
        "ignored": {},
        "validation_list": "Validation.txt",
        "validation_missing": ["gone.png"],
    }


@pytest.mark.parametrize(
    ("name", "part", "words", "view", "camera"),
    [
        ("3001 brick 2x4 000L.png", "3001", "brick 2x4", 0, "L"),
        ("3046 roof corner inside tile 2x2 045R.png", "3046",
         "roof corner inside tile 2x2", 45, "R"),
        ("dataset/43093 bush 2M friction - cross axle 399R.png", "43093",
         "bush 2M friction - cross axle", 399, "R"),
        ("x/3794b plate 1x2 with 1 knob 010L.JPG", "3794b", "plate 1x2 with 1 knob", 10, "L"),
    ],
)  # fmt: skip
def test_brick_file_names_are_parsed(
    name: str, part: str, words: str, view: int, camera: str
) -> None:
    assert label_from_name(name) == {
        "part": part, "name": words, "view": view, "camera": camera, "file": name,
    }  # fmt: skip


def test_shards_contain_all_classes_in_a_reproducible_order(kaggle: Path, tmp_path: Path) -> None:
    first = run_import(kaggle, tmp_path / "a", images_per_shard=12).manifest
    again = run_import(kaggle, tmp_path / "b", images_per_shard=12, workers=2).manifest
    other = run_import(kaggle, tmp_path / "c", images_per_shard=12, seed=1).manifest
    assert first.identity == again.identity != other.identity
    for entry in first.shards:
        parts = {each.label["part"] for each in iterate_shard(tmp_path / "a", first, entry)}
        assert parts == {"3001", "3046", "32123"}


def test_an_explicit_list_takes_precedence(kaggle: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("3001 brick 2x4 001L.png\n")
    run_import(kaggle, tmp_path / "set", validation_list=mine)
    names = {
        s.label["file"] for s in read_all(tmp_path / "set") if s.label["split"] == "validation"
    }
    assert names == {"dataset/3001 brick 2x4 001L.png"}
    with pytest.raises(UserError, match=r"none\.txt: the list of validation images"):
        run_import(kaggle, tmp_path / "other", validation_list=tmp_path / "none.txt")


def test_a_list_may_distinguish_equal_names_by_folder(tmp_path: Path) -> None:
    images = ["cat/1.png", "dog/1.png", "dog/2.png"]
    path = tmp_path / "list"
    path.write_text("./dog/1.png\n")
    assert match_validation_list(load_validation_list(path), images).chosen == {"dog/1.png"}
    path.write_text("1.png\n/\n")
    names = match_validation_list(load_validation_list(path), images)
    assert names.chosen == {"cat/1.png", "dog/1.png"}
    assert names.missing == ("/",)


# Class folders


def test_folders_are_classes_and_top_level_images_have_none(tmp_path: Path) -> None:
    source = tmp_path / "pets"
    for name in ("cat/1.png", "cat/2.jpg", "dog/1.webp", "top.bmp"):
        save_image(source / name)
    (source / "notes.md").write_text("")
    (source / "LICENSE").write_text("")
    save_image(source / ".thumbnails" / "1.png")
    (source / "._1.png").write_text("")
    report = run_import(source, tmp_path / "set")
    classes = {part: each.count for part, each in report.manifest.classes.items()}
    assert classes == {"cat": 2, "dog": 1}
    assert report.manifest.count == 4
    assert report.ignored == {"": 1, ".md": 1, ".png": 1}
    assert {sample.key for sample in read_all(tmp_path / "set")} == {
        "cat_1",
        "cat_2",
        "dog_1",
        "top",
    }


def test_keys_are_unique() -> None:
    names = ["a b.png", "a_b.png", "A_B.png", "a_b-2.png", "a.b.jpg", "a/b.png", "a.png", "a.jpg"]
    keys = unique_keys(
        [*names, "x" * 250 + ".png", "x" * 251 + ".png", "\n.png", "é" * 150 + ".png"]
    )
    assert len({key.casefold() for key in keys}) == 12
    assert keys[:2] == ["a_b", "a_b-2"]
    assert all(len(key.encode()) <= 240 and key.isprintable() for key in keys)


def test_files_with_colliding_names_are_all_written(tmp_path: Path) -> None:
    for name in ("a b.png", "a_b.png", "a.b.jpg"):
        save_image(tmp_path / "in" / name)
    raw_name = os.fsencode(tmp_path / "in") + b"/\xff.png"
    Path(os.fsdecode(raw_name)).write_bytes((tmp_path / "in/a b.png").read_bytes())
    Path(os.fsdecode(raw_name.replace(b"\xff", b"\xfe"))).write_bytes(b"")
    report = run_import(tmp_path / "in", tmp_path / "set")
    assert report.manifest.count == 4
    assert len(report.unreadable) == 1


def test_symlink_loops_end_and_linked_images_are_imported(tmp_path: Path) -> None:
    source = tmp_path / "in"
    real = save_image(tmp_path / "elsewhere" / "1.png")
    save_image(source / "2.png")
    (source / "linked").symlink_to(real.parent)
    (source / "again").symlink_to(source)
    (real.parent / "up").symlink_to(source)
    (source / "broken.png").symlink_to("nowhere.png")
    os.mkfifo(source / "pipe.png")
    report = run_import(source, tmp_path / "set")
    assert {sample.label["file"] for sample in read_all(tmp_path / "set")} == {
        "2.png",
        "linked/1.png",
    }
    assert report.unreadable == (("broken.png", "No such file or directory"),)


# Images that cannot be read


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    source = tmp_path / "damaged"
    good = save_image(source / "good.png", Image.effect_noise((64, 64), 50)).read_bytes()
    (source / "cut.png").write_bytes(good[: len(good) // 2])
    (source / "text.png").write_text("not an image")
    (source / "empty.jpg").touch()
    (source / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    save_image(source / "bomb.png", Image.new("1", (20_000, 10_000)))
    save_image(source / "float.tif", Image.new("F", (8, 8)))
    return source


def test_unreadable_images_are_reported_with_reasons(damaged: Path, tmp_path: Path) -> None:
    report = run_import(damaged, tmp_path / "set", workers=2)
    reasons = dict(report.unreadable)
    assert report.manifest.count == 1
    assert list(reasons) == sorted(reasons)
    assert "truncated" in reasons.pop("cut.png")
    assert reasons.pop("text.png") == "not an image in a supported format"
    assert reasons.pop("script.png") == "not an image in a supported format"
    assert reasons.pop("empty.jpg") == "an empty file"
    assert reasons.pop("bomb.png") == (
        "20000x10000 are 200 megapixels, more than the limit of 100 (--max-megapixels)"
    )
    assert "have no defined range" in reasons.pop("float.tif")
    assert reasons == {}
    written = json.loads((tmp_path / "set" / "import-report.json").read_text())
    assert [each["file"] for each in written["unreadable"]] == [f for f, _ in report.unreadable]


def test_strict_fails_at_an_unreadable_image_and_leaves_nothing(
    damaged: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"damaged/.*: cannot be read \(.*without --strict"):
        run_import(damaged, tmp_path / "set", on_error="fail")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_files_and_folders_without_permission_are_reported(tmp_path: Path) -> None:
    source = tmp_path / "in"
    save_image(source / "good.png")
    save_image(source / "secret.png").chmod(0)
    save_image(source / "locked" / "1.png").parent.chmod(0)
    try:
        report = run_import(source, tmp_path / "set")
    finally:
        (source / "locked").chmod(0o755)
    assert dict(report.unreadable) == {
        "secret.png": "Permission denied",
        "locked/": "folder: Permission denied",
    }


def test_a_folder_without_a_readable_image_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        run_import(tmp_path / "none", tmp_path / "set")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").touch()
    with pytest.raises(UserError, match=r"contains no images \(1 other files\); expected .*\.png"):
        run_import(tmp_path / "in", tmp_path / "set")
    (tmp_path / "in" / "a.png").touch()
    with pytest.raises(UserError, match=r"a\.png: cannot be read \(an empty file\)"):
        run_import(tmp_path / "in", tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": "blurple"}, "background is 'blurple'; expected a colour"),
        ({"fit": "squash"}, "fit is 'squash'; expected one of crop, pad, shrink, stretch"),
        ({"channels": 4}, "channels is 4"),
        ({"size": 0}, "size is 0"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_settings_out_of_range_are_rejected(
    kaggle: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run_import(kaggle, tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


# Pixels


def test_transparent_pixels_get_the_background(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    layer.paste((255, 255, 255, 255), (0, 0, 4, 8))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    save_image(tmp_path / "in" / "rgba.png", layer)
    save_image(tmp_path / "in" / "palette.png", palette, transparency=1)
    save_image(tmp_path / "in" / "grey.png", Image.new("LA", (8, 8), (9, 0)))
    run_import(tmp_path / "in", tmp_path / "set", channels=3, background="#0000ff")
    pixels = {
        sample.key: decode_image(sample.image, 8, 3, where="x")
        for sample in read_all(tmp_path / "set")
    }
    assert pixels["rgba"][:, 0, 0].tolist() == [255, 255, 255]
    for key in ("rgba", "palette", "grey"):
        assert pixels[key][:, 7, 7].tolist() == [0, 0, 255]


def test_images_are_valid_pngs_of_the_requested_size(tmp_path: Path) -> None:
    for size in (8, 33):
        save_image(tmp_path / "in" / f"{size}.png", Image.new("RGB", (size, 20)))
    run_import(tmp_path / "in", tmp_path / "set", size=16, channels=3)
    formats: Counter[tuple[str | None, str, tuple[int, int]]] = Counter()
    for sample in read_all(tmp_path / "set"):
        with Image.open(io.BytesIO(sample.image)) as image:
            formats[(image.format, image.mode, image.size)] += 1
    assert formats == {("PNG", "RGB", (16, 16)): 2}


@pytest.mark.parametrize(
    ("colour", "channels", "said"),
    [((200, 40, 40), 1, True), ((90, 94, 91), 1, False), ((200, 40, 40), 3, False)],
)
def test_lost_colours_are_said(
    colour: tuple[int, int, int], channels: int, said: bool, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8), colour).save(tmp_path / "images" / f"{i}.jpg")
        Image.new("L", (8, 8), 50 * i).save(tmp_path / "images" / f"grey-{i}.png")
    report = run_import(tmp_path / "images", tmp_path / "set", channels=channels)
    assert ("3 of 6 images looked at have some" in report.lost_colours) == said
    assert ("--channels 3" in (tmp_path / "set" / "import-report.json").read_text()) == said
