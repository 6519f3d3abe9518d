"""The text that TensorRT's engine inspector gives, in the format of each version.

To 10.x a tensor has one "Format/Datatype" in a sentence ("Thirty-two wide channel vectorized row major Int8
format") and the engine ends with "Bindings"; 11 gives "Format" and "Datatype" apart, "I/O Tensors" and
"Engine Metadata". Layers that the Myelin compiler makes (10.13 and later: "kgen") name the bare type. The
key "Metadata" and "StreamId" came with 8.6.
"""

from __future__ import annotations

import hashlib
from typing import Any

from onnx import helper
from tensorrt_fuser import Layer
from tensorrt_graph import Graph

NAMES = {"float": "Float", "half": "Half", "int8": "Int8", "uint8": "UInt8", "int32": "Int32"}
NAMES.update({"int64": "Int64", "bool": "Bool"})
SENTENCES = {
    ("linear", "float"): "Row major linear FP32",
    ("linear", "half"): "Row major linear FP16 format",
    ("linear", "int8"): "Row major Int8 format",
    ("linear", "uint8"): "Row major linear UInt8 format",
    ("linear", "int32"): "Row major linear Int32",
    ("linear", "int64"): "Row major linear Int64 format",
    ("linear", "bool"): "Row major linear BOOL",
    ("chw32", "int8"): "Thirty-two wide channel vectorized row major Int8 format",
    ("hwc8", "half"): "Channel major FP16 format where channel % 8 == 0",
}
LAYOUTS = {
    "linear": "Row major linear format",
    "chw32": "Thirty-two wide channel vectorized format",
    "hwc8": "Channel major format where channel % 8 == 0",
}
LAYER_TYPES = {
    "conv": "CaskConvolution",
    "Transpose": "Shuffle",
    "Reshape": "Shuffle",
    "Flatten": "Shuffle",
    "GlobalAveragePool": "CaskPooling",
    "AveragePool": "CaskPooling",
    "MaxPool": "CaskPooling",
    "ReduceMean": "Reduce",
    "ArgMax": "TopK",
    "Pad": "Slice",
    "Gemm": "CaskGemmMatrixMultiply",
    "MatMul": "CaskGemmMatrixMultiply",
}
TACTICS = {
    "int8": "xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32_nchw_vect_c_32"
    "_tilesize128x64x64_stage3_warpsize2x2x1_g1_tensor16x8x32_t1r3s3",
    "half": "xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x64x32_stage4_warpsize2x2x1"
    "_g1_tensor16x8x16_t1r3s3_aACCESS",
    "float": "xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nchwkcrs_nchw_tilesize128x64x8_stage3_warpsize2x2x1"
    "_g1_ffma_t1r3s3_aligna4_alignc4",
}


def layer_type(layer: Layer, release: tuple[int, ...]) -> str:
    """The word under "LayerType"."""
    if layer.kind == "pointwise":
        return "kgen" if release >= (10, 13) else "PointWiseV2"
    if layer.kind in ("quantize", "dequantize", "reformat", "copy", "Cast", "Identity"):
        return "Reformat"
    return LAYER_TYPES.get(layer.kind, layer.kind)


def describe_layer(
    layer: Layer, graph: Graph, release: tuple[int, ...], capability: tuple[int, int]
) -> dict[str, Any]:
    """One entry of "Layers", as it is with detailed profiling verbosity."""
    kind = layer_type(layer, release)
    count = len(layer.inputs)
    tensors = [
        _describe_tensor(name, _shape(graph, layer, position), (layout, dtype), (release, kind))
        for position, (name, dtype, layout) in enumerate(
            zip([*layer.inputs, *layer.outputs], layer.dtypes, layer.layouts)
        )
    ]
    text: dict[str, Any] = {
        "Name": layer.name,
        "LayerType": kind,
        "Inputs": tensors[:count],
        "Outputs": tensors[count:],
    }
    if layer.origin:
        text.update({"ParameterType": "Reformat", "Origin": layer.origin})
    if layer.conv is not None:
        text.update(_describe_convolution(layer, graph))
        sm = "{}{}".format(*capability)
        text["TacticName"] = f"sm{sm}_{TACTICS[layer.dtypes[0]]}"
    if kind == "kgen":
        text["TacticName"] = layer.name
    else:
        digest = hashlib.sha256(layer.name.encode()).hexdigest()
        text["TacticValue"] = f"0x{digest[:16]}" if layer.conv is not None else "0x00000000000003ea"
    if release >= (8, 6):
        text["StreamId"] = 0
        text["Metadata"] = "\x1e".join(f"[ONNX Layer: {name}]" for name in layer.nodes)
    return text


def _shape(graph: Graph, layer: Layer, position: int) -> list[int]:
    if layer.kind == "reformat":  # its output is a tensor that the graph does not have
        return graph.shape(_plain(layer.inputs[0]))
    return graph.shape(_plain([*layer.inputs, *layer.outputs][position], layer))


def _plain(name: str, layer: Layer | None = None) -> str:
    if layer is not None and name in layer.copies:
        return layer.copies[name]
    return name


def _describe_tensor(
    name: str, shape: list[int], form: tuple[str, str], where: tuple[tuple[int, ...], str]
) -> dict[str, Any]:
    layout, dtype = form
    release, kind = where
    text: dict[str, Any] = {"Name": name, "Location": "Device", "Dimensions": shape}
    if release >= (11,):
        text.update({"Format": LAYOUTS[layout], "Datatype": NAMES[dtype]})
    elif kind == "kgen":
        text["Format/Datatype"] = NAMES[dtype]
    else:
        text["Format/Datatype"] = SENTENCES[layout, dtype]
    return text


def _describe_convolution(layer: Layer, graph: Graph) -> dict[str, Any]:
    conv = layer.conv
    assert conv is not None
    given = {a.name: helper.get_attribute_value(a) for a in conv.attribute}
    weight = graph.shape(conv.input[1])
    pads = list(given.get("pads", [0] * 4))
    relu = any(node.op_type == "Relu" and node.name in layer.nodes for node in graph.nodes)
    count = 1
    for size in weight:
        count *= size
    return {
        "ParameterType": "Convolution",
        "Kernel": weight[2:],
        "PaddingMode": "kEXPLICIT_ROUND_DOWN",
        "PrePadding": pads[:2],
        "PostPadding": pads[2:],
        "Stride": list(given.get("strides", [1, 1])),
        "Dilation": list(given.get("dilations", [1, 1])),
        "OutMaps": weight[0],
        "Groups": given.get("group", 1),
        "Weights": {"Type": NAMES[layer.dtypes[0]], "Count": count},
        "Bias": {"Type": "Float", "Count": weight[0] if len(conv.input) > 2 else 0},
        "HasSparseWeights": 0,
        "Activation": "RELU" if relu else "NONE",
        "HasBias": int(len(conv.input) > 2),
        "HasReLU": int(relu),
    }


def describe_engine(plan: dict[str, Any], release: tuple[int, ...]) -> dict[str, Any]:
    """The whole engine, with as much as its profiling verbosity has kept."""
    layers: list[Any] = plan["layers"]
    if plan["verbosity"] == "LAYER_NAMES_ONLY":
        layers = [layer["Name"] for layer in layers]
    elif plan["verbosity"] == "NONE":
        layers = []
    if release < (11,):
        return {"Layers": layers, "Bindings": [tensor["name"] for tensor in plan["tensors"]]}
    tensors = [
        {
            "Name": tensor["name"],
            "IOMode": tensor["mode"],
            "Datatype": NAMES[tensor["dtype"]],
            "Dimensions": tensor["shape"],
            "Location": "DEVICE",
            "IsShapeInferenceIO": False,
            "ProfileInfo": [],
        }
        for tensor in plan["tensors"]
    ]
    return {"Layers": layers, "I/O Tensors": tensors, "Engine Metadata": {"Multi-Device": "Disabled"}}
