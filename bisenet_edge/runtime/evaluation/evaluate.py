"""One network, one labelled data set: confusion matrix, IoU of each class, best and worst pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.dataset import Dataset
from bisenet_edge.errors import DatasetError
from bisenet_edge.labels import LabelSet
from bisenet_edge.metrics import Confusion
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends import open_session, require_logits
from bisenet_edge.runtime.evaluation.gallery import Gallery
from bisenet_edge.runtime.evaluation.method import Method
from bisenet_edge.runtime.evaluation.segment import Segment, read_ahead, with_session


@dataclass(frozen=True)
class EngineOptions:
    """What an artifact is evaluated with.

    Attributes:
        backend: one of `backends.BACKENDS`.
        threads: CPU threads; 0 = as many as the process may use.
        method: the views of a picture.
    """

    backend: str = "auto"
    threads: int = 0
    method: Method = field(default_factory=Method)

    def require(self) -> None:
        """Refuse an engine that cannot do what the method needs, before it is built.

        Raises:
            BackendError: the engine gives masks alone, and the method averages scores.
        """
        if not self.method.plain:
            require_logits(self.backend)


@dataclass(frozen=True)
class Subject:
    """What is evaluated, for the report.

    Attributes:
        model: name of the network.
        precision: "int8", "fp32", ...
        engine: what computed it: a backend, or "torch".
        size: input size, "640x360"; "" = each picture at its own.
    """

    model: str
    precision: str
    engine: str
    size: str = ""


@dataclass(frozen=True)
class Evaluation:
    """The outcome; `confusion` is over all pictures."""

    subject: Subject
    method: Method
    data: str
    split: str
    images: int
    labels: LabelSet
    confusion: Confusion
    gallery: Gallery

    def to_json(self) -> Dict[str, Any]:
        """The report's section "evaluation", without its pictures."""
        confusion = self.confusion
        counts = confusion.counts
        return {
            **vars(self.subject),
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "classes": list(self.labels.names),
            "palette": palette(self.labels),
            "method": self.method.to_json(),
            "miou": rounded(confusion.miou()),
            "pixel_accuracy": rounded(confusion.pixel_accuracy()),
            "iou": [rounded(v) for v in confusion.iou()],
            "class_recall": [rounded(v) for v in confusion.recall()],
            "class_precision": [rounded(v) for v in confusion.precision()],
            "class_share": [rounded(v) for v in counts.sum(1) / max(1, counts.sum())],
            "confusion": counts.tolist(),
        }


def evaluate_artifact(
    artifact: Artifact,
    dataset: Dataset,
    precision: str = "",
    options: Optional[EngineOptions] = None,
    progress: Progress = quiet,
) -> Evaluation:
    """Evaluate one flavour of an artifact on one engine.

    Args:
        artifact: what to evaluate.
        dataset: labelled pictures of any size, with the classes of the artifact.
        precision: flavour; "" = what runs by default.
        options: the engine and the views; None: the default engine, one view.
        progress: told after each picture.

    Raises:
        DatasetError: other classes than the network's, or nothing is labelled.
        ArtifactError: the artifact has no such flavour.
        BackendError: an engine is missing, fails, or gives no logits where the method needs them.
    """
    options = options or EngineOptions()
    require_classes(dataset, artifact.manifest.labels)
    options.require()
    engine: Dict[str, Any] = {"backend": options.backend, "threads": options.threads, "progress": progress}
    with open_session(artifact, precision, **engine) as session:
        subject = Subject(
            artifact.manifest.model, session.precision, session.backend, str(artifact.manifest.size)
        )
        segment = with_session(session, options.method)
        return evaluate(segment, dataset, subject, options.method, progress)


def evaluate(
    segment: Segment, dataset: Dataset, subject: Subject, method: Method, progress: Progress = quiet
) -> Evaluation:
    """Evaluate whatever makes masks of pictures.

    Raises:
        DatasetError: no pixel is labelled, or a picture cannot be read.
    """
    classes = len(dataset.labels)
    total, gallery = Confusion.empty(classes), Gallery(dataset.labels)
    for index, (sample, mask) in enumerate(segment(read_ahead(dataset))):
        confusion = Confusion.of(sample.label, mask, classes)
        gallery.offer(index, sample, mask, confusion)
        total = total + confusion
        progress("evaluating", index + 1, len(dataset))
    require_labelled(total, dataset)
    return Evaluation(
        subject, method, dataset.uri, dataset.split, len(dataset), dataset.labels, total, gallery
    )


def require_classes(dataset: Dataset, labels: LabelSet) -> None:
    """Refuse a data set with other classes than the network's.

    Raises:
        DatasetError: names or their order differ.
    """
    if dataset.labels.names != labels.names:
        raise DatasetError(
            "the data set has other classes than the network",
            got=_summary(dataset.labels),
            expected=_summary(labels),
        )


def require_labelled(total: Confusion, dataset: Dataset) -> None:
    """Refuse figures of nothing.

    Raises:
        DatasetError: no pixel was counted.
    """
    if not total.counts.any():
        raise DatasetError(
            "no pixel of this data set is labelled", got=dataset.uri, expected="pixels other than void"
        )


def palette(labels: LabelSet) -> Any:
    """The colours of the classes for a page: ["#804080", ...]."""
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in labels.palette]


def rounded(value: float) -> Optional[float]:
    """Six decimals; None for what is not a number."""
    return round(float(value), 6) if np.isfinite(value) else None


def _summary(labels: LabelSet) -> str:
    return f"{len(labels)} of '{labels.name}': {', '.join(labels.names[:4])}, ..."
