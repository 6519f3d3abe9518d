"""What this machine can do at best, in the same run: convolution rates of both engines, and copying memory.

A convolution of 512 to 512 channels, 3x3, on 45x80 positions (8.49 GMAC) keeps every unit busy. Three stand
behind each other, each with a ReLU, so that what happens at the two ends weighs little.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .base import Contestant, Outcome

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

CHANNELS, HEIGHT, WIDTH, LAYERS = 512, 45, 80, 3
GMAC = LAYERS * CHANNELS * CHANNELS * 9 * HEIGHT * WIDTH / 1e9
COPY_BYTES = 256 * 2**20
"""Read once and written once: twice this moves. More than the last cache of most machines."""


def float_convolutions() -> onnx.ModelProto:
    """Float image [1, 512, 45, 80] -> convolutions with ReLU -> one float per channel."""
    random = np.random.default_rng(0)
    nodes, weights, name = [], [], "image"
    for layer in range(LAYERS):
        values = random.normal(0, 0.02, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [name, f"w{layer}"], [f"c{layer}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        name = f"r{layer}"
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["pooled"]))
    return _model(nodes, weights, TensorProto.FLOAT)


def int8_convolutions() -> onnx.ModelProto:
    """The same in Q/DQ form: uint8 image, uint8 behind each ReLU, int8 weights per channel."""
    random = np.random.default_rng(0)
    constants = {
        "scale": np.float32(0.02),
        "zero": np.uint8(0),
        "scales": np.full(CHANNELS, 0.002, np.float32),
        "zeros": np.zeros(CHANNELS, np.int8),
    }
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    nodes, name = [], "image"
    for layer in range(LAYERS):
        codes = random.integers(-60, 61, (CHANNELS, CHANNELS, 3, 3), np.int8)
        weights.append(numpy_helper.from_array(codes, f"w{layer}"))
        nodes += [
            helper.make_node("DequantizeLinear", [name, "scale", "zero"], [f"x{layer}"]),
            helper.make_node("DequantizeLinear", [f"w{layer}", "scales", "zeros"], [f"v{layer}"], axis=0),
            helper.make_node("Conv", [f"x{layer}", f"v{layer}"], [f"c{layer}"], pads=[1] * 4),
            helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]),
            helper.make_node("QuantizeLinear", [f"r{layer}", "scale", "zero"], [f"q{layer}"]),
        ]
        name = f"q{layer}"
    nodes.append(helper.make_node("DequantizeLinear", [name, "scale", "zero"], ["last"]))
    nodes.append(helper.make_node("GlobalAveragePool", ["last"], ["pooled"]))
    return _model(nodes, weights, TensorProto.UINT8)


def _model(nodes: list[Any], weights: list[Any], kind: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "peak",
        [helper.make_tensor_value_info("image", kind, [1, CHANNELS, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [1, CHANNELS, 1, 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


class _Peak(Contestant):
    def jobs(self) -> dict[str, Callable[[int], Outcome]]:
        return {"peak": self._once}

    def _once(self, number: int) -> None:
        self.network(None)

    def mask(self, frame: np.ndarray) -> np.ndarray:
        raise NotImplementedError("a peak makes no masks")

    def _convolutions(self) -> tuple[onnx.ModelProto, np.ndarray]:
        shape = (1, CHANNELS, HEIGHT, WIDTH)
        random = np.random.default_rng(1)
        if self.precision == "int8":
            return int8_convolutions(), random.integers(0, 100, shape, np.uint8)
        return float_convolutions(), random.random(shape, np.float32)


class OpenVinoFp32Peak(_Peak):
    title = "OpenVINO FP32 convolution"

    def load(self) -> None:
        import openvino

        model, image = self._convolutions()
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
        }
        loaded = core.read_model(model.SerializeToString())
        self._request = core.compile_model(loaded, "CPU", settings).create_infer_request()
        self._request.get_input_tensor().data[:] = image

    def network(self, ready: Any) -> None:
        self._request.infer()


class OpenVinoBf16Peak(OpenVinoFp32Peak):
    title = "OpenVINO BF16 convolution"
    precision = "bf16"


class OpenVinoInt8Peak(OpenVinoFp32Peak):
    title = "OpenVINO INT8 convolution"
    precision = "int8"


class OrtFp32Peak(_Peak):
    title = "ONNX Runtime FP32 convolution"

    def load(self) -> None:
        import onnxruntime

        model, self._image = self._convolutions()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def network(self, ready: Any) -> None:
        self._session.run(None, {"image": self._image})


class OrtInt8Peak(OrtFp32Peak):
    title = "ONNX Runtime INT8 convolution"
    precision = "int8"


class CopyPeak(_Peak):
    """Each thread copies its share with numpy, which lets go of the interpreter meanwhile."""

    title = "memory copy"

    def load(self) -> None:
        self._source = np.ones(COPY_BYTES, np.uint8)
        self._target = np.empty(COPY_BYTES, np.uint8)
        self._pool = ThreadPoolExecutor(self.threads)
        self._shares = np.linspace(0, COPY_BYTES, self.threads + 1).astype(int)

    def network(self, ready: Any) -> None:
        list(self._pool.map(self._copy, self._shares[:-1], self._shares[1:]))

    def _copy(self, start: int, end: int) -> None:
        np.copyto(self._target[start:end], self._source[start:end])
