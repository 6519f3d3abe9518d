"""The boards that a bundle is made for, read from `deploy/boards/NAME.toml`.

A figure that no source gives is absent (None), never guessed. Figures are vendors' peak values, not
measurements: they serve to say "at best", never "this fast".
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from bisenet_edge.config import check_keys, read_toml
from bisenet_edge.errors import ConfigError, unknown_name
from bisenet_edge.resources import data_folder

DEFAULT_BOARD = "orin-nano"

_REQUIRED = {"title": str, "jetpack": list, "has_int8": bool, "sources": list}
_OPTIONAL = {
    "compute_capability": str,
    "memory_gb": (int, float),
    "dla_cores": int,
    "latency_budget_ms": (int, float),
    "mode": list,
}
_MODE_OPTIONAL = {
    "nvpmodel": str,
    "memory_bandwidth_gb_s": (int, float),
    "int8_dense_tops": (int, float),
    "int8_sparse_tops": (int, float),
    "gpu_int8_dense_tops": (int, float),
    "fp16_dense_tflops": (int, float),
    "tops_include_dla": bool,
}


@dataclass(frozen=True)
class PowerMode:
    """Peak figures of a board in one power mode.

    Attributes:
        name: "maximum", or "super" where an update of JetPack raised the clocks.
        memory_bandwidth_gb_s: peak, 10^9 bytes per second.
        int8_dense_tops: peak for ordinary weights, 10^12 operations per second.
        int8_sparse_tops: the advertised peak, reached only with 2:4-sparse weights, which BiSeNet's are not.
        gpu_int8_dense_tops: `int8_dense_tops` of the GPU alone, where the other counts the DLA cores too.
        fp16_dense_tflops: peak of the GPU in FP16, 10^12 operations per second.
        tops_include_dla: `int8_*_tops` count the DLA cores, which this package does not use.
        nvpmodel: name of the power mode that these figures belong to, as `nvpmodel -q` prints it. Numbers of
            modes differ between boards and releases, names do not.
    """

    name: str
    memory_bandwidth_gb_s: Optional[float] = None
    int8_dense_tops: Optional[float] = None
    int8_sparse_tops: Optional[float] = None
    gpu_int8_dense_tops: Optional[float] = None
    fp16_dense_tflops: Optional[float] = None
    tops_include_dla: bool = False
    nvpmodel: Optional[str] = None


@dataclass(frozen=True)
class Board:
    """A computer that a bundle is made for.

    Attributes:
        name: file stem ("orin-nano").
        title: as the vendor calls it, with the memory size where it matters.
        jetpack: JetPack releases that run on it; empty on a machine that is no Jetson.
        has_int8: it computes INT8 convolutions faster than floating point ones.
        sources: where each figure comes from.
        compute_capability: of its GPU ("8.7"); None without an NVIDIA GPU.
        memory_gb: shared by CPU and GPU.
        dla_cores: deep learning accelerators beside the GPU.
        modes: peak figures, one entry per power mode that has figures of its own.
        latency_budget_ms: p99 from a frame to its mask that is wanted of it, no measurement: a release that
            misses it is not switched to, unless the service's LATENCY_BUDGET_MS says otherwise.
    """

    name: str
    title: str
    jetpack: Tuple[str, ...]
    has_int8: bool
    sources: Tuple[str, ...]
    compute_capability: Optional[str] = None
    memory_gb: Optional[float] = None
    dla_cores: Optional[int] = None
    modes: Tuple[PowerMode, ...] = ()
    latency_budget_ms: Optional[float] = None

    @classmethod
    def from_toml(cls, path: Path) -> Board:
        """Read a board file.

        Raises:
            ConfigError: not TOML, a key missing, or a value of another type.
            UsageError: an unknown key.
        """
        value = read_toml(path, _REQUIRED, _OPTIONAL)
        jetpack = _strings(value.pop("jetpack"), "jetpack", path)
        sources = _strings(value.pop("sources"), "sources", path)
        modes = tuple(_mode(entry, path) for entry in value.pop("mode", []))
        return cls(name=path.stem, jetpack=jetpack, sources=sources, modes=modes, **value)

    def to_json(self) -> Dict[str, Any]:
        """As JSON; a figure that is not known is null."""
        return dataclasses.asdict(self)


def boards() -> Tuple[str, ...]:
    """Names of all boards, sorted."""
    return tuple(sorted(p.stem for p in _folder().glob("*.toml")))


def load_board(name: str = DEFAULT_BOARD) -> Board:
    """Read a board by name.

    Raises:
        UsageError: no board of this name, with the nearest one proposed.
    """
    known = boards()
    if name not in known:
        raise unknown_name("board", name, known)
    return Board.from_toml(_folder() / f"{name}.toml")


def _folder() -> Path:
    return data_folder("deploy") / "boards"


def _strings(value: Any, key: str, path: Path) -> Tuple[str, ...]:
    if not all(isinstance(item, str) for item in value):
        raise ConfigError(
            f"{path}: '{key}' has the wrong type", got=repr(value), expected="a list of strings"
        )
    return tuple(value)


def _mode(entry: Any, path: Path) -> PowerMode:
    if not isinstance(entry, dict):
        raise ConfigError(f"{path}: 'mode' has the wrong type", got=repr(entry), expected="[[mode]] tables")
    return PowerMode(**check_keys(entry, {"name": str}, _MODE_OPTIONAL, f"{path}, [[mode]]"))
