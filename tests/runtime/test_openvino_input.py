"""A model that takes codes gives the very logits of one that takes the frame."""

from __future__ import annotations

import numpy as np
import openvino
import pytest
from stem_graph import NOT_THE_PIXELS, SAME3, STRIDE2, frame_of, stems_graph

from bisenet_edge.runtime.backends.openvino_input import take_codes
from bisenet_edge.runtime.backends.openvino_quantizers import (
    quantize_before_pooling,
    round_weights,
    use_unsigned_codes,
)
from bisenet_edge.runtime.backends.pixel_blocks import FrameWriter


def network(hw, stems, **other):
    read = openvino.Core().read_model(stems_graph(hw, stems, **other).SerializeToString())
    round_weights(read)
    return read


def run(model, frame, *, codes):
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    tensor = request.get_input_tensor().data
    FrameWriter(tensor[0].view(np.uint8), signed=codes).write(frame)
    request.infer()
    return request.get_output_tensor().data.copy()


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


@pytest.mark.parametrize("name", NOT_THE_PIXELS)
def test_a_graph_whose_codes_are_not_the_pixels_keeps_its_frame(name):
    padded = network((27, 41), STRIDE2["xception39"], padded_hw=(32, 48), **NOT_THE_PIXELS[name])
    assert not take_codes(padded)
    assert list(padded.input(0).get_shape()) == [1, 27, 41, 3]
    assert str(padded.input(0).get_element_type()) == "<Type: 'uint8_t'>"


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
