"""What every inference engine does: one BGR frame in, one mask out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Dict, Optional, Type

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import BackendError

BF16 = "bf16"
"""A flavour without a file of its own: the FP32 graph, computed in BF16 where an engine can."""


class Session(ABC):
    """An artifact loaded into an engine. Open with `backends.open_session`, close when done.

    Not thread-safe: one session serves one thread. Engines implement `_infer` and `_close`.

    Attributes:
        backend: name of the engine ("openvino", "onnxruntime", "reference", "null").
        precision: flavour that runs ("int8", "fp32", "bf16", ...).
        artifact: where the model came from: its size, labels and files.
    """

    backend = ""

    def __init__(self, artifact: Artifact, precision: str) -> None:
        self.artifact = artifact
        self.precision = precision
        self._mask = np.zeros(artifact.manifest.size.hw, np.uint8)
        self._open = True

    def infer(self, frame: np.ndarray, out: Optional[np.ndarray] = None) -> np.ndarray:
        """Segment one frame.

        Args:
            frame: uint8 [H, W, 3], BGR, of the artifact's size (`runtime.fit` makes it so).
            out: uint8 [H, W] to write the mask into; without it a buffer of the session is used,
                valid until the next call.

        Returns:
            the mask, uint8 [H, W], train ids.

        Raises:
            BackendError: wrong shape or dtype, a closed session, or a failure of the engine.
        """
        size = self.artifact.manifest.size
        if frame.shape != (*size.hw, 3) or frame.dtype != np.uint8:
            raise BackendError(
                "a frame does not fit the network",
                got=f"{frame.dtype} {list(frame.shape)}",
                expected=f"uint8 [{size.height}, {size.width}, 3]",
            )
        if not self._open:
            raise BackendError("this session is closed", got=f"{self.backend} {self.precision}")
        mask = self._mask if out is None else out
        self._infer(frame, mask)
        return mask

    @abstractmethod
    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        """Write the mask of `frame` into `mask`."""

    def _close(self) -> None:
        """Free what the engine holds."""

    def describe(self) -> Dict[str, Any]:
        """What the engine made of the model: version, threads, convolutions by precision where it tells."""
        return {"backend": self.backend, "precision": self.precision}

    def close(self) -> None:
        """Free the engine; further `infer` calls fail. May be called twice."""
        if self._open:
            self._open = False
            self._close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()
