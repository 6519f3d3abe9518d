"""Reading many files at once, in order, without asking for all of them at the start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator, TypeVar

from bisenet_edge.runtime.machine import usable_cores

Result = TypeVar("Result")
AHEAD = 16  # files per thread that are asked for at once: what Ctrl-C, or a caller who stops, still waits for


def in_threads(read: Callable[[int], Result], count: int) -> Iterator[Result]:
    """`read(0)` to `read(count - 1)`, in order, in as many threads as there are cores.

    OpenCV and hashlib let other threads run while they work. An error that `read` raises is raised here, at
    the place in the order where it belongs.
    """
    threads = usable_cores()
    step = threads * AHEAD
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, count, step):
            yield from pool.map(read, range(start, min(start + step, count)))
