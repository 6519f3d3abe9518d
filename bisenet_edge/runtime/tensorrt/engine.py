"""A plan that is loaded: two frames in flight on one CUDA stream, replayed as a CUDA graph.

Each lane has an input and an output buffer of its own. While the GPU works on one lane, the CPU fills the
other one's input and reads the mask before it: copy, compute and what follows overlap.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from bisenet_edge.errors import BackendError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.cuda import CaptureError, CudaRuntime, Graph
from bisenet_edge.runtime.tensorrt import readback
from bisenet_edge.runtime.tensorrt.api import TensorRt
from bisenet_edge.runtime.tensorrt.failures import load_failure

LANES = 2
NEUTRAL = 128
PROFILED_RUNS = 20


class _Lane:
    """Buffers of one frame in flight, and how to run it."""

    def __init__(self, cuda: CudaRuntime, size: Size) -> None:
        self.frame = cuda.buffer((1, *size.hw, 3), np.uint8)
        self.mask = cuda.buffer((1, *size.hw), np.uint8)
        self.done = cuda.event()
        self.graph: Optional[Graph] = None


class Engine:
    """A plan on this device. One thread uses it; `close` frees everything.

    Attributes:
        graph_refusal: why frames are not replayed as a CUDA graph; "" when they are.
    """

    def __init__(self, api: TensorRt, plan: bytes, size: Size) -> None:
        """Load a plan.

        Args:
            api: the TensorRT that built it.
            plan: its bytes.
            size: of the frames, as the artifact has it.

        Raises:
            BackendError: the plan is damaged, of another version or device, or has another contract; no
                memory; no device.
        """
        self._api = api
        self._plan_bytes = len(plan)
        self._next = 0
        self.graph_refusal = ""
        with ExitStack() as stack:
            # Streams, buffers and graphs are closed with it.
            self.cuda = stack.enter_context(CudaRuntime.open())
            self._stream = self.cuda.stream()
            del api.log.errors[:]
            # The runtime must live as long as its engine.
            self._runtime = api.trt.Runtime(api.log)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise load_failure(api.log.errors, f"a plan of {len(plan)} bytes")
            stack.callback(self._drop)
            self._names = _tensors(api, self._engine, size)
            self._context = self._new_context()
            self._lanes = [_Lane(self.cuda, size) for _ in range(LANES)]
            self._capture()
            self._stack = stack.pop_all()

    @property
    def version(self) -> str:
        """Of TensorRT."""
        return self._api.text

    @property
    def mapped(self) -> bool:
        """Whether the GPU reads frames where the CPU writes them, without a copy."""
        return self._lanes[0].frame.mapped

    def submit(self, frame: np.ndarray) -> None:
        """Begin a frame, uint8 [H, W, 3]; at most two may be under way."""
        lane = self._lanes[self._next % LANES]
        lane.frame.host[0] = frame
        if lane.graph is not None:
            lane.graph.launch(self._stream)
        else:
            self._enqueue(lane, self._context)
        lane.done.record(self._stream)
        # Last: a frame whose work could not be enqueued is not under way.
        self._next += 1

    def finish(self, mask: np.ndarray, ahead: int) -> None:
        """Wait for a frame and write its mask, uint8 [H, W].

        Args:
            mask: where to.
            ahead: how many frames were submitted after this one.
        """
        lane = self._lanes[(self._next - 1 - ahead) % LANES]
        lane.done.synchronize()
        mask[:] = lane.mask.host[0]

    def read_back(self) -> readback.Readback:
        """What the builder made of the graph."""
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._api.trt.LayerInformationFormat.JSON)
        # The old name is gone in TensorRT 11, the new one is not there before 10.
        if hasattr(self._engine, "device_memory_size_v2"):
            activation_bytes = self._engine.device_memory_size_v2
        else:
            activation_bytes = self._engine.device_memory_size
        return readback.read(text, plan_bytes=self._plan_bytes, activation_bytes=int(activation_bytes))

    def time_layers(self, frames: Sequence[np.ndarray]) -> List[Dict[str, Any]]:
        """What each layer costs on the GPU, in order of execution.

        The profiler makes every layer wait for the one before: the sum is more than a frame takes.

        Args:
            frames: at least one, uint8 [H, W, 3].

        Returns:
            per layer "name", "kind", "precision", "reformat" and its median "p50_ms".
        """
        # A context of its own: one with a profiler cannot be recorded as a CUDA graph.
        context, lane, profiler = self._new_context(), self._lanes[0], _profiler(self._api.trt)
        context.profiler = profiler
        for run in range(PROFILED_RUNS):
            lane.frame.host[0] = frames[run % len(frames)]
            self._enqueue(lane, context)
            self._stream.synchronize()
        layers = {layer.name: layer for layer in self.read_back().layers}
        return [
            {
                "name": name,
                "kind": layers[name].kind if name in layers else "",
                "precision": layers[name].precision if name in layers else "unknown",
                "reformat": name in layers and layers[name].reformat,
                "p50_ms": round(float(np.median(times_ms)), 5),
            }
            for name, times_ms in profiler.times_ms.items()
        ]

    def close(self) -> None:
        """Free the engine and its buffers. May be called twice."""
        self._stack.close()

    def _drop(self) -> None:
        # What was enqueued still uses the context; a stream that has failed has nothing left to wait for.
        with suppress(BackendError):
            self._stream.synchronize()
        # The context before its engine, the engine before its runtime.
        self._context = None
        self._engine = None
        self._runtime = None

    def _new_context(self) -> Any:
        context = self._engine.create_execution_context()
        if context is None:
            raise load_failure(self._api.log.errors, "an execution context")
        return context

    def _enqueue(self, lane: _Lane, context: Any) -> None:
        # Addresses are read when work is enqueued, or recorded: one context serves both lanes in turn.
        for name, buffer in zip(self._names, (lane.frame, lane.mask)):
            if not context.set_tensor_address(name, buffer.device):
                raise BackendError("TensorRT refuses a buffer", got=name)
        lane.frame.upload(self._stream)
        if not context.execute_async_v3(self._stream.handle):
            raise BackendError(
                "TensorRT could not run a frame",
                got=" | ".join(self._api.log.errors[-3:]) or "nothing was logged",
                fix="see the device's log: sudo dmesg | tail",
            )
        lane.mask.download(self._stream)

    def _capture(self) -> None:
        """Record each lane's work as a CUDA graph, which costs one call to replay."""
        for lane in self._lanes:
            # Run once before: first calls allocate, and that cannot be recorded.
            lane.frame.host[:] = NEUTRAL
            self._enqueue(lane, self._context)
            self._stream.synchronize()
        try:
            graphs = [
                self.cuda.capture(self._stream, partial(self._enqueue, lane, self._context))
                for lane in self._lanes
            ]
        except CaptureError as error:
            self.graph_refusal = error.reason
            return
        for lane, graph in zip(self._lanes, graphs):
            lane.graph = graph


def _tensors(api: TensorRt, engine: Any, size: Size) -> Tuple[str, str]:
    """Names of an engine's frame and mask; "frame" and "mask" unless Torch-TensorRT made it.

    Raises:
        BackendError: it has another contract than frame uint8 [1, H, W, 3] -> mask uint8 [1, H, W].
    """
    trt = api.trt
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    found = {}
    for name in names:
        way = "in" if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else "out"
        found[name] = (way, engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name)))
    uint8 = trt.DataType.UINT8
    expected = [("in", uint8, (1, *size.hw, 3)), ("out", uint8, (1, *size.hw))]
    # Sorted by way alone: nothing else of it can be compared.
    if sorted(found.values(), key=lambda tensor: tensor[0]) != expected:
        told = ", ".join(f"{name} {way}, {kind}, {list(shape)}" for name, (way, kind, shape) in found.items())
        raise BackendError(
            "an engine has other inputs and outputs than the artifact",
            got=told,
            expected=f"uint8, of {size}: a frame [1, H, W, 3] in, a mask [1, H, W] out",
            fix="build it again: bisenet-edge compile --rebuild",
        )
    frame, mask = sorted(names, key=lambda name: found[name][0])
    return frame, mask


def _profiler(trt: Any) -> Any:
    class Profiler(trt.IProfiler):
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times_ms: Dict[str, List[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times_ms.setdefault(layer_name, []).append(ms)

    return Profiler()
