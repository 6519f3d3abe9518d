"""The self-test: does this machine compute the masks that were computed when the artifact was made?

An artifact carries a few frames of its network's size and the masks that ONNX Runtime computed for
them. The layout is defined here, for the writer (export) and the reader (the device):

    golden/frame-0.png         uint8 [H, W, 3], BGR
    golden/mask.int8-0.png     uint8 [H, W], train ids
    golden/mask.fp32-0.png     likewise, of the FP32 graph
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

import cv2
import numpy as np

from bisenet_edge.artifact import Artifact, Manifest
from bisenet_edge.errors import ArtifactError, BackendError, SinkError
from bisenet_edge.metrics import Confusion, agreement
from bisenet_edge.runtime.backends.base import Session

GOLDEN = "golden"
MIN_AGREEMENT = 0.99
"""INT8 masks of OpenVINO and ONNX Runtime differ in 0.4 to 0.8 % of the pixels with the shipped network."""
INT8_SPREAD = 2.0
"""Two right INT8 engines differ by at most this many times as much as INT8 differs from FP32."""
SINGLE_FRAME = 2.0
"""A single frame may differ so many times as much as the frames may in the mean."""
_EXPORT_AGAIN = "export it again: bisenet-edge export --int8"


@dataclass(frozen=True)
class SelfTestResult:
    """How a session's masks compare with the golden ones.

    Attributes:
        backend: engine that was tested.
        precision: flavour that was tested.
        reference: flavour of the golden masks ("int8" or "fp32").
        agreements: share of equal pixels per golden frame, in 0..1.
        worst_class: name of the class that overlaps least with the golden masks.
        worst_class_iou: its IoU with them over all frames, in 0..1; told, not judged, because a class of
            a few pixels loses much of its IoU with a single pixel.
        min_agreement: what the frames must reach in the mean; a single one may differ twice as much.
    """

    backend: str
    precision: str
    reference: str
    agreements: Tuple[float, ...]
    worst_class: str
    worst_class_iou: float
    min_agreement: float

    @property
    def passed(self) -> bool:
        # The limit is a mean over frames, as export measured it: single frames lie around it.
        worst = 1 - SINGLE_FRAME * (1 - self.min_agreement)
        return self.mean_agreement >= self.min_agreement and min(self.agreements) >= worst

    @property
    def mean_agreement(self) -> float:
        return sum(self.agreements) / len(self.agreements)

    def to_json(self) -> Dict[str, Any]:
        return {**vars(self), "agreements": list(self.agreements), "passed": self.passed}


def least_agreement(manifest: Manifest) -> float:
    """Share of equal pixels that a right engine reaches on this artifact, in 0..1.

    0.99, or less where quantization itself changes the masks by more: two right INT8 engines differ by
    about as much as INT8 differs from FP32, which export measured.
    """
    unchanged = manifest.measured.get("verification", {}).get("int8 torch against fp32", 1.0)
    return min(MIN_AGREEMENT, 1 - INT8_SPREAD * (1 - float(unchanged)))


def selftest(artifact: Artifact, session: Session, min_agreement: Optional[float] = None) -> SelfTestResult:
    """Run the golden frames and compare the masks.

    Args:
        artifact: where the golden frames are.
        session: the engine under test, opened on the same artifact.
        min_agreement: share of equal pixels that the frames must reach in the mean, in 0..1; None = what
            `least_agreement` says of this artifact.

    Raises:
        ArtifactError: there are no golden frames or masks, or they do not fit the network.
        BackendError: the engine fails.
    """
    # FP16 masks are held against FP32 ones: a device that differs more than rounding does is broken.
    reference = "int8" if session.precision.startswith("int8") else "fp32"
    classes = artifact.manifest.labels
    confusion = Confusion.empty(len(classes))
    agreements = []
    for frame, golden in read_golden(artifact, reference):
        mask = session.infer(frame)
        if int(mask.max()) >= len(classes):
            raise BackendError(
                "an engine gives masks with values that are no class",
                got=f"{session.backend} {session.precision}: value {int(mask.max())}",
                expected=f"0..{len(classes) - 1}",
                fix="try another engine: --backend",
            )
        agreements.append(agreement(mask, golden))
        confusion = confusion + Confusion.of(golden, mask, len(classes))
    iou = confusion.iou()
    worst = int(np.nanargmin(iou))
    return SelfTestResult(
        backend=session.backend,
        precision=session.precision,
        reference=reference,
        agreements=tuple(agreements),
        worst_class=classes.names[worst],
        worst_class_iou=float(iou[worst]),
        min_agreement=least_agreement(artifact.manifest) if min_agreement is None else min_agreement,
    )


def write_golden(
    artifact_folder: Path, frames: Sequence[np.ndarray], masks: Mapping[str, Sequence[np.ndarray]]
) -> None:
    """Write golden frames and masks into `artifact_folder/golden`.

    Args:
        artifact_folder: the folder that becomes an artifact; its files are hashed afterwards.
        frames: at least one, each uint8 [H, W, 3], BGR, of the network's size.
        masks: "int8" and/or "fp32" -> one uint8 [H, W] per frame, computed by ONNX Runtime.

    Raises:
        ValueError: no frames, or masks that do not match them in number, size or dtype.
        SinkError: a file cannot be written.
    """
    if not len(frames) or not masks:
        raise ValueError("no golden frames or no masks")
    for precision, group in masks.items():
        if [m.shape for m in group] != [f.shape[:2] for f in frames]:
            raise ValueError(f"{precision} masks do not match the frames in number or size")
    folder = artifact_folder / GOLDEN
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        _write_png(folder / f"frame-{index}.png", frame)
        for precision, group in masks.items():
            _write_png(folder / f"mask.{precision}-{index}.png", group[index])


def read_golden(artifact: Artifact, reference: str) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Golden frames (uint8 [H, W, 3], BGR) with their masks (uint8 [H, W]) of one flavour.

    Raises:
        ArtifactError: there are none, or they do not fit the network.
    """
    count = 0
    while f"{GOLDEN}/frame-{count}.png" in artifact.manifest.files:
        frame = _read_png(artifact.path / GOLDEN / f"frame-{count}.png", cv2.IMREAD_COLOR)
        golden = _read_png(artifact.path / GOLDEN / f"mask.{reference}-{count}.png", cv2.IMREAD_GRAYSCALE)
        if frame.shape[:2] != artifact.manifest.size.hw or golden.shape != artifact.manifest.size.hw:
            raise ArtifactError(
                "a golden frame or mask does not have the network's size",
                got=f"frame {frame.shape[:2]}, mask {golden.shape} (height, width)",
                expected=str(artifact.manifest.size.hw),
                fix=_EXPORT_AGAIN,
            )
        yield frame, golden
        count += 1
    if not count:
        raise ArtifactError(
            "this artifact has no golden frames, so it cannot be tested here",
            got=str(artifact.path),
            expected=f"{GOLDEN}/frame-0.png and its masks",
            fix=_EXPORT_AGAIN,
        )


def _read_png(path: Path, flag: int) -> np.ndarray:
    image = cv2.imread(str(path), flag)
    if image is None:
        raise ArtifactError(
            "a golden frame or mask cannot be read",
            got=str(path),
            expected="a PNG file",
            fix=_EXPORT_AGAIN,
        )
    return np.asarray(image)


def _write_png(path: Path, image: np.ndarray) -> None:
    if image.dtype != np.uint8:
        raise ValueError(f"golden files hold uint8, not {image.dtype}")
    if not cv2.imwrite(str(path), image):
        raise SinkError("cannot write a golden file", got=str(path))
