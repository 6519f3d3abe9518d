"""TensorRT on an NVIDIA GPU: an engine built on the device, two frames in flight."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.tensorrt.engine import LANES, Engine


class TensorRTSession(Session):
    """An artifact's engine. `runtime.tensorrt.compile.open_ready` opens one.

    Attributes:
        engine: the loaded plan; closed with the session.
    """

    backend = "tensorrt"
    in_flight = LANES

    def __init__(self, artifact: Artifact, precision: str, engine: Engine) -> None:
        super().__init__(artifact, precision)
        self.engine = engine

    def _submit(self, frame: np.ndarray, mask: np.ndarray) -> None:
        self.engine.submit(frame)

    def _finish(self, mask: np.ndarray) -> None:
        self.engine.finish(mask, ahead=self.pending)

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        self.engine.submit(frame)
        self.engine.finish(mask, ahead=0)

    def describe(self) -> Dict[str, Any]:
        """Engine, versions, device, memory kind, CUDA graph, and the layers as the builder made them."""
        engine = self.engine
        layers = engine.read_back()
        return {
            **super().describe(),
            "version": engine.version,
            "gpu": engine.cuda.device.name,
            "memory": "mapped" if engine.mapped else "pinned",
            "cuda_graph": engine.graph_refusal or "replayed",
            "convolutions": len(layers.convolutions),
            "convolutions_int8": len(layers.convolutions) - len(layers.floating),
            "convolutions_float": list(layers.floating),
            "reformats": len(layers.reformats),
        }

    def time_layers(self, frames: Sequence[np.ndarray]) -> List[Dict[str, Any]]:
        """What each layer costs on the GPU, by TensorRT's own profiler."""
        return self.engine.time_layers(frames)

    def _close(self) -> None:
        self.engine.close()
