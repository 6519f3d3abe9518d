"""ONNX Runtime with the plain export, and with its own static quantization."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .base import Contestant, Outcome, usual_input, usual_mask

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


VIDEO_S = 1.0
"""How long the plain loop runs: a whole video would take most of the benchmark's time."""


class _OnnxRuntime(Contestant):
    output = "full"
    """Output of the graph that makes masks: "full" (argmax by numpy) or "mask" (argmax in the graph)."""

    def path(self, output: str) -> Path:
        """The graph with this output."""
        return self.material.plain(output)

    def load(self) -> None:
        self._to_logits = self._open(self.path("logits"))
        self._to_mask = self._open(self.path(self.output))

    def _open(self, path: Path) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        # Threads spin during a frame, as by default, and stop behind it: others have their turn then.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def ready(self, frame: np.ndarray) -> np.ndarray:
        return usual_input(frame)

    def network(self, ready: np.ndarray) -> object:
        return self._to_logits.run(None, {"image": ready})

    def mask(self, frame: np.ndarray) -> np.ndarray:
        (found,) = self._to_mask.run(None, {"image": usual_input(frame)})
        return usual_mask(found) if self.output == "full" else found[0]


class OrtFp32(_OnnxRuntime):
    """What one writes first, and the baseline of all ratios."""

    title = "ONNX Runtime FP32, plain"

    def jobs(self) -> dict[str, Callable[[int], Outcome]]:
        return {**super().jobs(), "video": self._video}

    def _video(self, number: int) -> tuple[float, dict[str, float]]:
        """The loop that one writes first: read, segment, next."""
        start_s, frames = time.perf_counter(), 0
        video = cv2.VideoCapture(str(self.material.clip))
        while time.perf_counter() - start_s < VIDEO_S:
            got, frame = video.read()
            if not got:
                break
            self.mask(frame)
            frames += 1
        video.release()
        return 1e3 * (time.perf_counter() - start_s) / frames, {"frames": float(frames)}


class OrtFp32Argmax(_OnnxRuntime):
    title = "ONNX Runtime FP32, argmax in the graph"
    output = "mask"


class OrtStaticU8(_OnnxRuntime):
    """`quantize_static` on the float graph to full-size logits, per channel; argmax in numpy."""

    title = "ONNX Runtime quantize_static, uint8"
    precision = "int8"
    activations = "QUInt8"

    def path(self, output: str) -> Path:
        return self.material.folder / f"static.{self.activations}.{output}.onnx"

    def prepare(self) -> None:
        wanted = [output for output in ("logits", self.output) if not self.path(output).is_file()]
        if not wanted:
            return
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quant_pre_process,
            quantize_static,
        )

        frames = self.material.calibration()

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self._inputs = iter([{"image": usual_input(frame)} for frame in frames])

            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(self._inputs, None)

        for output in wanted:
            clean = self.path(output).with_suffix(".clean")
            quant_pre_process(str(self.material.plain(output)), str(clean), skip_symbolic_shape=True)
            quantize_static(
                str(clean),
                str(self.path(output)),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType[self.activations],
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": self.activations == "QInt8"},
            )
            clean.unlink()


class OrtStaticS8(OrtStaticU8):
    title = "ONNX Runtime quantize_static, int8 symmetric"
    activations = "QInt8"
