"""What every inference engine does: one BGR frame in, one mask out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import Any, Deque, Dict, List, Optional, Sequence, Type

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import BackendError

BF16 = "bf16"
"""A flavour without a file of its own: the FP32 graph, computed in BF16 where an engine can."""
FP16 = "fp16"
"""A flavour of TensorRT: built from "fp16-typed", or from the FP32 file where typing is weak."""


def masks_alone(backend: str) -> BackendError:
    """The error for an engine that is asked for class scores, and whose graph ends in the mask."""
    return BackendError(
        f"the engine '{backend}' gives masks, not class scores: its graph ends in the mask",
        got=backend,
        expected="openvino, onnxruntime or reference, where views of a picture are to be averaged",
        fix="--backend cpu runs the same model file; or leave --scales, --flip and --slide out",
    )


class Session(ABC):
    """An artifact loaded into an engine. Open with `backends.open_session`, close when done.

    Not thread-safe: one session serves one thread. Engines implement `_infer` and `_close`; one that
    computes while the caller goes on implements `_submit` and `_finish` too, and says how many frames it
    takes.

    Attributes:
        backend: name of the engine ("tensorrt", "openvino", "onnxruntime", "reference", "null").
        in_flight: how many frames may be submitted before the oldest must be finished; an engine for which
            that is a choice sets it before `Session.__init__`.
        precision: flavour that runs ("int8", "fp32", "bf16", ...).
        artifact: where the model came from: its size, labels and files.
    """

    backend = ""
    in_flight = 1

    def __init__(self, artifact: Artifact, precision: str) -> None:
        self.artifact = artifact
        self.precision = precision
        self._masks = [np.zeros(artifact.manifest.size.hw, np.uint8) for _ in range(self.in_flight)]
        self._submitted = 0
        self._pending: Deque[np.ndarray] = deque()
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
            BackendError: wrong shape or dtype, a closed session, frames still in flight, or a failure of
                the engine.
        """
        if self._pending:
            raise BackendError(
                "frames are still in flight", got=f"{len(self._pending)}", fix="finish them before infer"
            )
        self.submit(frame, out)
        return self.finish()

    @property
    def pending(self) -> int:
        """Frames that were submitted and not finished."""
        return len(self._pending)

    def submit(self, frame: np.ndarray, out: Optional[np.ndarray] = None) -> None:
        """Begin to segment a frame; `finish` gives the masks in the order of submission.

        Args:
            frame: as for `infer`; may be changed as soon as this returns.
            out: uint8 [H, W] for the mask; without it a buffer of the session is used, valid until
                `in_flight` more frames were submitted.

        Raises:
            BackendError: wrong shape or dtype, a closed session, `in_flight` frames pending already, or a
                failure of the engine.
        """
        self._expect(frame)
        if len(self._pending) == self.in_flight:
            raise BackendError(
                "too many frames in flight",
                got=f"{len(self._pending) + 1}",
                expected=f"at most {self.in_flight} on {self.backend}",
                fix="finish one first",
            )
        mask = self._masks[self._submitted % self.in_flight] if out is None else out
        self._submit(frame, mask)
        self._submitted += 1
        self._pending.append(mask)

    def finish(self) -> np.ndarray:
        """Wait for the oldest submitted frame.

        Returns:
            its mask, uint8 [H, W], train ids.

        Raises:
            BackendError: nothing was submitted, a closed session, or a failure of the engine.
        """
        if not self._open:
            raise BackendError("this session is closed", got=f"{self.backend} {self.precision}")
        if not self._pending:
            raise BackendError("no frame is in flight", fix="submit one first")
        mask = self._pending.popleft()
        self._finish(mask)
        return mask

    def logits(self, frame: np.ndarray) -> np.ndarray:
        """Class scores of one frame, from which engines make the mask.

        Args:
            frame: as for `infer`.

        Returns:
            float32 [C, h, w], of the (padded) frame, 1/8 of its size for BiSeNet; valid until the next call.

        Raises:
            BackendError: this engine gives masks alone; else as `infer`.
        """
        self._expect(frame)
        if self._pending:
            raise BackendError(
                "frames are still in flight", got=f"{len(self._pending)}", fix="finish them before logits"
            )
        return self._logits_of(frame)

    def _expect(self, frame: np.ndarray) -> None:
        size = self.artifact.manifest.size
        if frame.shape != (*size.hw, 3) or frame.dtype != np.uint8:
            raise BackendError(
                "a frame does not fit the network",
                got=f"{frame.dtype} {list(frame.shape)}",
                expected=f"uint8 [{size.height}, {size.width}, 3]",
            )
        if not self._open:
            raise BackendError("this session is closed", got=f"{self.backend} {self.precision}")

    def _submit(self, frame: np.ndarray, mask: np.ndarray) -> None:
        """Begin a frame. Here: do it at once."""
        self._infer(frame, mask)

    def _finish(self, mask: np.ndarray) -> None:
        """Complete the oldest frame into `mask`. Here: it is."""

    @abstractmethod
    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        """Write the mask of `frame` into `mask`."""

    def _logits_of(self, frame: np.ndarray) -> np.ndarray:
        """The logits of `frame`. Here: there are none."""
        raise masks_alone(self.backend)

    def _close(self) -> None:
        """Free what the engine holds."""

    def describe(self) -> Dict[str, Any]:
        """What the engine made of the model: version, threads, convolutions by precision where it tells."""
        return {"backend": self.backend, "precision": self.precision}

    def time_layers(self, frames: Sequence[np.ndarray]) -> List[Dict[str, Any]]:
        """What each layer costs, in order of execution.

        Args:
            frames: at least one, as for `infer`.

        Returns:
            per layer "name", "kind", "precision", "reformat" (whether it only changes type or layout) and its
            median "p50_ms". Each layer waits for the one before: the sum is more than a frame takes.

        Raises:
            BackendError: this engine does not time layers.
        """
        raise BackendError(
            "this engine does not tell what its layers cost",
            got=self.backend,
            expected="tensorrt",
            fix="leave --layers out, or profile on a device with TensorRT",
        )

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
