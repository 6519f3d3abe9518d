"""What the package uses of TensorRT is in every version from 8.5 to 11.4, or stands behind a guard.

The listings in tests/data/tensorrt-api were read off the real bindings, so this needs no TensorRT.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from tensorrt_listing import DERIVED, LISTED, VERSIONS, listing, parse
from tensorrt_usage import Usage, uses_tensorrt

PACKAGE = Path(__file__).resolve().parents[2] / "bisenet_edge"
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if uses_tensorrt(path.read_text(encoding="utf-8"))]
FACTS = {"strong": lambda version: version >= (10, 12)}
EIGHT, ELEVEN = (DERIVED, "8.6.1"), ("11.0.0.114", "11.4.0.106")
NOT_ELEVEN = tuple(version for version in VERSIONS if version not in ELEVEN)
NOT_EIGHT = tuple(version for version in VERSIONS if version not in EIGHT)


def lacking(source: str) -> dict[str, list[str]]:
    """What a source uses that is missing -> the versions that lack it."""
    found: dict[str, list[str]] = {}
    for version in VERSIONS:
        for finding in Usage(textwrap.dedent(source), listing(version), FACTS).check():
            found.setdefault(finding.what, []).append(version)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_is_used_exists(path, version):
    usage = Usage(path.read_text(encoding="utf-8"), listing(version), FACTS)
    assert [str(finding) for finding in usage.check()] == []


@pytest.mark.skipif(not FILES, reason="no file of the package uses TensorRT")
def test_the_checker_follows_the_objects_of_the_package():
    """Were it to lose sight of the objects, it would find nothing and pass."""
    used: set[str] = set()
    for path in FILES:
        usage = Usage(path.read_text(encoding="utf-8"), listing("10.3"), FACTS)
        usage.check()
        used |= usage.uses
    assert used >= {
        "trt.Builder",
        "trt.Runtime",
        "Builder.build_serialized_network",
        "OnnxParser.parse",
        "IBuilderConfig.profiling_verbosity",
        "IBuilderConfig.set_timing_cache",
        "ITimingCache.serialize",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.get_tensor_name",
        "IExecutionContext.execute_async_v3",
        "EngineInspector.get_engine_information",
    }


@pytest.mark.skipif(not FILES, reason="no file of the package uses TensorRT")
def test_strong_typing_begins_where_the_package_says():
    from bisenet_edge.runtime.tensorrt.api import STRONG_SINCE

    assert all(FACTS["strong"](release) == (release >= STRONG_SINCE) for release in map(release_of, VERSIONS))


def release_of(version: str) -> tuple[int, ...]:
    return listing(version).release


PLANTED = {
    "a class that is gone": (
        "import tensorrt as trt\n\ndef calibrate():\n    return trt.IInt8MinMaxCalibrator",
        {"trt.IInt8MinMaxCalibrator": ELEVEN},
    ),
    "a plain import": (
        "import tensorrt\n\nALGORITHM = tensorrt.CalibrationAlgoType",
        {"trt.CalibrationAlgoType": ELEVEN},
    ),
    "an import inside a function": (
        "def load():\n    import tensorrt as rt\n    return rt.UffParser",
        {"trt.UffParser": NOT_EIGHT},
    ),
    "a member of an enumeration": (
        "def flags(api):\n    return 1 << int(api.trt.BuilderFlag.INT8)",
        {"trt.BuilderFlag.INT8": ELEVEN},
    ),
    "the explicit batch": (
        "def f(trt):\n    kinds = trt.NetworkDefinitionCreationFlag\n    return int(kinds.EXPLICIT_BATCH)",
        {"trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH": ELEVEN},
    ),
    "a name from a list": (
        """
        class Builder:
            def configure(self, config):
                for name in ("FP16", "INT8"):
                    config.set_flag(getattr(self._trt.BuilderFlag, name))
        """,
        {"trt.BuilderFlag.FP16": ELEVEN, "trt.BuilderFlag.INT8": ELEVEN},
    ),
    "a parameter by its name": (
        "def f(trt, config: Any):\n    config.builder_optimization_level = 5",
        {"IBuilderConfig.builder_optimization_level": (DERIVED,)},
    ),
    "a property that can only be read": (
        """
        def f(trt, log):
            network = trt.Builder(log).create_network(0)
            network.get_input(0).dtype = trt.float16
        """,
        {"setting ITensor.dtype": ELEVEN},
    ),
    "the memory's old name": (
        "def f(trt, engine):\n    return engine.device_memory_size",
        {"ICudaEngine.device_memory_size": ELEVEN},
    ),
    "the memory's new name": (
        "def f(trt, engine):\n    return engine.device_memory_size_v2",
        {"ICudaEngine.device_memory_size_v2": EIGHT},
    ),
    "bindings by index": (
        """
        class Session:
            def __init__(self, trt, log, plan):
                self._engine = trt.Runtime(log).deserialize_cuda_engine(plan)

            def count(self):
                return self._engine.num_bindings
        """,
        {"ICudaEngine.num_bindings": NOT_EIGHT},
    ),
    "what a helper is given": (
        """
        def run(trt, log):
            _configure(trt.Builder(log).create_builder_config())

        def _configure(given):
            given.max_workspace_size = 1 << 30
        """,
        {"IBuilderConfig.max_workspace_size": NOT_EIGHT},
    ),
    "what a helper returns": (
        """
        def run(trt, log, plan):
            _load(trt, log, plan).create_execution_context().execute_async_v2([1], 0)

        def _load(trt, log, plan):
            return trt.Runtime(log).deserialize_cuda_engine(plan)
        """,
        {"IExecutionContext.execute_async_v2": NOT_EIGHT},
    ),
    "items of a list": (
        """
        def parse(trt, network, log, model):
            parser = trt.OnnxParser(network, log)
            told = [parser.get_error(index) for index in range(parser.num_errors)]
            return [error.node_name() for error in told]
        """,
        {"ParserError.node_name": EIGHT},
    ),
    "a guard the wrong way round": (
        """
        def f(trt, config):
            if not hasattr(config, "progress_monitor"):
                config.progress_monitor = None
        """,
        {"IBuilderConfig.progress_monitor": EIGHT},
    ),
    "a guard of another member": (
        """
        def f(trt, config):
            if hasattr(config, "profiling_verbosity"):
                config.progress_monitor = None
        """,
        {"IBuilderConfig.progress_monitor": EIGHT},
    ),
    "a version that is too old": (
        """
        def f(trt, version):
            if version >= (8, 6):
                return trt.IProgressMonitor
        """,
        {"trt.IProgressMonitor": ("8.6.1",)},
    ),
    "a private function that is called without the guard": (
        """
        def f(trt):
            if hasattr(trt, "IProgressMonitor"):
                _monitor(trt)
            _monitor(trt)

        def _monitor(trt):
            class Monitor(trt.IProgressMonitor):
                pass
            return Monitor()
        """,
        {"trt.IProgressMonitor": EIGHT},
    ),
    "too many arguments": (
        "def f(trt, builder):\n    builder.create_network(0, 1)",
        {"Builder.create_network with 2 arguments and []": VERSIONS},
    ),
    "an unknown keyword": (
        "def f(trt, parser, model):\n    parser.parse(model, name='x')",
        {"OnnxParser.parse with 1 arguments and ['name']": VERSIONS},
    ),
    "a missing argument": (
        "def f(trt, config, cache):\n    config.set_timing_cache(cache)",
        {"IBuilderConfig.set_timing_cache with 1 arguments and []": VERSIONS},
    ),
    "a constructor": (
        "def f(trt):\n    trt.Builder()",
        {"Builder with 0 arguments and []": VERSIONS},
    ),
    "a typing mistake": (
        "def f(trt, context):\n    context.set_tensor_adress('frame', 1)",
        {"IExecutionContext.set_tensor_adress": VERSIONS},
    ),
    "an exception for something else": (
        """
        def f(trt):
            try:
                return trt.IProgressMonitor
            except ValueError:
                return None
        """,
        {"trt.IProgressMonitor": EIGHT},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_a_version_lacks_is_found(name):
    source, expected = PLANTED[name]
    assert lacking(source) == {what: list(versions) for what, versions in expected.items()}


GUARDED = {
    "hasattr": """
        def f(trt, config):
            if hasattr(config, "builder_optimization_level"):
                config.builder_optimization_level = 5
        """,
    "hasattr of two names": """
        def f(trt, engine):
            if hasattr(engine, "device_memory_size_v2"):
                return engine.device_memory_size_v2
            else:
                return engine.device_memory_size
        """,
    "hasattr in an expression": """
        def f(trt, error):
            error = trt.OnnxParser(1, 2).get_error(0)
            return error.node_name() if hasattr(error, "node_name") else ""
        """,
    "hasattr and more": """
        def f(trt, config, level):
            if level and hasattr(config, "builder_optimization_level"):
                config.builder_optimization_level = level
        """,
    "a remembered hasattr": """
        def f(trt, config):
            watched = hasattr(trt, "IProgressMonitor")
            if watched:
                config.progress_monitor = None
        """,
    "an early return": """
        def f(api):
            flags = api.trt.NetworkDefinitionCreationFlag
            if api.version < (10,):
                return 1 << int(flags.EXPLICIT_BATCH)
            if api.version < (11,) and api.strong:
                return 1 << int(flags.STRONGLY_TYPED)
            return 0
        """,
    "a fact that the test knows": """
        def f(api, config):
            if not api.strong:
                config.set_flag(api.trt.BuilderFlag.INT8)
        """,
    "a comparison of the major version": """
        def f(trt, major):
            return trt.BuilderFlag.FP16 if major < 11 else None
        """,
    "a constant of the file": """
        SINCE = (10, 0)

        def f(trt, version):
            if version >= SINCE:
                return trt.IProgressMonitor
        """,
    "getattr with a default": """
        def f(trt, engine):
            return getattr(trt, "IProgressMonitor", None), getattr(engine, "num_bindings", 0)
        """,
    "an AttributeError that is caught": """
        def f(trt, engine):
            try:
                return engine.device_memory_size_v2
            except AttributeError:
                return 0
        """,
    "a private function behind the guard": """
        def f(trt, config):
            if hasattr(trt, "IProgressMonitor"):
                config.progress_monitor = _monitor(trt)

        def _monitor(trt):
            class Monitor(trt.IProgressMonitor):
                def __init__(self):
                    trt.IProgressMonitor.__init__(self)
            return Monitor()
        """,
    "objects that are not TensorRT's": """
        def f(trt, engine: Engine, runtime: str, config=None):
            engine.num_bindings, runtime.upper(), engine.trt
            config = dict()
            config.no_such_member
        """,
    "what all versions have": """
        def f(trt, log, model, plan):
            builder = trt.Builder(log)
            network = builder.create_network(flags=0)
            config = builder.create_builder_config()
            config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 20)
            if not trt.OnnxParser(network, log).parse(model):
                raise ValueError
            with memoryview(builder.build_serialized_network(network, config)) as data:
                engine = trt.Runtime(log).deserialize_cuda_engine(data)
            for index in range(engine.num_io_tensors):
                assert engine.get_tensor_mode(engine.get_tensor_name(index)) != trt.TensorIOMode.NONE
            return engine.get_tensor_dtype("mask").itemsize, trt.__version__
        """,
}


@pytest.mark.parametrize("name", GUARDED)
def test_a_guard_is_understood(name):
    assert lacking(GUARDED[name]) == {}


def test_files_that_do_not_use_tensorrt_are_told_apart():
    assert not uses_tensorrt("import torch_tensorrt\nfrom x import tensorrt_path\nengine.num_bindings")
    assert uses_tensorrt("def f():\n    import tensorrt as t")
    assert uses_tensorrt("def f(api):\n    return api.trt")
    assert uses_tensorrt("class A:\n    def f(self):\n        return self._trt")


def test_the_listings_are_of_their_versions():
    assert [listing(version).version for version in LISTED] == list(LISTED)
    assert all(listing(version).release[:2] for version in VERSIONS)
    with pytest.raises(ValueError, match=r"no listing for TensorRT 7\.1; there are: 8\.5"):
        listing("7.1")


def test_facts_that_the_package_relies_on():
    """Where versions differ under the same name."""

    def flag(version, name):
        return listing(version).enums["NetworkDefinitionCreationFlag"].get(name)

    assert [flag(version, "STRONGLY_TYPED") for version in VERSIONS] == [None, None, 1, 1, 1, 0, 0]
    assert [flag(version, "EXPLICIT_BATCH") for version in VERSIONS] == [0, 0, 0, 0, 0, None, None]
    assert listing("8.6").member("ITensor", "dtype") == "rw DataType"
    assert listing("11.0").member("ITensor", "dtype") == "ro DataType"
    # 8.5 has neither levels nor the compatibility with other devices, and is otherwise 8.6.
    assert listing("8.5").member("IBuilderConfig", "builder_optimization_level") is None
    assert listing("8.5").member("IBuilderConfig", "max_workspace_size") == "rw int"
    assert "HardwareCompatibilityLevel" not in listing("8.5").names
    assert len(listing("8.6").names - listing("8.5").names) == 7


def test_signatures_are_read():
    (signature,) = map(parse, listing("10.3").member("IBuilderConfig", "set_memory_pool_limit"))
    assert [(p.name, p.kind, p.default) for p in signature.parameters] == [
        ("pool", "MemoryPoolType", None),
        ("pool_size", "int", None),
    ]
    assert parse("(a: Dict[str, int] = {}, b: typing.SupportsInt = <A.B: 1>) -> None").parameters[1].kind == (
        "SupportsInt"
    )
