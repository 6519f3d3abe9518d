"""Rules about the graph as a whole: its contract, its operator set, its float types."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, ValueInfoProto

from bisenet_edge.toolchain.lint.finding import ERROR, WARNING, Fault, Rule
from bisenet_edge.toolchain.lint.graph import INT8, TYPED, Graph
from bisenet_edge.toolchain.onnx_graph import OPSET, TYPED_OPSET

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
EXPORT = "export it with bisenet-edge export --int8"


def no_quantizers(graph: Graph) -> Iterator[Fault]:
    if not graph.quantizers:
        yield Fault(
            "the graph",
            f"no quantizer anywhere: all {len(graph.convolutions)} convolutions run in floating point",
            EXPORT,
        )


def contract(graph: Graph) -> Iterator[Fault]:
    inputs, outputs = list(graph.model.graph.input), list(graph.model.graph.output)
    wanted = "one input `frame`, uint8 [1, H, W, 3]"
    frame = _shape(inputs[0], "frame", 4) if len(inputs) == 1 else []
    if len(frame) != 4 or frame[0] != 1 or frame[3] != 3:
        yield Fault(
            "input " + (", ".join(i.name for i in inputs) or "missing"),
            f"the contract asks for {wanted}",
            EXPORT,
        )
    mask = _shape(outputs[0], "mask", 3) if len(outputs) == 1 else []
    if len(mask) != 3 or mask[0] != 1 or (len(frame) == 4 and mask[1:] != frame[1:3]):
        yield Fault(
            "output " + (", ".join(o.name for o in outputs) or "missing"),
            "the contract asks for one output `mask`, uint8 [1, H, W], of the frame's size",
            EXPORT,
        )
    if graph.producer("logits") is None:
        yield Fault(
            "logits",
            "no tensor of this name: a CPU engine cannot cut the graph there and up-samples every class",
            EXPORT,
        )


def _shape(info: ValueInfoProto, name: str, rank: int) -> list[int]:
    """Dimensions of a uint8 tensor of this name and rank; empty for any other."""
    tensor = info.type.tensor_type
    dimensions = [int(d.dim_value) for d in tensor.shape.dim]
    fits = info.name == name and tensor.elem_type == TensorProto.UINT8 and len(dimensions) == rank
    return dimensions if fits and min(dimensions) > 0 else []


def opset(graph: Graph) -> Iterator[Fault]:
    imports = graph.model.opset_import
    version = max((entry.version for entry in imports if entry.domain in ("", "ai.onnx")), default=0)
    if graph.flavour == INT8 and version > OPSET:
        yield Fault(
            f"opset {version}",
            f"TensorRT 8.5 (JetPack 5) parses opset {OPSET} at most",
            f"export with opset {OPSET}",
        )
    elif graph.flavour == TYPED and version < TYPED_OPSET:
        yield Fault(
            f"opset {version}",
            f"QuantizeLinear takes float16 from opset {TYPED_OPSET} on",
            f"export with opset {TYPED_OPSET}",
        )


def cast_inside(graph: Graph) -> Iterator[Fault]:
    if graph.flavour != TYPED:
        return
    ends = {info.name for info in (*graph.model.graph.input, *graph.model.graph.output)}
    # The end of the mask is two casts: TensorRT makes uint8 of floating point, not of ArgMax's integers.
    ends |= {n.input[0] for n in graph.nodes if n.op_type == "Cast" and ends.intersection(n.output)}
    for node in graph.nodes:
        if node.op_type == "Cast" and not ends.intersection((*node.input, *node.output)):
            yield Fault(
                graph.name(node),
                "a cast inside the graph: strongly typed TensorRT keeps it and reformats the tensor there",
                "keep one float type between the two ends of the graph",
            )


def mixed_float(graph: Graph) -> Iterator[Fault]:
    types = _float_types(graph.model)
    if graph.flavour == TYPED and TensorProto.FLOAT16 not in types.values():
        yield Fault(
            "the graph",
            "the typed flavour without float16: all that is not INT8 runs in float32",
            EXPORT,
        )
    for node in graph.nodes:
        # `roi` and `scales` of Resize are float32 whatever the data's type; a Cast is there to mix.
        names = node.input[:1] if node.op_type == "Resize" else node.input
        kinds = {types[name]: name for name in (*names, *node.output) if name in types}
        if len(kinds) > 1 and node.op_type != "Cast":
            told = ", ".join(f"{TensorProto.DataType.Name(k).lower()} {name}" for k, name in kinds.items())
            yield Fault(
                graph.name(node),
                f"it mixes float types ({told}): strongly typed TensorRT refuses it",
                "write every constant in the float type of the graph",
            )


def _float_types(model: onnx.ModelProto) -> dict[str, int]:
    """Float type of every tensor that has one."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {t.name: t.data_type for t in model.graph.initializer}
    for info in (*inferred.input, *inferred.output, *inferred.value_info):
        types[info.name] = info.type.tensor_type.elem_type
    return {name: kind for name, kind in types.items() if kind in FLOATS}


GRAPH_RULES = (
    Rule("no-quantizers", ERROR, "a graph without any Q/DQ", no_quantizers),
    Rule("graph-contract", ERROR, "another input or output than uint8 frame and mask, no logits", contract),
    Rule("opset", ERROR, "an operator set that the TensorRT of this flavour does not parse", opset),
    Rule("cast-inside", WARNING, "a cast inside the typed graph", cast_inside),
    Rule("mixed-float", ERROR, "an operator that reads two float types", mixed_float),
)
