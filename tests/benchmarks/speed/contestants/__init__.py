"""Who takes part, by name. A contestant's module is imported in its own process, not here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from .base import Contestant


@dataclass(frozen=True)
class Entrant:
    """Where a contestant is.

    Attributes:
        module: in this package.
        class_name: there.
    """

    module: str
    class_name: str

    def load_class(self) -> type[Contestant]:
        """Import it."""
        module = importlib.import_module(f".{self.module}", __package__)
        found: type[Contestant] = getattr(module, self.class_name)
        return found


ENTRANTS = {
    "ours-int8": Entrant("ours", "OursInt8"),
    "ours-int8-files": Entrant("ours", "OursInt8Files"),
    "ours-bf16": Entrant("ours", "OursBf16"),
    "ours-fp32": Entrant("ours", "OursFp32"),
    "ours-ort-int8": Entrant("ours", "OursOrtInt8"),
    "ours-ort-fp32": Entrant("ours", "OursOrtFp32"),
    "torch-fp32": Entrant("pytorch", "TorchFp32"),
    "torch-bf16": Entrant("pytorch", "TorchBf16"),
    "torch-compile-fp32": Entrant("pytorch", "TorchCompileFp32"),
    "torch-compile-bf16": Entrant("pytorch", "TorchCompileBf16"),
    "ort-fp32": Entrant("onnx_runtime", "OrtFp32"),
    "ort-fp32-argmax": Entrant("onnx_runtime", "OrtFp32Argmax"),
    "ort-static-u8": Entrant("onnx_runtime", "OrtStaticU8"),
    "ort-static-s8": Entrant("onnx_runtime", "OrtStaticS8"),
    "openvino-fp32": Entrant("open_vino", "OpenVinoFp32"),
    "openvino-bf16": Entrant("open_vino", "OpenVinoBf16"),
    "nncf-int8": Entrant("open_vino", "NncfInt8"),
    "nncf-int8-ppp": Entrant("open_vino", "NncfInt8InGraph"),
    "nncf-int8-topk": Entrant("open_vino", "NncfInt8TopK"),
    "ncnn-fp32": Entrant("tencent_ncnn", "NcnnFp32"),
    "peak-openvino-int8": Entrant("peaks", "OpenVinoInt8Peak"),
    "peak-openvino-bf16": Entrant("peaks", "OpenVinoBf16Peak"),
    "peak-openvino-fp32": Entrant("peaks", "OpenVinoFp32Peak"),
    "peak-ort-int8": Entrant("peaks", "OrtInt8Peak"),
    "peak-ort-fp32": Entrant("peaks", "OrtFp32Peak"),
    "peak-copy": Entrant("peaks", "CopyPeak"),
    "streams-1": Entrant("streams", "OneStream"),
    "streams-2": Entrant("streams", "TwoStreams"),
    "streams-3": Entrant("streams", "ThreeStreams"),
    "streams-4": Entrant("streams", "FourStreams"),
}
"""Name -> contestant: ours, the peers, the machine's peaks, and several cameras on one engine."""

OURS = tuple(name for name in ENTRANTS if name.startswith("ours-"))
PEAKS = tuple(name for name in ENTRANTS if name.startswith("peak-"))
STREAMS = tuple(name for name in ENTRANTS if name.startswith("streams-"))
PEERS = tuple(name for name in ENTRANTS if name not in (*OURS, *PEAKS, *STREAMS))
