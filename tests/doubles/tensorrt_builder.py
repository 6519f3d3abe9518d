"""Builder: from a parsed network and a configuration to a plan."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

from tensorrt_config import default_flags
from tensorrt_fuser import Fuser, Layer
from tensorrt_graph import Graph
from tensorrt_inspector import describe_layer
from tensorrt_plan import write_plan
from tensorrt_world import MIB, Build, call_back

PRECISION_FLAGS = ("FP16", "BF16", "INT8", "FP8", "INT4", "FP4")
WEAK_FLAGS = (*PRECISION_FLAGS, "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS")
BUILD = "IBuilder::buildSerializedNetwork"


class Builder:
    defaults: ClassVar = {
        "error_recorder": None,
        "gpu_allocator": None,
        "max_threads": 1,
        "num_DLA_cores": 0,
        "max_DLA_batch_size": 0,
        "platform_has_tf32": True,
        "max_batch_size": 1,
    }

    def __init__(self: Any, logger: Any) -> None:
        self._world.find_gpu(logger, "createInferBuilder")
        self._s["logger"] = logger

    def get_logger(self: Any) -> Any:
        return self._s["logger"]

    def get_platform_has_fast_fp16(self: Any) -> bool:
        return self._world.capability >= (5, 3)

    def get_platform_has_fast_int8(self: Any) -> bool:
        capability = self._world.capability
        return capability >= (6, 1) and capability != (6, 2)

    def create_network(self: Any, flags: int) -> Any:
        world = self._world
        known = world.namespace["NetworkDefinitionCreationFlag"].__members__
        if flags & ~sum(1 << int(flag) for flag in set(known.values())) or flags < 0:
            world.error(
                self._s["logger"],
                "IBuilder::createNetworkV2",
                3,
                f"Parameter check failed, condition: flags ({flags:#x}) are NetworkDefinitionCreationFlags",
            )
            return None
        strong = "STRONGLY_TYPED" in known and bool(flags >> int(known["STRONGLY_TYPED"]) & 1)
        implicit = world.release < (10,) and not flags >> int(known["EXPLICIT_BATCH"]) & 1
        return world.make(
            "INetworkDefinition",
            flags=flags,
            strong=strong or world.release >= (11,),
            implicit_batch=implicit,
            builder=self,
            graph=None,
            broken=False,
            layers=[],
            inputs=[],
            outputs=[],
        )

    def create_builder_config(self: Any) -> Any:
        return self._world.make("IBuilderConfig", logger=self._s["logger"], flags=default_flags(self._world))

    def create_optimization_profile(self: Any) -> Any:
        return self._world.make("IOptimizationProfile", shapes={})

    def build_serialized_network(self: Any, network: Any, config: Any) -> Any:
        return _Building(self, network, config).run()

    def is_network_supported(self: Any, network: Any, config: Any) -> bool:
        return network._s["graph"] is not None and not network._s["broken"]

    def reset(self: Any) -> None:
        """Nothing is kept."""


class _CancelledError(Exception):
    """The progress monitor said stop."""


class _RefusedError(Exception):
    """The build failed; the reason is logged."""


class _Building:
    """One call of `build_serialized_network`."""

    def __init__(self, builder: Any, network: Any, config: Any) -> None:
        self.world = builder._world
        self.logger = builder._s["logger"]
        self.network = network
        self.config = config
        self.flags = _names(self.world.namespace["BuilderFlag"], config._s["flags"])
        self.timed = self.cached = 0

    def run(self) -> Any:
        plan = None
        try:
            plan = self._build()
        except _RefusedError:
            pass
        except _CancelledError:
            self.world.log(self.logger, "INFO", "The build was cancelled by the progress monitor.")
        self.world.builds.append(self._record(plan is not None))
        if plan is None or self.world.faults.null_plan:
            return None
        return self.world.namespace["IHostMemory"](plan)

    def _record(self, succeeded: bool) -> Build:
        config, graph = self.config, self.network._s["graph"]
        kinds = self.world.namespace["NetworkDefinitionCreationFlag"]
        level = config._s.get("hardware_compatibility_level")
        return Build(
            network_flags=_names(kinds, self.network._s["flags"]),
            strongly_typed=self.network._s["strong"],
            flags=self.flags,
            pool_limits=dict(config._s.get("pools", {})),
            level=config._s.get("builder_optimization_level", 3),
            verbosity=self._verbosity(),
            compatibility=level.name if level is not None else "NONE",
            opset=graph.opset if graph else 0,
            timed=self.timed,
            cached=self.cached,
            succeeded=succeeded,
        )

    def _verbosity(self) -> str:
        given = self.config._s.get("profiling_verbosity")
        # 8.x has two older names with the same values.
        return {None: "LAYER_NAMES_ONLY"}.get(given) or ("LAYER_NAMES_ONLY", "NONE", "DETAILED")[int(given)]

    def _fail(self, code: int, text: str, where: str = BUILD) -> _RefusedError:
        self.world.error(self.logger, where, code, text)
        return _RefusedError(text)

    def _build(self) -> bytes:
        graph = self._check()
        release = self.world.release
        half = None if self.network._s["strong"] else "FP16" in self.flags
        layers = Fuser(graph, half, release).run()
        self._find_memory(layers)
        self._measure(layers)
        capability = self.world.capability
        return write_plan(
            {
                "version": self.world.api.version,
                "capability": list(capability),
                "device": self.world.cudart.name,
                "verbosity": self._verbosity(),
                "compatibility": self._record(True).compatibility,
                "compatible": "VERSION_COMPATIBLE" in self.flags,
                "lean": "EXCLUDE_LEAN_RUNTIME" not in self.flags,
                "layers": [describe_layer(layer, graph, release, capability) for layer in layers],
                "times": [_time(layer) for layer in layers],
                "tensors": _io_tensors(graph),
                "memory": sum(_bytes(graph, layer) for layer in layers),
            },
            graph.content,
        )

    def _check(self) -> Graph:
        network = self.network
        graph = network._s["graph"]
        if network._s["broken"] or graph is None:
            raise self._fail(4, "Network must have at least one output", "INetworkDefinition::validate")
        set_flags = [name for name in WEAK_FLAGS if name in self.flags]
        if network._s["strong"] and set_flags:
            condition = f"!config.getFlag(BuilderFlag::k{set_flags[0]})"
            raise self._fail(3, f"Parameter check failed, condition: {condition}. ")
        if network._s["strong"]:
            return graph
        missing = [
            (kind, flag)
            for kind, flag, needed in (
                ("Int8", "INT8", graph.has_quantizers),
                ("fp16", "FP16", graph.has_half),
            )
            if needed and flag not in self.flags
        ]
        if missing:
            kind, flag = missing[0]
            raise self._fail(
                4,
                f"{kind} precision has been set for a layer or layer output, but {flag.lower()} is not "
                "configured in the builder",
                "INetworkDefinition::validate",
            )
        capability = self.world.capability
        if "INT8" in self.flags and (capability < (6, 1) or capability == (6, 2)):
            self.world.log(
                self.logger,
                "WARNING",
                "Int8 support requested on hardware without native Int8 support, performance will be "
                "negatively affected.",
            )
        return graph

    def _find_memory(self, layers: list[Layer]) -> None:
        faults = self.world.faults
        widest = next((layer for layer in layers if layer.kind == "conv"), layers[0])
        limit = self.config._s.get("pools", {}).get("WORKSPACE", faults.memory)
        unfit = next((layer for layer in layers if faults.no_implementation in layer.nodes), None)
        node = f"Could not find any implementation for node {(unfit or widest).name}"
        if faults.out_of_memory:
            size = 1 << 30
            self.world.log(
                self.logger,
                "WARNING",
                f"Requested amount of GPU memory ({size} bytes) could not be allocated. There may not be "
                "enough free memory for allocation to succeed.",
            )
            where = "VirtualMemoryBuffer::resizePhysical"
            self.world.error(self.logger, where, 2, f"OutOfMemory (Requested size was {size} bytes.)")
            raise self._fail(10, f"Internal Error ({node}.)", "IOptimizer::computeCosts")
        if limit < faults.workspace_needed:
            need, have = faults.workspace_needed // MIB, limit // MIB
            words = f"Tactic Device request: {need}MB Available: {have}MB. Device memory is insufficient"
            self.world.log(self.logger, "WARNING", f"{words} to use tactic.")
            text = f"{node} due to insufficient workspace. See verbose log for requested sizes."
            raise self._fail(10, f"Internal Error ({text})", "IOptimizer::computeCosts")
        if unfit is not None:
            raise self._fail(10, f"Internal Error ({node}.)", "IOptimizer::computeCosts")

    def _measure(self, layers: list[Layer]) -> None:
        cache = self.config._s.get("timing_cache")
        times = {} if cache is None or "DISABLE_TIMING_CACHE" in self.flags else cache._s["times"]
        progress = _Phases(self.config._s.get("progress_monitor"), self.world)
        extra = self.world.faults.build_steps
        with progress.phase("Building Engine", None, 2):
            with progress.phase("Optimizing network", "Building Engine", 1):
                progress.step("Optimizing network", 0)
            progress.step("Building Engine", 0)
            name = "Timing graph nodes"
            with progress.phase(name, "Building Engine", len(layers) + extra):
                for number, layer in enumerate(layers):
                    self._time_one(layer, times)
                    progress.step(name, number)
                for number in range(extra):
                    progress.step(name, len(layers) + number)
            progress.step("Building Engine", 1)

    def _time_one(self, layer: Layer, times: dict[str, float]) -> None:
        key = hashlib.sha256(repr((layer.name, layer.dtypes, layer.layouts)).encode()).hexdigest()[:16]
        if key in times:
            self.cached += 1
            return
        if "ERROR_ON_TIMING_CACHE_MISS" in self.flags:
            raise self._fail(10, f"Internal Error (Timing cache miss for {layer.name})")
        self.timed += 1
        times[key] = _time(layer)


class _Phases:
    """Tells a progress monitor, as the library does."""

    def __init__(self, monitor: Any, world: Any) -> None:
        self.monitor = monitor
        self.world = world

    def phase(self, name: str, parent: str | None, steps: int) -> _Phase:
        return _Phase(self, name, parent, steps)

    def step(self, name: str, number: int) -> None:
        if self.monitor is None:
            return
        going_on = call_back("step_complete", self.monitor.step_complete, name, number)
        if going_on is None or not going_on:
            raise _CancelledError


@dataclass
class _Phase:
    phases: _Phases
    name: str
    parent: str | None
    steps: int

    def __enter__(self) -> None:
        monitor = self.phases.monitor
        if monitor is not None:
            call_back("phase_start", monitor.phase_start, self.name, self.parent, self.steps)

    def __exit__(self, *_: object) -> None:
        # Also told when the build was cancelled.
        if self.phases.monitor is not None:
            call_back("phase_finish", self.phases.monitor.phase_finish, self.name)


def _names(kind: Any, bits: int) -> tuple[str, ...]:
    return tuple(name for name, member in kind.__members__.items() if bits >> int(member) & 1)


def _time(layer: Layer) -> float:
    """Milliseconds of a layer: made up, but always the same."""
    digest = hashlib.sha256(repr((layer.name, layer.dtypes)).encode()).digest()
    slow = {"int8": 1, "half": 2}.get(layer.dtypes[0], 4) if layer.kind == "conv" else 1
    return slow * (5 + digest[0] % 16) / 1000


def _bytes(graph: Graph, layer: Layer) -> int:
    size = {"float": 4, "half": 2, "int32": 4, "int64": 8}.get(layer.dtypes[-1], 1)
    for extent in graph.shape(layer.copies.get(layer.outputs[0], layer.outputs[0])) if layer.nodes else [1]:
        size *= max(1, extent)
    return size


def _io_tensors(graph: Graph) -> list[dict[str, Any]]:
    return [
        {"name": info.name, "mode": mode, "shape": graph.shape(info.name), "dtype": graph.kind(info.name)}
        for mode, infos in (("INPUT", graph.inputs), ("OUTPUT", graph.outputs))
        for info in infos
    ]


BEHAVIOURS = {"Builder": Builder}
