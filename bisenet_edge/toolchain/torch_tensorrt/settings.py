"""What Torch-TensorRT is asked for, checked here: its own functions swallow an option they do not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from bisenet_edge.errors import UsageError, unknown_name
from bisenet_edge.toolchain.torch_tensorrt.releases import Release, Version, dotted

FORMS = ("plan", "exported-program", "dry-run")
PRECISIONS = ("fp16", "fp32")
_FIRST: Version = (2, 8)


@dataclass(frozen=True)
class Settings:
    """How to compile.

    Attributes:
        form: "plan", a TensorRT engine that the runtime loads without torch; "exported-program", which torch
            loads with `torch_tensorrt.load`; "dry-run", a text that says which operators TensorRT takes.
        precision: of what is not INT8: "fp16" or "fp32".
        workspace_mb: scratch memory of one layer, 2^20 bytes; 0 = TensorRT's own limit.
        optimization_level: 0 (quick) to 5 (searches longest); None = TensorRT's default, 3.
        num_avg_timing_iters: how often a kernel is timed when one is chosen.
        hardware_compatible: the plan runs on GPUs from Ampere on, more slowly; never on a Jetson from a PC.
        version_compatible: the plan runs on later TensorRTs of the same major version.
        sparse_weights: try kernels for 2:4-sparse weights.
        timing_cache_path: file that keeps the timings for the next build; None = Torch-TensorRT's own.
    """

    form: str = "plan"
    precision: str = "fp16"
    workspace_mb: int = 0
    optimization_level: int | None = None
    num_avg_timing_iters: int = 1
    hardware_compatible: bool = False
    version_compatible: bool = False
    sparse_weights: bool = False
    timing_cache_path: Path | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown_name("form", self.form, FORMS)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        level = self.optimization_level
        if level is not None and not 0 <= level <= 5:
            raise UsageError("no such optimization level", got=level, expected="0 to 5")
        if self.workspace_mb < 0:
            raise UsageError("a workspace cannot be negative", got=f"{self.workspace_mb} MB")
        if self.num_avg_timing_iters < 1:
            raise UsageError("a kernel must be timed at least once", got=self.num_avg_timing_iters)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Settings:
        """Make settings of options by name.

        Raises:
            UsageError: an option that does not exist, with the nearest one proposed, or a value out of range.
        """
        known = {f.name for f in fields(cls)}
        for name in options:
            if name not in known:
                raise unknown_name("option of Torch-TensorRT", name, known)
        return cls(**options)

    def to_json(self) -> dict[str, Any]:
        path = self.timing_cache_path
        return {**vars(self), "timing_cache_path": str(path) if path else None}


@dataclass(frozen=True)
class _Keyword:
    """Torch-TensorRT's name of an option, and the first release that takes it, per function."""

    name: str
    plan_since: Version = _FIRST
    module_since: Version = _FIRST


_KEYWORDS = {
    "workspace_mb": _Keyword("workspace_size"),
    "optimization_level": _Keyword("optimization_level"),
    "num_avg_timing_iters": _Keyword("num_avg_timing_iters"),
    # `dynamo.compile` of 2.8 has it; the function that makes a plan drops it without a word.
    "hardware_compatible": _Keyword("hardware_compatible", plan_since=(2, 9)),
    "version_compatible": _Keyword("version_compatible"),
    "sparse_weights": _Keyword("sparse_weights"),
    "timing_cache_path": _Keyword("timing_cache_path"),
}


def computes_in_half(settings: Settings, release: Release) -> bool:
    """Whether the network itself is to be written in float16.

    `enable_autocast` is no way to FP16 here: the function that makes a plan takes it in no release.
    """
    return settings.precision == "fp16" and not release.weakly_typed


def keywords(settings: Settings, release: Release, *, int8: bool) -> dict[str, Any]:
    """The keywords for `release`: those that were set, and those that every compilation needs.

    Args:
        settings: what is asked for.
        release: what is installed.
        int8: whether the network has quantizers.

    Raises:
        UsageError: an option that this release does not have.
    """
    # One graph, one engine: nothing may be left to torch. `min_block_size` would leave out short graphs.
    made: dict[str, Any] = {"min_block_size": 1, "require_full_compilation": settings.form != "dry-run"}
    if release.weakly_typed:
        made["enabled_precisions"] = _precisions(settings, int8)
    default = Settings()
    for option, keyword in _KEYWORDS.items():
        value = getattr(settings, option)
        if value == getattr(default, option):
            continue
        since = keyword.plan_since if settings.form == "plan" else keyword.module_since
        if release.version < since:
            raise UsageError(
                f"the installed Torch-TensorRT cannot make a {settings.form} with this option",
                got=f"{option} with torch-tensorrt {dotted(release.version)}",
                expected=f"torch-tensorrt {dotted(since)} or newer",
                fix="leave the option out",
            )
        made[keyword.name] = value
    if "workspace_size" in made:
        made["workspace_size"] <<= 20
    if "timing_cache_path" in made:
        # Absolute: Torch-TensorRT makes the folder, and fails on a bare file name, which has none.
        made["timing_cache_path"] = str(Path(made["timing_cache_path"]).absolute())
    return made


def _precisions(settings: Settings, int8: bool) -> set[torch.dtype]:
    """What a weakly typed TensorRT may choose from."""
    allowed = {torch.float32}
    if settings.precision == "fp16":
        allowed.add(torch.float16)
    if int8:
        allowed.add(torch.int8)
    return allowed
