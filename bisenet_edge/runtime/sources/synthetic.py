"""A drive through a procedural street."""

from __future__ import annotations

from typing import Optional

import numpy as np

from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.datasets import parse_int, parse_options
from bisenet_edge.runtime.sources.base import Source

DEFAULTS = {"seed": "0", "size": "640x360", "fps": "30", "seconds": "10"}


class SyntheticSource(Source):
    """A drive through a procedural street; the same frames for the same options."""

    def __init__(self, uri: str, query: str) -> None:
        from bisenet_edge.runtime.streets import Scene

        options = parse_options(query.lstrip("/").lstrip("?"), DEFAULTS, uri)
        size = Size.parse(options["size"])
        fps = _parse_positive(options["fps"], "fps", uri)
        count = max(1, round(fps * _parse_positive(options["seconds"], "seconds", uri)))
        self._scene = Scene(parse_int(options["seed"], "seed", uri), size)
        super().__init__(uri, fps=fps, size_hw=size.hw, count=count)

    def _read(self, index: int, out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        if self.count is not None and index >= self.count:
            return None
        image: np.ndarray = self._scene.render(index / self.fps)[0]
        return image


def _parse_positive(text: str, name: str, uri: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < 1e6:
        raise UsageError(f"cannot read '{name}' in '{uri}'", got=repr(text), expected="a number above 0")
    return value
