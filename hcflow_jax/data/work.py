"""Work on many files: by threads, in order, with progress."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures

from tqdm import tqdm

_POLL_S = 0.2


def nothing() -> None:
    """Does nothing."""


def in_order(
    function: Callable, items, poll: Callable[[], None] = nothing, threads: int | None = None
) -> Iterator:
    """Yields function(item) for each, computed by threads that prefetch two items each.

    Args:
      poll: called again and again while a result is awaited; what it raises ends the work.
      threads: at most so many; one per core in any case.
    """
    count = min(os.cpu_count() or 1, threads or sys.maxsize)
    with futures.ThreadPoolExecutor(count) as pool:
        waiting: deque[futures.Future] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * count:
                    yield _result(waiting.popleft(), poll)
            while waiting:
                yield _result(waiting.popleft(), poll)
        finally:
            for future in waiting:
                future.cancel()


def _result(future, poll):
    while True:
        poll()
        if futures.wait([future], timeout=_POLL_S).done:
            return future.result()


def progress(items, total: int, what: str, delay: float = 0.0):
    """A bar of progress on stderr, which appears after `delay` seconds; yields the items."""
    return tqdm(
        items,
        total=total,
        desc=what,
        unit=" images",
        file=sys.stderr,
        mininterval=1.0,
        delay=delay,
    )
