"""State dicts from foreign files: PyTorch's `weights_only` loader or safetensors, never arbitrary pickle."""

from __future__ import annotations

import json
import pickle
import re
import shlex
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
    "import torch; v = torch.load({path}, weights_only=False); "
    'v = v.get("state_dict", v.get("model", v)) if isinstance(v, dict) else v; '
    'torch.save(dict(v.state_dict() if hasattr(v, "state_dict") else v), "weights.pth")'
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
            got=f"{path}: {_stranger(error)}",
            expected="tensors, numbers and text alone",
            fix="if you trust it, write its weights alone, where the training code is: "
            + shlex.join(["python", "-c", RESAVE.format(path=json.dumps(str(path)))]),
        ) from error
    except BROKEN as error:
        raise _corrupt(path, error) from error


def _stranger(error: Exception) -> str:
    # torch's message is a page, and advises to allow the object; its name says enough.
    named = re.search(r"GLOBAL (\S+)", str(error))
    return f"it holds {named.group(1)}" if named else _first_line(error)


def _first_line(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return first[:160] if " " in first else repr(error)[:160]  # a bare 101 says nothing


def _corrupt(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        "cannot read a checkpoint to import",
        got=f"{path}: {_first_line(error)}",
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
