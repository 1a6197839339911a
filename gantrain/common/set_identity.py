"""What a checkpoint keeps of the set that it was trained on, to notice another one later."""

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
    for word, names in (
        ("new", sorted(set(now.classes) - set(before.classes))),
        ("missing", sorted(set(before.classes) - set(now.classes))),
    ):
        if names:
            more = f" and {len(names) - _MAX_CLASSES} more" if len(names) > _MAX_CLASSES else ""
            parts.append(f"{word} classes {', '.join(names[:_MAX_CLASSES])}{more}")
    return "; ".join(parts)
