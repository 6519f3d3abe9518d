"""The steps from an ONNX file to masks, as a program that uses TensorRT takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from cudart_double import CudartDouble
from tensorrt_double import Faults, make_tensorrt, world_of

from bisenet_edge.runtime.cuda import CudaRuntime


class Bench:
    """A TensorRT double on a CUDA double, and a logger that keeps what it is told.

    Attributes:
        trt: the module.
        gpu: the CUDA double.
        world: what the double was asked for.
        told: (severity name, words).
    """

    def __init__(self, version: str, faults: Faults | None = None, /, **gpu: Any) -> None:
        self.gpu = CudartDouble(**gpu)
        self.trt = make_tensorrt(version, self.gpu, faults)
        self.world = world_of(self.trt)
        self.told: list[tuple[str, str]] = []
        self.log = _make_log(self.trt, self.told)

    @property
    def release(self) -> tuple[int, ...]:
        return self.world.release

    @property
    def errors(self) -> list[str]:
        return [words for severity, words in self.told if severity == "ERROR"]

    def network(self, *, strong: bool = False) -> tuple[Any, Any]:
        """A builder and an empty network; 11 types all networks strongly."""
        builder = self.trt.Builder(self.log)
        flags = self.trt.NetworkDefinitionCreationFlag
        bits = 0
        if self.release < (10,):
            bits = 1 << int(flags.EXPLICIT_BATCH)
        elif strong and self.release < (11,):
            bits = 1 << int(flags.STRONGLY_TYPED)
        return builder, builder.create_network(bits)

    def parse(self, network: Any, model: bytes) -> tuple[bool, Any]:
        parser = self.trt.OnnxParser(network, self.log)
        return parser.parse(model), parser

    def build(
        self, model: bytes, flags: tuple[str, ...] = (), *, strong: bool = False, **options: Any
    ) -> Any:
        """A plan, or None; `options` are set on the configuration, `cache` is its timing cache."""
        builder, network = self.network(strong=strong)
        parsed, parser = self.parse(network, model)
        assert parsed, parser.get_error(0).desc()
        config = builder.create_builder_config()
        config.profiling_verbosity = self.trt.ProfilingVerbosity.DETAILED
        for name in flags:
            config.set_flag(getattr(self.trt.BuilderFlag, name))
        if "cache" in options:
            assert config.set_timing_cache(options.pop("cache"), False)
        for name, value in options.items():
            setattr(config, name, value)
        return builder.build_serialized_network(network, config)

    def build_int8(self, model: bytes, **options: Any) -> Any:
        """INT8 with the weak types of 8 and 10, with the strong ones of 11."""
        flags = ("INT8", "FP16") if self.release < (11,) else ()
        return self.build(model, flags, **options)

    def load(self, plan: Any) -> Any:
        return self.trt.Runtime(self.log).deserialize_cuda_engine(plan)

    def masks(self, engine: Any, frames: np.ndarray, context: Any = None) -> np.ndarray:
        """Run frames, uint8 [N, H, W, 3] -> uint8 [N, H, W], through memory of the double."""
        masks = []
        with CudaRuntime.open(self.gpu) as cuda:
            stream = cuda.stream()
            frame = cuda.buffer((1, *frames.shape[1:]), np.uint8)
            mask = cuda.buffer((1, *frames.shape[1:3]), np.uint8)
            context = context or engine.create_execution_context()
            assert context.set_tensor_address("frame", frame.device)
            assert context.set_tensor_address("mask", mask.device)
            for image in frames:
                frame.host[0] = image
                frame.upload(stream)
                assert context.execute_async_v3(stream.handle)
                mask.download(stream)
                stream.synchronize()
                masks.append(mask.host[0].copy())
        return np.stack(masks)


def _make_log(trt: Any, told: list[tuple[str, str]]) -> Any:
    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            told.append((severity.name, msg))

    return Log()
