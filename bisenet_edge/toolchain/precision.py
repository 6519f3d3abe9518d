"""In which numbers a network is trained."""

from __future__ import annotations

import torch

from bisenet_edge.errors import MissingDependencyError, UsageError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that a device does not have; never take another one in its place.

    Args:
        precision: "bf16", "fp16" or "fp32".

    Raises:
        UsageError: FP16 on a CPU.
        MissingDependencyError: BF16 on an NVIDIA GPU older than Ampere.
    """
    if precision == "fp16" and device.type != "cuda":
        raise UsageError(
            "FP16 training is for NVIDIA GPUs",
            got=f"precision fp16 on {device}",
            expected="bf16 (the range of FP32, no loss scaling) or fp32",
            fix="--precision bf16",
        )
    if precision == "bf16" and device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if major < 8:
            raise MissingDependencyError(
                "this GPU has no BF16",
                got=f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}",
                expected="8.0 or newer for bf16",
                fix="--precision fp16",
            )


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Run the block's convolutions in `precision`; what needs FP32 stays in it."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")
