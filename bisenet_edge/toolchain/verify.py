"""Is the exported graph the network? Masks of torch and of every engine compared on frames."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import ExportError
from bisenet_edge.metrics import agreement
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.toolchain.onnx_graph import FrameToMask

# Least share of equal pixels, by what is compared, where floating point alone is at work. ONNX Runtime
# computes float16 graphs in FP32 on a CPU, so there only the constants are rounded, as they are in what torch
# computes for the comparison. (On CamVid that changes 0.05 % of the pixels, and so does rounding every tensor
# between as well; of networks with random weights it changes several per cent.)
LEAST_AGREEMENT = {
    "fp32 reference": 0.999,
    "fp32 openvino": 0.999,
    "fp32 onnxruntime": 0.999,
    "fp16-typed reference": 0.995,
}
# Of two right INT8 implementations each rounds a few values in a million to the other neighbour (sums in
# another order), and 60 layers spread that: they differ about as much as quantization itself changes the
# mask. One that differs by more than this many times that, and a half per cent, computes something else.
# (OpenVINO's wrong Concat differed by 2.1 times, everything right by 0.3 to 1.1 times.) ONNX Runtime's
# integer kernels need a few quantizers more, and clamp: 0.3 to 0.9 times on the shipped network, 1.9 times
# on a ResNet-18. The typed graph rounds everything between to float16 first, which moves many values to a
# neighbour.
INT8_SPREAD = {
    "int8 reference": 1.5,
    "int8 openvino": 1.5,
    "int8 onnxruntime": 2.5,
    "int8-typed reference": 2.0,
}
INT8_SLACK = 0.005


def verify(
    artifact: Artifact,
    networks: dict[str, fx.GraphModule],
    frames: Sequence[np.ndarray],
    progress: Progress = quiet,
) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """Compare every model file of an artifact with the torch network it came from.

    Args:
        artifact: complete but for its golden frames.
        networks: "fp32" and, with INT8, "int8": what torch evaluates.
        frames: uint8 [H, W, 3] BGR, of the artifact's size.
        progress: told after each comparison.

    Returns:
        (figures, reference masks): per comparison the share of equal pixels, with OpenVINO's account of
        its convolutions; and per precision the reference masks for the device.

    Raises:
        ExportError: masks agree less than they must, or no convolution of the INT8 graph runs in INT8.
    """
    cores = {**networks, "fp16-typed": _half_constants(networks["fp32"])}
    references = {name: [_torch_mask(core, artifact, f) for f in frames] for name, core in cores.items()}
    figures: dict[str, Any] = {"frames": len(frames)}
    golden: dict[str, list[np.ndarray]] = {}
    least = dict(LEAST_AGREEMENT)
    if "int8" in networks:
        changed = 1 - _mean_agreement(references["int8"], references["fp32"])
        figures["int8 torch against fp32"] = round(1 - changed, 6)
        least.update({key: 1 - spread * changed - INT8_SLACK for key, spread in INT8_SPREAD.items()})
    for done, key in enumerate(least, 1):
        flavour, backend = key.split()
        reference = references["int8" if flavour.startswith("int8") else flavour]
        with open_session(artifact, flavour, backend=backend) as session:
            masks = [session.infer(frame).copy() for frame in frames]
            described = session.describe()
        share = _mean_agreement(masks, reference)
        if share < least[key]:
            raise ExportError(
                f"the {flavour} graph on {backend} is not the network it was exported from",
                got=f"{share:.2%} of pixels agree with torch on {len(frames)} frames",
                expected=f"at least {least[key]:.2%}",
                # After a few steps the values of a network explode from layer to layer, and its masks hang
                # on each rounding.
                fix="train it longer if it has learnt little yet; else report this with the checkpoint "
                "(the artifact was not written)",
            )
        figures[key] = round(share, 6)
        if backend == "openvino":
            figures[f"{key} convolutions"] = _convolutions(described, flavour)
        elif backend == "reference" and flavour in networks:
            golden[flavour] = masks
        progress("verifying", done, len(least))
    return figures, golden


def _convolutions(described: dict[str, Any], flavour: str) -> dict[str, Any]:
    floating = described["convolutions_float"]
    if flavour == "int8" and described["convolutions"] == len(floating):
        raise ExportError("no convolution of the INT8 graph runs in INT8", got=", ".join(floating[:5]))
    return {
        "total": described["convolutions"],
        "int8": described["convolutions_int8"],
        "float": floating if flavour == "int8" else [],
    }


def _half_constants(core: fx.GraphModule) -> fx.GraphModule:
    """The network with its weights rounded to float16, which is all that the typed graph changes here."""
    rounded = copy.deepcopy(core)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.half().float())
    return rounded


def _mean_agreement(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    return float(np.mean([agreement(a, b) for a, b in zip(first, second)]))


def _torch_mask(core: fx.GraphModule, artifact: Artifact, frame: np.ndarray) -> np.ndarray:
    module = FrameToMask(core, artifact.manifest.size).eval()
    with torch.inference_mode():
        return np.asarray(module(torch.from_numpy(frame)[None])[0].numpy())
