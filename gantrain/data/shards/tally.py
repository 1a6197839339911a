"""The counts of a manifest, taken sample by sample."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from gantrain.common.errors import UserError
from gantrain.data.shards.duplicates import Duplicates
from gantrain.data.shards.manifest import ClassEntry, ConversionEntry, Manifest, ShardEntry
from gantrain.data.shards.samples import SPLITS, Label, Split, class_of, split_of


class Tally:
    """Counts samples by split and class, and rejects samples that are not valid in a set.

    duplicates: counts the equal images; None makes a new one.
    """

    def __init__(self, duplicates: Duplicates | None = None) -> None:
        self.duplicates = Duplicates() if duplicates is None else duplicates
        self.keys: set[str] = set()
        self.splits: Counter[Split] = Counter()
        self.class_counts: Counter[str] = Counter()
        self.class_names: dict[str, str] = {}

    def compare(self, key: str, label: Label, digest: bytes) -> bool:
        """Count the image of one sample among the duplicates; return whether it equals another one.

        digest: see `image_digest`.

        Raises UserError if the label has an unknown split.
        """
        try:
            return self.duplicates.add(key, split_of(label), digest)
        except UserError as error:
            raise UserError(f"Sample {key!r}: {error}") from None

    def add(self, key: str, label: Label) -> None:
        """Count one sample.

        Raises UserError if the key is a duplicate, or the label has an unknown split or a class
        that is not valid text.
        """
        if key in self.keys:
            raise UserError(f"The key {key!r} is a duplicate; expected one sample for each key.")
        try:
            self.splits[split_of(label)] += 1
            if "part" in label:
                class_key, name = class_of(label)
                self.class_counts[class_key] += 1
                self.class_names.setdefault(class_key, name)
        except UserError as error:
            raise UserError(f"Sample {key!r}: {error}") from None
        self.keys.add(key)

    def classes(self) -> dict[str, ClassEntry]:
        """Return the classes counted so far, by key."""
        return {
            key: ClassEntry(name=self.class_names[key], count=self.class_counts[key])
            for key in sorted(self.class_counts)
        }

    def manifest(
        self,
        *,
        source: str,
        size: int,
        channels: Literal[1, 3],
        shards: Iterable[ShardEntry],
        conversion: ConversionEntry | None = None,
    ) -> Manifest:
        """Return the manifest of the samples counted so far; see `Manifest` for `conversion`."""
        return Manifest(
            version=3 if conversion is None else 2,
            source=source,
            size=size,
            channels=channels,
            count=len(self.keys),
            classes=self.classes(),
            splits={split: self.splits[split] for split in SPLITS},
            conversion=conversion,
            distinct=self.duplicates.distinct if conversion is None else None,
            shards=tuple(shards),
        )
