"""What every piece of CUDA has in common: it is open, it is closed once, and it frees what it holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Callable, Dict, Optional

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda.library import Cudart
from bisenet_edge.runtime.cuda.symbols import HANDLE


def run_all(*steps: Callable[[], None]) -> None:
    """Run every step, whether others fail or not; then raise the first BackendError there was."""
    first: Optional[BackendError] = None
    for step in steps:
        try:
            step()
        except BackendError as error:
            first = first or error
    if first is not None:
        raise first


class Resource(ABC):
    """Something that CUDA has given and gets back on `close`, at the latest when the runtime is closed.

    Nothing is freed when Python forgets the object or ends: the runtime keeps all open ones, and the driver
    frees what a process leaves.

    Args:
        cudart: the library.
        live: the open resources of the runtime, in the order in which they were made.
    """

    kind = ""

    def __init__(self, cudart: Cudart, live: Dict[Resource, None]) -> None:
        self._cudart = cudart
        self._live = live
        self._handle = HANDLE()
        self._open = False

    def _opened(self) -> None:
        """To be called when everything has been acquired."""
        self._open = True
        self._live[self] = None

    def check_open(self) -> None:
        """Raise BackendError if this is closed."""
        if not self._open:
            raise BackendError(f"this {self.kind} is closed")

    @property
    def argument(self) -> HANDLE:
        """The handle as the library takes it. Raises BackendError if this is closed."""
        self.check_open()
        return self._handle

    def close(self) -> None:
        """Wait for the GPU, then free. May be called twice.

        Raises:
            CudaError: something that ran on the GPU has failed, or freeing fails; what can be freed is.
        """
        if not self._open:
            return
        self._open = False
        self._live.pop(self, None)
        # Work that is still queued may use it.
        run_all(lambda: self._cudart.call("cudaDeviceSynchronize"), self._free)

    @abstractmethod
    def _free(self) -> None:
        """Give it back."""
