"""What a program is told of one frame, as JSON."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any, Dict

import numpy as np

from bisenet_edge.frame import Frame
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.class_areas import class_areas


def frame_record(frame: Frame, mask: np.ndarray, labels: LabelSet) -> Dict[str, Any]:
    """What a frame shows, when it was taken, how long it took.

    {"frame": 42, "captured": "2026-01-31T12:00:00.123456+00:00", "captured_ns": 81234567890,
     "age_ms": 21.4, "size": [360, 640], "areas": {"road": 0.4213, "car": 0.0312}, "stages_ms": {"infer": 9}}

    `areas` names the classes that are there and their share of the pixels. `age_ms` is counted from the
    capture until now. `stages_ms` is there where the pipeline measured it.

    Args:
        frame: of which `captured_ns` is of `time.monotonic_ns()`.
        mask: uint8 [h, w], train ids.
        labels: C classes.
    """
    age_ns = time.monotonic_ns() - frame.captured_ns
    captured = datetime.fromtimestamp((time.time_ns() - age_ns) / 1e9, timezone.utc)
    record: Dict[str, Any] = {
        "frame": frame.index,
        "captured": captured.isoformat(timespec="microseconds"),
        "captured_ns": frame.captured_ns,
        "age_ms": round(age_ns / 1e6, 3),
        "size": list(mask.shape),
        "areas": {name: round(share, 6) for name, share in class_areas(mask, labels).items() if share},
    }
    if frame.stages_ms is not None:
        record["stages_ms"] = {stage: round(ms, 3) for stage, ms in frame.stages_ms.items()}
    return record
