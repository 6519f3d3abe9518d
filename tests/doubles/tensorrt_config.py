"""What a build is asked for: builder configuration, timing cache, optimisation profile."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tensorrt_world import dotted

CACHE_MAGIC = b"timing cache\n"


def default_flags(world: Any) -> int:
    return 1 << int(world.enum("BuilderFlag", "TF32"))


class IBuilderConfig:
    defaults: ClassVar = {
        "avg_timing_iterations": 1,
        "min_timing_iterations": 1,
        "builder_optimization_level": 3,
        "max_aux_streams": -1,
        "progress_monitor": None,
        "num_optimization_profiles": 0,
        "DLA_core": -1,
        "int8_calibrator": None,
        "algorithm_selector": None,
        "profile_stream": 0,
        "plugins_to_serialize": [],
    }

    def get_flags(self: Any) -> int:
        return self._s["flags"]

    def set_flags(self: Any, value: int) -> None:
        self._s["flags"] = value

    def set_flag(self: Any, flag: Any) -> None:
        self._s["flags"] |= 1 << int(flag)

    def clear_flag(self: Any, flag: Any) -> None:
        self._s["flags"] &= ~(1 << int(flag))

    def get_flag(self: Any, flag: Any) -> bool:
        return bool(self._s["flags"] >> int(flag) & 1)

    def set_memory_pool_limit(self: Any, pool: Any, pool_size: int) -> None:
        if not 0 <= pool_size < 1 << 64:
            raise TypeError("set_memory_pool_limit(): incompatible function arguments")
        self._s.setdefault("pools", {})[pool.name] = pool_size

    def get_memory_pool_limit(self: Any, pool: Any) -> int:
        return self._s.get("pools", {}).get(pool.name, self._world.faults.memory)

    def set_builder_optimization_level(self: Any, value: int) -> None:
        if not 0 <= value <= 5:
            self._world.error(
                self._s["logger"],
                "IBuilderConfig::setBuilderOptimizationLevel",
                3,
                "Parameter check failed, condition: level >= 0 && level <= 5",
            )
            return
        self._s["builder_optimization_level"] = value

    def get_builder_optimization_level(self: Any) -> int:
        return self._s.get("builder_optimization_level", 3)

    def get_profiling_verbosity(self: Any) -> Any:
        plain = self._world.enum("ProfilingVerbosity", "LAYER_NAMES_ONLY")
        return self._s.get("profiling_verbosity", plain)

    def set_profiling_verbosity(self: Any, value: Any) -> None:
        self._s["profiling_verbosity"] = value

    def get_hardware_compatibility_level(self: Any) -> Any:
        none = self._world.enum("HardwareCompatibilityLevel", "NONE")
        return self._s.get("hardware_compatibility_level", none)

    def set_hardware_compatibility_level(self: Any, value: Any) -> None:
        self._s["hardware_compatibility_level"] = value

    def get_default_device_type(self: Any) -> Any:
        return self._s.get("default_device_type", self._world.enum("DeviceType", "GPU"))

    def set_default_device_type(self: Any, value: Any) -> None:
        self._s["default_device_type"] = value

    def get_engine_capability(self: Any) -> Any:
        return self._s.get("engine_capability", self._world.enum("EngineCapability", "STANDARD"))

    def set_engine_capability(self: Any, value: Any) -> None:
        self._s["engine_capability"] = value

    def set_preview_feature(self: Any, feature: Any, enable: bool) -> None:
        self._s.setdefault("previews", {})[feature.name] = enable

    def get_preview_feature(self: Any, feature: Any) -> bool:
        return self._s.get("previews", {}).get(feature.name, False)

    def set_tactic_sources(self: Any, tactic_sources: int) -> bool:
        self._s["tactic_sources"] = tactic_sources
        return True

    def get_tactic_sources(self: Any) -> int:
        return self._s.get("tactic_sources", 0)

    def add_optimization_profile(self: Any, profile: Any) -> int:
        self._s["num_optimization_profiles"] = self._s.get("num_optimization_profiles", 0) + 1
        return self._s["num_optimization_profiles"] - 1

    def can_run_on_DLA(self: Any, layer: Any) -> bool:  # noqa: N802 - the name in the bindings
        return False

    def create_timing_cache(self: Any, serialized_timing_cache: Any) -> Any:
        world, content = self._world, bytes(serialized_timing_cache)
        header: dict[str, Any] = {"version": world.api.version, "device": _device(world), "times": {}}
        if content:
            try:
                header = json.loads(content[len(CACHE_MAGIC) :])
            except ValueError:
                header = {}
            if not content.startswith(CACHE_MAGIC) or header.get("version") != world.api.version:
                words = (
                    "Serialization (Serialization assertion stdVersionRead == serializationVersion failed."
                    "Version tag does not match.)"
                )
                world.error(self._s["logger"], "IBuilderConfig::createTimingCache", 1, words)
                return None
        return world.make("ITimingCache", device=header["device"], times=dict(header["times"]))

    def set_timing_cache(self: Any, cache: Any, ignore_mismatch: bool) -> bool:
        if cache._s["device"] != _device(self._world) and not ignore_mismatch:
            self._world.error(
                self._s["logger"],
                "IBuilderConfig::setTimingCache",
                3,
                "The timing cache was made on another device: its CUDA device property does not match",
            )
            return False
        self._s["timing_cache"] = cache
        return True

    def get_timing_cache(self: Any) -> Any:
        return self._s.get("timing_cache")

    def reset(self: Any) -> None:
        logger = self._s["logger"]
        self._s.clear()
        self._s.update(logger=logger, flags=default_flags(self._world))


def _device(world: Any) -> str:
    return f"{world.cudart.name} {dotted(world.capability)}"


class ITimingCache:
    def serialize(self: Any) -> Any:
        world = self._world
        header = {"version": world.api.version, "device": self._s["device"], "times": self._s["times"]}
        return world.namespace["IHostMemory"](CACHE_MAGIC + json.dumps(header).encode())

    def combine(self: Any, input_cache: Any, ignore_mismatch: bool) -> bool:
        if input_cache._s["device"] != self._s["device"] and not ignore_mismatch:
            return False
        self._s["times"].update(input_cache._s["times"])
        return True

    def reset(self: Any) -> bool:
        self._s["times"].clear()
        return True


class IOptimizationProfile:
    def set_shape(self: Any, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        self._s["shapes"][input] = (tuple(min), tuple(opt), tuple(max))

    def get_shape(self: Any, input: str) -> Any:  # noqa: A002
        return [self._world.namespace["Dims"](s) for s in self._s["shapes"].get(input, ())]


BEHAVIOURS = {
    "IBuilderConfig": IBuilderConfig,
    "ITimingCache": ITimingCache,
    "IOptimizationProfile": IOptimizationProfile,
}
