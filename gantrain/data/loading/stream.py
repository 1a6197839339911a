"""Images decoded when a batch needs them: for sets that outgrow this machine.

A webdataset pipeline in worker processes, in which reading by index takes the place of walking the
tars. The order is decided before anything is read, so each worker of each rank reads and decodes
its own images alone, and a stream can begin at any position.
"""

import atexit
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from gantrain.common.errors import UserError
from gantrain.common.prefetch import prefetch
from gantrain.common.rng import PositionalRNG
from gantrain.data.loading.decode import decode_into, image_fault, shard_fault
from gantrain.data.loading.decoder_processes import decoder_context, end
from gantrain.data.loading.order import Indexes, WindowShuffle
from gantrain.data.shards.faults import Fault, FaultLog, ScratchError
from gantrain.data.shards.manifest import ShardEntry
from gantrain.data.shards.store import ShardStore
from gantrain.data.shards.tar_index import ShardReader

_OPEN_SHARDS = 256  # per worker
_BATCHES_AHEAD = 4  # per worker
_START_SECONDS = 60.0  # that worker processes may take to start
_SUBSTITUTES = 64  # later positions that may stand in for broken images


class DecodedBatch(NamedTuple):
    """One rank's share of a batch, as it comes from a worker.

    images: uint8 (count, C, S, S).
    faults: what was found broken on the way.
    error: why there is no share, and the stream ends; "" if there is one.
    """

    images: Tensor
    faults: list[Fault]
    error: str


@dataclass(frozen=True)
class ShardStream:
    """The images of a set to train on, in the order of training.

    shards: those of the manifest.
    chosen: for each shard the numbers of its images to train on; None takes all.
    order: over the chosen images.
    """

    store: ShardStore
    shards: tuple[ShardEntry, ...]
    size: int
    channels: int
    chosen: tuple[Indexes, ...] | None
    order: WindowShuffle

    def locate(self, rng: PositionalRNG) -> list[tuple[int, int]]:
        """The shard and the image's row in it for each position."""
        shards, numbers = self.order.indices(rng)
        pairs = zip(shards.tolist(), numbers.tolist(), strict=True)
        if self.chosen is None:
            return list(pairs)
        return [(shard, int(self.chosen[shard][number])) for shard, number in pairs]


class Worker:
    """Reads and decodes in one process; keeps the shards open that it used last."""

    def __init__(self, stream: ShardStream) -> None:
        self.stream = stream
        self._readers: OrderedDict[int, ShardReader | None] = OrderedDict()
        self._faults: list[Fault] = []

    def read(self, rng: PositionalRNG) -> DecodedBatch:
        """The images at the positions; a broken one is replaced by the next that is whole."""
        stream = self.stream
        shape = (rng.count, stream.channels, stream.size, stream.size)
        pixels = np.zeros(shape, np.uint8)
        try:
            broken = [
                i
                for i, (shard, row) in enumerate(stream.locate(rng))
                if not self._decode(shard, row, pixels[i])
            ]
            good = np.delete(np.arange(rng.count), broken)
            if broken and not len(good):
                self._find_substitute(rng, pixels[0])
                good = np.array([0])
            pixels[broken] = pixels[np.resize(good, len(broken))]
        except UserError as error:
            return DecodedBatch(torch.empty(0, dtype=torch.uint8), [], str(error))
        faults, self._faults = self._faults, []
        return DecodedBatch(torch.from_numpy(pixels), faults, "")

    def _find_substitute(self, rng: PositionalRNG, into: NDArray[np.uint8]) -> None:
        after = PositionalRNG(rng.seed, rng.start + rng.count, _SUBSTITUTES)
        for shard, row in self.stream.locate(after):
            if self._decode(shard, row, into):
                return
        raise UserError(
            f"{self.stream.store.location}: {rng.count + _SUBSTITUTES} images in a row are "
            "broken; expected most to be whole. Write the set again."
        )

    def _decode(self, shard: int, row: int, into: NDArray[np.uint8]) -> bool:
        reader = self._reader(shard)
        if reader is None or not reader.index.offsets[row, 1]:
            return False  # the shard's own fault counts it
        try:
            decode_into(reader, row, into)
        except UserError as error:
            self._faults.append(replace(image_fault(reader, row, error), seen_by="one rank"))
            return False
        return True

    def _reader(self, shard: int) -> ShardReader | None:
        if shard in self._readers:
            self._readers.move_to_end(shard)
            return self._readers[shard]
        entry, reader = self.stream.shards[shard], None
        try:
            reader = self.stream.store.open(entry)
            self._faults += reader.index.faults
        except ScratchError:
            raise
        except UserError as error:
            self._faults.append(shard_fault(entry, error))
        self._readers[shard] = reader
        if len(self._readers) > _OPEN_SHARDS:
            oldest = self._readers.popitem(last=False)[1]
            if oldest is not None:
                oldest.close()
        return reader

    def close(self) -> None:
        """Close the shards."""
        for reader in self._readers.values():
            if reader is not None:
                reader.close()


def shares_of_worker(first: PositionalRNG, stride: int) -> Iterator[PositionalRNG]:
    """This worker's part of one rank's shares, for ever: the workers take turns."""
    info = get_worker_info()
    number, workers = (info.id, info.num_workers) if info is not None else (0, 1)
    start = first.start + number * stride
    while True:
        yield PositionalRNG(first.seed, start, first.count)
        start += workers * stride


def fetched_ahead(stream: ShardStream, shares: Iterator[PositionalRNG]) -> Iterator[PositionalRNG]:
    """Pass shares on; a thread fetches the remote shards that will be needed after them."""
    fetching: threading.Thread | None = None
    wanted: list[int] = []
    for share in shares:
        if stream.store.remote and (fetching is None or not fetching.is_alive()):
            coming = stream.order.shards_after(share).tolist()
            if coming != wanted:
                wanted = coming
                fetching = threading.Thread(target=_fetch_all, args=(stream, coming), daemon=True)
                fetching.start()
        yield share


def _fetch_all(stream: ShardStream, shards: list[int]) -> None:
    for shard in shards:
        with suppress(UserError):  # whoever needs it finds out, and says so
            stream.store.fetch(stream.shards[shard])


def decoded(stream: ShardStream, shares: Iterator[PositionalRNG]) -> Iterator[DecodedBatch]:
    """The images of each share."""
    worker = Worker(stream)
    try:
        for share in shares:
            delivery = worker.read(share)
            yield delivery
            if delivery.error:
                return
    finally:
        worker.close()


def decoded_batches(
    stream: ShardStream, first: PositionalRNG, stride: int, workers: int, *, pin_memory: bool
) -> Iterator[DecodedBatch]:
    """One rank's share of every batch, for ever: `first`, then `stride` positions on.

    workers: processes that read and decode ahead; 0 does it here, when a share is asked for.
    """
    pipeline = webdataset.DataPipeline(
        partial(shares_of_worker, first, stride),
        partial(fetched_ahead, stream),
        partial(decoded, stream),
    )
    if not workers:
        yield from pipeline
        return
    loader = webdataset.WebLoader(
        pipeline,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=_BATCHES_AHEAD,
        pin_memory=pin_memory,
        multiprocessing_context=decoder_context(),
    )
    store = stream.store
    patience = store.timeout * (store.retries + 2 if store.remote else 1)
    others = set(active_children())
    # DataLoader's own time-out does not cover the receipt of a tensor, which a stopped worker holds
    # up; so the wait is for a thread.
    incoming = prefetch(
        iter(loader), 1, first_patience=_START_SECONDS + patience, patience=patience
    )
    mine: set[BaseProcess] = set()
    at_exit = partial(end, mine)  # multiprocessing would wait for them there
    atexit.register(at_exit)
    try:
        for delivery in incoming:
            if not mine:
                mine |= set(active_children()) - others
            yield delivery
    except (RuntimeError, OSError, EOFError) as error:  # all that tells of a worker's death
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"A process that decodes images was killed or hangs ({reason}). "
            "See whether memory is short (data.workers, data.shuffle_buffer), or wait longer with "
            "data.timeout_s."
        ) from None
    finally:
        end(mine or set(active_children()) - others)
        atexit.unregister(at_exit)


def valid_batches(incoming: Iterator[DecodedBatch], log: FaultLog) -> Iterator[Tensor]:
    """The images alone; faults go to the log.

    Raises UserError for what the log does not let pass, and for what ends the stream.
    """
    for images, faults, error in incoming:
        log.add(faults)
        if error:
            raise UserError(error)
        yield images
