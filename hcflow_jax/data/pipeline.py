"""Batches of random patches, the same for any number of workers, hosts and restarts."""

import dataclasses
import multiprocessing
import os
import queue
import re
import signal
import threading
import weakref
from collections.abc import Iterator
from multiprocessing import connection, parent_process

import grain
import numpy as np
from absl import flags

from hcflow_jax.data.source import Source
from hcflow_jax.errors import UserError

Batch = dict[str, np.ndarray]

_LONG_S = 3600.0
_CLOSING_S = 3.0

_NEVER_SHARED = 2**62
"""Bytes above which arrays go through shared memory: more than there are."""


@dataclasses.dataclass(frozen=True)
class RandomPatch(grain.transforms.RandomMap):
    """A random aligned crop of pair `index`, flipped and (if `rotate`) rotated at random."""

    source: Source
    size: int
    rotate: bool

    def random_map(self, index: int, rng: np.random.Generator) -> Batch:
        """{"hr": uint8 [s·size, s·size, 3], "lr": uint8 [size, size, 3]}."""
        height, width = self.source.size(index)
        top, left = (int(rng.integers(max(side - self.size, 0) + 1)) for side in (height, width))
        flip, quarters = rng.integers(2), int(rng.integers(4)) if self.rotate else 0
        patch = self.source.patch(index, top, left, self.size)
        return {k: np.rot90(x[:, ::-1] if flip else x, quarters) for k, x in patch.items()}


def _to_float(batch):
    return {key: x.astype(np.float32) / 255 for key, x in batch.items()}


def patches(
    source: Source,
    scale: int,
    patch_size: int,
    rotate: bool,
    batch_size: int,
    seed: int,
    process: int = 0,
    processes: int = 1,
) -> grain.MapDataset:
    """Endless batches {"hr": float32 [b, P, P, 3] in [0, 1], "lr": [b, P/s, P/s, 3]}.

    b = batch_size / processes. Global batch i is elements i·B … i·B + B − 1 of a stream whose
    every epoch has each pair once, newly shuffled; `process` gets its rows. The crop and the
    augmentation of an element are functions of (seed, its number) alone.

    Raises:
      UserError: the patch does not divide by the scale, or the batch by the processes; the source
        has another scale; ImageError when it has pictures smaller than the patch.
    """
    if patch_size < 1 or patch_size % scale:
        raise UserError(
            f"patch_size {patch_size} does not divide by the scale {scale}; "
            "set --config.data.patch_size"
        )
    if source.scale != scale:
        raise ValueError(f"{source!r} has another scale than the model, {scale}")
    if batch_size < 1 or batch_size % processes:
        raise UserError(
            f"batch_size {batch_size} does not divide by {processes} processes; "
            "set --config.train.batch_size"
        )
    source.check_patch(patch_size // scale)
    stream = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
    stream = stream.random_map(RandomPatch(source, patch_size // scale, rotate))
    stream = stream.batch(batch_size // processes, drop_remainder=True)[process::processes]
    return stream.map(_to_float)


class Batches(Iterator[Batch]):
    """An iterator over the batches of a grain stream.

    `close()`, or the end of its `with` block or of the program, ends threads and workers, within
    seconds also those that hang.

    Args:
      stream: of batches.
      what: the data, in messages.
    """

    def __init__(self, stream: grain.IterDataset, what: str):
        self._what = what
        self._waiting: queue.SimpleQueue | None = None
        self._others = set(multiprocessing.active_children())
        self._open = [iter(stream)]
        self.close = weakref.finalize(self, _close, self._open, self._others)

    def __next__(self) -> Batch:
        while (batch := self.get(_LONG_S)) is None:
            pass
        return batch

    def get(self, seconds: float) -> Batch | None:
        """The next batch, or None where it is not there within `seconds`; ask again then.

        UserError when a worker process has ended.
        """
        if not self._open:
            raise ValueError("these batches are closed")
        if self._waiting is None:  # in a thread, as nothing ends a `next` that hangs
            self._waiting = queue.SimpleQueue()
            arguments = self._open[0], self._waiting
            threading.Thread(target=_read, args=arguments, daemon=True).start()
        try:
            batch, error = self._waiting.get(timeout=seconds)
        except queue.Empty:
            return None
        self._waiting = None
        if error is not None:
            raise self._explained(error) from error
        return batch

    def _explained(self, error):
        """grain's error about a worker that has ended, as a UserError; others as they are."""
        code = re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error))
        if not (isinstance(error, RuntimeError) and code):
            return error
        number = int(code[1])
        how = f"was killed by signal {-number}" if number < 0 else f"ended with code {number}"
        return UserError(
            f"a worker process that reads {self._what} {how}; where memory is short, set "
            "--config.data.workers lower"
        )

    def late(self, seconds: float) -> UserError:
        """The error about a batch that has not come within `seconds`."""
        workers = sorted(child.pid for child in _workers(self._others))
        who = f"processes {', '.join(map(str, workers))}" if workers else "threads"
        return UserError(
            f"no batch of {self._what} came within {seconds:g} s from the {who} that read it; see "
            "whether they or the disk hang, or set --config.data.timeout higher"
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def _read(iterator, results):
    """Puts (batch, None) or (None, error) into the queue `results`."""
    try:
        results.put((next(iterator), None))
    except BaseException as error:
        results.put((None, error))


def _workers(others):
    """The worker processes of grain that are not among `others`."""
    children = multiprocessing.active_children()
    return [c for c in children if c.name.startswith("grain-") and c not in others]


def _close(iterators, others):
    """Closes; kills workers that are not gone after some seconds, as stopped ones never are."""
    while iterators:
        close = iterators.pop().close
        closing = threading.Thread(target=close, daemon=True)
        try:
            closing.start()
        except RuntimeError:  # Python is ending and starts no more threads
            close()
            continue
        closing.join(_CLOSING_S)
        if closing.is_alive():
            for worker in _workers(others):
                worker.kill()
            closing.join(_CLOSING_S)


def iterate(
    dataset: grain.MapDataset, first: int = 0, workers: int = 0, what: str = "the data"
) -> Batches:
    """dataset[first], dataset[first + 1], …, with prefetch.

    Args:
      first: the number of the first batch: after k steps, resume with k.
      workers: number of processes that read; 0 for threads of this one. The batches are the same.
      what: the data, in messages.
    """
    if workers < 0:
        raise UserError(f"workers must be 0 or more, got {workers}; set --config.data.workers")
    threads = 1 if workers else max(2, min(os.cpu_count() or 1, 8))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    stream = dataset[first:].to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():  # grain reads its own flags, which need not be given
            flags.FLAGS.mark_as_parsed()
        # Pipes instead of shared memory, of which containers often have only 64 MB.
        pipes = grain.experimental.DatasetOptions(min_shm_size=_NEVER_SHARED)
        stream = grain.experimental.WithOptionsIterDataset(stream, pipes)
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        stream = stream.mp_prefetch(options, worker_init_fn=_start_worker)
    return Batches(stream, what)


def _start_worker(index, count):
    """In a worker: ignores signals, which the parent handles, and exits when the parent ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with, args=(parent_process(),), daemon=True).start()


def _exit_with(parent):
    connection.wait([parent.sentinel])
    os._exit(1)
