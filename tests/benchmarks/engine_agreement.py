"""How far the engines' INT8 masks are from the reference's, what each costs, and where differences arise.

    python tests/benchmarks/engine_agreement.py ARTIFACT DATA [--samples 100] [--threads 2] [--layers 3]

Prints JSON. Masks are compared on the validation split of DATA, over the pictures and over whole frames of
the network (a picture of another shape is padded, and what the network says of padding is arbitrary). Engines
are timed in turn, in bursts, so that a busy machine hits all; CPU time beside wall time says what a core
spends when others keep it from running (take --threads 1: waiting threads spin).

With --layers N every quantizer is looked at on N pictures: the share of codes that differ between OpenVINO
and the reference, and the share that each engine gets wrong by itself, against float64 from the codes that
this engine had before that layer.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional as F

from bisenet_edge.artifact import Artifact
from bisenet_edge.dataset import Dataset
from bisenet_edge.metrics import Confusion, agreement
from bisenet_edge.runtime.backends import native_float16, open_session
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.backends.onnxruntime import CHANGES_VALUES
from bisenet_edge.runtime.backends.onnxruntime_lowering import lower
from bisenet_edge.runtime.backends.openvino_quantizers import round_weights, use_unsigned_codes
from bisenet_edge.runtime.datasets import open_dataset
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.runtime.machine import describe_machine

BURST = 10


@dataclass
class Engine:
    """One engine with one precision, and what was found of it."""

    session: Session
    confusion: Confusion
    masks: list[np.ndarray]
    pictures: list[np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("data", help="data set URI, for example camvid:data/camvid")
    parser.add_argument("--samples", type=int, default=100, help="of each engine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--layers", type=int, default=0, metavar="N", help="look at every layer on N pictures"
    )
    arguments = parser.parse_args()
    artifact, dataset = Artifact.open(arguments.artifact), open_dataset(arguments.data, "val")
    found: dict[str, Any] = {
        "machine": describe_machine(),
        "artifact": artifact.manifest.name,
        "data": dataset.uri,
        "pictures": len(dataset),
        "threads": arguments.threads,
    }
    half = native_float16("openvino")
    with ExitStack() as stack:
        engines = {}
        for backend, precisions in {
            "reference": ("int8", "fp32"),
            "openvino": ("int8", half, "fp32") if half else ("int8", "fp32"),
            "onnxruntime": ("int8", "fp32"),
        }.items():
            for precision in precisions:
                session = stack.enter_context(
                    open_session(artifact, precision, backend=backend, threads=arguments.threads)
                )
                empty = Confusion.empty(len(artifact.manifest.labels))
                engines[f"{precision} {backend}"] = Engine(session, empty, [], [])
        found["agreement"] = compare(engines, dataset)
        found["times"] = measure(engines, dataset, arguments.samples)
        found["openvino"] = engines["int8 openvino"].session.describe()
    found["onnxruntime"] = kernels(artifact)
    if arguments.layers:
        found["layers"] = layers(artifact, [fitted(artifact, dataset, i)[0] for i in range(arguments.layers)])
    print(json.dumps(found, indent=2))


def fitted(artifact: Artifact, dataset: Dataset, index: int) -> tuple[np.ndarray, Fit, np.ndarray]:
    """A picture as the network takes it, how it was fitted, and its label."""
    sample = dataset[index]
    fit = Fit((sample.image.shape[0], sample.image.shape[1]), artifact.manifest.size)
    return fit.apply(sample.image, fit.new_input()), fit, sample.label


def compare(engines: dict[str, Engine], dataset: Dataset) -> dict[str, Any]:
    for index in range(len(dataset)):
        for engine in engines.values():
            frame, fit, label = fitted(engine.session.artifact, dataset, index)
            mask = engine.session.infer(frame).copy()
            picture = np.array(fit.undo(mask))
            engine.masks.append(mask)
            engine.pictures.append(picture)
            engine.confusion += Confusion.of(label, picture, len(engine.confusion.counts))
    reference, fp32 = engines["int8 reference"], engines["fp32 reference"]
    return {
        name: {
            "miou": round(engine.confusion.miou() * 100, 3),
            "with_int8_reference": shares(engine, reference),
            "with_fp32_reference": shares(engine, fp32),
        }
        for name, engine in engines.items()
    }


def shares(first: Engine, second: Engine) -> dict[str, float]:
    """Percent of equal pixels."""
    pairs = {"picture": (first.pictures, second.pictures), "whole_frame": (first.masks, second.masks)}
    return {
        name: round(100 * float(np.mean([agreement(a, b) for a, b in zip(*masks)])), 3)
        for name, masks in pairs.items()
    }


def measure(engines: dict[str, Engine], dataset: Dataset, samples: int) -> dict[str, Any]:
    artifact = engines["int8 reference"].session.artifact
    frames = [fitted(artifact, dataset, index)[0] for index in range(min(10, len(dataset)))]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for turn in range(samples // BURST + 1):  # the first turn warms up
        for name, engine in engines.items():
            for index in range(BURST):
                wall, cpu = time.perf_counter(), time.process_time()
                engine.session.infer(frames[(turn + index) % len(frames)])
                taken = (time.perf_counter() - wall, time.process_time() - cpu)
                if turn:
                    times[name].append(taken)
    return {
        name: dict(zip(("p50_ms", "cpu_p50_ms"), np.round(np.median(taken, axis=0) * 1e3, 2).tolist()))
        for name, taken in times.items()
    }


def kernels(artifact: Artifact) -> dict[str, int]:
    """What ONNX Runtime makes of the lowered INT8 graph: how many nodes of each kind."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        model = lower(artifact.model_path("int8"))
        onnxruntime.InferenceSession(model, options, disabled_optimizers=CHANGES_VALUES)
        found = [n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node]
    return {kind: found.count(kind) for kind in sorted(set(found))}


def layers(artifact: Artifact, frames: list[np.ndarray]) -> list[dict[str, Any]]:
    exact = Exact(artifact.model_path("int8"))
    engines = {"openvino": openvino_codes(artifact, exact), "reference": reference_codes(artifact, exact)}
    total: dict[str, np.ndarray] = {name: np.zeros(3) for name in exact.quantizers}
    sizes = dict.fromkeys(exact.quantizers, 0)
    for frame in frames:
        codes = {name: read(frame) for name, read in engines.items()}
        right = {name: exact(frame, codes[name]) for name in engines}
        for tensor in exact.quantizers:
            first, second = (codes[name][tensor] for name in engines)
            wrong = [np.sum(codes[name][tensor] != right[name][tensor]) for name in engines]
            total[tensor] += [*wrong, np.sum(first != second)]
            sizes[tensor] += first.size
    keys = ("openvino_alone", "reference_alone", "apart")
    return [
        {"tensor": tensor, "codes": sizes[tensor], **dict(zip(keys, (100 * counts / sizes[tensor]).tolist()))}
        for tensor, counts in total.items()
    ]


class Exact:
    """The Q/DQ graph in float64, where a sum has no order.

    Called with a frame and codes by quantizer: gives the codes that each quantizer should give when
    everything before it has the codes given.
    """

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(str(path))
        self.constants: dict[str, torch.Tensor] = {}
        for tensor in self.model.graph.initializer:
            value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            self.constants[tensor.name] = value.double() if value.is_floating_point() else value
        self.nodes = []
        for node in self.model.graph.node:
            if node.input[0] in self.constants and node.op_type.endswith("Linear"):
                scale = self.constants[node.input[1]].reshape(-1, 1, 1, 1)
                weight = self.constants[node.input[0]]
                if node.op_type == "QuantizeLinear":
                    self.constants[node.output[0]] = torch.round(weight.float() / scale.float()).double()
                else:
                    self.constants[node.output[0]] = weight * scale
            else:
                self.nodes.append(node)
            if "logits" in node.output:
                break
        self.quantizers = {n.name: n.output[0] for n in self.nodes if n.op_type == "QuantizeLinear"}

    def __call__(self, frame: np.ndarray, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = {"frame": torch.from_numpy(frame[None].copy())}
        codes = {}
        for node in self.nodes:
            inputs = [values.get(name, self.constants.get(name)) for name in node.input]
            value = compute(node, inputs)
            if node.op_type == "QuantizeLinear":
                codes[node.name] = value.numpy().astype(np.int16)
                value = torch.from_numpy(given[node.name]).double()
            values[node.output[0]] = value
        return codes


def compute(node: onnx.NodeProto, x: list[Any]) -> torch.Tensor:
    """One operator of our graphs, in float64."""
    how = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Conv":
        bias = x[2] if len(x) > 2 else None
        return F.conv2d(x[0], x[1], bias, how["strides"], how["pads"][:2], 1, how["group"])
    if node.op_type == "MaxPool":
        return F.max_pool2d(x[0], how["kernel_shape"], how["strides"], how["pads"][:2])
    if node.op_type == "Resize":
        return F.interpolate(x[0], size=x[3].tolist()[2:], mode="bilinear", align_corners=False)
    simple = {
        "Cast": x[0].double,
        "Transpose": lambda: x[0].permute(*how["perm"]),
        "Pad": lambda: F.pad(x[0], [int(n) for n in reversed(x[1][4:])], value=float(x[2])),
        "Sub": lambda: x[0] - x[1],
        "Mul": lambda: x[0] * x[1],
        "Add": lambda: x[0] + x[1],
        "Relu": lambda: x[0].clamp_min(0),
        "Sigmoid": x[0].sigmoid,
        "GlobalAveragePool": lambda: x[0].mean((2, 3), keepdim=True),
        "Concat": lambda: torch.cat(x, how["axis"]),
        "QuantizeLinear": lambda: (x[0] / x[1]).round().clamp(-128, 127),
        "DequantizeLinear": lambda: x[0] * x[1],
    }
    return simple[node.op_type]()


def reference_codes(artifact: Artifact, exact: Exact) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    model = onnx.load(str(artifact.model_path("int8")))
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in exact.quantizers.values())
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, disabled_optimizers=CHANGES_VALUES
    )

    def read(frame: np.ndarray) -> dict[str, np.ndarray]:
        codes = session.run(list(exact.quantizers.values()), {"frame": frame[None]})
        return dict(zip(exact.quantizers, (c.astype(np.int16) for c in codes)))

    return read


def openvino_codes(artifact: Artifact, exact: Exact) -> Any:
    import openvino

    core = openvino.Core()
    model = core.read_model(str(artifact.model_path("int8")))
    round_weights(model)
    use_unsigned_codes(model)
    found = {o.get_friendly_name(): o for o in model.get_ordered_ops()}
    results = [openvino.opset13.result(found[name].output(0)) for name in exact.quantizers]
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(openvino.Model(results, model.get_parameters(), "codes"), "CPU", settings)

    def read(frame: np.ndarray) -> dict[str, np.ndarray]:
        outputs = compiled(frame[None])
        return {name: outputs[i].astype(np.int16) for i, name in enumerate(exact.quantizers)}

    return read


if __name__ == "__main__":
    main()
