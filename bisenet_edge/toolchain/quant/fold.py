"""From the trained network to the one that is quantized and exported: fewer, equal operations.

`fold` traces the network with torch.fx and folds batch normalisation into the convolutions and the
input's 1/64 into the two stems, so that the uint8 frame minus 128 is the tensor that the stems see.
`collapse_pairs` merges Xception39's depthwise + pointwise pairs (nothing stands between them) into
dense 3x3 convolutions: one rounding to INT8 less per pair, for more multiply-adds.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from bisenet_edge.errors import ExportError
from bisenet_edge.toolchain.models.bisenet import BiSeNet


def fold(network: BiSeNet) -> fx.GraphModule:
    """Fold a network for inference. The network itself is not changed.

    Returns:
        a graph module, FP32, in evaluation mode: float BGR [N, 3, H, W] in 0..255 -> logits
        [N, C, H/8, W/8], equal to the network's up to rounding (about 1e-5).
    """
    inference = copy.deepcopy(network).eval()
    inference.drop_auxiliary_heads()
    folded = fuse(inference)
    assert isinstance(folded, fx.GraphModule)
    _fold_input_scale(folded)
    folded.graph.eliminate_dead_code()
    folded.recompile()
    return folded.eval()


def _fold_input_scale(folded: fx.GraphModule) -> None:
    scale = next(n for n in folded.graph.nodes if n.op == "call_function" and n.target is operator.mul)
    centred, factor = scale.args
    for user in scale.users:
        convolution = conv_of(folded, user)
        if convolution is None or not isinstance(factor, float):
            raise ExportError("the input's scale does not lead into convolutions alone", got=str(user))
        convolution.weight.data *= factor
    scale.replace_all_uses_with(centred)
    folded.graph.erase_node(scale)


def conv_of(graph_module: fx.GraphModule, node: object) -> nn.Conv2d | None:
    """The convolution that a graph node calls, or None when it calls something else."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    module = graph_module.get_submodule(str(node.target))
    return module if isinstance(module, nn.Conv2d) else None


def pairs(graph_module: fx.GraphModule) -> list[tuple[fx.Node, fx.Node]]:
    """Depthwise convolutions without bias whose only consumer is a pointwise one: (depthwise, pointwise)."""
    found = []
    for node in graph_module.graph.nodes:
        first = conv_of(graph_module, node)
        if first is None or first.groups != first.in_channels or first.groups == 1 or first.bias is not None:
            continue
        users = list(node.users)
        second = conv_of(graph_module, users[0]) if len(users) == 1 else None
        if second is not None and second.kernel_size == (1, 1) and second.groups == 1:
            found.append((node, users[0]))
    return found


def collapse_pairs(
    graph_module: fx.GraphModule, chosen: Callable[[str], bool] = lambda name: True
) -> fx.GraphModule:
    """Merge depthwise + pointwise pairs into dense convolutions, in a copy.

    Args:
        graph_module: from `fold`.
        chosen: given the name of the pointwise convolution, whether to merge its pair.
    """
    merged = copy.deepcopy(graph_module)
    for first_node, second_node in pairs(merged):
        if not chosen(str(second_node.target)):
            continue
        first, second = conv_of(merged, first_node), conv_of(merged, second_node)
        assert first is not None and second is not None
        merged.set_submodule(str(second_node.target), dense_of(first, second))
        second_node.replace_input_with(first_node, first_node.all_input_nodes[0])
        merged.graph.erase_node(first_node)
    merged.delete_all_unused_submodules()
    merged.recompile()
    return merged


def dense_of(depthwise: nn.Conv2d, pointwise: nn.Conv2d) -> nn.Conv2d:
    """The dense convolution that equals `pointwise(depthwise(x))`."""
    dense = nn.Conv2d(
        depthwise.in_channels,
        pointwise.out_channels,
        depthwise.kernel_size,  # type: ignore[arg-type]
        depthwise.stride,  # type: ignore[arg-type]
        depthwise.padding,  # type: ignore[arg-type]
    )
    with torch.no_grad():
        # [out, in, 1, 1] * [in, 1, k, k] -> [out, in, k, k]
        dense.weight.copy_(pointwise.weight * depthwise.weight.permute(1, 0, 2, 3))
        assert dense.bias is not None
        dense.bias.zero_()
        if pointwise.bias is not None:
            dense.bias.copy_(pointwise.bias)
    return dense.eval()
