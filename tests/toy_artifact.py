"""A network small enough to install a hundred times: brightness of 8x8 blocks -> class; golden frames."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from bisenet_edge.artifact import Artifact, Manifest, hash_files, write_manifest
from bisenet_edge.frame import Size
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.selftest import write_golden

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

SIZE = Size(64, 32)
LABELS = LabelSet("toy", ("dark", "middle", "bright"), ((0, 0, 0), (128, 128, 128), (255, 255, 255)))


def toy_onnx(path):
    """The graph contract in seven nodes: brightness of 8x8 blocks -> class."""
    height, width = SIZE.hw
    constants = {
        "weight": np.array([-1, 0, 1], np.float32).reshape(3, 1, 1, 1).repeat(3, 1) / 3,
        "bias": np.array([100, 20, -150], np.float32),
        "sizes": np.array([1, 3, height, width], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["pooled", "weight", "bias"], ["logits"]),
        helper.make_node("Resize", ["logits", "", "", "sizes"], ["full"], mode="linear"),
        helper.make_node("ArgMax", ["full"], ["ids"], axis=1, keepdims=0),
        helper.make_node("Cast", ["ids"], ["mask"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, height, width, 3])],
        [helper.make_tensor_value_info("mask", TensorProto.UINT8, [1, height, width])],
        [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def toy_artifact(folder: Path, created: str = "2026-01-01", frames: int = 2, **manifest) -> Artifact:
    """Write the network with its golden frames into a new folder."""
    import onnxruntime

    folder.mkdir(parents=True)
    for precision in ("fp32", "int8"):
        toy_onnx(folder / f"model.{precision}.onnx")
    session = onnxruntime.InferenceSession(folder / "model.fp32.onnx", providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    pictures = [
        np.kron(random.integers(0, 256, (4, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        for _ in range(frames)
    ]
    masks = [session.run(["mask"], {"frame": f[None]})[0][0] for f in pictures]
    assert len(np.unique(masks)) == 3
    write_golden(folder, pictures, {"int8": masks, "fp32": masks})
    write_manifest(
        folder, Manifest(folder.name, created, "toy", LABELS, SIZE, "int8", hash_files(folder), **manifest)
    )
    return Artifact.open(folder)
