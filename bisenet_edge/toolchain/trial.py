"""What a quantized network is worth: mIoU and latency of the exported graph, beside FP32, on a val split."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
from torch import fx

from bisenet_edge.artifact import MODEL_FILES, Artifact, Manifest, hash_files
from bisenet_edge.dataset import Dataset
from bisenet_edge.errors import DatasetError
from bisenet_edge.frame import Size
from bisenet_edge.metrics import Confusion
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.accuracy import Gate, drop_points, within
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.toolchain.onnx_graph import to_onnx

# Pictures that one engine gets before the other's turn; the first of each turn is not timed, because it
# refills the caches that the other engine has emptied.
BURST = 10


@dataclass(frozen=True)
class Score:
    """What one network gave.

    Attributes:
        fp32, int8: confusions over the val split.
        fp32_ms, int8_ms: median time of one inference, interleaved in one run.
    """

    fp32: Confusion
    int8: Confusion
    fp32_ms: float
    int8_ms: float

    @property
    def drop_points(self) -> float:
        """MIoU of FP32 less that of INT8, in points."""
        return drop_points(self.fp32, self.int8)[0]

    @property
    def class_drop_points(self) -> np.ndarray:
        """The same per class, float64 [C]; nan where a class is absent."""
        return drop_points(self.fp32, self.int8)[1]

    @property
    def speedup(self) -> float:
        return self.fp32_ms / self.int8_ms

    def passes(self, gate: Gate) -> bool:
        return within(gate, self.drop_points, self.class_drop_points)

    def excess_points(self, gate: Gate) -> float:
        """By how many points the worst limit of the gate is exceeded; 0 or less = it passes."""
        excess = [] if gate.max_drop is None else [self.drop_points - gate.max_drop]
        if gate.max_class_drop is not None:
            excess.append(float(np.nanmax(self.class_drop_points)) - gate.max_class_drop)
        return max(excess)


class Trial:
    """Measures networks against the FP32 one, all on one val split and one engine. Use it with `with`.

    Args:
        folded: the FP32 network, from `fold`.
        size: of the network's input.
        dataset: labelled pictures that calibration never saw.
        backend: engine; "cpu" = the fastest that is installed. (TensorRT would take minutes for each step.)

    Raises:
        DatasetError: no pictures, or no labelled pixel.
        BackendError: an engine is missing or fails.
    """

    def __init__(self, folded: fx.GraphModule, size: Size, dataset: Dataset, backend: str = "cpu") -> None:
        self.size, self.dataset, self.backend = size, dataset, backend
        self._folder = tempfile.TemporaryDirectory(prefix="bisenet-edge-trial-")
        self._fp32 = self._open(folded, "fp32")

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fp32.close()
        self._folder.cleanup()

    def measure(self, network: fx.GraphModule, progress: Progress = quiet, step: str = "measuring") -> Score:
        """MIoU and latency of a quantized network's exported graph.

        Args:
            network: from `PostTraining.quantize` or fine-tuned.
            progress: told after each turn, with `step`.
        """
        count = len(self.dataset)
        classes = len(self.dataset.labels)
        int8_total, fp32_total = Confusion.empty(classes), Confusion.empty(classes)
        times_ms: dict[str, list[float]] = {"int8": [], "fp32": []}
        with self._open(network, "int8") as session:
            for start in range(0, count, BURST):
                samples = [self.dataset[i] for i in range(start, min(start + BURST, count))]
                for first in (True, False):
                    engine, name = (session, "int8") if first else (self._fp32, "fp32")
                    for position, sample in enumerate(samples):
                        mask, spent_ms = _timed_mask(engine, sample.image)
                        confusion = Confusion.of(sample.label, mask, classes)
                        if first:
                            int8_total = int8_total + confusion
                        else:
                            fp32_total = fp32_total + confusion
                        if position or len(samples) == 1:
                            times_ms[name].append(spent_ms)
                progress(step, start + len(samples), count)
        if not fp32_total.counts.any():
            raise DatasetError(
                "no pixel of this data set is labelled",
                got=self.dataset.uri,
                expected="pixels other than void",
            )
        return Score(
            fp32_total, int8_total, float(np.median(times_ms["fp32"])), float(np.median(times_ms["int8"]))
        )

    def _open(self, network: fx.GraphModule, flavour: str) -> Session:
        folder = Path(self._folder.name) / flavour
        folder.mkdir(exist_ok=True)
        onnx.save(to_onnx(network, self.size), str(folder / MODEL_FILES[flavour]))
        labels, files = self.dataset.labels, hash_files(folder)
        stride = network.meta["logits_stride"]
        manifest = Manifest("trial", "", "", labels, self.size, flavour, files=files, logits_stride=stride)
        return open_session(Artifact(folder, manifest), flavour, backend=self.backend)

    def describe(self) -> dict[str, Any]:
        """The engine and the data, for a report."""
        return {
            "data": self.dataset.uri,
            "split": self.dataset.split,
            "images": len(self.dataset),
            "backend": self._fp32.backend,
        }


def _timed_mask(session: Session, image: np.ndarray) -> tuple[np.ndarray, float]:
    fit = Fit((image.shape[0], image.shape[1]), session.artifact.manifest.size)
    frame = fit.apply(image, fit.new_input())
    start_ns = time.perf_counter_ns()
    mask = session.infer(frame)
    spent_ms = (time.perf_counter_ns() - start_ns) / 1e6
    return np.array(fit.undo(mask)), spent_ms
