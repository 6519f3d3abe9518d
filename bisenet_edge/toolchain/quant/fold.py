"""From the trained network to the one that is quantized and exported: fewer, equal operations.

`fold` traces the network with torch.fx, folds batch normalisation into the convolutions (transposed ones
too) and drops dropout. Where no convolution stands in front of a normalisation, it becomes one itself: 1x1
and depthwise, whose one weight per channel INT8 holds exactly. The input's division by 64 stays an
operation of its own: inside the stems' weights it would push their INT8 scales below what float16 holds
precisely (2.6e-6, where float16's normal numbers begin at 6.1e-5). `collapse_pairs` merges Xception39's
depthwise + pointwise pairs (nothing stands between them) into dense 3x3 convolutions: one rounding to INT8
less per pair, for more multiply-adds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bisenet_edge.toolchain.models.network import Network


def fold(network: Network) -> fx.GraphModule:
    """Fold a network for inference. The network itself is not changed.

    Returns:
        a graph module, FP32, in evaluation mode: float BGR [N, 3, H, W] in 0..255 -> logits
        [N, C, H/s, W/s], equal to the network's up to rounding (about 1e-5).
    """
    inference = copy.deepcopy(network).eval()
    inference.drop_auxiliary_heads()
    traced = fx.symbolic_trace(inference)
    _drop_dropout(traced)
    folded = fuse(traced, no_trace=True)
    assert isinstance(folded, fx.GraphModule)
    _fold_others(folded)
    folded.delete_all_unused_submodules()
    folded.recompile()
    folded.meta["input_multiple"] = network.input_multiple
    folded.meta["logits_stride"] = network.logits_stride
    return folded.eval()


def _drop_dropout(graph_module: fx.GraphModule) -> None:
    for node in list(graph_module.graph.nodes):
        if isinstance(module_of(graph_module, node), (nn.Dropout, nn.Dropout2d)):
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)
    graph_module.recompile()


def _fold_others(graph_module: fx.GraphModule) -> None:
    """The normalisations that `fuse` leaves: behind transposed convolutions, and behind no convolution."""
    for node in list(graph_module.graph.nodes):
        norm = module_of(graph_module, node)
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        before = node.args[0]
        transposed = module_of(graph_module, before)
        if isinstance(transposed, nn.ConvTranspose2d) and len(before.users) == 1:
            fused = fuse_conv_bn_eval(transposed, norm, transpose=True)
            graph_module.set_submodule(str(before.target), fused)
            node.replace_all_uses_with(before)
            graph_module.graph.erase_node(node)
        else:
            graph_module.set_submodule(str(node.target), _as_convolution(norm))


def _as_convolution(norm: nn.BatchNorm2d) -> nn.Conv2d:
    channels = norm.num_features
    identity = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
    nn.init.ones_(identity.weight)
    return fuse_conv_bn_eval(identity.eval(), norm)


def module_of(graph_module: fx.GraphModule, node: object) -> nn.Module | None:
    """The module that a graph node calls, or None when it calls none."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    return graph_module.get_submodule(str(node.target))


def convolution_of(graph_module: fx.GraphModule, node: object) -> nn.Conv2d | nn.ConvTranspose2d | None:
    """The convolution, transposed or not, that a graph node calls, or None when it calls something else."""
    module = module_of(graph_module, node)
    return module if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) else None


def conv_of(graph_module: fx.GraphModule, node: object) -> nn.Conv2d | None:
    """The convolution (not transposed) that a graph node calls, or None when it calls something else."""
    module = module_of(graph_module, node)
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
