"""The program for Torch-TensorRT: the ONNX graph's quantizers, at the same places, and the same masks."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from bisenet_edge.frame import Size
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.runtime.streets import SyntheticDataset
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.lint.graph import DEQUANTIZE, QUANTIZE, Graph
from bisenet_edge.toolchain.onnx_graph import FrameToMask, to_onnx
from bisenet_edge.toolchain.quant.fake_quant import QuantConv2d, Quantizer
from bisenet_edge.toolchain.quant.fold import fold
from bisenet_edge.toolchain.quant.placement import insert_quantizers, quant_convs, quantizers
from bisenet_edge.toolchain.quant.ptq import PostTraining, Scheme
from bisenet_edge.toolchain.torch_tensorrt.program import export_program, with_operators
from bisenet_edge.toolchain.torch_tensorrt.quantize_op import INT8, SCHEMA, operator

SIZE = Size(96, 64)
PADDED = Size(100, 60)
QUANTIZE_OP = operator()
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def street_frames():
    return [sample.image for sample in SyntheticDataset("val", 4, SIZE)]


@pytest.fixture(scope="module")
def shipped(street_frames):
    """The shipped network, folded, and calibrated as `export --int8` does."""
    folded = fold(checkpoints.read(shipped_checkpoint()).build())
    quantized = PostTraining(folded, street_frames, "auto").quantize(Scheme("mse"))
    return folded, quantized.network


@pytest.fixture(scope="module")
def networks(shipped, resnet):
    return {"shipped": shipped[1], "resnet18": insert_quantizers(fold(resnet))}


@pytest.fixture(scope="module")
def program_of(networks):
    """A program by network, size and precision, each exported once; do not change it."""

    @functools.cache
    def export(name, size=SIZE, *, half=False):
        return export_program(networks[name], size, half=half)

    return export


def masks(module, frames):
    with torch.no_grad():
        return np.concatenate([module(torch.from_numpy(frame)[None]).numpy() for frame in frames])


# What a node computes, by the ONNX operator; None = it passes its operand on.
OPERATORS = {
    "conv2d": "Conv",
    "relu_": "Relu",
    "relu": "Relu",
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "cat": "Concat",
    "sigmoid": "Sigmoid",
    "upsample_bilinear2d": "Resize",
    "adaptive_avg_pool2d": "GlobalAveragePool",
    "max_pool2d": "MaxPool",
    "argmax": "ArgMax",
    "to": "Cast",
    "permute": "Transpose",
}


class Program:
    """Reads the places of quantizers off a `torch.export` program."""

    def __init__(self, program):
        self.graph = program.graph
        self.quantized = [n for n in self.graph.nodes if n.target is QUANTIZE_OP]

    def convolution(self, node):
        path = list(node.meta["nn_module_stack"].values())[-1][0]
        return path.removeprefix("core.core.")

    def tensor(self, node):
        """A tensor by the operators since the last convolution, with a star where it is quantized."""
        if node.target is QUANTIZE_OP:
            return f"{self.tensor(node.args[0])}*"
        if node.op == "placeholder":
            return "frame" if node.name == "frame" else "weight"
        kind = OPERATORS[node.target._opname]
        return self.convolution(node) if kind == "Conv" else f"{kind}({', '.join(self.operands(node))})"

    def operands(self, node):
        count = 2 if node.target._opname == "conv2d" else None  # the bias is never quantized
        return [self.tensor(operand) for operand in node.all_input_nodes[:count]]

    def places(self):
        known = [n for n in self.graph.nodes if getattr(n.target, "_opname", "") in OPERATORS]
        return Counter((OPERATORS[n.target._opname], *self.operands(n)) for n in known)


class Onnx:
    """Likewise, off an ONNX graph."""

    def __init__(self, model):
        self.graph = Graph(model)

    def tensor(self, name):
        node = self.graph.producer(name)
        if node is None:
            return "frame" if name == "frame" else "weight"
        if node.op_type == DEQUANTIZE:
            return f"{self.tensor(self.graph.producer(node.input[0]).input[0])}*"
        if node.op_type == "Conv":
            return self.graph.path(node)
        return f"{node.op_type}({', '.join(self.operands(node))})"

    def operands(self, node):
        names = list(node.input[:2] if node.op_type == "Conv" else node.input)
        computed = [n for n in names if n == "frame" or self.graph.producer(n) is not None]
        return [self.tensor(n) for n in (names if node.op_type == "Conv" else computed)]

    def places(self):
        known = [n for n in self.graph.nodes if n.op_type not in (QUANTIZE, DEQUANTIZE)]
        return Counter((n.op_type, *self.operands(n)) for n in known)


@pytest.mark.parametrize(("name", "size"), [("shipped", SIZE), ("shipped", PADDED), ("resnet18", SIZE)])
def test_one_operator_per_quantizer_of_the_onnx_graph(networks, program_of, name, size):
    program = Program(program_of(name, size))
    model = to_onnx(networks[name], size)
    wanted = len(quantizers(networks[name])) + len(quant_convs(networks[name]))
    assert wanted > 60
    assert len(program.quantized) == wanted
    assert [n.op_type for n in model.graph.node].count(QUANTIZE) == wanted


@pytest.mark.parametrize("name", ["shipped", "resnet18"])
def test_the_operators_stand_where_the_onnx_graph_has_q_dq(networks, program_of, name):
    program = Program(program_of(name)).places()
    onnx = Onnx(to_onnx(networks[name], SIZE)).places()
    assert sum("*" in operand for place in onnx for operand in place[1:]) > 60
    assert program == onnx


def test_a_moved_quantizer_would_be_noticed(networks):
    moved = with_operators(networks["shipped"], half=False)
    name = list(quantizers(networks["shipped"]))[10]
    moved.set_submodule(name, torch.nn.Identity())
    program = Program(export_program(moved, SIZE, half=False)).places()
    assert program != Onnx(to_onnx(networks["shipped"], SIZE)).places()


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_weights_are_quantized_in_the_graph_not_before(networks, program_of, half):
    program = program_of("shipped", half=half)
    lowered = program.run_decompositions()
    kept = [n for n in lowered.graph.nodes if n.target is QUANTIZE_OP]
    assert len(kept) == len(Program(program).quantized)
    weights = [n for n in kept if n.args[0].op == "placeholder"]
    convolutions = [n for n in lowered.graph.nodes if n.target is torch.ops.aten.convolution.default]
    assert len(weights) == len(convolutions) == len(quant_convs(networks["shipped"]))
    assert {c.args[1] for c in convolutions} == set(weights)
    for node in kept:
        amax = node.args[1].meta["val"]
        assert node.args[2:] == INT8
        assert amax.dtype == torch.float32
        if node in weights:
            channels = node.args[0].meta["val"].shape[0]
            assert tuple(amax.shape) == (channels, 1, 1, 1)
        else:
            assert amax.numel() == 1


def test_the_contract_is_a_uint8_frame_in_and_a_uint8_mask_out(program_of):
    for size, half in ((SIZE, True), (PADDED, False)):
        program = program_of("shipped", size, half=half)
        assert program.graph_signature.user_inputs == ("frame",)
        (frame,) = [n for n in program.graph.nodes if n.name == "frame"]
        (output,) = [n for n in program.graph.nodes if n.op == "output"]
        mask = output.args[0][0].meta["val"]
        assert frame.meta["val"].dtype == mask.dtype == torch.uint8
        assert tuple(frame.meta["val"].shape) == (1, *size.hw, 3)
        assert tuple(mask.shape) == (1, *size.hw)


def test_between_the_ends_an_fp16_program_is_float16(program_of):
    program = program_of("shipped", half=True)
    types = {
        n.meta["val"].dtype
        for n in program.graph.nodes
        if n.op == "call_function" and getattr(n.target, "_opname", "") in ("conv2d", "add", "mul", "cat")
    }
    assert types == {torch.float16}
    casts = [n for n in program.graph.nodes if n.target is torch.ops.aten.to.dtype]
    assert [n.args[1] for n in casts] == [torch.float32, torch.float16, torch.float32, torch.uint8]


def test_masks_are_those_of_the_fake_quantizers(shipped, program_of, street_frames):
    wanted = masks(FrameToMask(shipped[1], SIZE).eval(), street_frames)
    made = masks(program_of("shipped").module(), street_frames)
    assert len(np.unique(wanted)) > 4
    assert np.mean(made == wanted) >= 0.999
    folded = masks(FrameToMask(shipped[0], SIZE).eval(), street_frames)
    assert np.mean(folded == wanted) < 0.999, (
        "quantization changes nothing here: the test would prove nothing"
    )


def test_fp16_masks_differ_no_more_than_those_of_the_typed_onnx_graph_may(shipped, program_of, street_frames):
    wanted = masks(FrameToMask(shipped[1], SIZE).eval(), street_frames)
    changed = 1 - np.mean(masks(FrameToMask(shipped[0], SIZE).eval(), street_frames) == wanted)
    made = masks(program_of("shipped", half=True).module(), street_frames)
    assert np.mean(made == wanted) > 1 - 2 * changed - 0.005  # `verify.INT8_SPREAD` of int8-typed


def codes(weight, amax):
    return torch.round(weight.double() * 127 / amax.double().reshape(-1, 1, 1, 1))


def test_weights_keep_their_codes_in_float16(networks):
    made = with_operators(networks["shipped"], half=True)
    moved = 0
    for name, convolution in quant_convs(networks["shipped"]).items():
        rounded = made.get_submodule(name)
        assert rounded.weight.dtype == torch.float16
        wanted = codes(convolution.quantized_weight(), convolution.weight_amax)
        assert torch.equal(codes(rounded.weight, rounded.weight_amax), wanted)
        moved += int((codes(convolution.weight.half(), convolution.weight_amax) != wanted).sum())
    assert moved > 0, "rounding to float16 first changes nothing here: the test would prove nothing"


def test_the_network_itself_is_left_alone(networks):
    before = {key: value.clone() for key, value in networks["shipped"].state_dict().items()}
    with_operators(networks["shipped"], half=True)
    after = networks["shipped"].state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert [m for m in networks["shipped"].modules() if isinstance(m, QuantConv2d)]


def test_blocks_in_floating_point_get_no_operator(shipped):
    folded, _ = shipped
    partly = insert_quantizers(folded, keep_float={"head.conv.conv"})
    assert len(Program(export_program(partly, SIZE, half=False)).quantized) == len(quantizers(partly)) + len(
        quant_convs(partly)
    )
    assert not Program(export_program(folded, SIZE, half=True)).quantized


def test_a_quantizer_that_is_switched_off_gets_no_operator(shipped):
    partly = insert_quantizers(shipped[0])
    name, quantizer = list(quantizers(partly).items())[5]
    quantizer.active = False
    quant_convs(partly)["head.classifier"].active = False
    made = with_operators(partly, half=False)
    assert isinstance(made.get_submodule(name), torch.nn.Identity)
    whole = len(quantizers(partly)) + len(quant_convs(partly))
    assert len(Program(export_program(partly, SIZE, half=False)).quantized) == whole - 2


def test_the_operator_rounds_as_the_fake_quantizers_do():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 5, 5, generator=generator) * 2
    quantizer = Quantizer(1.5)
    assert torch.equal(QUANTIZE_OP(x, quantizer.amax, *INT8), quantizer(x))
    convolution = QuantConv2d(torch.nn.Conv2d(6, 4, 3))
    amax = convolution.weight_amax.reshape(-1, 1, 1, 1)
    assert torch.equal(QUANTIZE_OP(convolution.weight, amax, *INT8), convolution.quantized_weight())


def test_the_operator_keeps_the_code_of_black():
    # (0 - 128) / 64 has code -128, which ModelOpt's narrow range does not have.
    assert float(QUANTIZE_OP(torch.tensor([-2.0]), torch.tensor(127 / 64), *INT8)) == -2.0


def test_other_kinds_of_rounding_are_refused():
    with pytest.raises(NotImplementedError):
        QUANTIZE_OP(torch.zeros(1), torch.ones(()), 8, 4, False, False)


def test_the_operator_needs_no_modelopt():
    assert operator() is QUANTIZE_OP
    assert QUANTIZE_OP._schema.name == "tensorrt::quantize_op"
    arguments = [str(a.type) for a in QUANTIZE_OP._schema.arguments]
    assert arguments == ["Tensor", "Tensor", "int", "int", "bool", "bool"]


# As the real one defines them, and as it fails on a machine without nvcc.
MODELOPT_DOUBLE = """
import torch

def kernel(input, amax, num_bits, exponent_bits, unsigned, narrow_range):
    raise AttributeError("'NoneType' object has no attribute 'fake_tensor_quant'")

torch.library.define("tensorrt::quantize_op", %r)
torch.library.define("tensorrt::dynamic_block_quantize_op", "(Tensor input) -> Tensor")
torch.library.impl("tensorrt::quantize_op", ["cpu", "cuda"])(kernel)
torch.library.register_fake("tensorrt::quantize_op")(lambda input, *others: torch.empty_like(input))
"""
USE_IT = """
import sys, torch
from bisenet_edge.toolchain.torch_tensorrt.quantize_op import INT8, operator
rounded = operator()(torch.tensor([0.3, -9.0]), torch.tensor(1.27), *INT8)
operator()
print([round(v, 4) for v in rounded.tolist()], "modelopt.torch.quantization" in sys.modules)
"""


def test_our_kernel_takes_the_place_of_modelopt_s_double(tmp_path):
    package = tmp_path / "modelopt" / "torch" / "quantization"
    package.mkdir(parents=True)
    for folder in (tmp_path / "modelopt", package.parent, package):
        (folder / "__init__.py").touch()
    (package / "__init__.py").write_text(MODELOPT_DOUBLE % SCHEMA)
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", USE_IT],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0.3, -1.28] True"
