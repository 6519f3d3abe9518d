"""A model that takes codes gives the very logits of one that takes the frame."""

from __future__ import annotations

import numpy as np
import openvino
import pytest
from onnx import TensorProto, helper
from toy_graph import Graph

from bisenet_edge.runtime.backends.openvino_input import CodeWriter, take_codes
from bisenet_edge.runtime.backends.openvino_quantizers import (
    quantize_before_pooling,
    round_weights,
    use_unsigned_codes,
)


def network(hw, stems, *, padded_hw=None, scale=1 / 64, mean=128, quantized=True):
    """Frame to "logits": stems (kernel, stride, pads, pool) that all read the quantized frame.

    `pads` are top, left, bottom and right; behind a stem come ReLU, perhaps a max pooling, and a convolution.
    """
    graph = Graph(quantized)
    graph.add("Cast", ["frame"], "float", to=TensorProto.FLOAT)
    x = graph.add("Transpose", ["float"], "planes", perm=[0, 3, 1, 2])
    if padded_hw:
        down, right = padded_hw[0] - hw[0], padded_hw[1] - hw[1]
        ends = graph.constant("ends", np.array([0, 0, 0, 0, 0, 0, down, right], np.int64))
        x = graph.add("Pad", [x, ends, graph.constant("grey", np.float32(128))], "padded")
    graph.constant("mean", np.float32(mean))
    graph.constant("std", np.float32(1 / 64))
    x = graph.add("Mul", [graph.add("Sub", [x, "mean"], "centred"), "std"], "normalised")
    x = graph.quantize(x, scale)
    means = []
    for index, (kernel, stride, pads, pool) in enumerate(stems):
        raw = graph.conv(x, (24, 3), f"stem{index}", kernel=kernel, stride=stride)
        for name, value in (("pads", pads), ("kernel_shape", [kernel] * 2)):
            attributes = graph.nodes[-1].attribute
            del attributes[[a.name for a in attributes].index(name)]
            attributes.append(helper.make_attribute(name, value))
        y = graph.add("Relu", [raw], f"relu{index}")
        if pool:
            pooling = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
            y = graph.add("MaxPool", [y], f"pool{index}", **pooling)
        y = graph.conv(graph.quantize(y, 0.03), (6, 24), f"out{index}")
        means.append(graph.add("GlobalAveragePool", [y], f"mean{index}"))
    graph.add("Concat", means, "logits", axis=1)
    inputs = [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, *hw, 3])]
    outputs = [helper.make_empty_tensor_value_info("logits")]
    outputs[0].type.tensor_type.elem_type = TensorProto.FLOAT
    body = helper.make_graph(graph.nodes, "stems", inputs, outputs, graph.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    read = openvino.Core().read_model(model.SerializeToString())
    round_weights(read)
    return read


def run(model, frame, *, codes):
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    tensor = request.get_input_tensor().data
    if codes:
        tensor[:] = 0
        CodeWriter(tensor).write(frame)
    else:
        tensor[0] = frame
    request.infer()
    return request.get_output_tensor().data.copy()


def frame_of(hw, seed=0):
    frame = np.random.default_rng(seed).integers(0, 256, (*hw, 3)).astype(np.uint8)
    frame[0] = 0, 127, 255  # codes -128, -1 and 127
    return frame


SAME3, SAME5, SAME7 = [1] * 4, [2] * 4, [3] * 4
STRIDE2 = {
    "xception39": [(7, 2, SAME7, False), (3, 2, SAME3, True)],
    "resnet18": [(7, 2, SAME7, False), (7, 2, SAME7, True)],
    "one pixel": [(1, 2, [0] * 4, False)],
    "even kernels": [(2, 2, [0] * 4, False), (4, 2, [1] * 4, False), (6, 2, [2] * 4, True)],
    "uneven padding": [(3, 2, [0, 1, 1, 0], False), (3, 2, [0, 0, 1, 1], False), (5, 2, SAME5, False)],
}


@pytest.mark.parametrize(
    ("name", "hw"),
    [*[(name, (27, 41)) for name in STRIDE2], ("xception39", (30, 42)), ("resnet18", (32, 48))],
)
def test_squares_of_pixels_give_the_same_logits(name, hw):
    stems, padded_hw = STRIDE2[name], None if hw == (32, 48) else (32, 48)
    expected = run(network(hw, stems, padded_hw=padded_hw), frame_of(hw), codes=False)
    model = network(hw, stems, padded_hw=padded_hw)
    assert take_codes(model)
    assert list(model.input(0).get_shape()) == [1, 16, 24, 12]
    assert len(np.unique(expected)) > 3
    assert np.array_equal(run(model, frame_of(hw), codes=True), expected)


@pytest.mark.parametrize(
    "stems",
    [[(3, 1, SAME3, False)], [(3, 2, SAME3, False), (3, 1, SAME3, False)]],
    ids=["stride 1", "one of two has stride 1"],
)
def test_codes_of_pixels_give_the_same_logits(stems):
    hw, padded_hw = (27, 41), (32, 48)
    expected = run(network(hw, stems, padded_hw=padded_hw), frame_of(hw), codes=False)
    model = network(hw, stems, padded_hw=padded_hw)
    assert take_codes(model)
    assert list(model.input(0).get_shape()) == [1, 32, 48, 3]
    assert np.array_equal(run(model, frame_of(hw), codes=True), expected)


def test_a_frame_of_odd_size_is_not_cut_into_squares():
    model = network((27, 41), STRIDE2["one pixel"])
    assert take_codes(model)
    assert list(model.input(0).get_shape()) == [1, 27, 41, 3]
    expected = run(network((27, 41), STRIDE2["one pixel"]), frame_of((27, 41)), codes=False)
    assert np.array_equal(run(model, frame_of((27, 41)), codes=True), expected)


@pytest.mark.parametrize("other", [{"scale": 1 / 50}, {"mean": 127}, {"quantized": False}])
def test_a_graph_whose_codes_are_not_the_pixels_keeps_its_frame(other):
    model = network((32, 48), STRIDE2["xception39"], **other)
    assert not take_codes(model)
    assert str(model.input(0).get_element_type()) == "<Type: 'uint8_t'>"


def test_a_view_and_a_whole_frame_are_written_alike():
    whole = frame_of((32, 96))
    codes = [np.zeros((1, 16, 24, 12), np.int8) for _ in range(2)]
    CodeWriter(codes[0]).write(whole[:, ::2])
    CodeWriter(codes[1]).write(np.ascontiguousarray(whole[:, ::2]))
    assert np.array_equal(codes[0], codes[1])
    expected = whole[:, ::2].reshape(16, 2, 24, 2, 3).transpose(0, 2, 1, 3, 4).reshape(16, 24, 12)
    assert np.array_equal(codes[0][0], expected.astype(np.int16) - 128)


def test_no_pass_over_the_picture_is_left():
    model = network((32, 48), STRIDE2["xception39"])
    quantize_before_pooling(model)
    use_unsigned_codes(model)
    take_codes(model)
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    runs = {}
    for operation in compiled.get_runtime_model().get_ordered_ops():
        info = operation.get_rt_info()
        kind = info["layerType"].astype(str)
        if operation.get_output_size() and operation.get_output_partial_shape(0).rank.get_length() == 4:
            runs.setdefault(kind, []).append(info["runtimePrecision"].astype(str))
    assert not {"Transpose", "Subgraph", "FakeQuantize"} & set(runs)
    assert set(runs["Convolution"]) <= {"i8", "u8"}
    assert runs["Pooling"] == ["u8"]


def test_a_pooling_moves_behind_its_quantizer_and_gives_the_same():
    stems, frame = STRIDE2["xception39"], frame_of((32, 48))
    expected = run(network((32, 48), stems), frame, codes=False)
    model = network((32, 48), stems)
    assert quantize_before_pooling(model) == 1
    assert np.array_equal(run(model, frame, codes=False), expected)
    assert quantize_before_pooling(model) == 0  # nothing left to do


def test_a_pooling_whose_places_are_read_stays_where_it_is():
    parameter = openvino.opset13.parameter([1, 4, 8, 8], openvino.Type.f32, name="x")
    pooling = openvino.opset13.max_pool(parameter, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2])
    ends = [openvino.opset13.constant(np.float32(end)) for end in (0, 2.55, 0, 255)]
    codes = openvino.opset13.convert(
        openvino.opset13.fake_quantize(pooling.output(0), *ends, levels=256), openvino.Type.u8
    )
    values = openvino.opset13.multiply(openvino.opset13.convert(codes, "f32"), np.float32(0.01))
    results = [openvino.opset13.result(values), openvino.opset13.result(pooling.output(1))]
    model = openvino.Model(results, [parameter], "unpooled")
    assert quantize_before_pooling(model) == 0
