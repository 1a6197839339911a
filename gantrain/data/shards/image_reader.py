"""What the loaders need of an open shard, whether its images are ours or those of another tool."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gantrain.data.images.convert import Conversion
from gantrain.data.shards.faults import Fault
from gantrain.data.shards.samples import Label


class ImageReader(Protocol):
    """An open shard with random access to its images."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Defects of the shard as a whole; empty if its bytes are unchanged."""

    def has_image(self, row: int) -> bool:
        """Return whether the row-th image is there; if not, a fault of the shard says so."""

    def read_image(self, row: int, conversion: Conversion) -> NDArray[np.uint8]:
        """Return the row-th image, uint8 (channels, size, size), values 0 to 255.

        Raises UserError naming the shard and the member if the image is missing, its bytes have
        changed, or it cannot be decoded.
        """

    def label(self, row: int) -> Label:
        """Return the label of the row-th image. Raises UserError as `read_image` does."""

    def key(self, row: int) -> str:
        """Return the key of the row-th image, such as `3001-L-0007`; printable."""

    def where(self, row: int) -> str:
        """Return the shard and the member, for error messages."""

    def close(self) -> None:
        """Close the file."""
