"""This package's CPU engines, through the interface that `run` uses."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.pipeline.run import run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.sinks import open_sink
from bisenet_edge.runtime.sources import open_source

from .base import Contestant, Outcome

FLOW = 20
"""Frames of one sample; the first and last few are not overlapped."""


class _Ours(Contestant):
    backend = "openvino"

    def load(self) -> None:
        self._artifact = Artifact.open(self.material.artifact)
        self._session = self._open()

    def _open(self) -> Session:
        return open_session(self._artifact, self.precision, backend=self.backend, threads=self.threads)

    def jobs(self) -> dict[str, Callable[[int], Outcome]]:
        jobs = super().jobs()
        if not hasattr(self._session, "run_network"):
            del jobs["network"]
        return jobs

    def network(self, ready: np.ndarray) -> object:
        return self._session.run_network(ready)  # type: ignore[attr-defined]

    def mask(self, frame: np.ndarray) -> np.ndarray:
        return self._session.infer(frame)


class OursInt8(_Ours):
    title = "ours, OpenVINO INT8"
    precision = "int8"


class OursInt8Files(OursInt8):
    """As `run` opens a file: several frames in flight where the engine takes them."""

    title = "ours, OpenVINO INT8, files"

    def _open(self) -> Session:
        return open_session(
            self._artifact, self.precision, backend=self.backend, threads=self.threads, throughput=True
        )

    def jobs(self) -> dict[str, Callable[[int], Outcome]]:
        self._frames = self.material.frames()
        return {"flow": self._flow, "video": self._video}

    def _flow(self, number: int) -> float:
        """Frames that are in memory already: milliseconds per frame."""
        start_ns = time.perf_counter_ns()
        session, frames = self._session, self._frames
        for index in range(FLOW):
            if session.pending == session.in_flight:
                session.finish()
            session.submit(frames[(number + index) % len(frames)])
        while session.pending:
            session.finish()
        return (time.perf_counter_ns() - start_ns) / 1e6 / FLOW

    def _video(self, number: int) -> tuple[float, dict[str, float]]:
        """A video file to masks with `pipeline.run`; decoding shares the cores."""
        with open_source(str(self.material.clip)) as source:
            sink = open_sink("null://", self._artifact.manifest.labels, source.fps)
            report = run(source, Segmenter(self._session), [sink])
        return 1e3 / report.fps, {"in_flight": float(self._session.in_flight)}


class OursBf16(_Ours):
    title = "ours, OpenVINO BF16"
    precision = "bf16"


class OursFp32(_Ours):
    title = "ours, OpenVINO FP32"


class OursOrtInt8(_Ours):
    title = "ours, ONNX Runtime INT8 (fallback)"
    precision = "int8"
    backend = "onnxruntime"


class OursOrtFp32(_Ours):
    title = "ours, ONNX Runtime FP32 (fallback)"
    backend = "onnxruntime"
