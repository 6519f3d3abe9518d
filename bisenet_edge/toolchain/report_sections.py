"""What an export puts into the report: files, verification, calibrated ranges, a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bisenet_edge.artifact import MODEL_FILES, Artifact
from bisenet_edge.errors import SinkError
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.backends import PACKAGES
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.overlay import Overlay
from bisenet_edge.runtime.report.sections import WrittenReport, write_report
from bisenet_edge.runtime.selftest import read_golden
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.export import Exported
from bisenet_edge.toolchain.int8 import Int8
from bisenet_edge.toolchain.onnx_graph import OPSET, TYPED_OPSET
from bisenet_edge.toolchain.verify import INT8_SPREAD, LEAST_AGREEMENT

WHAT = {
    "fp32": f"FP32, opset {OPSET}: the reference",
    "int8": f"FP32 + Q/DQ, opset {OPSET}: OpenVINO, ONNX Runtime, TensorRT 8.5 to 10",
    "int8-typed": f"FP16 + Q/DQ, opset {TYPED_OPSET}: strongly typed TensorRT",
    "fp16-typed": f"FP16, opset {TYPED_OPSET}: strongly typed TensorRT, what INT8 must beat",
}
PICTURE = "pictures/golden-0.png"


def write_export_report(exported: Exported) -> WrittenReport:
    """Write report.json and report.html of a new artifact, without the sections of later commands."""
    artifact = exported.artifact
    assert artifact is not None
    report: dict[str, Any] = {
        "export": _export_section(exported, artifact),
        "pictures": [_picture(artifact)],
        "machine": artifact.manifest.measured["machine"],
    }
    if exported.payoff:
        report["payoff"] = exported.payoff.to_json()
    if exported.int8:
        report["calibration"] = _calibration_section(artifact.manifest.calibration, exported.int8)
        report.update(_tried(exported.int8, artifact.manifest.labels))
    return write_report(artifact.path, report)


def write_failure_report(exported: Exported, checkpoint: Checkpoint, folder: Path) -> WrittenReport:
    """Write what was tried when nothing kept the promise, beside the place of the artifact.

    The folder is `NAME-gate-failed`; it holds no manifest, so that no command takes it for an artifact.

    Raises:
        SinkError: it cannot be written.
    """
    int8 = exported.int8
    assert int8 is not None and int8.found is not None
    place = folder.with_name(f"{folder.resolve().name}-gate-failed")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError("cannot write the report", got=f"{place}: {error.strerror}") from error
    return write_report(place, {**_tried(int8, checkpoint.labels), "machine": describe_machine()})


def _tried(int8: Int8, labels: LabelSet) -> dict[str, Any]:
    sections: dict[str, Any] = {}
    if int8.found:
        sections["search"] = int8.found.to_json(labels.names)
    if int8.tuned:
        sections["qat"] = int8.tuned.report
    return sections


def _export_section(exported: Exported, artifact: Artifact) -> dict[str, Any]:
    folder, manifest = artifact.path, artifact.manifest
    figures = manifest.measured["verification"]
    verification = []
    for key in (*LEAST_AGREEMENT, *INT8_SPREAD):
        if key not in figures:
            continue
        flavour, engine = key.split()
        package = PACKAGES.get(engine, "onnxruntime")  # "reference" is ONNX Runtime too
        verification.append(
            {
                "engine": f"{engine} ({package} {manifest.tools[package]})",
                "precision": flavour,
                "against": "torch, fake quantization" if flavour.startswith("int8") else "torch, FP32",
                "frames": figures["frames"],
                "pixel_agreement": figures[key],
                "passed": True,  # an export that fails a comparison leaves no artifact
            }
        )
    section: dict[str, Any] = {
        "model": manifest.model,
        "size": str(manifest.size),
        "classes": len(manifest.labels),
        "created": manifest.created,
        "files": [
            {"file": file, "what": WHAT[flavour], "bytes": (folder / file).stat().st_size}
            for flavour, file in MODEL_FILES.items()
            if file in manifest.files
        ],
        "verification": verification,
    }
    convolutions = figures.get("int8 openvino convolutions")
    if convolutions:
        engine = f"OpenVINO {manifest.tools['openvino']}"
        section["convolutions"] = {
            "int8": convolutions["int8"],
            "all": convolutions["total"],
            "engine": engine,
        }
        pairs = manifest.calibration["collapsed_pairs"]
        merged = f"{pairs} depthwise + pointwise pairs merged: each was measured to be less noisy so"
        section["notes"] = [merged] if pairs else []
    return section


def _calibration_section(calibration: dict[str, Any], int8: Int8) -> dict[str, Any]:
    section = {
        "method": calibration["method"],
        "observer": calibration["observer"],
        "corrections": calibration["corrections"],
        "data": calibration["data"],
        "images": calibration["count"],
        "seed": calibration["seed"],
        "ranges": [{"tensor": name, **values} for name, values in int8.ranges.items()],
    }
    for key in ("recipe", "coverage"):
        if calibration.get(key):
            section[key] = calibration[key]
    return section


def _picture(artifact: Artifact) -> dict[str, str]:
    """A golden frame with its mask, as a PNG beside the report."""
    frame, mask = next(iter(read_golden(artifact, artifact.manifest.precision)))
    manifest = artifact.manifest
    drawn = Overlay(manifest.labels).draw(frame, mask)
    path = artifact.path / PICTURE
    path.parent.mkdir(exist_ok=True)
    _, encoded = cv2.imencode(".png", np.hstack([frame, drawn]))
    path.write_bytes(encoded.tobytes())
    return {"caption": f"A golden frame and its {manifest.precision.upper()} mask", "file": PICTURE}
