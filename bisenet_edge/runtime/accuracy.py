"""What INT8 costs: mIoU of the FP32 and the INT8 graph on the same labelled pictures, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import tee
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.dataset import Dataset
from bisenet_edge.labels import LabelSet
from bisenet_edge.metrics import Confusion, agreement
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.evaluation.evaluate import (
    EngineOptions,
    palette,
    require_classes,
    require_labelled,
    rounded,
)
from bisenet_edge.runtime.evaluation.gallery import Gallery
from bisenet_edge.runtime.evaluation.method import Method
from bisenet_edge.runtime.evaluation.segment import read_ahead, with_session
from bisenet_edge.runtime.evaluation.text import POINTS
from bisenet_edge.runtime.text_table import table


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
        method: the views of a picture that the masks of both were made from.
        gallery: the pictures on which the other precision does best and worst.
    """

    data: str
    split: str
    images: int
    labels: LabelSet
    backend: str
    precision: str
    fp32: Confusion
    other: Confusion
    pixel_agreement: float
    method: Method
    gallery: Gallery

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
            "classes": list(self.labels.names),
            "backend": self.backend,
            "precision": self.precision,
            "fp32": {"miou": rounded(self.fp32.miou()), "iou": [rounded(v) for v in self.fp32.iou()]},
            "int8": {"miou": rounded(self.other.miou()), "iou": [rounded(v) for v in self.other.iou()]},
            "drop_points": rounded(self.drop_points),
            "class_drop_points": [rounded(v) for v in self.class_drop_points()],
            "pixel_agreement": rounded(self.pixel_agreement),
            "max_drop": gate.max_drop,
            "max_class_drop": gate.max_class_drop,
            "passed": self.passes(gate),
            "method": self.method.to_json(),
            "palette": palette(self.labels),
            "confusion": self.other.counts.tolist(),
        }


def compare(
    artifact: Artifact,
    dataset: Dataset,
    precision: str = "int8",
    options: Optional[EngineOptions] = None,
    progress: Progress = quiet,
) -> Comparison:
    """Measure FP32 and another precision on every picture of a data set, each at the picture's own size.

    Args:
        artifact: where both models are.
        dataset: labelled pictures of any size.
        precision: what is held against FP32.
        options: the engine and the views of a picture; None: the default engine, one view.
        progress: told after each picture.

    Raises:
        DatasetError: the data set has other classes than the artifact, or nothing is labelled.
        ArtifactError: the artifact has no INT8 model.
        BackendError: an engine is missing, fails, or gives no logits where the method needs them.
    """
    labels, options = artifact.manifest.labels, options or EngineOptions()
    require_classes(dataset, labels)
    options.require()
    totals = [Confusion.empty(len(labels)), Confusion.empty(len(labels))]
    agreements: List[float] = []
    gallery = Gallery(labels)
    engine: Dict[str, Any] = {"backend": options.backend, "threads": options.threads, "progress": progress}
    with open_session(artifact, "fp32", **engine) as first, open_session(
        artifact, precision, **engine
    ) as second:
        pairs = zip(
            *(
                with_session(session, options.method)(samples)
                for session, samples in zip((first, second), tee(read_ahead(dataset)))
            )
        )
        for index, ((sample, fp32_mask), (_, mask)) in enumerate(pairs):
            both = [Confusion.of(sample.label, each, len(labels)) for each in (fp32_mask, mask)]
            totals = [total + confusion for total, confusion in zip(totals, both)]
            agreements.append(agreement(fp32_mask, mask))
            gallery.offer(index, sample, mask, both[1])
            progress("checking", index + 1, len(dataset))
        name = first.backend
    require_labelled(totals[0], dataset)
    return Comparison(
        data=dataset.uri,
        split=dataset.split,
        images=len(dataset),
        labels=labels,
        backend=name,
        precision=precision,
        fp32=totals[0],
        other=totals[1],
        pixel_agreement=float(np.mean(agreements)),
        method=options.method,
        gallery=gallery,
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
        *([] if section["method"]["text"] == Method().text() else [f"views: {section['method']['text']}"]),
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
