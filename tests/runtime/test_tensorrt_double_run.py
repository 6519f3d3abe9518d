"""Running on the TensorRT double: plans that load or not, masks as ONNX Runtime has them, layers, times."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cudart_double import CudartDouble
from tensorrt_double import DERIVED, VERSIONS, Faults, WouldCrashError
from tensorrt_steps import Bench
from toy_graph import Graph, toy_artifact, toy_frames

from bisenet_edge.artifact import Artifact
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.cuda import CaptureError, CudaRuntime

EIGHT = (DERIVED, "8.6.1")
TEN = ("10.3.0", "10.13.3.9", "10.16.1.11")
ELEVEN = ("11.0.0.114", "11.4.0.106")
each_version = pytest.mark.parametrize("version", VERSIONS)
FP32 = Graph(quantized=False).model().SerializeToString()
INT8 = Graph(quantized=True).model().SerializeToString()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Frames, and their masks by the reference backend: "fp32", "int8"."""
    artifact = toy_artifact(tmp_path_factory.mktemp("toy"))
    frames = toy_frames()
    masks = {}
    for flavour in ("fp32", "int8"):
        with open_session(artifact, flavour, backend="reference") as session:
            masks[flavour] = np.stack([session.infer(frame).copy() for frame in frames])
    return frames, masks


@pytest.fixture(scope="module")
def plans():
    """An INT8 plan of every version."""
    return {version: bytes(Bench(version).build_int8(INT8)) for version in VERSIONS}


@each_version
def test_masks_are_those_of_the_reference_double(version, plans, reference):
    frames, masks = reference
    bench = Bench(version)
    assert (bench.masks(bench.load(plans[version]), frames) == masks["int8"]).all()
    assert (bench.masks(bench.load(bench.build(FP32)), frames) == masks["fp32"]).all()
    assert (masks["int8"] != masks["fp32"]).any()
    assert bench.errors == []
    assert bench.gpu.live() == []


@pytest.mark.parametrize(
    ("version", "flavour", "strong"),
    [
        ("8.5", "int8", False),
        ("8.6", "int8", False),
        ("10.3", "int8", False),
        ("10.13", "int8-typed", True),
        ("10.16", "fp16-typed", True),
        ("11.0", "int8-typed", True),
        ("11.4", "int8-typed", True),
    ],
)
def test_a_real_artifact_runs_double(small_artifact, version, flavour, strong):
    artifact = Artifact.open(small_artifact)
    bench = Bench(version)
    flags = () if strong else ("INT8", "FP16")
    model = artifact.model_path(flavour).read_bytes()
    engine = bench.load(bench.build(model, flags, strong=strong))
    frames = np.random.default_rng(3).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    with open_session(artifact, flavour, backend="reference") as session:
        expected = np.stack([session.infer(frame).copy() for frame in frames])
    assert (bench.masks(engine, frames) == expected).all()
    convolutions = [layer for layer in layers_of(bench, engine) if layer["LayerType"] == "CaskConvolution"]
    in_int8 = [layer for layer in convolutions if "int8" in words_of(layer["Inputs"][0])]
    assert len(convolutions) > 50
    assert (len(in_int8) > len(convolutions) / 2) == flavour.startswith("int8")


def layers_of(bench, engine):
    return information_of(bench, engine)["Layers"]


def information_of(bench, engine):
    inspector = engine.create_engine_inspector()
    return json.loads(inspector.get_engine_information(bench.trt.LayerInformationFormat.JSON))


def words_of(tensor):
    return (tensor.get("Format/Datatype") or f"{tensor['Format']} {tensor['Datatype']}").lower()


@each_version
def test_an_engine_tells_its_tensors_double(version, plans):
    bench = Bench(version)
    engine = bench.load(plans[version])
    trt = bench.trt
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    assert names == ["frame", "mask"]
    assert engine.get_tensor_mode("frame") == trt.TensorIOMode.INPUT
    assert engine.get_tensor_mode("mask") == trt.TensorIOMode.OUTPUT
    assert tuple(engine.get_tensor_shape("frame")) == (1, 64, 96, 3)
    assert engine.get_tensor_dtype("mask") == trt.uint8
    assert engine.get_tensor_location("frame") == trt.TensorLocation.DEVICE
    assert engine.get_tensor_format("frame") == trt.TensorFormat.LINEAR
    assert "UINT8" in engine.get_tensor_format_desc("frame")
    assert engine.num_layers == len(layers_of(bench, engine))
    assert engine.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    has = (hasattr(engine, "device_memory_size"), hasattr(engine, "device_memory_size_v2"))
    assert has == (version not in ELEVEN, version not in EIGHT)
    assert bytes(engine.serialize()) == plans[version]
    assert bench.errors == []
    # What is not there is logged, and something comes back all the same.
    assert engine.get_tensor_mode("nothing") == trt.TensorIOMode.NONE
    assert engine.get_tensor_name(2) is None
    assert len(bench.errors) == 2
    assert "invalid tensor name: nothing" in bench.errors[0]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda plan: b"", "Cannot deserialize empty blob"),
        (lambda plan: b"no plan" * 9, "magicTag"),
        (lambda plan: plan[: len(plan) // 2], "plan.header.size == blobSize"),
        (lambda plan: plan + b"x", "plan.header.size == blobSize"),
        (lambda plan: plan[:500] + bytes([plan[500] ^ 1]) + plan[501:], "postDeserializationCheck"),
    ],
    ids=["empty", "text", "half", "longer", "one bit"],
)
@pytest.mark.parametrize("version", ["8.6.1", "10.16.1.11", "11.4.0.106"])
def test_a_damaged_plan_double(version, plans, damage, words):
    bench = Bench(version)
    assert bench.load(damage(plans[version])) is None
    assert words in bench.errors[0]
    assert "Error Code 1: Serialization" in bench.errors[0]
    assert "Engine deserialization failed." in bench.errors[1]


@each_version
def test_a_plan_of_another_version_double(version, plans):
    for other in VERSIONS:
        bench = Bench(version)
        assert (bench.load(plans[other]) is not None) == (other == version)
        assert other == version or "Version tag does not match. Note: Current Version:" in bench.errors[0]


def test_a_plan_of_another_device_double(plans):
    bench = Bench("10.3", compute_capability=(7, 2))
    assert bench.load(plans["10.3.0"]) is None
    assert "expecting compute 7.2 got compute 8.7, please rebuild" in bench.errors[0]
    bench = Bench("10.3", name="Another")
    assert bench.load(plans["10.3.0"]) is not None
    assert "across different models of devices is not recommended" in str(bench.told)
    # Unless it was built for all devices from Ampere on.
    building = Bench("10.3")
    ampere = building.trt.HardwareCompatibilityLevel.AMPERE_PLUS
    plan = building.build_int8(INT8, hardware_compatibility_level=ampere)
    assert Bench("10.3", compute_capability=(8, 9)).load(bytes(plan)) is not None
    assert Bench("10.3", compute_capability=(7, 2)).load(bytes(plan)) is None


def test_a_version_compatible_plan_double():
    plan = bytes(Bench("10.3").build(FP32, ("VERSION_COMPATIBLE",)))
    for version, loads in (("10.3", True), ("10.16", True), ("11.4", True), ("8.6", False)):
        bench = Bench(version)
        runtime = bench.trt.Runtime(bench.log)
        assert runtime.deserialize_cuda_engine(plan) is None
        assert "getEngineHostCodeAllowed() is false" in bench.errors[0]
        runtime.engine_host_code_allowed = True
        assert (runtime.deserialize_cuda_engine(plan) is not None) == loads


@each_version
def test_an_address_must_be_set_and_alive_double(version, plans):
    bench = Bench(version)
    context = bench.load(plans[version]).create_execution_context()
    with CudaRuntime.open(bench.gpu) as cuda:
        stream = cuda.stream()
        frame, mask = cuda.buffer((1, 64, 96, 3), np.uint8), cuda.buffer((1, 64, 96), np.uint8)
        assert not context.execute_async_v3(stream.handle)
        assert "Address is not set for input tensor frame" in bench.errors[0]
        assert context.set_tensor_address("frame", frame.device)
        assert not context.execute_async_v3(stream.handle)
        assert "Address is not set for output tensor mask" in bench.errors[1]
        assert not context.set_tensor_address("nothing", mask.device)
        with pytest.raises(WouldCrashError, match="not device memory"):
            context.set_tensor_address("mask", 0x1234)
        with pytest.raises(WouldCrashError, match="tensor frame is bound to"):
            context.set_tensor_address("frame", mask.device)  # too small
        with pytest.raises(TypeError):
            context.set_tensor_address("mask", mask)
        assert context.set_tensor_address("mask", mask.device)
        assert context.get_tensor_address("mask") == mask.device
        assert context.execute_async_v3(stream.handle)
        stream.synchronize()


def test_nothing_runs_before_the_stream_comes_to_it_double(plans, reference):
    frames, masks = reference
    bench = Bench("10.3", integrated=True)  # mapped memory: the mask is where the CPU reads
    context = bench.load(plans["10.3.0"]).create_execution_context()
    with CudaRuntime.open(bench.gpu) as cuda:
        stream = cuda.stream()
        frame, mask = cuda.buffer((1, 64, 96, 3), np.uint8), cuda.buffer((1, 64, 96), np.uint8)
        context.set_tensor_address("frame", frame.device)
        context.set_tensor_address("mask", mask.device)
        frame.host[0] = frames[0]
        assert context.execute_async_v3(stream.handle)
        assert not mask.host.any()
        stream.synchronize()
        assert (mask.host[0] == masks["int8"][0]).all()


def test_a_run_is_replayed_as_a_graph_double(plans, reference):
    frames, masks = reference
    bench = Bench("10.3", integrated=True)
    context = bench.load(plans["10.3.0"]).create_execution_context()
    with CudaRuntime.open(bench.gpu) as cuda:
        stream = cuda.stream()
        frame, mask = cuda.buffer((1, 64, 96, 3), np.uint8), cuda.buffer((1, 64, 96), np.uint8)
        context.set_tensor_address("frame", frame.device)
        context.set_tensor_address("mask", mask.device)
        graph = cuda.capture(stream, lambda: context.execute_async_v3(stream.handle))
        for index, image in enumerate(frames):
            frame.host[0] = image
            graph.launch(stream)
            stream.synchronize()
            assert (mask.host[0] == masks["int8"][index]).all()
        context.profiler = profiler_of(bench.trt)
        told = []
        with pytest.raises(CaptureError, match="cannot be captured"):
            cuda.capture(stream, lambda: told.append(context.execute_async_v3(stream.handle)))
        assert told == [False]


@each_version
def test_shapes_are_static_double(version, plans):
    bench = Bench(version)
    context = bench.load(plans[version]).create_execution_context()
    assert context.set_input_shape("frame", (1, 64, 96, 3))
    assert not context.set_input_shape("frame", (1, 64, 64, 3))
    assert "Static dimension mismatch while setting input shape for frame" in bench.errors[0]
    assert not context.set_input_shape("mask", (1, 64, 96))
    assert context.infer_shapes() == []
    assert tuple(context.get_tensor_shape("mask")) == (1, 64, 96)


def profiler_of(trt):
    class Profiler(trt.IProfiler):
        def __init__(self):
            trt.IProfiler.__init__(self)
            self.times_ms = []

        def report_layer_time(self, layer_name, ms):
            self.times_ms.append((layer_name, ms))

    return Profiler()


@each_version
def test_a_profiler_is_told_every_layer_double(version, plans, reference):
    frames, masks = reference
    bench = Bench(version)
    engine = bench.load(plans[version])
    context, profiler = engine.create_execution_context(), profiler_of(bench.trt)
    context.profiler = profiler
    assert context.enqueue_emits_profile
    assert (bench.masks(engine, frames[:1], context) == masks["int8"][:1]).all()
    names = [layer["Name"] for layer in layers_of(bench, engine)]
    assert [name for name, _ in profiler.times_ms] == names
    assert all(0 < ms < 1 for _, ms in profiler.times_ms)
    before = list(profiler.times_ms)
    bench.masks(engine, frames[:1], context)
    assert profiler.times_ms == 2 * before  # made up, and always the same


def test_a_profile_can_be_asked_for_double(plans, reference):
    bench = Bench("10.3")
    engine = bench.load(plans["10.3.0"])
    context = engine.create_execution_context()
    assert not context.report_to_profiler()
    context.profiler, context.enqueue_emits_profile = profiler_of(bench.trt), False
    bench.masks(engine, reference[0][:1], context)
    assert context.profiler.times_ms == []
    assert context.report_to_profiler()
    assert len(context.profiler.times_ms) == engine.num_layers
    assert not context.report_to_profiler()


@each_version
def test_layers_are_described_in_the_words_of_the_version_double(version, plans):
    bench = Bench(version)
    information = information_of(bench, bench.load(plans[version]))
    layer = next(item for item in information["Layers"] if item["Name"].endswith("right + right_relu"))
    assert layer["Name"] == "right_w + right_w_q + right + right_relu"
    assert (layer["LayerType"], layer["ParameterType"]) == ("CaskConvolution", "Convolution")
    assert (layer["Kernel"], layer["OutMaps"], layer["HasReLU"]) == ([3, 3], 24, 1)
    assert layer["Weights"] == {"Type": "Int8", "Count": 24 * 24 * 9}
    assert layer["TacticName"].startswith("sm87_xmma_fprop_implicit_gemm_interleaved_i8i8")
    (given,) = layer["Inputs"]
    assert (given["Name"], given["Dimensions"]) == ("stem_relu_q", [1, 24, 8, 12])
    if version in ELEVEN:
        assert given["Format"] == "Thirty-two wide channel vectorized format"
        assert given["Datatype"] == "Int8"
        assert [tensor["Name"] for tensor in information["I/O Tensors"]] == ["frame", "mask"]
        assert "Bindings" not in information
    else:
        assert given["Format/Datatype"] == "Thirty-two wide channel vectorized row major Int8 format"
        assert information["Bindings"] == ["frame", "mask"]
    if version == DERIVED:
        assert "Metadata" not in layer
    else:
        assert (
            layer["Metadata"] == "[ONNX Layer: right_w_q]\x1e[ONNX Layer: right]\x1e[ONNX Layer: right_relu]"
        )


@each_version
def test_reformats_stand_where_types_or_layouts_change_double(version, plans):
    bench = Bench(version)
    layers = layers_of(bench, bench.load(plans[version]))
    origins = {layer["Name"]: layer["Origin"] for layer in layers if layer["LayerType"] == "Reformat"}
    assert origins["centred_q"] == origins["joined_q"] == "QDQ"
    assert origins["left_relu copy"] == "CONCAT"
    # The add of the skip and its ReLU went into the convolution before, and took their quantizer along.
    (added,) = [layer for layer in layers if "added" in layer["Name"]]
    assert added["Name"] == "mix_w + mix_w_q + mix + mix_relu + added + sum"
    assert [tensor["Name"] for tensor in added["Inputs"]] == ["joined_q", "skip_q"]
    assert [tensor["Name"] for tensor in added["Outputs"]] == ["sum_q"]
    # In FP16 a convolution writes channels last, and the resize wants rows.
    copy = "Reformatting CopyNode for Input Tensor 0 to full"
    assert (copy in origins) == (version not in ELEVEN)
    pointwise = {layer["LayerType"] for layer in layers if "centred" in layer["Name"]} - {"Reformat"}
    assert pointwise == {"kgen" if version in (*TEN[1:], *ELEVEN) else "PointWiseV2"}
    # Every tensor is written before it is read.
    written = {"frame"}
    for layer in layers:
        assert {tensor["Name"] for tensor in layer["Inputs"]} <= written
        written |= {tensor["Name"] for tensor in layer["Outputs"]}


@each_version
def test_without_detailed_verbosity_only_names_are_told_double(version):
    bench = Bench(version)
    for verbosity, count in (("LAYER_NAMES_ONLY", 10), ("NONE", 0)):
        chosen = getattr(bench.trt.ProfilingVerbosity, verbosity)
        engine = bench.load(bench.build_int8(INT8, profiling_verbosity=chosen))
        layers = layers_of(bench, engine)
        assert all(isinstance(layer, str) for layer in layers)
        assert (len(layers) > 0) == (count > 0)
        assert any(f"ProfilingVerbosity::k{verbosity}" in words for _, words in bench.told)


@each_version
def test_faults_of_the_runtime_double(version, plans):
    bench = Bench(version)
    engine = bench.load(plans[version])
    bench.world.faults.bad_json = True
    with pytest.raises(json.JSONDecodeError):
        layers_of(bench, engine)
    bench.world.faults.null_context = True
    assert engine.create_execution_context() is None
    assert "OutOfMemory" in bench.errors[0]
    bench.world.faults.null_engine = True
    assert bench.load(plans[version]) is None
    assert len(bench.errors) == 1


@each_version
def test_a_run_that_fails_double(version, plans, reference):
    bench = Bench(version, Faults(execute_after=2))
    engine = bench.load(plans[version])
    context = engine.create_execution_context()
    bench.masks(engine, reference[0][:2], context)
    with pytest.raises(AssertionError):
        bench.masks(engine, reference[0][:1], context)
    assert "illegal memory access" in bench.errors[0]
    assert bench.world.runs == 3


def test_the_default_stream_is_warned_of_double(plans):
    bench = Bench("10.3")
    context = bench.load(plans["10.3.0"]).create_execution_context()
    with CudaRuntime.open(bench.gpu) as cuda:
        frame, mask = cuda.buffer((1, 64, 96, 3), np.uint8), cuda.buffer((1, 64, 96), np.uint8)
        context.set_tensor_address("frame", frame.device)
        context.set_tensor_address("mask", mask.device)
        with pytest.raises(AssertionError, match="no stream"):  # the double of CUDA goes further
            context.execute_async_v3(0)
    assert "Using default stream in enqueueV3()" in bench.told[-1][1]


def test_the_gpu_is_asked_for_its_capability_double():
    assert Bench("10.3").world.capability == (8, 7)
    gpu = CudartDouble(compute_capability=(11, 0))
    assert Bench("11.4", compute_capability=(11, 0)).world.capability == (11, 0)
    assert gpu.live() == []
