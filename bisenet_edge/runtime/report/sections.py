"""The report of an artifact: report.json for programs, report.html for people.

Several commands write to one report; each replaces its own section. A section that is absent is not
shown. Percentages are fractions (0..1) unless the name says points; missing numbers are null, and shown
as "-". A key with "?" may be left out.

    export       {"model", "size": "640x360", "classes": n, "created": ISO 8601,
                  "files": [{"file", "what": "FP32 + Q/DQ, opset 17", "bytes": n}],
                  "verification": [{"engine": "ONNX Runtime 1.25", "precision": "int8",
                                    "against": "torch, fake quantization", "frames": n,
                                    "pixel_agreement": 0..1, "passed": bool}],
                  "convolutions"?: {"int8": n, "all": n, "engine": "OpenVINO 2026.4"},
                  "notes"?: [text, what was tried and why]}
    accuracy     {"data": uri, "split": "val", "images": n, "classes": [names],
                  "precision"?: "int8" (or what was held against FP32 in its place),
                  "fp32": {"miou": 0..1, "iou": [0..1 or null]}, "int8": {the same, of that precision},
                  "drop_points": x, "class_drop_points": [x or null], "pixel_agreement": 0..1,
                  "max_drop": points or null (no gate), "max_class_drop"?: points or null, "passed": bool}
                  "method"?: `Method.to_json()`: {"scales": [x], "flip": bool, "slide": overlap or null,
                  "text"}, "palette"?: ["#rrggbb"], and of INT8 "frames"?: as below,
                  "confusion"?: [[n pixels with the label of the row and the mask of the column]]
                  A drop is FP32 less INT8, in points of IoU (percent): above 0, INT8 is worse.
    evaluation   `Evaluation.to_json()`: {"model", "precision", "engine", "size": "640x360" or "" (each
                  picture at its own), "data": uri, "split", "images": n, "classes": [names], "palette",
                  "method", "miou": 0..1, "pixel_accuracy": 0..1, "iou" | "class_recall" |
                  "class_precision" | "class_share": [0..1 or null], "confusion",
                  "frames"?: {"best" | "worst": [{"name", "miou": 0..1, "file": path of a JPEG, relative to
                              the report's folder}]}}
    payoff       {"chosen": "int8" | "bf16" | "fp32", "reason": text, "backend",
                  "machine": `machine.describe_machine()`,
                  "cases": [{"precision", "p50_ms", "p90_ms"}], "int8_over_float": ratio of the medians,
                  "ci95": [low, high], "float": "bf16" | "fp32", what INT8 was timed against,
                  "conclusive": bool}
    tensorrt     `Compiled.to_json()`: {"device": {"gpu", "compute_capability", "tensorrt", "cuda_runtime",
                  "cuda_driver"}, "chosen": "int8" | "fp16" | "fp32" | "", "reason": text,
                  "payoff": as above or null, "passed": bool,
                  "engines": [{"precision", "active": bool, "plan": path or null, "built_because": [text],
                               "built": ISO 8601, "build_s", "notes": [text],
                               "selftest": `SelfTestResult.to_json()`,
                               "layers": `Readback.to_json()`: {"layers": n, "by_precision": {name: n},
                                 "convolutions": n, "convolutions_int8": n, "convolutions_float": [names],
                                 "reformats": [{"name", "from", "to"}], "fused_groups": [{"name", "nodes"}],
                                 "plan_bytes", "weight_bytes", "activation_bytes"}}]}
    profile      `ProfileResult.to_json()`: {"cases": [{"name", "model", "size", "backend", "precision",
                  "stages": {"decode" | "resize" | "infer" | "sink": LATENCY}, "frame_to_mask": LATENCY,
                  "total": LATENCY, "fps_p50", "fps_throughput", "drift": fraction,
                  "paper": {"source", "device", "time_ms", "fps"} or null, "engine": {...}, "layers"?: [...],
                  "energy"?: {"samples": n, "mean_mw", "mj_per_frame", "reason": why null} or null,
                  "samples": {"start_s": [...], "decode_ms": [...], ...}}],
                  "ratios": [{"model", "size", "backend", "against"?: "fp32" | "bf16" (else "fp32"),
                              "int8_over_fp32": over `against`, "ci95": [low, high], "speedup"}],
                  "conclusive": bool, "reasons": [text], "source": "1280x720", "burst": n,
                  "peak_rss_mb": x, "machine": {...},
                  "power"?: `PowerTrace.to_json()` or null (nobody looked),
                  "comparison"?: `Comparison.to_json()` with an older profile, or null}
    search       {"data": uri, "split", "images": n, "backend", "max_drop": points or null,
                  "max_class_drop": points or null, "passed": bool, "chosen": name of a step or null,
                  "reason": text, "fp32": {"miou": 0..1, "infer_ms"},
                  "steps": [{"name", "stage": "ptq" | "correction" | "fallback" | "qat", "miou": 0..1,
                             "drop_points", "worst_class": name, "worst_class_drop_points", "infer_ms",
                             "speedup": FP32 time over this one's, "passed": bool, "note"?: text}],
                  "sensitivity"?: [{"block", "convolutions": n,
                                    "only_drop_points": with only this block in INT8,
                                    "without_drop_points": with all but this block in INT8}]}
    qat          {"data": uri, "epochs": [{"epoch": n, "loss", "miou": 0..1 or null}],
                  "fp32_miou": 0..1, "start_miou": 0..1, after PTQ and before training, "best_miou": 0..1,
                  "ranges": "learned" | "frozen", "distillation": weight, "learning_rate", "batch": n}
    calibration  {"method"?: "ptq" | "qat", "observer": "entropy", "data": uri, "images": n, "seed": n,
                  "recipe"?: name, "corrections"?: ["equalization", "bias correction"],
                  "coverage"?: [{"class", "images": n that show it, "available": n of the split that do,
                                 "pixels": 0..1 of all calibrated, "split_pixels": 0..1 of the split's}],
                  "ranges": [{"tensor": name, "amax": x, "largest"?: magnitude seen,
                              "saturated"?: 0..1 of the values beyond amax,
                              "histogram"?: {"limit": x, "counts": [n in equal bins of magnitude, 0..limit]}}]
                            in graph order}
    lint         {"findings": [{"rule", "severity": "error" | "warning", "flavour", "node",
                                "message", "fix"}],
                  "convolutions": n, "int8": n, "kept_float": [names], "rules": [{"name", "what"}],
                  "engine"?: {"name", "version", "convolutions": n, "convolutions_int8": n}}
    run          {"source", "sinks": [uris], "frames": n, "dropped": n, "wall_s", "fps",
                  "deadline_ms"?, "deadline_misses"?: n, "frame_age"?: LATENCY, "stages"?: {name: LATENCY}}
    pictures     [{"caption", "file": path of a PNG, relative to the report's folder or absolute}]
    machine      `machine.describe_machine()`

    LATENCY      `LatencySummary.to_json()`: samples, mean_ms, p50_ms, p90_ms, p99_ms (null below 100
                 samples), min_ms, max_ms
"""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from bisenet_edge.errors import ArtifactError, SinkError, unknown_name
from bisenet_edge.resources import replace_when_written

SECTIONS = (
    "export", "accuracy", "evaluation", "payoff", "tensorrt", "profile", "search", "qat", "calibration",
    "lint", "run", "pictures", "machine",
)  # fmt: skip
REPORT_JSON = "report.json"
REPORT_HTML = "report.html"
HTML_PACKAGES = ("jinja2", "matplotlib")


@dataclass(frozen=True)
class WrittenReport:
    """What was written.

    Attributes:
        files: report.json, and report.html where it could be made.
        reason: why there is no report.html, with the remedy; "" when there is one.
    """

    files: Tuple[Path, ...]
    reason: str = ""


def write_report(folder: Path, report: Mapping[str, Any]) -> WrittenReport:
    """Write report.json and report.html into `folder`, replacing those that are there.

    On a device without jinja2 or matplotlib only report.json is written, an HTML of older figures is
    removed, and the result says why.

    Raises:
        UsageError: a section that is not one of `SECTIONS`.
        ArtifactError: a section lacks something that the page shows; nothing is written.
        SinkError: the folder cannot be written.
    """
    for section in report:
        if section not in SECTIONS:
            raise unknown_name("report section", section, SECTIONS)
    sections = plain(report)
    data, page = folder / REPORT_JSON, folder / REPORT_HTML
    missing = [name for name in HTML_PACKAGES if importlib.util.find_spec(name) is None]
    html = "" if missing else _render(folder, sections)
    _write(data, json.dumps(sections, indent=1, allow_nan=False) + "\n")
    if not missing:
        _write(page, html)
        return WrittenReport((data, page))
    # A page that contradicts report.json is worse than none.
    if page.exists():
        page.unlink()
    reason = f"no {REPORT_HTML}: {' and '.join(missing)} not installed (pip install {' '.join(missing)})"
    return WrittenReport((data,), reason)


def update_report(folder: Path, section: str, data: Any) -> WrittenReport:
    """Replace one section of the report in `folder` (an empty one when there is none yet).

    Raises:
        UsageError: a section that is not one of `SECTIONS`.
        ArtifactError: report.json is there but cannot be read, or a section lacks something.
        SinkError: the folder cannot be written.
    """
    return write_report(folder, {**read_report(folder), section: data})


def read_report(folder: Path) -> Dict[str, Any]:
    """The sections of the report in `folder`; empty when there is no report.

    Raises:
        ArtifactError: report.json cannot be read or is not a JSON object.
    """
    path = folder / REPORT_JSON
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ArtifactError(
            "a report cannot be read",
            got=f"{path}: {error}",
            expected="what bisenet-edge wrote",
            fix=f"remove it: rm '{path}'",
        ) from error
    if not isinstance(value, dict):
        raise ArtifactError(
            "a report is not a JSON object", got=str(path), expected="sections", fix=f"remove it: rm '{path}'"
        )
    return value


def plain(value: Any) -> Any:
    """`value` in plain JSON types: nan and infinity become null, paths text, tuples lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _render(folder: Path, sections: Dict[str, Any]) -> str:
    # Imported here: the page costs a second of imports that no other command should pay.
    from bisenet_edge.runtime.report.html import render

    return render(folder, sections)


def _write(path: Path, text: str) -> None:
    with replace_when_written(path) as temporary:
        try:
            temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SinkError("cannot write a report", got=f"{path}: {error.strerror}") from error
