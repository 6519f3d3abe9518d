"""What the builder really made: layers by precision, reformats and where, fused groups, memory.

Read from the engine inspector's JSON, whose wording differs between versions: a tensor's type stands in
"Format/Datatype" ("Thirty-two wide channel vectorized row major Int8 format", "Row major linear FP16",
"Half"), or in "Datatype" beside "Format".
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from bisenet_edge.errors import BackendError

TYPES = (
    ("uint8", r"\buint8\b"),
    ("int8", r"\bint8\b"),
    ("fp8", r"\bfp8\b"),
    ("bf16", r"\bbf16\b|\bbfloat16\b"),
    ("fp16", r"\bfp16\b|\bhalf\b|\bfloat16\b"),
    ("fp32", r"\bfp32\b|\bfloat\b|\bfloat32\b"),
    ("int32", r"\bint32\b"),
    ("int64", r"\bint64\b"),
    ("bool", r"\bbool\b"),
)
CONVOLUTION = re.compile(r"conv(?!ert)|fprop|gemm", re.IGNORECASE)
BYTES = {"int8": 1, "uint8": 1, "fp8": 1, "fp16": 2, "bf16": 2, "fp32": 4, "int32": 4, "int64": 8, "bool": 1}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Layer:
    """One layer of an engine.

    Attributes:
        name: as TensorRT calls it; fused nodes are joined by " + ".
        kind: its type ("CaskConvolution", "Reformat", "kgen", ...).
        inputs, outputs: types of its tensors ("int8", "fp16", "fp32", ...).
        onnx: names of the ONNX nodes that it does, where TensorRT tells.
        tactic: name of the kernel; "" where it is not told.
        convolution: it computes a convolution.
        weight_type: type of its weights; "" without.
        weight_bytes: of its weights and biases, in the types that they have in the engine.
    """

    name: str
    kind: str
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]
    onnx: Tuple[str, ...]
    tactic: str
    convolution: bool
    weight_type: str
    weight_bytes: int

    @property
    def reformat(self) -> bool:
        """It only changes type or layout: the price of precisions that meet."""
        return self.kind.lower() in ("reformat", "noop") or self.name.startswith("Reformatting CopyNode")

    @property
    def precision(self) -> str:
        """What it computes in: the type of its weights, else of its first input."""
        if self.convolution and self.inputs and self.inputs[0] == "int8":
            return "int8"
        return self.weight_type or (self.inputs + self.outputs + (UNKNOWN,))[0]

    @property
    def fused(self) -> int:
        """How many nodes of the graph it does."""
        return max(len(self.onnx), len(re.split(r" \+ |\+", self.name)), 1)


@dataclass(frozen=True)
class Readback:
    """An engine as its inspector tells it.

    Attributes:
        layers: in order of execution.
        plan_bytes: size of the serialized engine.
        activation_bytes: device memory that a context needs for activations and workspace.
    """

    layers: Tuple[Layer, ...]
    plan_bytes: int
    activation_bytes: int

    @property
    def convolutions(self) -> Tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.convolution)

    @property
    def floating(self) -> Tuple[str, ...]:
        """Convolutions that do not run in INT8."""
        return tuple(layer.name for layer in self.convolutions if layer.precision != "int8")

    @property
    def reformats(self) -> Tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.reformat)

    @property
    def by_precision(self) -> Dict[str, int]:
        """Layers that compute, by precision; reformats are not among them."""
        return dict(Counter(layer.precision for layer in self.layers if not layer.reformat))

    @property
    def weight_bytes(self) -> int:
        """Weights and biases in the types that they have in the engine; 0 where it does not tell."""
        return sum(layer.weight_bytes for layer in self.layers)

    def to_json(self) -> Dict[str, Any]:
        groups = sorted((layer for layer in self.layers if layer.fused > 1), key=lambda layer: -layer.fused)
        return {
            "layers": len(self.layers),
            "by_precision": self.by_precision,
            "convolutions": len(self.convolutions),
            "convolutions_int8": len(self.convolutions) - len(self.floating),
            "convolutions_float": list(self.floating),
            "reformats": [_reformat(layer) for layer in self.reformats],
            "fused_groups": [{"name": layer.name, "nodes": layer.fused} for layer in groups],
            "plan_bytes": self.plan_bytes,
            "weight_bytes": self.weight_bytes,
            "activation_bytes": self.activation_bytes,
        }


def read(text: str, *, plan_bytes: int, activation_bytes: int) -> Readback:
    """Read an inspector's JSON.

    Args:
        text: what `get_engine_information(JSON)` gave.
        plan_bytes, activation_bytes: sizes that the JSON does not hold.

    Raises:
        BackendError: not JSON, no layers, or only names: the engine was not built with detailed verbosity.
    """
    try:
        found = json.loads(text)
        layers = found["Layers"] if isinstance(found, dict) else found
    except (ValueError, KeyError) as error:
        raise BackendError("an engine's inspector gives no layers", got=f"{error}: {text[:80]!r}") from error
    if not layers or not all(isinstance(layer, dict) for layer in layers):
        raise BackendError(
            "an engine tells only names of its layers",
            got=f"{len(layers)} names",
            expected="an engine built by bisenet-edge, with detailed verbosity",
            fix="bisenet-edge compile --rebuild",
        )
    return Readback(tuple(_layer(layer) for layer in layers), plan_bytes, activation_bytes)


def _layer(found: Mapping[str, Any]) -> Layer:
    name, kind = str(found.get("Name", "")), str(found.get("LayerType", ""))
    parameter = str(found.get("ParameterType", kind))
    onnx = re.findall(r"\[ONNX Layer: ([^\]]+)\]", str(found.get("Metadata", "")))
    tactic = str(found.get("TacticName", ""))
    weights, bias = found.get("Weights"), found.get("Bias")
    return Layer(
        name=name,
        kind=kind,
        inputs=_types(found.get("Inputs")),
        outputs=_types(found.get("Outputs")),
        onnx=tuple(onnx),
        tactic=tactic,
        # A compiler's fused layer ("kgen") has no type of its own; its kernel's name says what it is.
        convolution=kind.lower() != "reformat" and any(map(CONVOLUTION.search, (parameter, kind, tactic))),
        weight_type=_type(str(weights.get("Type", ""))) if isinstance(weights, dict) else "",
        weight_bytes=_bytes(weights) + _bytes(bias),
    )


def _types(tensors: Optional[Sequence[Any]]) -> Tuple[str, ...]:
    dicts = [tensor for tensor in tensors or () if isinstance(tensor, dict)]
    return tuple(_type(str(t.get("Datatype") or t.get("Format/Datatype") or "")) for t in dicts)


def _type(text: str) -> str:
    return next((name for name, pattern in TYPES if re.search(pattern, text, re.IGNORECASE)), UNKNOWN)


def _bytes(weights: Any) -> int:
    if not isinstance(weights, dict):
        return 0
    return int(weights.get("Count", 0)) * BYTES.get(_type(str(weights.get("Type", ""))), 0)


def _reformat(layer: Layer) -> Dict[str, str]:
    before, after = (layer.inputs or (UNKNOWN,))[0], (layer.outputs or (UNKNOWN,))[0]
    return {"name": layer.name, "from": before, "to": after}
