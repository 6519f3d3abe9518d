"""The graph contract of DESIGN, section 4, in every flavour, at a size that is padded and one that is not."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from bisenet_edge.errors import ExportError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.toolchain.onnx_graph import FrameToMask, census, check, to_float16, to_onnx
from bisenet_edge.toolchain.quant.calibrate import observe, set_ranges
from bisenet_edge.toolchain.quant.placement import insert_quantizers, quant_convs, quantizers
from bisenet_edge.toolchain.tensors import logits_to_mask, pad_to_stride

SIZES = {"96x64": Size(96, 64), "97x63": Size(97, 63)}
FLAVOURS = ("fp32", "int8", "int8-typed", "fp16-typed")
CLASSES = 11


@pytest.fixture(scope="module")
def networks(folded, frames):
    quantized = insert_quantizers(folded)
    set_ranges(quantized, observe(quantized, frames), "mse")
    return {"fp32": folded, "int8": quantized}


@pytest.fixture(scope="module")
def models(networks):
    made = {}
    for name, size in SIZES.items():
        for precision, core in networks.items():
            made[name, precision] = to_onnx(core, size)
        made[name, "int8-typed"] = to_float16(made[name, "int8"])
        made[name, "fp16-typed"] = to_float16(made[name, "fp32"])
    return made


@pytest.fixture(params=[(s, f) for s in SIZES for f in FLAVOURS], ids="-".join)
def case(request, models):
    return SIZES[request.param[0]], request.param[1], models[request.param]


def kind_and_shape(info):
    kind = info.type.tensor_type
    return kind.elem_type, [d.dim_value for d in kind.shape.dim]


def edges(model):
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {i.name: kind_and_shape(i) for i in [*inferred.value_info, *inferred.input, *inferred.output]}


def constants(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def run(model, frame):
    return run_all(model, frame, ["mask"])[0][0]


def run_all(model, frame, outputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(outputs, {"frame": frame[None]})


def frame_of(frames, size):
    fit = Fit(frames[0].shape[:2], size)
    return np.array(fit.apply(frames[0], fit.new_input()))


def test_a_frame_goes_in_and_a_mask_comes_out(case):
    size, _, model = case
    (frame,), (mask,) = model.graph.input, model.graph.output
    assert frame.name == "frame"
    assert kind_and_shape(frame) == (TensorProto.UINT8, [1, *size.hw, 3])
    assert mask.name == "mask"
    assert kind_and_shape(mask) == (TensorProto.UINT8, [1, *size.hw])
    assert model.producer_name == "bisenet-edge"


def test_the_tensor_before_upsampling_is_called_logits(case):
    size, flavour, model = case
    floating = TensorProto.FLOAT16 if flavour.endswith("typed") else TensorProto.FLOAT
    assert edges(model)["logits"] == (floating, [1, CLASSES, -(-size.height // 8), -(-size.width // 8)])
    (user,) = [n for n in model.graph.node if "logits" in n.input]
    assert user.op_type == "Resize"


def test_bilinear_means_half_pixel_everywhere(case):
    resizes = [n for n in case[2].graph.node if n.op_type == "Resize"]
    assert len(resizes) == 3
    for node in resizes:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        assert attributes["mode"] == b"linear"
        assert attributes.get("coordinate_transformation_mode", b"half_pixel") in (
            b"half_pixel",
            b"pytorch_half_pixel",  # differs for a length of 1 alone
        )


def test_opset_and_operators(case):
    _, flavour, model = case
    opset = 19 if flavour.endswith("typed") else 17
    assert [(o.domain, o.version) for o in model.opset_import] == [("", opset)]
    operators = census(model)
    assert "BatchNormalization" not in operators
    assert "Constant" not in operators
    assert operators.keys().isdisjoint({"Shape", "Gather", "If", "Loop"})  # sizes are fixed
    assert ("QuantizeLinear" in operators) == flavour.startswith("int8")
    onnx.checker.check_model(model, full_check=True)


def test_the_typed_flavours_are_float16_throughout(case):
    _, flavour, model = case
    floats = {kind for kind, _ in edges(model).values()} & {TensorProto.FLOAT, TensorProto.FLOAT16}
    assert floats == {TensorProto.FLOAT16 if flavour.endswith("typed") else TensorProto.FLOAT}
    casts = [n for n in model.graph.node if n.op_type == "Cast"]
    assert [c.input[0] for c in casts][:1] == ["frame"]
    # Class ids become floating point first: TensorRT 8.5 makes uint8 of nothing else.
    assert [c.output[0] for c in casts][1:] == [casts[2].input[0], "mask"]
    if flavour.endswith("typed"):
        scales = {n.input[2] for n in model.graph.node if n.op_type == "Resize" and len(n.input) > 2}
        others = {k for k, v in constants(model).items() if v.dtype == np.float32}
        assert others <= scales  # float32 by specification
        assert all(np.isfinite(v).all() for v in constants(model).values())


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("flavour", ["int8", "int8-typed"])
def test_quantizers_are_symmetric_int8_as_torch_has_them(models, networks, name, flavour):
    model = models[name, flavour]
    values = constants(model)
    linear = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in linear:
        scale, zero = values[node.input[1]], values[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert (scale > 0).all()
        assert scale.dtype == (np.float16 if flavour.endswith("typed") else np.float32)
    weights = [n for n in linear if values[n.input[1]].ndim]
    core = networks["int8"]
    assert {a.i for n in weights for a in n.attribute if a.name == "axis"} == {0}
    assert sum(n.op_type == "DequantizeLinear" for n in weights) == len(quant_convs(core))
    per_tensor = [n for n in linear if not values[n.input[1]].ndim and n.op_type == "QuantizeLinear"]
    # onnxsim leaves the one quantizer per tensor that placement made.
    assert len(per_tensor) == len(quantizers(core))
    if flavour == "int8":
        expected = sorted(float(q.amax / 127) for q in quantizers(core).values())
        assert sorted(float(values[n.input[1]]) for n in per_tensor) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", SIZES)
def test_the_graph_is_the_network(models, networks, frames, name):
    size = SIZES[name]
    frame = frame_of(frames, size)
    padded = torch.from_numpy(pad_to_stride(frame))[None].permute(0, 3, 1, 2).float()
    with torch.no_grad():
        expected = logits_to_mask(networks["fp32"](padded), size.hw)[0].numpy()
    mask = run(models[name, "fp32"], frame)
    assert mask.shape == size.hw
    assert len(np.unique(mask)) > 4
    assert np.mean(mask == expected) > 0.999
    # Half precision alone changes little, and INT8 is still the same network.
    assert np.mean(run(models[name, "fp16-typed"], frame) == mask) > 0.97
    assert np.mean(run(models[name, "int8"], frame) == mask) > 0.6


def test_int8_tensors_are_those_of_torch(models, networks, frames):
    """One rounding in a thousand goes the other way (sums in another order), which spreads with depth."""
    core = networks["int8"]
    expected = {}
    handles = [
        q.register_forward_hook(lambda m, i, o, name=name: expected.update({name: o.numpy()}))
        for name, q in quantizers(core).items()
    ]
    with torch.no_grad():
        core(torch.from_numpy(frames[:1]).permute(0, 3, 1, 2).float())
    for handle in handles:
        handle.remove()
    model = onnx.ModelProto()
    model.CopyFrom(models["96x64", "int8"])
    tensors = {n.name: n.output[0] for n in model.graph.node}
    outputs = [tensors[f"/core/{name}/DequantizeLinear"] for name in expected]
    model.graph.output.extend(helper.make_empty_tensor_value_info(o) for o in outputs)
    steps = {}
    for (name, reference), found in zip(expected.items(), run_all(model, frames[0], outputs)):
        scale = float(quantizers(core)[name].amax) / 127
        steps[name] = np.abs(found - reference) / scale
        assert steps[name].mean() < 0.5 * reference.std() / scale, name
    assert not steps["quantize_mul"].any()
    for name in ("spatial_conv1_relu", "spatial_conv2_relu", "backbone_stage8_0_relu"):
        assert np.mean(steps[f"quantize_{name}"] > 0.5) < 0.03, name
        assert steps[f"quantize_{name}"].max() < 1.5, name


def test_a_mask_never_holds_the_ignore_index(models):
    for value in (0, 128, 255):
        mask = run(models["97x63", "int8"], np.full((63, 97, 3), value, np.uint8))
        assert mask.max() < CLASSES


def test_padding_inside_is_the_mean_colour(networks):
    module = FrameToMask(networks["fp32"], SIZES["97x63"]).eval()
    seen = []
    handle = networks["fp32"].register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        module(torch.zeros(1, 63, 97, 3, dtype=torch.uint8))
    handle.remove()
    (x,) = seen
    assert tuple(x.shape) == (1, 3, 64, 104)
    assert not x[:, :, :63, :97].any()
    assert (x[:, :, 63:] == 128).all()
    assert (x[:, :, :, 97:] == 128).all()


def test_a_dead_channel_keeps_a_scale_above_zero_in_float16(folded):
    core = insert_quantizers(folded)
    convolution = quant_convs(core)["head.conv.conv"]
    with torch.no_grad():
        convolution.weight[3] = 0
        convolution.weight_amax[3] = 0
    typed = to_float16(to_onnx(core, SIZES["96x64"]))
    values = constants(typed)
    scales = [values[n.input[1]] for n in typed.graph.node if n.op_type == "QuantizeLinear"]
    assert min(s.min() for s in scales) > 0


def test_a_constant_beyond_float16_is_refused():
    weight = numpy_helper.from_array(np.array([1e6], np.float32), "big")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    node = helper.make_node("Mul", ["x", "big"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
    with pytest.raises(ExportError, match="does not fit float16") as caught:
        to_float16(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert "big" in caught.value.got


def test_a_graph_that_is_no_onnx_is_refused(models):
    broken = onnx.ModelProto()
    broken.CopyFrom(models["96x64", "fp32"])
    broken.graph.node[3].op_type = "Nonesuch"
    with pytest.raises(ExportError, match="not valid ONNX"):
        check(broken)
