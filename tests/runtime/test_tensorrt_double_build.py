"""Building on the TensorRT double: what its parser and builder take, refuse, log and remember."""

from __future__ import annotations

import onnx
import pytest
from cudart_double import NO_DRIVER
from cudart_double import Faults as CudaFaults
from tensorrt_double import DERIVED, VERSIONS, Faults
from tensorrt_steps import Bench
from toy_graph import Graph

from bisenet_edge.artifact import Artifact

EIGHT = (DERIVED, "8.6.1")
TEN = ("10.3.0", "10.13.3.9", "10.16.1.11")
ELEVEN = ("11.0.0.114", "11.4.0.106")
each_version = pytest.mark.parametrize("version", VERSIONS)
FP32 = Graph(quantized=False).model().SerializeToString()
INT8 = Graph(quantized=True).model().SerializeToString()


def changed(content, change):
    """An ONNX file with something else in it."""
    model = onnx.load_from_string(content)
    change(model)
    return model.SerializeToString()


def of_opset(number):
    return changed(FP32, lambda model: setattr(model.opset_import[0], "version", number))


@each_version
def test_a_network_is_what_the_file_says_double(version):
    bench = Bench(version)
    network = bench.network()[1]
    parsed, parser = bench.parse(network, INT8)
    assert parsed
    assert (parser.num_errors, network.num_inputs, network.num_outputs) == (0, 1, 1)
    frame, mask = network.get_input(0), network.get_output(0)
    assert (frame.name, mask.name) == ("frame", "mask")
    assert tuple(frame.shape) == (1, 64, 96, 3)
    assert frame.dtype == mask.dtype == bench.trt.DataType.UINT8
    kinds = [network.get_layer(index).type for index in range(network.num_layers)]
    assert kinds.count(bench.trt.LayerType.CONVOLUTION) == 6
    assert network.get_layer(network.num_layers) is None


@each_version
def test_creation_flags_that_the_version_does_not_know_double(version):
    bench = Bench(version)
    builder = bench.trt.Builder(bench.log)
    assert builder.create_network(1 << 7) is None
    assert "Parameter check failed" in bench.errors[0]
    strong = 1 << 1  # STRONGLY_TYPED in 10, EXPLICIT_PRECISION in 8, an AOT plugin's preference in 11
    assert builder.create_network(strong) is not None
    assert len(bench.errors) == 1


@pytest.mark.parametrize("version", EIGHT)
def test_8_wants_the_explicit_batch_double(version):
    bench = Bench(version)
    network = bench.trt.Builder(bench.log).create_network()
    parsed, parser = bench.parse(network, FP32)
    assert not parsed
    assert "EXPLICIT_BATCH" in parser.get_error(0).desc()


@each_version
def test_opsets_have_a_ceiling_double(version):
    most = {"8.5": 17, "8.6": 17, "10.3": 20, "10.1": 24, "11": 25}
    ceiling = next(most[key] for key in sorted(most, key=len, reverse=True) if version.startswith(key))
    ceiling = 23 if version.startswith("10.13") else ceiling
    bench = Bench(version)
    assert bench.parse(bench.network()[1], of_opset(17))[0]
    assert bench.parse(bench.network()[1], of_opset(ceiling))[0]
    parsed, parser = bench.parse(bench.network()[1], of_opset(ceiling + 1))
    assert not parsed
    assert parser.get_error(0).code() == bench.trt.ErrorCode.UNSUPPORTED_GRAPH
    assert f"opset {ceiling + 1}" in parser.get_error(0).desc()


@each_version
def test_an_operator_that_there_is_not_double(version):
    bench = Bench(version)
    content = changed(FP32, lambda model: setattr(model.graph.node[7], "op_type", "Nonesuch"))
    parsed, parser = bench.parse(bench.network()[1], content)
    assert not parsed
    error = parser.get_error(0)
    assert (parser.num_errors, error.node()) == (1, 7)
    assert error.code() == bench.trt.ErrorCode.UNSUPPORTED_NODE
    assert "Plugin not found" in error.desc()
    assert any("node number 7 [Nonesuch" in words for words in bench.errors)
    if version not in EIGHT:
        assert error.node_operator() == "Nonesuch"
        assert error.node_name()
    parser.clear_errors()
    assert parser.num_errors == 0


@each_version
@pytest.mark.parametrize("content", [b"", b"no model", INT8[: len(INT8) // 2]], ids=["empty", "text", "half"])
def test_a_file_that_is_no_model_double(version, content):
    bench = Bench(version)
    parsed, parser = bench.parse(bench.network()[1], content)
    assert not parsed
    assert parser.get_error(0).code() == bench.trt.ErrorCode.MODEL_DESERIALIZE_FAILED


@each_version
def test_quantizers_that_are_not_symmetric_double(version):
    def shift(model):
        (zero,) = [t for t in model.graph.initializer if t.name == "stem_relu_zero"]
        zero.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(zero) + 1, zero.name))

    bench = Bench(version)
    parsed, parser = bench.parse(bench.network()[1], changed(INT8, shift))
    assert not parsed
    assert "only supports symmetric quantization" in parser.get_error(0).desc()


@each_version
def test_a_uint8_input_wants_a_cast_double(version):
    def drop_cast(model):
        del model.graph.node[0]
        model.graph.node[0].input[0] = "frame"

    bench = Bench(version)
    parsed, parser = bench.parse(bench.network()[1], changed(FP32, drop_cast))
    assert not parsed
    assert "beside a Cast" in parser.get_error(0).desc()


@pytest.mark.parametrize("version", [*EIGHT, *TEN])
def test_weak_types_want_the_flag_of_each_precision_double(version):
    bench = Bench(version)
    assert bench.build(INT8) is None
    assert "Int8 precision has been set for a layer" in bench.errors[0]
    assert "int8 is not configured in the builder" in bench.errors[0]
    assert bench.build(INT8, ("INT8",)) is not None
    assert bench.build(FP32) is not None
    half = to_half(FP32)
    assert bench.build(half) is None
    assert "fp16 is not configured in the builder" in bench.errors[-1]
    assert bench.build(half, ("FP16",)) is not None


def to_half(content):
    from bisenet_edge.toolchain.onnx_graph import to_float16

    # The ceiling of opsets aside: 19 is what the toolchain writes, 17 what 8 reads.
    typed = to_float16(onnx.load_from_string(content))
    return changed(typed.SerializeToString(), lambda model: setattr(model.opset_import[0], "version", 17))


@pytest.mark.parametrize("version", TEN)
@pytest.mark.parametrize("flag", ["INT8", "FP16"])
def test_strong_types_want_no_flag_double(version, flag):
    bench = Bench(version)
    assert bench.build(INT8, (flag,), strong=True) is None
    assert f"Parameter check failed, condition: !config.getFlag(BuilderFlag::k{flag})" in bench.errors[0]
    assert bench.build(INT8, strong=True) is not None
    assert [build.succeeded for build in bench.world.builds] == [False, True]


@pytest.mark.parametrize("version", [*TEN, *ELEVEN])
def test_strong_types_leave_the_rest_in_fp32_double(version):
    bench = Bench(version)
    engine = bench.load(bench.build(INT8, strong=True))
    types = {tensor_type(t) for layer in layers_of(bench, engine) for t in layer["Inputs"] + layer["Outputs"]}
    assert types >= {"float", "int8", "uint8"}
    assert "half" not in types


def layers_of(bench, engine):
    import json

    inspector = engine.create_engine_inspector()
    return json.loads(inspector.get_engine_information(bench.trt.LayerInformationFormat.JSON))["Layers"]


def tensor_type(tensor):
    """Type of a tensor in the inspector's words."""
    words = (tensor.get("Datatype") or tensor["Format/Datatype"]).lower()
    for name, spellings in {
        "uint8": ("uint8",),
        "int8": ("int8",),
        "half": ("half", "fp16"),
        "int": ("int32", "int64"),
        "float": ("float", "fp32"),
    }.items():
        if any(spelling in words for spelling in spellings):
            return name
    raise AssertionError(words)


@each_version
def test_what_a_build_was_asked_for_is_told_double(version):
    bench = Bench(version)
    builder, network = bench.network()
    bench.parse(network, FP32)
    config = builder.create_builder_config()
    workspace = bench.trt.MemoryPoolType.WORKSPACE
    assert config.get_memory_pool_limit(workspace) == bench.world.faults.memory
    config.set_memory_pool_limit(workspace, 64 << 20)
    assert config.get_memory_pool_limit(workspace) == 64 << 20
    assert config.get_flag(bench.trt.BuilderFlag.TF32)  # the one flag that is set by default
    config.clear_flag(bench.trt.BuilderFlag.TF32)
    config.set_flag(bench.trt.BuilderFlag.SPARSE_WEIGHTS)
    assert builder.build_serialized_network(network, config) is not None
    (build,) = bench.world.builds
    assert build.pool_limits == {"WORKSPACE": 64 << 20}
    assert build.flags == ("SPARSE_WEIGHTS",)
    assert (build.verbosity, build.level, build.opset) == ("LAYER_NAMES_ONLY", 3, 17)
    assert build.strongly_typed == (version in ELEVEN)


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_levels_are_0_to_5_double(version):
    bench = Bench(version)
    config = bench.network()[0].create_builder_config()
    config.builder_optimization_level = 6
    assert config.builder_optimization_level == 3
    assert "Parameter check failed" in bench.errors[0]


@each_version
def test_a_timing_cache_grows_and_is_taken_again_double(version):
    bench = Bench(version)
    cache = bench.network()[0].create_builder_config().create_timing_cache(b"")
    empty = bytes(cache.serialize())
    assert bench.build_int8(INT8, cache=cache) is not None
    full = bytes(cache.serialize())
    assert len(full) > len(empty)
    again = Bench(version)
    known = again.network()[0].create_builder_config().create_timing_cache(full)
    assert again.build_int8(INT8, cache=known) is not None
    first, second = bench.world.builds[0], again.world.builds[0]
    assert (first.cached, second.timed) == (0, 0)
    assert first.timed == second.cached > 10
    assert bytes(known.serialize()) == full  # nothing new


@each_version
def test_a_foreign_timing_cache_is_refused_double(version):
    bench = Bench(version)
    config = bench.network()[0].create_builder_config()
    other = Bench("10.3" if version in EIGHT else "8.6").network()[0].create_builder_config()
    assert config.create_timing_cache(bytes(other.create_timing_cache(b"").serialize())) is None
    assert config.create_timing_cache(b"rubbish") is None
    assert "Version tag does not match" in bench.errors[0]
    another_gpu = Bench(version, name="Another").network()[0].create_builder_config()
    cache = config.create_timing_cache(bytes(another_gpu.create_timing_cache(b"").serialize()))
    assert not config.set_timing_cache(cache, False)
    assert config.get_timing_cache() is None
    assert config.set_timing_cache(cache, True)
    assert config.get_timing_cache() is cache


@pytest.mark.parametrize("version", [*TEN, *ELEVEN])
def test_a_miss_in_the_timing_cache_can_be_an_error_double(version):
    bench = Bench(version)
    cache = bench.network()[0].create_builder_config().create_timing_cache(b"")
    assert bench.build(FP32, ("ERROR_ON_TIMING_CACHE_MISS",), cache=cache) is None
    assert bench.build(FP32, cache=cache) is not None
    assert bench.build(FP32, ("ERROR_ON_TIMING_CACHE_MISS",), cache=cache) is not None


def monitor_of(trt, stop_at=None):
    class Monitor(trt.IProgressMonitor):
        def __init__(self):
            trt.IProgressMonitor.__init__(self)
            self.open, self.steps, self.told = [], {}, 0

        def phase_start(self, phase_name, parent_phase, num_steps):
            assert parent_phase == (self.open[-1] if self.open else None)
            self.open.append(phase_name)
            self.steps[phase_name] = num_steps

        def step_complete(self, phase_name, step):
            assert phase_name in self.open
            assert 0 <= step < self.steps[phase_name]
            self.told += 1
            return self.told != stop_at

        def phase_finish(self, phase_name):
            assert self.open.pop() == phase_name

    return Monitor()


@pytest.mark.parametrize("version", [*TEN, *ELEVEN])
def test_progress_is_told_in_nested_phases_double(version):
    bench = Bench(version, Faults(build_steps=500))
    monitor = monitor_of(bench.trt)
    assert bench.build(FP32, progress_monitor=monitor) is not None
    assert monitor.open == []
    assert monitor.told == sum(monitor.steps.values()) > 500
    assert len(monitor.steps) == 3


@pytest.mark.parametrize("version", [*TEN, *ELEVEN])
def test_a_monitor_can_stop_the_build_double(version):
    bench = Bench(version)
    monitor = monitor_of(bench.trt, stop_at=5)
    assert bench.build(FP32, progress_monitor=monitor) is None
    assert (monitor.told, monitor.open) == (5, [])  # the phases are finished nevertheless
    assert bench.errors == []
    assert not bench.world.builds[0].succeeded


@pytest.mark.parametrize("version", [*TEN, *ELEVEN])
def test_what_a_monitor_raises_stops_the_build_and_is_lost_double(version, capsys):
    bench = Bench(version)

    class Broken(bench.trt.IProgressMonitor):
        def step_complete(self, phase_name, step):
            raise KeyboardInterrupt

    assert bench.build(FP32, progress_monitor=Broken()) is None
    assert "Exception caught in step_complete()" in capsys.readouterr().err


FAULTS = {
    "memory": (Faults(out_of_memory=True), ["OutOfMemory", "Could not find any implementation for node"]),
    "workspace": (Faults(workspace_needed=1 << 40), ["due to insufficient workspace"]),
    "a node": (Faults(no_implementation="right"), ["Error Code 10", "for node right_w + "]),
    "silence": (Faults(null_plan=True), []),
}


@each_version
@pytest.mark.parametrize("name", FAULTS)
def test_a_build_that_fails_double(version, name):
    faults, words = FAULTS[name]
    bench = Bench(version, faults)
    assert bench.build_int8(INT8) is None
    for word in words:
        assert any(word in error for error in bench.errors)
    assert bool(bench.errors) == bool(words)


def test_a_workspace_that_is_large_enough_double():
    bench = Bench("10.3", Faults(workspace_needed=256 << 20))
    for size, succeeds in ((64 << 20, False), (512 << 20, True)):
        builder, network = bench.network()
        bench.parse(network, FP32)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(bench.trt.MemoryPoolType.WORKSPACE, size)
        assert (builder.build_serialized_network(network, config) is not None) == succeeds
    assert "Tactic Device request: 256MB Available: 64MB" in str(bench.told)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (Faults(unsupported="Resize"), "Plugin not found"),
        (Faults(parse="a planted reason"), "a planted reason"),
    ],
    ids=["unsupported", "parse"],
)
@each_version
def test_a_parser_that_fails_double(version, faults, words):
    bench = Bench(version, faults)
    builder, network = bench.network()
    parsed, parser = bench.parse(network, FP32)
    assert not parsed
    assert words in parser.get_error(0).desc()
    # Who goes on all the same gets no engine.
    assert builder.build_serialized_network(network, builder.create_builder_config()) is None


def test_errors_are_worded_as_the_version_words_them_double():
    wording = {}
    for version in VERSIONS:
        bench = Bench(version, Faults(no_implementation="stem_raw"))
        bench.build_int8(INT8)
        wording[version] = bench.errors[-1].split("Error Code")[0]
    assert wording["8.6.1"] == wording["10.3.0"] == "10: [optimizer.cpp::computeCosts::66] "
    assert wording["10.13.3.9"] == wording["11.4.0.106"] == "IOptimizer::computeCosts: "


@pytest.mark.parametrize(
    ("capability", "int8"), [((5, 3), False), ((6, 1), True), ((6, 2), False), ((7, 2), True), ((8, 7), True)]
)
def test_what_a_device_is_fast_at_double(capability, int8):
    bench = Bench("8.6", compute_capability=capability)
    builder, _ = bench.network()
    assert builder.platform_has_fast_int8 == int8
    assert builder.platform_has_fast_fp16
    assert bench.build_int8(INT8) is not None
    assert any("without native Int8 support" in words for _, words in bench.told) != int8


@each_version
@pytest.mark.parametrize(
    ("gpu", "code"),
    [({"driver": NO_DRIVER}, 35), ({"faults": CudaFaults(no_device=True)}, 100)],
    ids=["no driver", "no device"],
)
def test_without_a_gpu_there_is_no_builder_and_no_runtime_double(version, gpu, code):
    bench = Bench(version, **gpu)
    for kind in (bench.trt.Builder, bench.trt.Runtime):
        with pytest.raises(TypeError, match="factory function returned nullptr"):
            kind(bench.log)
    assert all(f"CUDA initialization failure with error: {code}" in words for words in bench.errors)
    assert len(bench.errors) == 2


@pytest.mark.parametrize(("version", "flavour"), [("8.6", "int8-typed"), ("8.5", "fp16-typed")])
def test_the_typed_flavours_of_an_artifact_are_too_new_for_8_double(small_artifact, version, flavour):
    bench = Bench(version)
    content = Artifact.open(small_artifact).model_path(flavour).read_bytes()
    assert not bench.parse(bench.network()[1], content)[0]
