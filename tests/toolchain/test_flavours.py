"""Both networks on their way to the engines: types of the strongly typed graphs, kernels of ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from bisenet_edge.frame import Size
from bisenet_edge.runtime.backends.onnxruntime import CHANGES_VALUES
from bisenet_edge.runtime.backends.onnxruntime_lowering import lower
from bisenet_edge.toolchain.onnx_graph import to_float16, to_onnx
from bisenet_edge.toolchain.quant.calibrate import observe, set_ranges
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.placement import insert_quantizers

SIZE = Size(96, 64)
NETWORKS = ("network", "resnet")
CONVOLUTIONS = ("QLinearConv", "Conv", "FusedConv")
# By the operator that gives a tensor; everything else in a typed graph is float16.
TYPES = {"QuantizeLinear": TensorProto.INT8, "ArgMax": TensorProto.INT64}


@pytest.fixture(scope="module", params=NETWORKS)
def models(request, frames):
    """Flavour -> graph, of one network."""
    folded = fold(request.getfixturevalue(request.param))
    quantized = insert_quantizers(folded)
    set_ranges(quantized, observe(quantized, frames), "max")
    fp32, int8 = to_onnx(folded, SIZE), to_onnx(quantized, SIZE)
    return {"fp32": fp32, "int8": int8, "fp16-typed": to_float16(fp32), "int8-typed": to_float16(int8)}


def element_types(model):
    """Of every edge, after strict shape inference."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    infos = [*graph.value_info, *graph.input, *graph.output]
    return {info.name: info.type.tensor_type.elem_type for info in infos}


@pytest.mark.parametrize("flavour", ["fp16-typed", "int8-typed"])
def test_every_edge_of_a_typed_graph_has_its_type(models, flavour):
    model = models[flavour]
    types = element_types(model)
    assert types.pop("frame") == types["mask"] == TensorProto.UINT8
    producers = {name: node.op_type for node in model.graph.node for name in node.output}
    assert set(types) == set(producers)
    for name, found in types.items():
        if name != "mask":
            assert found == TYPES.get(producers[name], TensorProto.FLOAT16), name
    assert ("QuantizeLinear" in producers.values()) == flavour.startswith("int8")

    resizes = [n for n in model.graph.node if n.op_type == "Resize"]
    sizes = {name for n in resizes for name in n.input[2:] if name}
    linear = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zero_points = {n.input[2] for n in linear}
    for tensor in model.graph.initializer:
        if tensor.name in sizes:
            assert tensor.data_type in (TensorProto.INT64, TensorProto.FLOAT)
        elif tensor.name in zero_points:
            assert tensor.data_type == TensorProto.INT8
        else:
            assert tensor.data_type == TensorProto.FLOAT16, tensor.name


@pytest.mark.parametrize("flavour", ["fp16-typed", "int8-typed"])
def test_the_only_casts_of_a_typed_graph_are_at_its_two_ends(models, flavour):
    casts = [n for n in models[flavour].graph.node if n.op_type == "Cast"]
    assert [(list(n.input), n.attribute[0].i) for n in casts[:1]] == [(["frame"], TensorProto.FLOAT16)]
    # uint8 comes from floating point: TensorRT 8.5 takes no other cast to it.
    kinds = [n.attribute[0].i for n in casts[1:]]
    assert kinds == [TensorProto.FLOAT16, TensorProto.UINT8]
    assert list(casts[2].input) == list(casts[1].output)
    assert list(casts[2].output) == ["mask"]


def test_a_typed_graph_gives_the_masks_of_its_untyped_one(models, frames):
    fp32, fp16 = (masks(models[flavour], frames) for flavour in ("fp32", "fp16-typed"))
    assert len(np.unique(fp32)) > 4
    assert np.mean(fp32 == fp16) > 0.995


def masks(model, frames):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.concatenate([session.run(["mask"], {"frame": frame[None]})[0] for frame in frames])


def test_nearly_all_convolutions_become_integer_kernels_of_onnx_runtime(models, tmp_path):
    onnx.save(models["int8"], str(tmp_path / "model.onnx"))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    lowered = lower(tmp_path / "model.onnx")
    onnxruntime.InferenceSession(lowered, options, disabled_optimizers=CHANGES_VALUES)
    optimized = onnx.load(str(tmp_path / "optimized.onnx"))
    found = [n.op_type for n in optimized.graph.node]
    convolutions = sum(kind in CONVOLUTIONS for kind in found)
    assert convolutions == sum(n.op_type == "Conv" for n in models["int8"].graph.node)
    assert found.count("QLinearConv") >= 0.97 * convolutions
    assert "Relu" not in found
    weights = {t.name: t for t in optimized.graph.initializer}
    for node in optimized.graph.node:
        if node.op_type == "QLinearConv":
            weight = numpy_helper.to_array(weights[node.input[3]])
            assert weight.dtype == np.int8
            assert numpy_helper.to_array(weights[node.input[4]]).shape == weight.shape[:1]  # per channel
