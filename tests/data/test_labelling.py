"""Classes and splits of images, from the names of their files and folders."""

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.data.importing.labelling import Rule
from gantrain.data.importing.pipeline import import_images
from gantrain.data.importing.planning import ImportPlan, plan_labels
from gantrain.data.importing.splits import customary_split, parse_splits
from gantrain.data.importing.validation_lists import ValidationList
from tests.shard_sets import read_all, save_image


def files(*folders: str, name: str = "{}.png", count: int = 4) -> list[str]:
    """Some images in each folder; "" is the top."""
    return [f"{folder}/{name.format(i)}".lstrip("/") for folder in folders for i in range(count)]


BRICKS = "3001 brick 2x4 {:03d}L.png"

# Images, the rule that is chosen, the number of images of each class.
CLASSES: list[tuple[list[str], Rule, dict[str, int]]] = [
    (files("cat", "dog"), "path", {"cat": 4, "dog": 4}),
    (files("shoes/small", "bags/small"), "path", {"shoes/small": 4, "bags/small": 4}),
    (files("shoes/small", "shoes/large"), "path", {"small": 4, "large": 4}),
    (files("data/images/cat", "data/images/dog"), "path", {"cat": 4, "dog": 4}),
    (files("a", "a/b"), "path", {"b": 4}),
    (files("a", "a/b", "c"), "path", {"a": 4, "a/b": 4, "c": 4}),
    (files("healthy", "ill", name="12 patient knee {:03d}L.png"), "path", {"healthy": 4, "ill": 4}),
    (files("3001", "3003", name=BRICKS), "path", {"3001": 4, "3003": 4}),
    (files("", "cat", "dog"), "path", {"cat": 4, "dog": 4}),
    (files("", "extra"), "path", {"extra": 4}),
    (files(""), "none", {}),
    (files("cat"), "none", {}),
    (files("img_align/img"), "none", {}),
    (files("", name=BRICKS), "name", {"3001": 4}),
    (files("dataset", name=BRICKS), "name", {"3001": 4}),
    ([*files("dataset", name=BRICKS, count=9), "dataset/x.png"], "name", {"3001": 9}),
    ([*files("dataset", name=BRICKS, count=9), "x.png"], "name", {"3001": 9}),
    ([*files("", count=9), "3001 brick 2x4 000L.png"], "none", {}),
    (files("cat", "Cat", "CAT"), "path", {"cat": 4, "Cat": 4, "CAT": 4}),
    (files("caf\u00e9", "dog", "cafe\u0301"), "path", {"café": 8, "dog": 4}),
    (files("a\tb", "c\nd", "e\\f"), "path", {"a\\tb": 4, "c\\nd": 4, "e\\f": 4}),
    (files("train", "car", "bus"), "path", {"train": 4, "car": 4, "bus": 4}),
    (files("test", "cat"), "path", {"test": 4, "cat": 4}),
]  # fmt: skip


@pytest.mark.parametrize(("images", "rule", "classes"), CLASSES)
def test_one_rule_is_chosen_and_paths_are_kept_apart(
    images: list[str], rule: Rule, classes: dict[str, int]
) -> None:
    plan = plan_labels(images)
    assert plan.rule == rule
    assert plan.classes == classes
    assert Counter(str(each["part"]) for each in plan.labels.values() if "part" in each) == classes
    assert list(plan.labels) == images
    assert {each["split"] for each in plan.labels.values()} == {"train"}
    text = plan.describe()[0]
    assert all(f"{name} {count}" in text for name, count in classes.items())


@pytest.mark.parametrize(
    ("setting", "classes"),
    [
        ("folder", {"small": 8}),
        ("path", {"data/shoes/small": 4, "data/bags/small": 4}),
        ("name", {"12": 8}),
        ("none", {}),
    ],
)
def test_the_rule_can_be_given(setting: Any, classes: dict[str, int]) -> None:
    images = files("data/shoes/small", "data/bags/small", name="12 patient knee {:03d}L.png")
    plan = plan_labels(images, classes=setting)
    assert plan.rule == setting
    assert plan.classes == classes


@pytest.mark.parametrize(
    ("images", "setting", "message"),
    [
        (files(""), "folder", "no image is in a class folder"),
        (files("train", "test"), "path", "no image is in a class folder"),
        (files("cat"), "name", "no file name is like `3001 brick"),
        (
            files("cat"),
            "word",
            "classes is 'word'; expected one of auto, label, folder,",
        ),
    ],
)
def test_a_rule_that_gives_no_class_is_an_error(
    images: list[str], setting: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        plan_labels(images, classes=setting)


@pytest.mark.parametrize(
    ("images", "note"),
    [
        (files("a", "b", name=BRICKS), "Ambiguous: 8 of 8 file names are like `3001 brick 2x4 000"),
        ([*files("", count=9), "3001 brick 2x4 000L.png"], "Ambiguous: 1 of 10 file names"),
        ([*files("", name=BRICKS), "x.png"], "1 of 5 images have no class, such as x.png"),
        (files("", "a", "b"), "4 of 12 images have no class, such as 0.png"),
        (files("", "a"), "Ambiguous: there is one class folder"),
        (files("cat"), "--classes folder makes `cat` the class of all"),
        (files("a", "b/c"), "Ambiguous: the class folders are at different depths"),
        (files("a", "b", "c", count=1), "Ambiguous: 3 classes for 3 images are many"),
        (files("cat", "Cat"), "`Cat` and `cat` differ only in case and are 2 classes"),
        (files("é", "e\u0301", "b"), "`é` is one class; its 2 folders differ in Unicode form"),
        (files("test", "cat"), 'add --splits "test=validation"'),
        (files("seg_train/a", "seg_test/a"), '"seg_test=validation,seg_train=train"'),
        (files("train/a", "train/b", "test/c"), "All images of `c` are held out"),
    ],
)
def test_what_is_ambiguous_is_said(images: list[str], note: str) -> None:
    assert note in "\n".join(plan_labels(images).notes)


def test_merged_folders_are_named() -> None:
    plan = plan_labels(files("shoes/small", "bags/small"), classes="folder")
    assert "`small` is the class of several folders: shoes/small, bags/small." in plan.notes


def test_of_many_classes_some_are_printed() -> None:
    line = plan_labels(files(*(f"c{i:03d}" for i in range(500)))).describe()[0]
    assert line.startswith("classes: 500 by path")
    assert line.endswith("c008 4, c009 4, ... and 490 more")


# Splits

CAT_DOG = {"cat", "dog"}


def held_out(plan: ImportPlan) -> set[str]:
    return {image for image, label in plan.labels.items() if label["split"] == "validation"}


@pytest.mark.parametrize("train", ["train", "Training", "TRAIN", "train_set", "train2017"])
@pytest.mark.parametrize(
    "test",
    ["test", "Testing", "VAL", "valid", "validation", "dev", "eval", "holdout", "hold-out",
     "held_out", "test set", "val2017", "Test_Images"],
)  # fmt: skip
@pytest.mark.parametrize(
    "layout", ["{split}/{name}", "{name}/{split}", "dataset/{split}/{name}", "x/{name}/y/{split}"]
)
def test_customary_split_folders_are_known(train: str, test: str, layout: str) -> None:
    folders = [layout.format(split=split, name=n) for split in (train, test) for n in CAT_DOG]
    images = files(*folders)
    plan = plan_labels(images)
    assert {name.partition("/")[0] for name in plan.classes} == CAT_DOG
    assert held_out(plan) == {image for image in images if f"{test}/" in image}
    assert plan.split_folders == {(train, "train"): 8, (test, "validation"): 8}
    assert f"{test}/ 8 for validation" in plan.describe()[1]
    folder = plan_labels(images, classes="folder")
    assert set(folder.classes) == ({"y"} if "y" in layout else CAT_DOG)


@pytest.mark.parametrize(
    ("images", "classes", "out"),
    [
        # Without class folders.
        (files("train", "test"), set(), "test/"),
        (files("train", "val", "test"), set(), "(val|test)/"),
        (files("", "test"), set(), "test/"),
        (files("cat", "cat/test", "dog", "dog/test"), CAT_DOG, "test/"),
        # Other folders beside them.
        (files("train/cat", "test/cat", "extra/cat"), {"cat", "extra/cat"}, "test/"),
        # One class lacks a split.
        (files("cat/train", "cat/test", "dog/train"), CAT_DOG, "test/"),
        # Twice, as archives often have them.
        (files("train/train/cat", "train/train/dog", "test/test/cat"), CAT_DOG, "test/"),
        # Classes named like splits.
        (files("train/cat", "train/test", "val/cat", "val/test"), {"cat", "test"}, "val/"),
        (files("train/car", "train/train", "test/car", "test/train"), {"car", "train"}, "test/"),
        (files("cat", "dog", "test"), {"cat", "dog", "test"}, None),
        (files("cat", "dog", "Validation/x"), {"cat", "dog", "Validation/x"}, None),
        (files("cat", "dog", "other/test"), {"cat", "dog", "other/test"}, None),
        # One split alone is trained on.
        (files("train/cat", "train/dog"), CAT_DOG, None),
        (files("cat/train", "dog/train"), CAT_DOG, None),
        (files("test/cat", "test/dog"), CAT_DOG, None),
        (files("test"), set(), None),
        # Not customary.
        (files("trainer/cat", "contest/dog"), {"trainer/cat", "contest/dog"}, None),
    ],
)
def test_splits_and_classes_are_told_apart(
    images: list[str], classes: set[str], out: str | None
) -> None:
    plan = plan_labels(images)
    assert set(plan.classes) == classes
    top = re.compile(rf"(^|.*/){out}")
    expected = {image for image in images if out is not None and top.match(image)}
    if "val/test/0.png" in images:
        expected = {image for image in images if image.startswith("val/")}
    if "test/train/0.png" in images:
        expected = {image for image in images if image.startswith("test/")}
    assert held_out(plan) == expected


def test_only_held_out_folders_leave_nothing_to_train_on() -> None:
    images = files("test/cat", "val/cat")
    with pytest.raises(UserError, match=r"all are in test/, val/, .*--splits none"):
        plan_labels(images)
    assert set(plan_labels(images, splits="none").classes) == {"test/cat", "val/cat"}
    with pytest.raises(UserError, match="all are in test/"):
        plan_labels(files("test"), splits=parse_splits("test=validation"))


def test_split_folders_can_be_named() -> None:
    images = files("seg_train/sea", "seg_test/sea", "seg_train/ice")
    plan = plan_labels(images, splits=parse_splits("SEG_train = train, seg_test/=validation"))
    assert set(plan.classes) == {"sea", "ice"}
    assert held_out(plan) == set(files("seg_test/sea"))
    with pytest.raises(UserError, match="no image is in a folder 'seg_dev'"):
        plan_labels(images, splits=parse_splits("seg_dev=validation"))
    merged = plan_labels(files("train/a", "test/b"), splits=parse_splits("train=train,test=train"))
    assert held_out(merged) == set()
    assert set(merged.classes) == {"a", "b"}


@pytest.mark.parametrize("text", ["", "test", "test=", "=train", "a=train,"])
def test_other_texts_for_splits_are_rejected(text: str) -> None:
    with pytest.raises(UserError, match="expected auto, none, or a split for each"):
        parse_splits(text)


def test_a_list_holds_out_further_images(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    listed = ValidationList(path, "train/cat/1.png\nnone.png\n")
    plan = plan_labels(files("train/cat", "test/cat"), validation_list=listed)
    assert held_out(plan) == {"train/cat/1.png", *files("test/cat")}
    assert plan.validation_missing == ("none.png",)
    assert f"1 image listed in {path}" in plan.describe()[1]


words = st.sampled_from(["cat", "dog", "train", "test", "val", "a", "images", "3001"])
paths = st.lists(
    st.tuples(st.lists(words, max_size=3), st.sampled_from(["1", "2", "3001 brick 2x4 000L"])).map(
        lambda each: "/".join([*each[0], f"{each[1]}.png"])
    ),
    min_size=1,
    unique=True,
)


@given(paths)
def test_any_folders_get_one_rule_and_lose_no_image(images: list[str]) -> None:
    if all(_in_held_out_folder(image) for image in images):
        with suppress(UserError):  # nothing may be left to train on
            plan_labels(images)
        return
    plan = plan_labels(images)
    assert list(plan.labels) == images
    assert sum(plan.splits().values()) == len(images)
    for name in plan.classes:
        assert name
    # Images of one folder have one class, unless names decide; held-out ones have a reason.
    for image, label in plan.labels.items():
        folder = image.rpartition("/")[0]
        same = [other for other in images if other.rpartition("/")[0] == folder]
        if plan.rule != "name":
            assert {plan.labels[other].get("part") for other in same} == {label.get("part")}
        if label["split"] == "validation":
            assert _in_held_out_folder(image)


def _in_held_out_folder(image: str) -> bool:
    return any(customary_split(name) == "validation" for name in image.split("/")[:-1])


# In real folders


def test_hidden_and_system_folders_hold_no_images(tmp_path: Path) -> None:
    for folder in ("cat", "dog", "__MACOSX/cat", ".ipynb_checkpoints", "cat/@eaDir", "cat/.git"):
        save_image(tmp_path / "in" / folder / "1.png")
    (tmp_path / "in" / "cat" / "._1.png").write_bytes(b"\0\5\x16\7")
    report = import_images(tmp_path / "in", tmp_path / "set", size=8, workers=1)
    assert {name: each.count for name, each in report.manifest.classes.items()} == {
        "cat": 1,
        "dog": 1,
    }


def test_split_folders_become_the_splits_of_the_set(tmp_path: Path) -> None:
    for name in files("in/data/train/cat", "in/data/train/dog", "in/data/test/cat", count=2):
        save_image(tmp_path / name)
    report = import_images(tmp_path / "in", tmp_path / "set", size=8, workers=1)
    assert report.manifest.splits == {"train": 4, "validation": 2}
    samples = {sample.key: sample.label for sample in read_all(tmp_path / "set")}
    assert samples["data_test_cat_1"] == {
        "part": "cat",
        "name": "cat",
        "file": "data/test/cat/1.png",
        "split": "validation",
    }
