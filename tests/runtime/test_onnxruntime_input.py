"""A graph whose convolutions read the frame itself gives the very logits of one that normalises it first."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from stem_graph import NOT_THE_PIXELS, SAME3, STRIDE2, frame_of, stems_graph

from bisenet_edge.runtime.backends import onnxruntime_lowering
from bisenet_edge.runtime.backends.pixel_blocks import FrameWriter


def lowered(tmp_path, hw, stems, **other):
    path = tmp_path / "stems.onnx"
    onnx.save(stems_graph(hw, stems, **other), str(path))
    return onnxruntime_lowering.lower(path)


def run(model, frame):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    pixels = np.zeros(session.get_inputs()[0].shape, np.uint8)
    FrameWriter(pixels[0], signed=False).write(frame)
    return list(pixels.shape), session.run(None, {"frame": pixels})[0]


def both(tmp_path, monkeypatch, hw, stems, **other):
    frame = frame_of(hw)
    shape, found = run(lowered(tmp_path, hw, stems, **other), frame)
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime_lowering, "take_pixels", lambda graph: False)
        _, expected = run(lowered(tmp_path, hw, stems, **other), frame)
    assert len(np.unique(expected)) > 3
    return shape, found, expected


@pytest.mark.parametrize("hw", [(32, 48), (27, 41)])
@pytest.mark.parametrize("name", STRIDE2)
def test_squares_of_pixels_give_the_same_logits(tmp_path, monkeypatch, name, hw):
    padded_hw = None if hw == (32, 48) else (32, 48)
    shape, found, expected = both(tmp_path, monkeypatch, hw, STRIDE2[name], padded_hw=padded_hw)
    assert shape == [1, 16, 24, 12]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("hw", "padded_hw"), [((32, 48), None), ((27, 41), (32, 48)), ((27, 41), None)])
def test_pixels_give_the_same_logits(tmp_path, monkeypatch, hw, padded_hw):
    stems = [(3, 1, SAME3, False), (3, 2, SAME3, False)]
    shape, found, expected = both(tmp_path, monkeypatch, hw, stems, padded_hw=padded_hw)
    assert shape == [1, *(padded_hw or hw), 3]
    assert np.array_equal(found, expected)


def test_no_pass_over_the_picture_is_left(tmp_path):
    model = onnx.load_from_string(lowered(tmp_path, (32, 48), STRIDE2["xception39"]))
    assert not {"Cast", "Sub", "Mul", "Pad"} & {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("name", NOT_THE_PIXELS)
def test_a_graph_whose_codes_are_not_the_pixels_keeps_its_frame(tmp_path, name):
    other = NOT_THE_PIXELS[name]
    model = lowered(tmp_path, (27, 41), STRIDE2["xception39"], padded_hw=(32, 48), **other)
    graph = onnx.load_from_string(model).graph
    assert [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim] == [1, 27, 41, 3]
    assert {"Cast", "Pad", "Sub", "Mul"} <= {node.op_type for node in graph.node}
