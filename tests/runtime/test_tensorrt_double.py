"""The TensorRT double refuses what the real bindings refuse, in each version, with their words.

The real bindings of all versions but 8.5 were run beside it, on a stub of libnvinfer: what is asserted here
is what they do.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from tensorrt_double import DERIVED, VERSIONS, NotModelledError, installed, make_tensorrt, world_of
from tensorrt_listing import listing
from tensorrt_steps import Bench

EIGHT = (DERIVED, "8.6.1")
ELEVEN = ("11.0.0.114", "11.4.0.106")
each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def trt(version):
    return Bench(version).trt


@each_version
def test_it_is_what_import_gives_while_it_is_installed_double(trt, version):
    with installed(trt) as module:
        import tensorrt

        assert tensorrt is module
        assert tensorrt.__version__ == version
        assert importlib.util.find_spec("tensorrt") is not None
    with pytest.raises(ModuleNotFoundError):
        import tensorrt


@each_version
def test_every_listed_name_is_there_and_no_other_double(trt, version):
    api = listing(version)
    assert all(hasattr(trt, name) for name in api.names)
    absent = set().union(*(listing(other).names for other in VERSIONS)) - api.names
    assert absent
    assert not any(hasattr(trt, name) for name in absent)
    with pytest.raises(AttributeError, match=r"^module 'tensorrt' has no attribute 'Nonesuch'$"):
        _ = trt.Nonesuch


@each_version
def test_every_listed_member_is_there_and_no_other_double(trt, version):
    api = listing(version)
    for owner in ("Builder", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "OnnxParser", "ITensor"):
        kind = getattr(trt, owner)
        assert all(hasattr(kind, name) for name in api.members[owner])
        absent = set().union(*(listing(other).members[owner] for other in VERSIONS)) - set(api.members[owner])
        assert not any(hasattr(kind, name) for name in absent)


@each_version
def test_enumerations_have_the_values_of_the_version_double(trt, version):
    for name, values in listing(version).enums.items():
        kind = trt.ILogger.Severity if name == "ILogger.Severity" else getattr(trt, name)
        assert {member: int(item) for member, item in kind.__members__.items()} == values
    with pytest.raises(AttributeError, match=r"type object 'tensorrt.tensorrt.BuilderFlag' has no attribute"):
        _ = trt.BuilderFlag.NONESUCH


@each_version
def test_a_member_of_an_enumeration_is_no_integer_double(trt):
    flag = trt.BuilderFlag.TF32
    assert (repr(flag), str(flag)) == (f"<BuilderFlag.TF32: {int(flag)}>", "BuilderFlag.TF32")
    assert (flag.name, flag.value, hash(flag)) == ("TF32", int(flag), int(flag))
    assert flag != int(flag)
    assert flag != trt.DataType(int(flag))
    assert trt.BuilderFlag(int(flag)) == flag
    assert repr(trt.BuilderFlag(999)) == "<BuilderFlag.???: 999>"
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = 1 << flag
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = flag | trt.BuilderFlag.DEBUG
    with pytest.raises(TypeError, match="not subscriptable"):
        _ = trt.BuilderFlag["TF32"]
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        trt.BuilderFlag("TF32")
    with pytest.raises(TypeError):
        _ = trt.DataType.FLOAT < trt.DataType.HALF
    assert trt.Logger.ERROR < trt.Logger.WARNING
    with pytest.raises(TypeError, match="matching type"):
        _ = trt.Logger.ERROR < 2


@each_version
def test_what_the_library_gives_is_equal_but_not_the_same_object_double(trt):
    assert trt.int8 == trt.DataType.INT8
    assert trt.int8 is not trt.DataType.INT8
    config = Bench(trt.__version__).network()[0].create_builder_config()
    first = config.default_device_type
    assert first == config.default_device_type
    assert first is not config.default_device_type


@each_version
def test_wrong_arguments_double(trt):
    bench = Bench(trt.__version__)
    builder, network = bench.network()
    config = builder.create_builder_config()
    with pytest.raises(TypeError) as caught:
        config.set_flag(6)
    assert str(caught.value).startswith(
        "set_flag(): incompatible function arguments. The following argument types are supported:\n"
        "    1. (self: tensorrt.tensorrt.IBuilderConfig, flag: tensorrt.tensorrt.BuilderFlag) -> None\n\n"
        "Invoked with: <tensorrt.tensorrt.IBuilderConfig object at 0x"
    )
    parser = bench.trt.OnnxParser(network, bench.log)
    for wrong in (
        lambda: parser.parse("text"),
        parser.parse,
        lambda: parser.parse(b"", None, 1),
        lambda: parser.parse(content=b""),
        config.set_flag,
        lambda: config.set_flag(bench.trt.DataType.HALF),
        lambda: config.set_memory_pool_limit(bench.trt.MemoryPoolType.WORKSPACE, 1.5),
        lambda: config.set_timing_cache(b"", False),
        lambda: builder.build_serialized_network(network, None),
        lambda: builder.build_serialized_network(config, network),
        lambda: builder.create_network("0"),
        bench.trt.Builder,
        lambda: bench.trt.Builder(1),
        lambda: bench.trt.OnnxParser(bench.log, network),
        lambda: bench.trt.Runtime(bench.log).deserialize_cuda_engine("plan"),
        bench.trt.IBuilderConfig,
        bench.trt.ICudaEngine,
        lambda: bench.trt.Logger(2),
        lambda: bench.trt.Logger().log(1, "words"),
        lambda: setattr(config, "profiling_verbosity", 2),
        lambda: setattr(config, "avg_timing_iterations", "2"),
    ):
        with pytest.raises(TypeError):
            wrong()
    # An integer may be anything with an index, as in the real bindings: NumPy's, or an enumeration.
    config.avg_timing_iterations = np.int32(4)
    assert config.avg_timing_iterations == 4
    builder.create_network(bench.trt.DataType.FLOAT)


@each_version
def test_what_cannot_be_set_double(trt, version):
    bench = Bench(version)
    builder, _ = bench.network()
    config = builder.create_builder_config()
    with pytest.raises(AttributeError, match="IBuilderConfig' object has no attribute 'x'"):
        config.x = 1
    with pytest.raises(AttributeError, match="IBuilderConfig' object has no attribute 'x'"):
        _ = config.x
    with pytest.raises(AttributeError, match="no setter"):
        builder.num_DLA_cores = 1
    with pytest.raises(AttributeError, match="read-only"):
        config.set_flag = 1
    if version == DERIVED:
        with pytest.raises(AttributeError, match="builder_optimization_level"):
            config.builder_optimization_level = 5
    else:
        config.builder_optimization_level = 5
        assert config.builder_optimization_level == 5


@each_version
def test_a_derived_class_must_call_init_double(trt, version):
    bases = [trt.ILogger, trt.IProfiler, *([trt.IProgressMonitor] if version not in EIGHT else [])]
    for base in bases:

        class Silent(base):
            def __init__(self):
                self.told = []

        name = base.__name__
        with pytest.raises(
            TypeError, match=rf"tensorrt\.{name}\.__init__\(\) must be called when overriding"
        ):
            Silent()

        class Polite(base):
            def __init__(self):
                super().__init__()
                self.told = []

        assert Polite().told == []


@each_version
def test_a_logger_that_overrides_nothing_is_told_and_says_so_double(trt, capsys):
    class Mute(trt.ILogger):
        pass

    world_of(trt).log(Mute(), "ERROR", "words")
    assert 'Tried to call pure virtual function "ILogger::log"' in capsys.readouterr().err


@each_version
def test_what_a_logger_raises_is_printed_and_lost_double(trt, capsys):
    class Broken(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, msg):
            raise KeyboardInterrupt(msg)

    world_of(trt).log(Broken(), "ERROR", "words")
    assert "Exception caught in log(): words" in capsys.readouterr().err


@each_version
def test_the_standard_logger_prints_to_stdout_and_cannot_be_overridden_double(trt, capsys):
    class Loud(trt.Logger):
        def log(self, severity, msg):
            raise AssertionError("the library never calls this")

    logger = Loud(trt.Logger.WARNING)
    for severity in ("ERROR", "WARNING", "INFO"):
        world_of(trt).log(logger, severity, f"a word of {severity}")
    printed = capsys.readouterr().out
    assert "[TRT] [E] a word of ERROR" in printed
    assert "[TRT] [W] a word of WARNING" in printed
    assert "INFO" not in printed


@each_version
def test_dimensions_double(trt):
    dims = trt.Dims((1, 2, 3))
    assert (tuple(dims), len(dims), dims[-1], repr(dims)) == ((1, 2, 3), 3, 3, "(1, 2, 3)")
    assert dims == (1, 2, 3)
    assert dims == [1, 2, 3]
    with pytest.raises(TypeError, match="__eq__"):
        _ = dims == trt.Dims((1, 2, 3))
    with pytest.raises(TypeError, match="unhashable"):
        hash(dims)
    with pytest.raises(TypeError):
        trt.Dims((1.5, 2))
    with pytest.raises(ValueError, match="Max expected length is 8"):
        trt.Dims([1] * 9)
    assert trt.volume(dims) == 6


@each_version
def test_host_memory_is_a_buffer_and_nothing_else_double(trt):
    memory = trt.IHostMemory(b"content")
    assert bytes(memory) == b"content"
    assert memory.nbytes == len(memoryview(memory)) == 7
    assert memory.dtype == trt.int8
    assert not isinstance(memory, (bytes, bytearray))
    for wrong in (lambda: len(memory), lambda: memory[0], lambda: list(memory)):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(AttributeError):
        memory.read()


@each_version
def test_what_the_double_does_not_do_is_said(version):
    bench = Bench(version)
    trt = bench.trt
    with pytest.raises(NotModelledError, match=r"does not do INetworkDefinition\.add_shuffle"):
        bench.network()[1].add_shuffle(bench.world.make("ITensor"))
    with pytest.raises(NotModelledError, match="get_nv_onnx_parser_version"):
        trt.get_nv_onnx_parser_version()


@each_version
def test_using_it_as_a_context_manager_is_deprecated_double(trt):
    with pytest.warns(DeprecationWarning, match="Context managers for TensorRT types"), trt.Logger():
        pass


@pytest.mark.parametrize("version", ELEVEN)
def test_types_are_read_only_from_11_on_double(version):
    from toy_graph import Graph

    bench = Bench(version)
    network = bench.network()[1]
    assert bench.parse(network, Graph(quantized=False).model().SerializeToString())[0]
    with pytest.raises(AttributeError, match="no setter"):
        network.get_input(0).dtype = bench.trt.float16
    with pytest.raises(AttributeError, match="has no attribute 'precision'"):
        network.get_layer(0).precision = bench.trt.float16


def test_an_unknown_version_double():
    with pytest.raises(ValueError, match=r"no listing for TensorRT 9\.3"):
        make_tensorrt("9.3", None)
