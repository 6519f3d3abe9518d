"""A checkpoint with an INT8 twin: the FP32 weights it was trained from, and the fine-tuned INT8 network.

Both in one file, because the drop is measured between the two: the FP32 network under its own names, the
twin's state under `int8/`, and in the header what the twin's graph looks like.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from bisenet_edge.errors import CheckpointError
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.quant.fold import collapse_pairs, fold
from bisenet_edge.toolchain.quant.placement import insert_quantizers
from bisenet_edge.toolchain.quant.ptq import Quantized, Scheme

PREFIX = "int8/"


def with_twin(checkpoint: Checkpoint, quantized: Quantized, provenance: dict[str, Any]) -> Checkpoint:
    """Add an INT8 network to the checkpoint it was made from.

    Args:
        checkpoint: the FP32 network; tensors that are not its weights are left out.
        quantized: made from it.
        provenance: of the calibration pictures, as JSON.
    """
    weights = {key: value for key, value in checkpoint.tensors.items() if "/" not in key}
    state = {PREFIX + key: value for key, value in quantized.network.state_dict().items()}
    scheme = quantized.scheme
    description = {
        "method": quantized.method,
        "observer": scheme.observer,
        "corrections": list(scheme.corrections),
        "keep_float": sorted(scheme.keep_float),
        "collapsed": list(quantized.collapsed),
        "calibration": provenance,
    }
    return replace(checkpoint, tensors={**weights, **state}, quantization=description, sha256="")


def twin_of(checkpoint: Checkpoint) -> Quantized | None:
    """The INT8 network of a checkpoint, or None when it has none.

    Raises:
        CheckpointError: its tensors do not fit what the header says of its graph.
    """
    description = checkpoint.quantization
    if not description:
        return None
    keep_float = frozenset(description["keep_float"])
    graph = collapse_pairs(fold(checkpoint.build()), description["collapsed"].__contains__)
    network = insert_quantizers(graph, keep_float)
    state = {
        key.removeprefix(PREFIX): value for key, value in checkpoint.tensors.items() if key.startswith(PREFIX)
    }
    try:
        with torch.no_grad():
            network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            "the INT8 network of a checkpoint does not fit its description",
            got=str(error).splitlines()[1].strip(),
            expected="a checkpoint written by 'bisenet-edge train --qat'",
            fix="export it with --method ptq, which calibrates the FP32 weights anew",
        ) from error
    scheme = Scheme(description["observer"], tuple(description["corrections"]), keep_float)
    return Quantized(network, scheme, tuple(description["collapsed"]), description["method"])
