"""What a checkpoint keeps of the set that it was trained on, to notice another one later."""

from collections.abc import Iterable

from pydantic import BaseModel

_MAX_CLASSES = 5  # that a message lists


class DataSet(BaseModel):
    """A set: `content` is the SHA-256 of its shards' hashes, `classes` are their keys, sorted."""

    content: str
    count: int
    classes: list[str]


def difference(before: DataSet, now: DataSet) -> str:
    """Return how two sets with other contents differ, without a full stop."""
    parts = [f"{before.count:,} images -> {now.count:,}"]
    if before.count == now.count:
        parts = [f"{now.count:,} images, others or in another order"]
    return "; ".join([*parts, *class_changes(before.classes, now.classes)])


def class_changes(before: Iterable[str], now: Iterable[str]) -> list[str]:
    """Return which classes are new and which are missing, each in words; empty if none are."""
    changes = []
    for word, names in (
        ("new", sorted(set(now) - set(before))),
        ("missing", sorted(set(before) - set(now))),
    ):
        if names:
            more = f" and {len(names) - _MAX_CLASSES} more" if len(names) > _MAX_CLASSES else ""
            changes.append(f"{word} classes {', '.join(names[:_MAX_CLASSES])}{more}")
    return changes
