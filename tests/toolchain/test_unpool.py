"""Max-unpooling without indices against torch's own, in torch and in the exported graph."""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bisenet_edge.toolchain.models.unpool import unpool
from bisenet_edge.toolchain.onnx_graph import OPSET, census

SIZES = [(8, 12), (7, 9), (8, 5), (1, 1), (2, 3)]
# What TensorRT 8.5's parser takes, with these types (float32 data, bool conditions).
ALLOWED = {"Constant", "Equal", "MaxPool", "Resize", "Slice", "Where"}


def drawn(hw, *, ties, seed=0):
    """(values to place, tensor that was pooled), and what torch gives for them with indices."""
    generator = torch.Generator().manual_seed(seed)
    before = torch.randn(2, 3, *hw, generator=generator)
    if ties:
        before = before.round()  # a handful of values: cells of equal ones are common
    pooled, indices = F.max_pool2d(before, 2, ceil_mode=True, return_indices=True)
    x = torch.randn(pooled.shape, generator=generator)
    return x, before, F.max_unpool2d(x, indices, 2, output_size=hw)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("hw", SIZES)
def test_it_equals_torch_to_the_bit(hw, ties):
    x, before, expected = drawn(hw, ties=ties)
    assert torch.equal(unpool(x, before), expected)


def test_of_equal_values_the_first_in_reading_order_wins():
    for alike in range(1, 16):
        places = [bool(alike & 1 << place) for place in range(4)]
        before = torch.tensor([1.0 if place else 0.0 for place in places]).view(1, 1, 2, 2)
        out = unpool(torch.full((1, 1, 1, 1), 7.0), before).flatten()
        assert out.tolist() == [7.0 if place == places.index(True) else 0.0 for place in range(4)]


def test_values_below_zero_and_a_cell_of_zeros_are_placed_too():
    before = torch.tensor([[-3.0, -1.0, 0.0, 0.0], [-1.0, -2.0, 0.0, 0.0]]).view(1, 1, 2, 4)
    out = unpool(torch.tensor([5.0, -6.0]).view(1, 1, 1, 2), before)
    assert out.flatten().tolist() == [0, 5, -6, 0, 0, 0, 0, 0]


def test_gradients_go_where_torch_sends_them():
    x, before, _ = drawn((7, 8), ties=True)
    weights = torch.randn(before.shape, generator=torch.Generator().manual_seed(1))
    _, indices = F.max_pool2d(before, 2, ceil_mode=True, return_indices=True)
    ours, torchs = x.clone().requires_grad_(), x.clone().requires_grad_()
    (unpool(ours, before) * weights).sum().backward()
    (F.max_unpool2d(torchs, indices, 2, output_size=before.shape[2:]) * weights).sum().backward()
    assert torch.equal(ours.grad, torchs.grad)


class Unpooling(nn.Module):
    def forward(self, x, before):
        return unpool(x, before)


def exported(x, before):
    buffer = io.BytesIO()
    torch.onnx.export(
        Unpooling(), (x, before), buffer, opset_version=OPSET, dynamo=False, input_names=["x", "before"]
    )
    return onnx.load_from_string(buffer.getvalue())


@pytest.mark.parametrize("hw", [(8, 12), (7, 9)])
@pytest.mark.filterwarnings("ignore")
def test_the_exported_graph_equals_torch_to_the_bit_on_both_cpu_engines(hw):
    import onnxsim

    x, before, expected = drawn(hw, ties=True)
    model, same = onnxsim.simplify(exported(x, before))
    assert same
    assert set(census(model)) <= ALLOWED
    inputs = {"x": x.numpy(), "before": before.numpy()}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert np.array_equal(session.run(None, inputs)[0], expected.numpy())
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model.SerializeToString(), b""), "CPU", settings)
    assert np.array_equal(compiled(inputs)[0], expected.numpy())
