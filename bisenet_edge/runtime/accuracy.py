"""What INT8 costs: mIoU of the FP32 and the INT8 graph on the same labelled pictures, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.dataset import Dataset
from bisenet_edge.errors import DatasetError
from bisenet_edge.labels import LabelSet
from bisenet_edge.metrics import Confusion, agreement
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.runtime.text_table import table

POINTS = 100.0  # mIoU 0.6614 is 66.14 points


@dataclass(frozen=True)
class Gate:
    """The drop that is allowed, in points; None = no limit."""

    max_drop: Optional[float] = None
    max_class_drop: Optional[float] = None


def drop_points(fp32: Confusion, other: Confusion) -> Tuple[float, np.ndarray]:
    """MIoU and, per class, IoU of FP32 less that of another precision, in points; above 0 = worse than FP32.

    Returns:
        (drop of mIoU, drop per class: float64 [C], nan where a class is absent).
    """
    return (fp32.miou() - other.miou()) * POINTS, (fp32.iou() - other.iou()) * POINTS


def within(gate: Gate, drop: float, class_drop: np.ndarray) -> bool:
    """Whether drops (of `drop_points`) are within a gate. A drop that is not a number passes no gate."""
    limits = [(drop, gate.max_drop)]
    if gate.max_class_drop is not None:
        limits += [(d, gate.max_class_drop) for d in class_drop if np.isfinite(d)]
    # The comparison is this way round so that nan fails.
    return all(limit is None or value <= limit for value, limit in limits)


@dataclass(frozen=True)
class Comparison:
    """FP32 against another precision on one data set.

    Attributes:
        fp32, other: confusions over the same pictures.
        pixel_agreement: share of equal pixels between the two, over all pictures, in 0..1.
    """

    data: str
    split: str
    images: int
    class_names: Tuple[str, ...]
    backend: str
    precision: str
    fp32: Confusion
    other: Confusion
    pixel_agreement: float

    @property
    def drop_points(self) -> float:
        """MIoU of FP32 less that of the other precision, in points; above 0 = worse than FP32."""
        return drop_points(self.fp32, self.other)[0]

    def class_drop_points(self) -> np.ndarray:
        """The same per class, float64 [C]; nan where a class is absent."""
        return drop_points(self.fp32, self.other)[1]

    def passes(self, gate: Gate) -> bool:
        """Whether the drop is within the gate. A drop that is not a number passes no gate."""
        return within(gate, self.drop_points, self.class_drop_points())

    def to_json(self, gate: Gate) -> Dict[str, Any]:
        """The report's section "accuracy"."""
        return {
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "classes": list(self.class_names),
            "backend": self.backend,
            "precision": self.precision,
            "fp32": {"miou": _rounded(self.fp32.miou()), "iou": [_rounded(v) for v in self.fp32.iou()]},
            "int8": {"miou": _rounded(self.other.miou()), "iou": [_rounded(v) for v in self.other.iou()]},
            "drop_points": _rounded(self.drop_points),
            "class_drop_points": [_rounded(v) for v in self.class_drop_points()],
            "pixel_agreement": _rounded(self.pixel_agreement),
            "max_drop": gate.max_drop,
            "max_class_drop": gate.max_class_drop,
            "passed": self.passes(gate),
        }


def _rounded(value: float) -> Optional[float]:
    return round(float(value), 6) if np.isfinite(value) else None


def compare(
    artifact: Artifact,
    dataset: Dataset,
    precision: str = "int8",
    *,
    backend: str = "auto",
    threads: int = 0,
    progress: Progress = quiet,
) -> Comparison:
    """Measure FP32 and another precision on every picture of a data set, each at the picture's own size.

    Raises:
        DatasetError: the data set has other classes than the artifact.
        ArtifactError: the artifact has no INT8 model.
        BackendError: an engine is missing or fails.
    """
    labels = artifact.manifest.labels
    if dataset.labels.names != labels.names:
        raise DatasetError(
            "the data set has other classes than the network",
            got=_summary(dataset.labels),
            expected=_summary(labels),
        )
    totals = [Confusion.empty(len(labels)), Confusion.empty(len(labels))]
    agreements: List[float] = []
    engine: Dict[str, Any] = {"backend": backend, "threads": threads, "progress": progress}
    with open_session(artifact, "fp32", **engine) as first, open_session(
        artifact, precision, **engine
    ) as second:
        for done in range(len(dataset)):
            sample = dataset[done]
            masks = [_mask(session, sample.image) for session in (first, second)]
            for which, mask in enumerate(masks):
                totals[which] = totals[which] + Confusion.of(sample.label, mask, len(labels))
            agreements.append(agreement(*masks))
            progress("checking", done + 1, len(dataset))
        name = first.backend
    if not totals[0].counts.any():
        raise DatasetError(
            "no pixel of this data set is labelled", got=dataset.uri, expected="pixels other than void"
        )
    return Comparison(
        data=dataset.uri,
        split=dataset.split,
        images=len(dataset),
        class_names=labels.names,
        backend=name,
        precision=precision,
        fp32=totals[0],
        other=totals[1],
        pixel_agreement=float(np.mean(agreements)),
    )


def accuracy_text(section: Dict[str, Any]) -> str:
    """`Comparison.to_json()` for a terminal: a row per class, and the verdict of the gate."""
    rows = [
        [name, _points(fp32), _points(other), drop]
        for name, fp32, other, drop in zip(
            [*section["classes"], "mIoU"],
            [*section["fp32"]["iou"], section["fp32"]["miou"]],
            [*section["int8"]["iou"], section["int8"]["miou"]],
            [*section["class_drop_points"], section["drop_points"]],
        )
    ]
    lines = [
        f"{section['data']} {section['split']}, {section['images']} pictures",
        "",
        table(["class", "FP32 IoU", f"{section['precision'].upper()} IoU", "drop"], rows),
        "",
        f"pixels equal: {section['pixel_agreement']:.2%}   engine: {section['backend']}",
    ]
    limits = [
        f"{what} {section[key]:g}"
        for what, key in (("mIoU drop at most", "max_drop"), ("class drop at most", "max_class_drop"))
        if section[key] is not None
    ]
    if limits:
        lines.append(f"gate ({', '.join(limits)}): {'passed' if section['passed'] else 'FAILED'}")
    return "\n".join(lines)


def _points(share: Optional[float]) -> Optional[float]:
    return None if share is None else share * POINTS


def _summary(labels: LabelSet) -> str:
    return f"{len(labels)} of '{labels.name}': {', '.join(labels.names[:4])}, ..."


def _mask(session: Session, image: np.ndarray) -> np.ndarray:
    fit = Fit((image.shape[0], image.shape[1]), session.artifact.manifest.size)
    frame = fit.apply(image, fit.new_input())
    # A copy: the session's buffer is overwritten by its next call.
    return np.array(fit.undo(session.infer(frame)))
