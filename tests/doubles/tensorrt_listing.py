"""The API of TensorRT's Python bindings, version by version, read off the real ones.

The listings are in tests/data/tensorrt-api; its README says how they were made. There is none for 8.5: its
differences from 8.6 were read off the sources of both bindings that NVIDIA publishes.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "data" / "tensorrt-api"
DERIVED = "8.5.2.2"
LISTED = ("8.6.1", "10.3.0", "10.13.3.9", "10.16.1.11", "11.0.0.114", "11.4.0.106")
VERSIONS = (DERIVED, *LISTED)

ADDED_IN_8_6 = {
    "Builder": ["get_plugin_registry"],
    "Runtime": [
        "get_plugin_registry",
        "load_runtime",
        "tempfile_control_flags",
        "temporary_directory",
        "engine_host_code_allowed",
    ],
    "IBuilderConfig": [
        "builder_optimization_level",
        "hardware_compatibility_level",
        "max_aux_streams",
        "plugins_to_serialize",
    ],
    "ICudaEngine": ["hardware_compatibility_level", "num_aux_streams"],
    "IExecutionContext": ["set_aux_streams"],
    "OnnxParser": ["flags", "set_flag", "clear_flag", "get_flag", "get_used_vc_plugin_libraries"],
    "INetworkDefinition": ["add_cast", "add_normalization", "add_reverse_sequence", "builder"],
    "ILayer": ["metadata"],
}
ENUMS_OF_8_6 = ("HardwareCompatibilityLevel", "TempfileControlFlag", "OnnxParserFlag")
VALUES_OF_8_6 = {
    "BuilderFlag": ["VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME", "FP8"],
    "DataType": ["FP8"],
    "MemoryPoolType": ["TACTIC_DRAM"],
    "PreviewFeature": ["PROFILE_SHARING_0806"],
    "LayerType": ["CAST", "NORMALIZATION", "REVERSE_SEQUENCE"],
    "TensorFormat": ["DHWC"],
    "UnaryOperation": ["ISINF"],
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a bound function; `default` is None where there is none."""

    name: str
    kind: str
    default: str | None = None


@dataclass(frozen=True)
class Signature:
    """One overload of a bound function: its text without `self`, and its parameters."""

    text: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Listing:
    """The API of one version.

    Attributes:
        version: `trt.__version__`.
        enums: name -> member -> value; the severities are "ILogger.Severity".
        ordered: names of the enumerations that can be compared with `<`.
        bases: class -> its base, or "".
        members: class -> member -> "ro TYPE", "rw TYPE", "static", "value ENUM.MEMBER", "class NAME" or
            a list of signatures. Classes of which only the name is known have none.
        functions: functions of the module -> signatures.
        values: constants of the module -> "DataType.FLOAT".
    """

    version: str
    enums: dict[str, dict[str, int]]
    ordered: frozenset[str]
    bases: dict[str, str]
    members: dict[str, dict]
    functions: dict[str, list[str]]
    values: dict[str, str] = field(default_factory=dict)

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers: (10, 3, 0)."""
        return tuple(int(part) for part in self.version.split("."))

    @property
    def names(self) -> set[str]:
        """Everything that `trt.NAME` may say."""
        enums = {name for name in self.enums if "." not in name}
        return enums | set(self.members) | set(self.functions) | set(self.values) | {"__version__"}

    def member(self, owner: str, name: str) -> object:
        """How `owner.name` is listed, in the class or its bases; None if it is not."""
        while owner:
            if name in self.members.get(owner, {}):
                return self.members[owner][name]
            owner = self.bases.get(owner, "")
        return None


@lru_cache(maxsize=None)
def listing(version: str) -> Listing:
    """The listing of a version: one of `VERSIONS`, or the beginning of one ("10.3", "8.5")."""
    full = [v for v in VERSIONS if v == version or v.startswith(version + ".")]
    if len(full) != 1:
        raise ValueError(f"no listing for TensorRT {version}; there are: {', '.join(VERSIONS)}")
    if full[0] == DERIVED:
        return _derive_8_5()
    raw = json.loads((FOLDER / f"{full[0]}.json").read_text(encoding="utf-8"))
    return Listing(
        version=raw["version"],
        enums={name: item["values"] for name, item in raw["enums"].items()},
        ordered=frozenset(name for name, item in raw["enums"].items() if item["ordered"]),
        bases={name: (item["bases"] or [""])[0] for name, item in raw["classes"].items()},
        members={
            **{name: item["members"] for name, item in raw["classes"].items()},
            **{name: {} for name in raw["other_classes"]},
        },
        functions=raw["functions"],
        values=raw["values"],
    )


def _derive_8_5() -> Listing:
    newer = copy.deepcopy(listing("8.6.1"))
    for owner, names in ADDED_IN_8_6.items():
        for name in names:
            del newer.members[owner][name]
    for name in ENUMS_OF_8_6:
        del newer.enums[name]
    for name, members in VALUES_OF_8_6.items():
        for member in members:
            del newer.enums[name][member]
    for name, signatures in newer.members["ICudaEngine"].items():
        if name.startswith("get_tensor_") and isinstance(signatures, list) and len(signatures) > 1:
            newer.members["ICudaEngine"][name] = signatures[:1]  # the overloads with a profile are of 8.6
    del newer.values["fp8"]
    del newer.members["ICastLayer"], newer.members["INormalizationLayer"]
    del newer.members["IReverseSequenceLayer"]
    return Listing(
        DERIVED, newer.enums, newer.ordered, newer.bases, newer.members, newer.functions, newer.values
    )


@lru_cache(maxsize=None)
def parse(text: str) -> Signature:
    """Read "(name: str, shape: Dims = None) -> bool"."""
    inside = text[1 : text.rindex(") -> ")]
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(inside):
        depth += {"[": 1, "<": 1, "(": 1, "]": -1, ">": -1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append(inside[start:position])
            start = position + 1
    parts.append(inside[start:])
    parameters = []
    for part in (p.strip() for p in parts if p.strip()):
        name, _, rest = part.partition(": ")
        kind, _, default = rest.partition(" = ")
        kind = re.sub(r"^(typing|typing_extensions|collections\.abc)\.", "", kind)
        parameters.append(Parameter(name, kind, default or None))
    return Signature(text, tuple(parameters))
