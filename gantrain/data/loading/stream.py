"""Images decoded when a batch needs them, for sets that do not fit this machine.

A webdataset pipeline in worker processes, with random access instead of sequential reading. The
order is known in advance, so each worker of each rank reads and decodes only its own images, and a
stream can start at any position.
"""

import atexit
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
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
from gantrain.data.images.convert import Conversion
from gantrain.data.loading.decode import image_fault, shard_fault
from gantrain.data.loading.decoder_processes import decoder_context, kill
from gantrain.data.loading.order import Indices, WindowShuffle, local_rngs
from gantrain.data.shards.faults import Fault, FaultLog, ScratchError
from gantrain.data.shards.image_reader import ImageReader
from gantrain.data.shards.manifest import ShardEntry
from gantrain.data.shards.store import ShardStore

_MAX_OPEN_SHARDS = 256  # per worker
_BATCHES_AHEAD = 4  # per worker
_STARTUP_SECONDS = 60.0  # time for worker processes to start
_NO_IMAGES, _NO_CLASSES = torch.empty(0, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)
_MAX_SUBSTITUTES = 64  # later positions to search for a substitute for broken images


class DecodedBatch(NamedTuple):
    """One rank's part of a global batch, as a worker process sends it.

    images: uint8 (count, C, S, S).
    classes: int64 (count,); empty if the stream has none.
    faults: those found since the worker's previous batch.
    error: why the stream ends without this batch; "" if it does not.
    """

    images: Tensor
    classes: Tensor
    faults: list[Fault]
    error: str


@dataclass(frozen=True)
class ShardStream:
    """The images of a set to train on, in the order of training.

    shards: all shards of the manifest.
    conversion: the manifest's.
    selected: for each shard, the indices of its images to train on; None selects all.
    order: over the selected images.
    classes: for each shard, the class index of each of its images; None if they are not needed.
    """

    store: ShardStore
    shards: tuple[ShardEntry, ...]
    conversion: Conversion
    selected: tuple[Indices, ...] | None
    order: WindowShuffle
    classes: tuple[Indices, ...] | None = None

    def locate(self, rng: PositionalRNG) -> list[tuple[int, int]]:
        """Return shard and index in the shard of the image at each position."""
        shards, indices = self.order.indices(rng)
        pairs = zip(shards.tolist(), indices.tolist(), strict=True)
        if self.selected is None:
            return list(pairs)
        return [(shard, int(self.selected[shard][index])) for shard, index in pairs]

    def classes_at(self, places: Sequence[tuple[int, int]]) -> Indices:
        """Return the class index of the image at each (shard, index in the shard), int64 (N,)."""
        if self.classes is None:
            return np.empty(0, np.int64)
        return np.array([self.classes[shard][index] for shard, index in places], np.int64)


class BatchDecoder:
    """Reads and decodes images in one process; keeps the most recently used shards open."""

    def __init__(self, stream: ShardStream) -> None:
        self.stream = stream
        self._readers: OrderedDict[int, ImageReader | None] = OrderedDict()
        self._faults: list[Fault] = []

    def decode(self, rng: PositionalRNG) -> DecodedBatch:
        """Return the images at the positions. Intact images of the batch replace broken ones; if
        all are broken, the next intact image of the sequence does."""
        stream = self.stream
        conversion = stream.conversion
        shape = (rng.count, conversion.channels, conversion.size, conversion.size)
        pixels = np.zeros(shape, np.uint8)
        try:
            places = stream.locate(rng)
            broken = [
                i
                for i, (shard, index) in enumerate(places)
                if not self._decode_into(shard, index, pixels[i])
            ]
            intact = np.delete(np.arange(rng.count), broken)
            if broken and not len(intact):
                places[0] = self._decode_substitute(rng, pixels[0])
                intact = np.array([0])
            substitutes = np.resize(intact, len(broken))
            pixels[broken] = pixels[substitutes]
            for i, j in zip(broken, substitutes, strict=True):
                places[i] = places[j]
        except UserError as error:
            return DecodedBatch(_NO_IMAGES, _NO_CLASSES, [], str(error))
        faults, self._faults = self._faults, []
        classes = torch.from_numpy(stream.classes_at(places))
        return DecodedBatch(torch.from_numpy(pixels), classes, faults, "")

    def _decode_substitute(self, rng: PositionalRNG, out: NDArray[np.uint8]) -> tuple[int, int]:
        following = PositionalRNG(rng.seed, rng.start + rng.count, _MAX_SUBSTITUTES)
        for shard, index in self.stream.locate(following):
            if self._decode_into(shard, index, out):
                return shard, index
        raise UserError(
            f"{self.stream.store.location}: {rng.count + _MAX_SUBSTITUTES} images in a row are "
            "broken; expected most to be intact. Write the set again."
        )

    def _decode_into(self, shard: int, index: int, out: NDArray[np.uint8]) -> bool:
        reader = self._reader(shard)
        if reader is None or not reader.has_image(index):
            return False  # included in a fault of the shard
        try:
            out[...] = reader.read_image(index, self.stream.conversion)
        except UserError as error:
            self._faults.append(replace(image_fault(reader, index, error), seen_by="one rank"))
            return False
        return True

    def _reader(self, shard: int) -> ImageReader | None:
        if shard in self._readers:
            self._readers.move_to_end(shard)
            return self._readers[shard]
        entry, reader = self.stream.shards[shard], None
        try:
            reader = self.stream.store.open(entry)
            self._faults += reader.faults
        except ScratchError:
            raise
        except UserError as error:
            self._faults.append(shard_fault(entry, error))
        self._readers[shard] = reader
        if len(self._readers) > _MAX_OPEN_SHARDS:
            oldest = self._readers.popitem(last=False)[1]
            if oldest is not None:
                oldest.close()
        return reader

    def close(self) -> None:
        """Close the open shards."""
        for reader in self._readers.values():
            if reader is not None:
                reader.close()


def _worker_rngs(rng: PositionalRNG, global_batch_size: int) -> Iterator[PositionalRNG]:
    """Yield the positions of this worker's batches; workers take turns at their rank's batches."""
    info = get_worker_info()
    worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
    first = replace(rng, start=rng.start + worker * global_batch_size)
    return local_rngs(first, workers * global_batch_size)


def _prefetch_shards(stream: ShardStream, rngs: Iterator[PositionalRNG]) -> Iterator[PositionalRNG]:
    """Yield the RNGs unchanged; meanwhile a thread fetches the remote shards of the next window."""
    thread: threading.Thread | None = None
    requested: list[int] = []
    for rng in rngs:
        if stream.store.remote and (thread is None or not thread.is_alive()):
            upcoming = stream.order.shards_after(rng).tolist()
            if upcoming != requested:
                requested = upcoming
                thread = threading.Thread(target=_fetch_all, args=(stream, upcoming), daemon=True)
                thread.start()
        yield rng


def _fetch_all(stream: ShardStream, shards: list[int]) -> None:
    for shard in shards:
        with suppress(UserError):  # raised again when the shard is opened
            stream.store.fetch(stream.shards[shard])


def _decode_batches(stream: ShardStream, rngs: Iterator[PositionalRNG]) -> Iterator[DecodedBatch]:
    with closing(BatchDecoder(stream)) as decoder:
        for rng in rngs:
            batch = decoder.decode(rng)
            yield batch
            if batch.error:
                return


def decoded_batches(
    stream: ShardStream,
    rng: PositionalRNG,
    global_batch_size: int,
    workers: int,
    *,
    pin_memory: bool,
) -> Iterator[DecodedBatch]:
    """Yield one rank's part of every global batch, endlessly; see `ImageDataset.batches`.

    workers: number of processes that read and decode ahead; 0 decodes in this process, on demand.

    Raises UserError if a worker process dies or hangs.
    """
    pipeline = webdataset.DataPipeline(
        partial(_worker_rngs, rng, global_batch_size),
        partial(_prefetch_shards, stream),
        partial(_decode_batches, stream),
    )
    if workers:
        yield from _run_workers(pipeline, stream.store, workers, pin_memory)
    else:
        yield from pipeline


def _run_workers(
    pipeline: webdataset.DataPipeline, store: ShardStore, workers: int, pin_memory: bool
) -> Iterator[DecodedBatch]:
    """Yield the pipeline's batches from worker processes, which end with this generator."""
    loader = webdataset.WebLoader(
        pipeline,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=_BATCHES_AHEAD,
        pin_memory=pin_memory,
        multiprocessing_context=decoder_context(),
    )
    timeout = store.timeout * (store.retries + 2 if store.remote else 1)
    other_children = set(active_children())
    processes: set[BaseProcess] = set()

    def kill_workers() -> None:
        kill(processes or set(active_children()) - other_children)

    # DataLoader's own timeout does not cover the receipt of a tensor, during which a stopped worker
    # blocks it; so a thread waits for the loader.
    incoming = prefetch(
        iter(loader),
        1,
        first_timeout=_STARTUP_SECONDS + timeout,
        timeout=timeout,
        unblock=kill_workers,
    )
    kill_at_exit = partial(kill, processes)  # multiprocessing would wait for them
    atexit.register(kill_at_exit)
    try:
        with closing(incoming):
            for batch in incoming:
                if not processes:
                    processes |= set(active_children()) - other_children
                yield batch
    except (RuntimeError, OSError, EOFError) as error:  # all forms of a worker's death
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"A decoding process was killed or hangs ({reason}). Check whether memory is short "
            "(data.workers, data.shuffle_buffer), or increase data.timeout_s."
        ) from None
    finally:
        atexit.unregister(kill_at_exit)


def valid_batches(incoming: Iterator[DecodedBatch], log: FaultLog) -> Iterator[DecodedBatch]:
    """Yield the batches, and add their faults to the log.

    Raises UserError for a fault unless the log skips faults, and for an error that ends the stream.
    """
    for batch in incoming:
        log.add(batch.faults)
        if batch.error:
            raise UserError(batch.error)
        yield batch
