"""State dicts from foreign files: PyTorch's `weights_only` loader or safetensors, never arbitrary pickle."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bisenet_edge.errors import CheckpointError

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
PARALLEL = "module."
# What PyTorch's loader raises for files with bytes changed at random.
BROKEN = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, AssertionError, AttributeError, TypeError,
    struct.error,
)  # fmt: skip
RESAVE = (
    "if you trust it, write its weights alone, where the training code is: "
    "python -c \"import torch; m = torch.load('{path}', weights_only=False); "
    "torch.save(m.state_dict(), 'weights.pth')\""
)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict: out of its wrapper, without DataParallel's prefix, floating point as float32.

    Args:
        path: a .pth, .pt or .tar file of `torch.save`, or a .safetensors file.

    Raises:
        CheckpointError: missing, corrupt, not loadable as weights alone, or without weights.
    """
    if not path.is_file():
        raise CheckpointError(
            "no checkpoint to import", got=str(path), expected="a .pth, .pt or .safetensors file"
        )
    loaded = _load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path)
    state = _unwrapped(loaded, path)
    while state and all(key.startswith(PARALLEL) for key in state):
        state = {key.removeprefix(PARALLEL): value for key, value in state.items()}
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise _corrupt(path, error) from error


def _load_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own formats; what matters is an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "invalid load key" in str(error) or "Unsupported operand" in str(error):
            raise _corrupt(path, error) from error
        raise CheckpointError(
            "this file needs Python objects unpickled, which could run any code: refused",
            got=f"{path}: {_reason(error)}",
            expected="tensors, numbers and text alone",
            fix=RESAVE.format(path=path),
        ) from error
    except BROKEN as error:
        raise _corrupt(path, error) from error


def _reason(error: Exception) -> str:
    # torch's message is a page; the line that names the object says it.
    lines = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "Unsupported" in line]
    return (lines or [str(error).splitlines()[0]])[0][:160]


def _corrupt(path: Path, error: Exception) -> CheckpointError:
    first = (str(error).splitlines() or [repr(error)])[0]
    return CheckpointError(
        "cannot read a checkpoint to import",
        got=f"{path}: {first[:160]}",
        expected="a whole file of torch.save, or .safetensors",
        fix="download or copy the file again",
    )


def _unwrapped(loaded: Any, path: Path) -> dict[str, Tensor]:
    value = loaded
    while isinstance(value, Mapping):
        if value and all(isinstance(item, Tensor) for item in value.values()):
            return {str(key): item for key, item in value.items()}
        inner = [value[name] for name in WRAPPERS if isinstance(value.get(name), Mapping)]
        if not inner:
            break
        value = inner[0]
    raise CheckpointError(
        "no weights in this file",
        got=f"{path}: {_described(value)}",
        expected=f"a state dict, or one under {', '.join(WRAPPERS)}",
        fix="save model.state_dict() with torch.save",
    )


def _described(value: Any) -> str:
    if not isinstance(value, Mapping):
        return type(value).__name__
    keys = ", ".join(str(key) for key in list(value)[:5])
    return f"a dictionary of {len(value)}: {keys}" if value else "an empty dictionary"
