"""What can go wrong in CUDA, in words, with what to do about it."""

from __future__ import annotations

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import symbols

DRIVER_FIX = (
    "on a Jetson: sudo apt install nvidia-jetpack && sudo reboot; "
    "in a container: docker run --runtime nvidia ...; "
    "on a PC: install or update the NVIDIA driver until nvidia-smi shows the GPU, "
    "or take the library of its major: pip install nvidia-cuda-runtime-cu12"
)
DEVICE_FIX = (
    "on a Jetson: run as a user of the group video (sudo usermod -aG video $USER); "
    "in a container: docker run --runtime nvidia ...; "
    "on a PC: nvidia-smi must show the GPU, and CUDA_VISIBLE_DEVICES must not hide it"
)
MEMORY_FIX = "end what else uses the GPU (on a PC: nvidia-smi; on a Jetson: free -m), or use a smaller --res"
MEANINGS = {
    symbols.INSUFFICIENT_DRIVER: "the NVIDIA driver is missing or too old",
    symbols.NO_DEVICE: "there is no NVIDIA GPU",
    symbols.OUT_OF_MEMORY: "out of GPU memory",
}
FIXES = {
    symbols.INSUFFICIENT_DRIVER: DRIVER_FIX,
    symbols.NO_DEVICE: DEVICE_FIX,
    symbols.OUT_OF_MEMORY: MEMORY_FIX,
}


class CudaError(BackendError):
    """A function of libcudart returned an error.

    Attributes:
        call: the function.
        code: the cudaError_t it returned.
        name: the name of the code, "cudaErrorMemoryAllocation".
    """

    def __init__(self, call: str, code: int, name: str, told: str) -> None:
        what = f"{MEANINGS[code]} ({call} failed)" if code in MEANINGS else f"{call} failed"
        super().__init__(what, got=f"{name} ({code}): {told}", fix=FIXES.get(code, ""))
        self.call = call
        self.code = code
        self.name = name


class CaptureError(BackendError):
    """Work that cannot be captured into a graph; the stream can be used as before.

    Attributes:
        reason: why, in one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("this work cannot be captured into a CUDA graph", got=reason)
        self.reason = reason
