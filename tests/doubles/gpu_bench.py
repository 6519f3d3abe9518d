"""A device of doubles: a GPU (`cudart_double`) and a TensorRT (`tensorrt_double`) that work together.

`bench` is a fixture for all tests; what is installed and what the GPU is may be exchanged with `bench.put`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cudart_double import CudartDouble
from tensorrt_double import Faults, installed, make_tensorrt, world_of

from bisenet_edge.runtime.cuda import runtime as cuda_runtime
from bisenet_edge.runtime.cuda.library import Cudart

VERSIONS = ("8.5", "8.6", "10.3", "10.13", "10.16", "11.4")
"""TensorRT of JetPack 5, 6.0, 6.1 and newer, 7.0, 7.2, and 7.2.2."""


def is_strong(version: str) -> bool:
    """Whether engines are built strongly typed there."""
    return version in ("10.13", "10.16", "11.4")


class Bench:
    """What `import tensorrt` and libcudart give, until the stack is closed.

    Attributes:
        gpu: the double of libcudart.
        trt: the double of the module.
        faults: of TensorRT; may be changed.
        world: what was built and logged.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self._monkeypatch, self._stack = monkeypatch, stack
        self.put()

    def put(self, version: str = "10.3", **gpu: object) -> None:
        """Exchange the device: a version of `VERSIONS`, and what `CudartDouble` takes."""
        self.faults = Faults()
        self.gpu = CudartDouble(**gpu)  # type: ignore[arg-type]
        self._monkeypatch.setattr(cuda_runtime, "find_cudart", lambda: Cudart(self.gpu))
        self.trt = self._stack.enter_context(installed(make_tensorrt(version, self.gpu, self.faults)))
        self.world = world_of(self.trt)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    """A device with TensorRT 10.3 and an empty engine cache."""
    monkeypatch.setenv("BISENET_EDGE_CACHE", str(tmp_path / "cache"))
    with ExitStack() as stack:
        yield Bench(monkeypatch, stack)
