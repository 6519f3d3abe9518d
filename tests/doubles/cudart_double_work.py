"""The work of `cudart_double`: streams whose queues run late, events, captures and graphs."""
# ruff: noqa: N802 (functions have their CUDA names)

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from cudart_double_base import Faults, MisuseError, give, known, number

from bisenet_edge.runtime.cuda import symbols

PIECE_MS = 1.0
"""What every piece of work takes on the clock of the double."""


class _Stream:
    def __init__(self) -> None:
        self.queue: deque[Callable[[], None]] = deque()
        self.captured: list[Callable[[], None]] | None = None
        self.invalidated = False


class _Event:
    def __init__(self, timing: bool) -> None:
        self.timing = timing
        self.stream: _Stream | None = None
        self.records = 0
        self.done = True
        self.at_ms: float | None = None
        self.in_capture = False


class Work:
    """Streams, events and graphs."""

    faults: Faults

    def __init__(self) -> None:
        self._sticky = 0
        self._clock_ms = 0.0
        self._engine_work = 0
        self._next_handle = 0x1000
        self._streams: dict[int, _Stream] = {}
        self._events: dict[int, _Event] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._executables: dict[int, list[Callable[[], None]]] = {}

    def enqueue(self, stream_handle: int, work: Callable[[], None]) -> int:
        """Put work of an engine into a stream, to run later; under capture, record it.

        Returns:
            0, or the code with which CUDA refuses (the engine says False then).
        """
        stream = known(self._streams, stream_handle, "stream")
        if self._sticky:
            return self._sticky
        if stream.captured is not None and self.faults.no_capture:
            stream.invalidated = True
            return 900
        self._put(stream, partial(self._run_engine_work, work))
        return 0

    def run_some(self, pieces: int = 1) -> int:
        """Run up to so many pieces of queued work, stream by stream; returns how many there were."""
        done = 0
        for stream in self._streams.values():
            while done < pieces and self._run_one(stream):
                done += 1
        return done

    @property
    def queued(self) -> int:
        """Pieces of work that have not run."""
        return sum(len(stream.queue) for stream in self._streams.values())

    def capturing(self) -> bool:
        """Whether a stream is being captured."""
        return any(stream.captured is not None for stream in self._streams.values())

    # Streams and events

    def _cudaStreamCreateWithFlags(self, handle: Any, flags: int) -> int:
        if flags != symbols.STREAM_NON_BLOCKING:
            raise MisuseError("a stream that waits for the default stream")
        return self._open(self._streams, handle, _Stream())

    def _cudaStreamSynchronize(self, handle: Any) -> int:
        stream = known(self._streams, number(handle), "stream")
        while self._run_one(stream):
            pass
        return self._sticky

    def _cudaDeviceSynchronize(self) -> int:
        self.run_some(self.queued)
        return self._sticky

    def _cudaStreamDestroy(self, handle: Any) -> int:
        stream = known(self._streams, number(handle), "stream")
        if stream.queue and not self._sticky:
            raise MisuseError("a stream is destroyed while work is queued in it")
        del self._streams[number(handle)]
        return 0

    def _cudaEventCreateWithFlags(self, handle: Any, flags: int) -> int:
        return self._open(self._events, handle, _Event(timing=flags & symbols.EVENT_DISABLE_TIMING == 0))

    def _cudaEventRecord(self, event: Any, stream: Any) -> int:
        recorded = known(self._events, number(event), "event")
        where = known(self._streams, number(stream), "stream")
        recorded.in_capture = where.captured is not None
        if not recorded.in_capture:
            recorded.stream, recorded.done = where, False
            recorded.records += 1
            self._put(where, partial(self._reach, recorded, recorded.records))
        return 0

    def _reach(self, event: _Event, record: int) -> None:
        if event.records == record:  # not recorded again meanwhile
            event.done, event.at_ms = True, self._clock_ms
        self._clock_ms -= PIECE_MS  # recording takes no time

    def _cudaEventSynchronize(self, handle: Any) -> int:
        event = known(self._events, number(handle), "event")
        if event.in_capture:
            return 907
        while not event.done and event.stream is not None and self._run_one(event.stream):
            pass
        return self._sticky

    def _cudaEventQuery(self, handle: Any) -> int:
        event = known(self._events, number(handle), "event")
        if event.in_capture:
            return 907
        if not event.done and event.stream is not None:
            self._run_one(event.stream)
        return self._sticky or (0 if event.done else 600)

    def _cudaEventElapsedTime(self, elapsed_ms: Any, start: Any, end: Any) -> int:
        first = known(self._events, number(start), "event")
        last = known(self._events, number(end), "event")
        if not (first.timing and last.timing and first.records and last.records):
            return 400
        if not (first.done and last.done):
            return 600
        return give(elapsed_ms, ctypes.c_float, (last.at_ms or 0.0) - (first.at_ms or 0.0))

    def _cudaEventDestroy(self, handle: Any) -> int:
        known(self._events, number(handle), "event")
        del self._events[number(handle)]
        return 0

    # Graphs

    def _cudaStreamBeginCapture(self, handle: Any, mode: int) -> int:
        stream = known(self._streams, number(handle), "stream")
        if mode != symbols.CAPTURE_THREAD_LOCAL:
            raise MisuseError("a capture that forbids other threads the use of CUDA")
        if stream.captured is not None:
            return 401
        stream.captured, stream.invalidated = [], False
        return 0

    def _cudaStreamEndCapture(self, handle: Any, graph: Any) -> int:
        stream = known(self._streams, number(handle), "stream")
        captured, stream.captured = stream.captured, None
        if captured is None:
            return 401
        if stream.invalidated:
            give(graph, ctypes.c_void_p, None)
            return 901
        return self._open(self._graphs, graph, captured)

    def _cudaGraphGetNodes(self, graph: Any, nodes: Any, count: Any) -> int:
        work = known(self._graphs, number(graph), "graph")
        return give(count, ctypes.c_size_t, len(work))

    def _cudaGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: int) -> int:
        work = known(self._graphs, number(graph), "graph")
        return self._open(self._executables, executable, list(work))

    def _cudaGraphLaunch(self, executable: Any, handle: Any) -> int:
        work = known(self._executables, number(executable), "executable graph")
        stream = known(self._streams, number(handle), "stream")
        for piece in work:
            self._put(stream, piece)
        return 0

    def _cudaGraphExecDestroy(self, executable: Any) -> int:
        known(self._executables, number(executable), "executable graph")
        del self._executables[number(executable)]
        return 0

    def _cudaGraphDestroy(self, graph: Any) -> int:
        known(self._graphs, number(graph), "graph")
        del self._graphs[number(graph)]
        return 0

    # How work runs

    def _put(self, stream: _Stream, piece: Callable[[], None]) -> None:
        (stream.queue if stream.captured is None else stream.captured).append(piece)

    def _run_one(self, stream: _Stream) -> bool:
        if not stream.queue:
            return False
        piece = stream.queue.popleft()
        piece()
        self._clock_ms += PIECE_MS
        return True

    def _run_engine_work(self, work: Callable[[], None]) -> None:
        self._engine_work += 1
        if self._engine_work == self.faults.launch_at:
            self._sticky = 719
            for stream in self._streams.values():
                stream.queue.clear()
            return
        work()

    def _open(self, held: dict[int, Any], handle: Any, value: Any) -> int:
        self._next_handle += 0x10
        held[self._next_handle] = value
        return give(handle, ctypes.c_void_p, self._next_handle)
