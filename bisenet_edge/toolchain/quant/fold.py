"""From the trained network to the one that is quantized and exported: fewer, equal operations.

`fold` traces the network with torch.fx and folds batch normalisation into the convolutions. The input's
division by 64 stays an operation of its own: inside the stems' weights it would push their INT8 scales
below what float16 holds precisely (2.6e-6, where float16's normal numbers begin at 6.1e-5).
`collapse_pairs` merges Xception39's depthwise + pointwise pairs (nothing stands between them) into
dense 3x3 convolutions: one rounding to INT8 less per pair, for more multiply-adds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from bisenet_edge.toolchain.models.network import Network


def fold(network: Network) -> fx.GraphModule:
    """Fold a network for inference. The network itself is not changed.

    Returns:
        a graph module, FP32, in evaluation mode: float BGR [N, 3, H, W] in 0..255 -> logits
        [N, C, H/s, W/s], equal to the network's up to rounding (about 1e-5).
    """
    inference = copy.deepcopy(network).eval()
    inference.drop_auxiliary_heads()
    folded = fuse(inference)
    assert isinstance(folded, fx.GraphModule)
    folded.meta["input_multiple"] = network.input_multiple
    return folded.eval()


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
