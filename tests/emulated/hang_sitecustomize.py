"""The booted tree's sitecustomize: ONNX Runtime hangs while a file is there, as with a stuck driver."""

import time
from pathlib import Path

import onnxruntime

_SWITCH = Path("/run/engine-hangs")
_run = onnxruntime.InferenceSession.run


def _run_or_hang(self, *arguments, **options):
    while _SWITCH.exists():
        time.sleep(0.1)
    return _run(self, *arguments, **options)


onnxruntime.InferenceSession.run = _run_or_hang
