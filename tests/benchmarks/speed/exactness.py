"""Whether the exact cell argmax gives what up-sampling and argmax give, on the logits of our INT8 network."""

from __future__ import annotations

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.runtime.backends import open_session

from .material import Material


def differing_pixels(material: Material) -> tuple[int, int]:
    """Compare with torch's bilinear up-sampling (half-pixel) and argmax of the same logits.

    Returns:
        pixels that differ, and all pixels.
    """
    import torch
    from torch.nn import functional

    differ = total = 0
    with open_session(Artifact.open(material.artifact), "int8", backend="openvino") as session:
        for frame in material.frames():
            mask = session.infer(frame).copy()
            logits = torch.from_numpy(session.run_network(frame).copy())[None]  # type: ignore[attr-defined]
            full = functional.interpolate(logits, size=mask.shape, mode="bilinear", align_corners=False)
            differ += int(np.count_nonzero(full.argmax(1)[0].numpy() != mask))
            total += mask.size
    return differ, total
