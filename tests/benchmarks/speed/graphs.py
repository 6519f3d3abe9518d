"""The plain export: the FP32 graph between a normalised float image and logits or a mask."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from bisenet_edge.frame import Size

IMAGE = "image"
OUTPUTS = ("logits", "full", "mask")


def plain_graph(model: onnx.ModelProto, size: Size, output: str) -> onnx.ModelProto:
    """Cut our FP32 graph: input "image" float [1, 3, H, W] normalised, output one of `OUTPUTS`.

    Raises:
        ValueError: the graph pads or has another form than expected.
    """
    normalised = _normalised(model)
    full = next(node for node in model.graph.node if node.op_type == "ArgMax").input[0]
    wanted = {"logits": "logits", "full": full, "mask": "mask"}[output]
    graph = helper.make_graph(
        [_renamed(node, {normalised: IMAGE, full: "full"}) for node in _needed(model, wanted, normalised)],
        "plain",
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, [1, 3, *size.hw])],
        [helper.make_empty_tensor_value_info("full" if output == "full" else wanted)],
        list(model.graph.initializer),
    )
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    made = onnx.shape_inference.infer_shapes(_without_unused(made), strict_mode=True)
    onnx.checker.check_model(made)
    return made


def _normalised(model: onnx.ModelProto) -> str:
    """Name of the image after mean and deviation."""
    if any(node.op_type == "Pad" for node in model.graph.node):
        raise ValueError("this size is padded inside the graph: take one that the network's stride divides")
    centred = next(node for node in model.graph.node if node.op_type == "Sub")
    scaled = next(node for node in model.graph.node if centred.output[0] in node.input)
    if scaled.op_type not in ("Mul", "Div"):
        raise ValueError(f"the mean is followed by {scaled.op_type}, not by the deviation")
    return str(scaled.output[0])


def _needed(model: onnx.ModelProto, output: str, first: str) -> list[onnx.NodeProto]:
    """Nodes between two tensors, in the graph's order."""
    producers = {name: node for node in model.graph.node for name in node.output}
    found, stack = set(), [output]
    while stack:
        name = stack.pop()
        node = producers.get(name)
        if node is None or name == first or id(node) in found:
            continue
        found.add(id(node))
        stack.extend(node.input)
    return [node for node in model.graph.node if id(node) in found]


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in copy.input]
    copy.output[:] = [names.get(name, name) for name in copy.output]
    return copy


def _without_unused(model: onnx.ModelProto) -> onnx.ModelProto:
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in used]:
        model.graph.initializer.remove(tensor)
    return model
