"""Compiling with a double of every release, and, on a machine that has one, with a GPU."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch_tensorrt_double import (
    ENGINE,
    REGISTER,
    TO_MODULE,
    TO_PLAN,
    VERSIONS,
    install,
    installed,
)

from bisenet_edge.errors import BackendError, MissingDependencyError, SinkError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.accuracy import Gate
from bisenet_edge.runtime.streets import SyntheticDataset
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.int8 import Int8Options
from bisenet_edge.toolchain.onnx_graph import FrameToMask
from bisenet_edge.toolchain.quant.placement import insert_quantizers, quant_convs, quantizers
from bisenet_edge.toolchain.quant.select_frames import CalibrationRecipe
from bisenet_edge.toolchain.quant.twin import with_twin
from bisenet_edge.toolchain.torch_tensorrt import compiler as compiler_module
from bisenet_edge.toolchain.torch_tensorrt import quantize_op
from bisenet_edge.toolchain.torch_tensorrt.compiler import Compiled, compile_torch_tensorrt
from bisenet_edge.toolchain.torch_tensorrt.converter import _cast_to_uint8, _casts_to_uint8
from bisenet_edge.toolchain.torch_tensorrt.releases import Installed
from bisenet_edge.toolchain.torch_tensorrt.settings import FORMS, Settings
from bisenet_edge.toolchain.torch_tensorrt.source import load_network

SIZE = Size(64, 32)
NEWEST = VERSIONS[-1]
QUANTIZE_OP = quantize_op.operator()


class _Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 8, 8)

    def forward(self, image):
        return self.conv((image - 128.0) * (1 / 64))


def traced_tiny():
    traced = fx.symbolic_trace(_Tiny().eval())
    traced.meta["input_multiple"] = 8
    return traced


@pytest.fixture
def tiny():
    """The smallest network with the contract: one convolution, quantized on input and weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return insert_quantizers(traced_tiny())


@pytest.fixture
def double(request, monkeypatch):
    return install(getattr(request, "param", NEWEST), monkeypatch)


every_release = pytest.mark.parametrize("double", VERSIONS, indirect=True)


def compiled(tiny, double, tmp_path, **settings) -> Compiled:
    return compile_torch_tensorrt(
        tiny, SIZE, tmp_path / "made", Settings(**settings), installed(double.version)
    )


@every_release
def test_a_plan_is_written_whole_double(tiny, double, tmp_path):
    result = compiled(tiny, double, tmp_path, optimization_level=4)
    assert result.path.read_bytes() == ENGINE
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
    assert result.size_bytes == len(ENGINE)
    assert result.form == "plan"
    assert (result.torch_tensorrt, result.settings["optimization_level"]) == (double.version, 4)
    assert result.tensorrt == installed(double.version).tensorrt
    assert "never on a Jetson" in result.note
    assert result.to_json()["output"] == "output0"
    call = double.calls[TO_PLAN].arguments
    assert call["require_full_compilation"] is True
    assert call["min_block_size"] == 1
    assert call["optimization_level"] == 4
    (frame,) = call["arg_inputs"]
    assert (frame.dtype, tuple(frame.shape)) == (torch.uint8, (1, *SIZE.hw, 3))
    targets = [n.target for n in call["exported_program"].graph.nodes]
    assert targets.count(QUANTIZE_OP) == 2


@every_release
def test_what_is_not_int8_is_fp16_in_the_way_of_the_release_double(tiny, double, tmp_path):
    compiled(tiny, double, tmp_path)
    call = double.calls[TO_PLAN].arguments
    (convolution,) = [
        n for n in call["exported_program"].graph.nodes if n.target is torch.ops.aten.conv2d.default
    ]
    weak = double.version in ("2.8.0", "2.9.0")
    assert convolution.meta["val"].dtype == (torch.float32 if weak else torch.float16)
    assert ("enabled_precisions" in call) == weak


@every_release
def test_an_exported_program_is_saved_with_an_example_double(tiny, double, tmp_path):
    result = compiled(tiny, double, tmp_path, form="exported-program")
    assert result.path.read_bytes() == b"program of the double"
    call = double.calls["save"].arguments
    assert call["output_format"] == "exported_program"
    assert call["retrace"] is True
    assert len(call["arg_inputs"]) == 1
    assert double.calls[TO_MODULE].arguments["require_full_compilation"] is True
    assert TO_PLAN not in double.calls


@every_release
def test_a_dry_run_writes_the_report_double(tiny, double, tmp_path):
    assert compiled(tiny, double, tmp_path, form="dry-run").path.read_text() == "report of the double"


@every_release
def test_the_cast_to_uint8_is_registered_before_compiling_double(tiny, double, tmp_path):
    compiled(tiny, double, tmp_path)
    call = double.calls[REGISTER].arguments
    assert call["key"] is torch.ops.aten._to_copy.default
    assert call["priority"].name == "HIGH"
    assert double.registered == [_cast_to_uint8]
    program = double.calls[TO_PLAN].arguments["exported_program"].run_decompositions()
    casts = [n for n in program.graph.nodes if n.target is torch.ops.aten._to_copy.default]
    assert [call["capability_validator"](n, None) for n in casts] == [False] * (len(casts) - 1) + [True]
    assert not _casts_to_uint8(next(iter(program.graph.nodes)))


def test_the_mask_becomes_uint8_by_way_of_float32_fake(monkeypatch):
    # TensorRT makes uint8 of floating point only.
    import enum
    import types

    kinds = enum.Enum("DataType", ["FLOAT", "UINT8"])
    monkeypatch.setitem(sys.modules, "tensorrt", types.SimpleNamespace(DataType=kinds))
    made = []

    def add_cast(source, kind):
        made.append((source, kind))
        return types.SimpleNamespace(get_output=lambda i: f"tensor {len(made)}", name="")

    context = types.SimpleNamespace(net=types.SimpleNamespace(add_cast=add_cast))
    assert _cast_to_uint8(context, None, ("argmax",), {}, "to") == "tensor 2"
    assert made == [("argmax", kinds.FLOAT), ("tensor 1", kinds.UINT8)]


def test_a_network_without_quantizers_needs_no_modelopt_double(double, tmp_path, monkeypatch):
    monkeypatch.setattr(compiler_module, "import_modelopt", lambda: pytest.fail("imported"))
    monkeypatch.setattr(quantize_op, "has_modelopt", lambda: False)
    double.converters.clear()
    network = traced_tiny()
    assert compiled(network, double, tmp_path).path.read_bytes() == ENGINE


@pytest.mark.parametrize("form", FORMS)
def test_an_option_of_a_newer_release_stops_before_any_work_double(form, tiny, monkeypatch, tmp_path):
    double = install("2.8.0", monkeypatch)
    if form == "plan":
        with pytest.raises(UsageError, match="cannot make a plan with this option"):
            compiled(tiny, double, tmp_path, form=form, hardware_compatible=True)
        assert not double.calls
        assert not list(tmp_path.iterdir())
    else:
        compiled(tiny, double, tmp_path, form=form, hardware_compatible=True)
        assert double.calls[TO_MODULE].arguments["hardware_compatible"] is True


def test_a_keyword_that_a_release_does_not_have_fails_with_the_double(tiny, double, tmp_path, monkeypatch):
    monkeypatch.setattr(compiler_module, "keywords", lambda *args, **kwargs: {"not_an_option": 1})
    with pytest.raises(BackendError) as caught:
        compiled(tiny, double, tmp_path)
    assert "not_an_option" in caught.value.got
    assert not list(tmp_path.iterdir())


def test_a_failing_compiler_leaves_the_old_file_double(tiny, double, tmp_path):
    (tmp_path / "made").write_bytes(b"old")
    double.plan = b""
    with pytest.raises(BackendError, match="TensorRT built no engine"):
        compiled(tiny, double, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made").read_bytes() == b"old"


def test_a_part_that_would_run_in_torch_is_an_error_double(tiny, double, tmp_path):
    double.in_torch = True
    with pytest.raises(BackendError) as caught:
        compiled(tiny, double, tmp_path, form="exported-program")
    assert caught.value.got == "_run_on_gpu_1"
    assert not list(tmp_path.iterdir())


def test_a_compiler_without_a_converter_for_int8_is_an_error_double(tiny, double, tmp_path):
    double.converters.clear()
    with pytest.raises(BackendError, match="before ModelOpt"):
        compiled(tiny, double, tmp_path)


def test_a_missing_modelopt_is_named_with_the_line_that_installs_it_double(
    tiny, double, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "modelopt.torch.quantization", None)
    with pytest.raises(MissingDependencyError) as caught:
        compiled(tiny, double, tmp_path)
    assert caught.value.fix.startswith("pip install 'nvidia-modelopt")
    assert not list(tmp_path.iterdir())


def test_a_modelopt_that_lacks_an_operator_is_named_double(tiny, double, tmp_path, monkeypatch):
    monkeypatch.delattr(torch.ops.tensorrt, "dynamic_block_quantize_op")
    with pytest.raises(MissingDependencyError) as caught:
        compiled(tiny, double, tmp_path)
    assert "dynamic_block_quantize_op" in caught.value.got


def test_a_compiler_that_cannot_be_imported_is_named_double(tiny, double, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(MissingDependencyError, match="cannot be imported"):
        compiled(tiny, double, tmp_path)


def test_a_folder_that_cannot_be_written_double(tiny, double, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError):
        compile_torch_tensorrt(tiny, SIZE, tmp_path / "file" / "made", Settings(), installed(double.version))


def test_without_a_gpu_nothing_is_compiled(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="torch sees none"):
        compile_torch_tensorrt(tiny, SIZE, tmp_path / "made", Settings(), installed(NEWEST))
    assert not list(tmp_path.iterdir())


def test_versions_are_checked_before_anything_else(tiny, tmp_path):
    given = installed(NEWEST, torch_tensorrt="")
    with pytest.raises(MissingDependencyError, match="not installed"):
        compile_torch_tensorrt(tiny, SIZE, tmp_path / "made", Settings(), given)


FEW = CalibrationRecipe(f"synthetic:?count=8&size={SIZE}", 4, 0)


def test_an_artifact_is_refused_and_the_checkpoint_named(small_artifact):
    for source in (small_artifact, small_artifact / "model.int8.onnx"):
        with pytest.raises(UsageError) as caught:
            load_network(source, SIZE, None)
        assert str(source) in caught.value.got
        assert "checkpoint" in caught.value.expected
        assert "--with torch-tensorrt" in caught.value.fix


def test_a_checkpoint_is_calibrated_as_export_does(checkpoint, tmp_path):
    path = tmp_path / "small.safetensors"
    checkpoints.write(path, checkpoint)
    network = load_network(path, SIZE, Int8Options(FEW))
    ranges = [float(q.amax) for q in quantizers(network).values() if not q.fixed]
    assert len(ranges) > 60
    assert len(set(ranges)) > 50, "not calibrated"
    assert not quantizers(load_network(path, SIZE, None))


def test_the_int8_twin_of_a_checkpoint_is_taken(checkpoint, tmp_path):
    path = tmp_path / "small.safetensors"
    checkpoints.write(path, checkpoint)
    from bisenet_edge.toolchain.quant.fold import fold
    from bisenet_edge.toolchain.quant.ptq import Quantized, Scheme

    network = insert_quantizers(fold(checkpoint.build()))
    for quantizer in quantizers(network).values():
        if not quantizer.fixed:
            quantizer.amax.fill_(3.25)
    twin = with_twin(checkpoint, Quantized(network, Scheme("mse"), (), "qat"), {"images": []})
    checkpoints.write(path, twin)
    loaded = load_network(path, SIZE, Int8Options(FEW))
    assert {float(q.amax) for q in quantizers(loaded).values() if not q.fixed} == {3.25}
    assert quant_convs(loaded)


def test_a_promise_is_the_export_s_matter(tmp_path):
    with pytest.raises(UsageError, match="exported graph"):
        load_network(None, SIZE, Int8Options(FEW, gate=Gate(0.5, None)))


@pytest.mark.gpu
def test_a_real_plan_gives_the_masks_of_the_fake_quantizers(tmp_path):
    """Compile for this machine's GPU, run the plan with TensorRT alone, compare masks."""
    missing = [p for p in ("torch_tensorrt", "tensorrt", "modelopt") if not importlib.util.find_spec(p)]
    if missing or not torch.cuda.is_available():
        lacks = ", ".join([*missing, *([] if torch.cuda.is_available() else ["a CUDA device"])])
        pytest.skip(f"lacks {lacks}: on an NVIDIA GPU, pip install 'bisenet-edge[tensorrt]'")
    import tensorrt

    size = Size(640, 360)
    options = Int8Options(CalibrationRecipe(f"synthetic:?count=20&size={size}", 8, 0))
    core = load_network(None, size, options)
    made = compile_torch_tensorrt(core, size, tmp_path / "made.plan", Settings(), Installed.here())

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    engine = tensorrt.Runtime(logger).deserialize_cuda_engine(made.path.read_bytes())
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    assert sorted(names) == ["frame", "output0"]
    assert engine.get_tensor_dtype("output0") == tensorrt.DataType.UINT8
    context = engine.create_execution_context()
    reference = FrameToMask(core, size).eval()
    equal = []
    for sample in SyntheticDataset("val", 4, size):
        frame = torch.from_numpy(sample.image)[None].cuda()
        mask = torch.empty(1, *size.hw, dtype=torch.uint8, device="cuda")
        context.set_tensor_address("frame", frame.data_ptr())
        context.set_tensor_address("output0", mask.data_ptr())
        assert context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        torch.cuda.synchronize()
        with torch.no_grad():
            wanted = reference(frame.cpu())
        equal.append(float((mask.cpu() == wanted).float().mean()))
    assert np.mean(equal) > 0.95
