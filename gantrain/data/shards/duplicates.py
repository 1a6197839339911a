"""Exact duplicates in a set: equal images within a split and across the splits."""

import hashlib
from array import array
from collections import Counter

from gantrain.data.shards.samples import SPLITS, Split

_MAX_EXAMPLES = 50
_DIGEST_BYTES = 16


def image_digest(content: bytes) -> bytes:
    """Return 16 bytes that are equal for equal content: of a PNG file that we wrote, or pixels."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


class Duplicates:
    """Counts the images that equal an earlier one. Memory grows with the number of images.

    repeats: number of images that equal an earlier one, by split.
    examples: (key, key of the first image that it equals) of some of these.
    """

    def __init__(self) -> None:
        self.repeats: Counter[Split] = Counter()
        self.examples: list[tuple[str, str]] = []
        self._numbers: dict[bytes, int] = {}  # of the distinct images
        self._first_keys: list[str] = []
        self._counts = {split: array("L") for split in SPLITS}

    def add(self, key: str, split: Split, digest: bytes) -> bool:
        """Count an image; return whether it equals an earlier one. digest: see `image_digest`."""
        number = self._numbers.setdefault(digest, len(self._numbers))
        repeats = number < len(self._first_keys)
        if repeats:
            self.repeats[split] += 1
            if len(self.examples) < _MAX_EXAMPLES:
                self.examples.append((key, self._first_keys[number]))
        else:
            self._first_keys.append(key)
            for counts in self._counts.values():
                counts.append(0)
        self._counts[split][number] += 1
        return repeats

    @property
    def distinct(self) -> int:
        """Number of different images."""
        return len(self._first_keys)

    @property
    def across(self) -> int:
        """Number of validation images that equal a training image."""
        pairs = zip(self._counts["train"], self._counts["validation"], strict=True)
        return sum(held_out for trained, held_out in pairs if trained)

    def describe(self) -> list[str]:
        """Return what a user should know, in lines; none if all images differ."""
        total = self.repeats.total()
        if not total:
            return []
        by_split = ", ".join(f"{self.repeats[split]:,} in {split}" for split in SPLITS)
        key, first = self.examples[0]
        lines = [
            f"duplicates: {total:,} of {total + self.distinct:,} images equal an earlier one "
            f"({by_split}), such as {key}, which equals {first}; {self.distinct:,} are distinct"
        ]
        if self.across:
            held_out = sum(self._counts["validation"])
            lines.append(
                f"across the splits: {self.across:,} of {held_out:,} validation images equal "
                "training images, so that measurements against held-out images mislead"
            )
        return lines
