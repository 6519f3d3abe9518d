"""What an export puts into the report: files, verification, calibrated ranges, a picture."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from bisenet_edge.artifact import MODEL_FILES, Artifact
from bisenet_edge.runtime.overlay import Overlay
from bisenet_edge.runtime.report import WrittenReport, write_report
from bisenet_edge.runtime.selftest import read_golden
from bisenet_edge.toolchain.export import Exported
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
    manifest = artifact.manifest
    report = {
        "export": _export_section(exported),
        "pictures": [_picture(artifact)],
        "machine": manifest.measured["machine"],
    }
    if exported.ranges:
        report["calibration"] = _calibration_section(exported)
    return write_report(artifact.path, report)


def _export_section(exported: Exported) -> dict[str, Any]:
    folder, manifest = exported.artifact.path, exported.artifact.manifest
    figures = manifest.measured["verification"]
    verification = []
    for key in (*LEAST_AGREEMENT, *INT8_SPREAD):
        if key not in figures:
            continue
        flavour, engine = key.split()
        verification.append(
            {
                "engine": f"{engine} {manifest.tools[engine]}",
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
        merged = (
            f"{exported.collapsed} depthwise + pointwise pairs merged: each was measured to be less noisy so"
        )
        section["notes"] = [merged]
    return section


def _calibration_section(exported: Exported) -> dict[str, Any]:
    calibration = exported.artifact.manifest.calibration
    return {
        "observer": calibration["observer"],
        "data": calibration["data"],
        "images": calibration["count"],
        "seed": calibration["seed"],
        "ranges": [{"tensor": name, "amax": values["amax"]} for name, values in exported.ranges.items()],
    }


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
