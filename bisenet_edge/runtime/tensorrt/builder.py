"""ONNX -> plan: the bytes of an engine, built on the device that will run it."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional

from bisenet_edge.errors import UsageError
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.tensorrt.api import FP32, INT8, TensorRt
from bisenet_edge.runtime.tensorrt.failures import build_failure

MB = 1 << 20
OPT_LEVELS = range(6)
REPEAT_S = 10


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built.

    Attributes:
        workspace_mb: most memory that a kernel may use while it runs (2^20 bytes); None = all that is free.
        opt_level: 0 builds fast, 5 tries the most kernels (TensorRT 8.6 and newer); None = TensorRT's own, 3.
    """

    workspace_mb: Optional[int] = None
    opt_level: Optional[int] = None

    def __post_init__(self) -> None:
        if self.opt_level is not None and self.opt_level not in OPT_LEVELS:
            raise UsageError(
                "optimization level out of range", got=self.opt_level, expected="0 to 5", fix="--opt-level 3"
            )
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise UsageError(
                "workspace out of range",
                got=f"{self.workspace_mb} MB",
                expected="1 MB or more; all that is free without it",
                fix="--workspace-mb 512",
            )


@dataclass(frozen=True)
class Plan:
    """A built engine, serialized.

    Attributes:
        data: what `deserialize_cuda_engine` takes.
        timing_cache: measurements of kernels, for the next build on this device; b"" if there are none.
        build_s: seconds that it took.
        notes: what the reader should know: a timing cache that was refused, an option that this version
            does not have.
    """

    data: bytes
    timing_cache: bytes
    build_s: float
    notes: List[str]


def build(
    api: TensorRt,
    model: bytes,
    precision: str,
    options: BuildOptions,
    timing_cache: bytes = b"",
    progress: Progress = quiet,
) -> Plan:
    """Build an engine; takes minutes on a small device.

    Args:
        api: the TensorRT that builds.
        model: ONNX, the flavour that `api.model_of(precision)` names.
        precision: "int8", "fp16" or "fp32".
        options: workspace and optimization level.
        timing_cache: from an earlier build on this device with this TensorRT.
        progress: told of the builder's outermost phase, or of the seconds where it does not tell.

    Raises:
        BackendError: TensorRT does not take the graph or runs out of memory; with node and remedy.
        KeyboardInterrupt: interrupted. TensorRT 8 cannot be stopped: it ends its build first.
    """
    subject, started_s = f"{precision} engine", time.monotonic()
    notes: List[str] = []
    del api.log.errors[:]
    builder = api.trt.Builder(api.log)
    network = builder.create_network(_network_flags(api))
    _parse(api, network, model, subject)
    config = builder.create_builder_config()
    _configure(api, config, precision, options, notes)
    cache = _use_timing_cache(config, timing_cache, notes)
    with _watched(api, config, f"building the {subject}", progress) as stopped:
        data = builder.build_serialized_network(network, config)
    if stopped.is_set():
        raise KeyboardInterrupt
    if data is None:
        raise build_failure(api.log.errors, subject)
    return Plan(
        data=bytes(data),
        timing_cache=bytes(cache.serialize()) if cache is not None else b"",
        build_s=time.monotonic() - started_s,
        notes=notes,
    )


def _network_flags(api: TensorRt) -> int:
    # Values differ between versions (STRONGLY_TYPED is 1 in 10 and 0 in 11): never a literal.
    flags = api.trt.NetworkDefinitionCreationFlag
    if api.version < (10,):
        return 1 << int(flags.EXPLICIT_BATCH)
    if api.version < (11,) and api.strong:
        return 1 << int(flags.STRONGLY_TYPED)
    return 0  # 10.x: explicit batch is all there is; 11: so is strong typing


def _parse(api: TensorRt, network: Any, model: bytes, subject: str) -> None:
    parser = api.trt.OnnxParser(network, api.log)
    if not parser.parse(model):
        told = [parser.get_error(index) for index in range(parser.num_errors)]
        lines = [f"{error.desc()} (node {_name(error)})" for error in told]
        raise build_failure(lines or api.log.errors, subject)


def _name(error: Any) -> str:
    """The node of a parser's error: its name from TensorRT 10 on, before that its number."""
    name = error.node_name() if hasattr(error, "node_name") else ""
    return name or str(error.node())


def _configure(api: TensorRt, config: Any, precision: str, options: BuildOptions, notes: List[str]) -> None:
    trt = api.trt
    # Otherwise the inspector tells no precisions, and nobody knows what INT8 became.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mb:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb * MB)
    if options.opt_level is not None and hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = options.opt_level
    elif options.opt_level is not None:
        notes.append(f"TensorRT {api.text} has no optimization levels (8.6 and newer): built without")
    if precision == FP32:
        # TF32 has the mantissa of FP16: not what is called FP32 beside it.
        config.clear_flag(trt.BuilderFlag.TF32)
    elif not api.strong:
        # Weak typing: the builder may choose among these, Q/DQ nodes say where INT8 is wanted.
        names = ("FP16", "INT8") if precision == INT8 else ("FP16",)
        for name in names:
            config.set_flag(getattr(trt.BuilderFlag, name))


def _use_timing_cache(config: Any, earlier: bytes, notes: List[str]) -> Optional[Any]:
    """Give the builder the measurements of earlier builds, or an empty cache that it fills."""
    for content in (earlier, b"") if earlier else (b"",):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return config.get_timing_cache()
        if content:
            notes.append("the timing cache was made on another device or by another TensorRT: started anew")
    return None


@contextmanager
def _watched(api: TensorRt, config: Any, step: str, progress: Progress) -> Iterator[threading.Event]:
    """Tell progress while the builder works; the event is set when the user interrupted it."""
    stopped = threading.Event()
    over, tell = threading.Event(), partial(_tell_seconds, step, progress)
    if hasattr(api.trt, "IProgressMonitor"):
        monitor = _monitor(api.trt, step, progress, stopped)
        config.progress_monitor, tell = monitor, monitor.repeat
    # A single step may take minutes: who watches, a service manager too, hears that the work goes on.
    ticker = threading.Thread(target=_tick, args=(tell, over), daemon=True)
    with _interrupts_set(stopped):
        ticker.start()
        try:
            yield stopped
        finally:
            over.set()
            ticker.join()
    progress(step, 1, 1)


@contextmanager
def _interrupts_set(stopped: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM set `stopped` while the builder works, and raise them again when it has ended.

    An exception that a handler raises inside the builder's callbacks is printed and lost there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: List[int] = []

    def catch(number: int, frame: Any) -> None:
        caught.append(number)
        stopped.set()

    before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in caught:
            signal.raise_signal(number)


def _tick(tell: Callable[[int], None], over: threading.Event) -> None:
    seconds = 0
    while not over.wait(1):
        seconds += 1
        tell(seconds)


def _tell_seconds(step: str, progress: Progress, seconds: int) -> None:
    progress(f"{step}, {seconds} s", seconds, 0)


def _monitor(trt: Any, title: str, progress: Progress, stopped: threading.Event) -> Any:
    """A progress monitor that tells the steps of the outermost phase, and the name of the innermost."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            # The builder calls from several threads.
            self._lock = threading.Lock()
            self._steps: Dict[str, int] = {}
            self._done = 0

        def phase_start(self, phase_name: str, parent_phase: Optional[str], num_steps: int) -> None:
            with self._lock:
                self._steps[phase_name] = num_steps
                self._tell()

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                if next(iter(self._steps), None) == phase_name:
                    self._done = step + 1
                self._tell()
            return not stopped.is_set()

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._steps.pop(phase_name, None)

        def repeat(self, seconds: int) -> None:
            if seconds % REPEAT_S == 0:
                with self._lock:
                    self._tell()

        def _tell(self) -> None:
            phases = list(self._steps)
            if phases:
                total = max(self._steps[phases[0]], 1)
                # Never done == total: that would be the end.
                progress(f"{title}, {phases[-1]}", min(self._done, total - 1), total)

    return Monitor()
