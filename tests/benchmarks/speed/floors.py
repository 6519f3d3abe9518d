"""How far a network is from what the machine could do: operations and bytes over rates of the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from bisenet_edge.artifact import Artifact
from bisenet_edge.boards import boards, load_board
from bisenet_edge.runtime.profile.roofline import LABEL, estimates
from bisenet_edge.toolchain.graph_cost import layer_costs

from .contest import Result
from .contestants.peaks import COPY_BYTES, GMAC
from .figures import Ratio, Summary
from .material import Material

PEAK_OF = {
    "ours-int8": "peak-openvino-int8",
    "ours-bf16": "peak-openvino-bf16",
    "ours-fp32": "peak-openvino-fp32",
    "nncf-int8": "peak-openvino-int8",
    "openvino-bf16": "peak-openvino-bf16",
    "openvino-fp32": "peak-openvino-fp32",
    "ours-ort-int8": "peak-ort-int8",
    "ort-static-u8": "peak-ort-int8",
    "ort-fp32": "peak-ort-fp32",
}
"""Contestant -> the rate that bounds it."""
JETSON_FLAVOURS = {"int8": "int8", "fp16": "fp32"}


@dataclass(frozen=True)
class Work:
    """What a network computes and moves for one frame.

    Attributes:
        gmac: multiply-adds, 10^9.
        megabytes: tensors and weights once each, INT8 flavour, 10^6 bytes.
    """

    gmac: float
    megabytes: float

    @classmethod
    def of(cls, material: Material) -> Work:
        """Count the INT8 graph."""
        costs = layer_costs(onnx.load(str(Artifact.open(material.artifact).model_path("int8"))))
        return cls(sum(c.operations for c in costs) / 2e9, sum(c.bytes_moved for c in costs) / 1e6)


@dataclass(frozen=True)
class Floor:
    """One contestant beside its bound.

    Attributes:
        name: of the contestant.
        measured_ms: its network alone.
        compute_ms: its multiply-adds at the peak rate of its engine and precision.
        memory_ms: its bytes at the rate of copying memory; for INT8 only, whose bytes are counted.
        over: measured over compute.
    """

    name: str
    measured_ms: float
    compute_ms: float
    memory_ms: float | None
    over: Ratio

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "over": self.over.to_json()}


def gmac_per_s(result: Result, peak: str) -> float | None:
    """A convolution rate of this run, 10^9 multiply-adds per second."""
    row = result.row(peak, "peak")
    return GMAC / row.summary.p50_ms * 1e3 if row else None


def copy_gb_per_s(result: Result) -> float | None:
    """Bytes read and written per second, 10^9."""
    row = result.row("peak-copy", "peak")
    return 2 * COPY_BYTES / 1e9 / row.summary.p50_ms * 1e3 if row else None


def floors_of(result: Result, work: Work) -> list[Floor]:
    """Everybody whose network and whose bound were both measured in this group."""
    found = []
    copy = copy_gb_per_s(result)
    for name, peak in PEAK_OF.items():
        measured, bound = result.row(name, "network"), result.row(peak, "peak")
        if measured is None or bound is None:
            continue
        floor = _scaled(bound.summary, work.gmac / GMAC)
        over = Ratio.speedup(measured.summary, floor)
        memory_ms = work.megabytes / copy if copy and measured.precision == "int8" else None
        found.append(Floor(name, measured.summary.p50_ms, floor.p50_ms, memory_ms, over))
    return found


def _scaled(summary: Summary, factor: float) -> Summary:
    return Summary(
        summary.p50_ms * factor,
        summary.iqr_ms * factor,
        summary.samples,
        summary.rounds,
        summary.medians_ms * factor,
    )


def jetson_estimates(material: Material) -> list[dict[str, Any]]:
    """The same on paper for every board whose file tells rates; `LABEL` says what it is."""
    artifact = Artifact.open(material.artifact)
    costs = {
        precision: layer_costs(onnx.load(str(artifact.model_path(flavour))))
        for precision, flavour in JETSON_FLAVOURS.items()
    }
    return [
        {
            "label": LABEL,
            "board": board.title,
            "mode": estimate.mode,
            "precision": precision,
            "compute_ms": estimate.compute_ms,
            "memory_ms": estimate.memory_ms,
            "at_least_ms": estimate.by_layer_ms,
            "notes": list(estimate.notes),
        }
        for board in map(load_board, boards())
        for precision in JETSON_FLAVOURS
        for estimate in estimates(board, precision, costs[precision])
    ]
