"""What the three ways to read a camera or stream have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Optional, Tuple

import numpy as np


class FrameReader(ABC):
    """Hands over frames as they come. Raises PipelineError when it stops with an error.

    Attributes:
        size_hw: (height, width) of the newest frame.
        fps: nominal frames per second; nan if unknown.
        captured_ns: `time.monotonic_ns()` of the newest frame's capture or arrival.
        corrupt: damaged frames that were thrown away.
        ended: the stream has ended without an error.
    """

    size_hw: Tuple[int, int] = (0, 0)
    fps = float("nan")
    captured_ns = 0
    corrupt = 0
    ended = False

    @abstractmethod
    def poll(self, out: Optional[np.ndarray], timeout_s: float) -> Optional[np.ndarray]:
        """The next frame, uint8 [H, W, 3], BGR, in `out` where it fits; None if none came in time.

        Raises:
            PipelineError: the camera or stream is gone.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the camera."""
