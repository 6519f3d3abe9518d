"""Where quantizers go: the rules that TensorRT fuses best, applied to a folded network.

| pattern               | quantizers                                                             |
|-----------------------|------------------------------------------------------------------------|
| convolution           | on its input and its weights; nothing between it and its ReLU          |
| residual add          | on the identity operand only; the convolution's output goes in raw     |
| add of two activations| on both operands                                                       |
| multiply by a gate    | on both operands and on the product                                    |
| concat                | one after it                                                           |
| max pool, zero pad    | none behind a quantized tensor: what they give is among its codes      |
| bilinear resize       | on its input; none of its own                                          |
| max-unpooling         | none: in floating point, and where maxima stand is read off unrounded values |
| classifier            | on input and weights; the logits stay float                            |

"Convolution" means transposed ones too. Activations (PReLU, sigmoid) run with what stands in front of them.
What this table has no line for stays in floating point, and `floating` tells it. One quantizer per tensor,
shared by all its consumers (but for unpooling, which would take codes that became equal for one another).
The network's input, (frame - 128) / 64, is quantized with scale 1/64: its codes are uint8 minus 128, so
nothing is lost there.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Collection, Iterator

import torch
from torch import fx, nn
from torch.nn import functional as F

from bisenet_edge.toolchain.models.network import MEAN, STD
from bisenet_edge.toolchain.models.pyramid import average_grid
from bisenet_edge.toolchain.models.unpool import unpool
from bisenet_edge.toolchain.quant.fake_quant import QMAX, QuantConv, Quantizer
from bisenet_edge.toolchain.quant.fake_quant import quantized as quantized_convolution
from bisenet_edge.toolchain.quant.fold import convolution_of, module_of

QUANTIZER_PREFIX = "quantize_"
ADD = (operator.add, operator.iadd, torch.add)
MULTIPLY = (operator.mul, operator.imul, torch.mul)
INT8_MODULES = (
    nn.Conv2d, nn.ConvTranspose2d, Quantizer, nn.ReLU, nn.ReLU6, nn.PReLU, nn.LeakyReLU, nn.Sigmoid,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Identity,
)  # fmt: skip
INT8_FUNCTIONS = (
    *ADD, *MULTIPLY, operator.sub, operator.floordiv, operator.getitem, getattr, torch.cat, F.interpolate,
    F.pad, F.relu, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, torch.relu, torch.sigmoid, average_grid,
)  # fmt: skip
"""What runs in INT8 or is fused with what does, given the quantizers of the table."""


def insert_quantizers(folded: fx.GraphModule, keep_float: Collection[str] = ()) -> fx.GraphModule:
    """Put quantizers into a copy of a folded network.

    Args:
        folded: from `fold`, perhaps with pairs collapsed.
        keep_float: names of convolutions that stay in floating point, input and weights.

    Returns:
        the graph module with `Quantizer` and `QuantConv` modules, uncalibrated but for the input.
    """
    quantized = copy.deepcopy(folded)
    chosen = dict.fromkeys(_tensors_to_quantize(quantized, keep_float))
    targets = [node for node in chosen if not _has_codes_of(quantized, node, chosen)]
    for node in list(quantized.graph.nodes):
        convolution = convolution_of(quantized, node)
        if convolution is not None and str(node.target) not in keep_float:
            quantized.set_submodule(str(node.target), quantized_convolution(convolution))
    for node in targets:
        quantizer = Quantizer(QMAX / STD, fixed=True) if _is_exact_input(node) else Quantizer()
        _insert_after(quantized, node, quantizer)
    quantized.recompile()
    return quantized.eval()


def _tensors_to_quantize(graph_module: fx.GraphModule, keep_float: Collection[str]) -> Iterator[fx.Node]:
    for node in graph_module.graph.nodes:
        if convolution_of(graph_module, node) is not None:
            if str(node.target) not in keep_float:
                yield node.args[0]
        elif _in_float(graph_module, node, keep_float):
            continue
        elif node.target is F.interpolate:
            yield node.args[0]
        elif node.target in MULTIPLY and _two_tensors(node):
            yield from node.args
            yield node
        elif node.target in ADD and _two_tensors(node):
            # In `branch + identity` the branch ends in a convolution, which TensorRT fuses with the
            # add when its output goes in raw.
            branches = [arg for arg in node.args if convolution_of(graph_module, arg) is not None]
            yield from (arg for arg in node.args if arg not in branches[:1])


def _has_codes_of(graph_module: fx.GraphModule, node: fx.Node, chosen: Collection[fx.Node]) -> bool:
    """Whether pooling and padding made a tensor of a quantized one, so that it has its codes already."""
    while True:
        pooled = isinstance(module_of(graph_module, node), nn.MaxPool2d) or node.target is F.max_pool2d
        if not pooled and not _pads_with_zeros(node):
            return False
        node = node.all_input_nodes[0]
        if node in chosen:
            return True


def _pads_with_zeros(node: fx.Node) -> bool:
    if node.target is not F.pad or len(node.args) > 2:
        return False
    return node.kwargs.get("mode", "constant") == "constant" and not node.kwargs.get("value")


def _in_float(graph_module: fx.GraphModule, node: fx.Node, keep_float: Collection[str]) -> bool:
    """Whether the convolution whose output a node works on, upstream along its first operands, is float.

    An add, gate or resize belongs to the block of that convolution: in a float block it needs no
    quantizers, and on its own a pair of them costs time and gains none.
    """
    while node.all_input_nodes:
        if convolution_of(graph_module, node) is not None:
            return str(node.target) in keep_float
        node = node.all_input_nodes[0]
    return False


def _two_tensors(node: fx.Node) -> bool:
    # An attribute is a constant: the mean and deviation of each channel.
    return all(isinstance(arg, fx.Node) and arg.op != "get_attr" for arg in node.args)


def _is_exact_input(node: fx.Node) -> bool:
    """Whether a tensor is (frame - 128) / 64: its code is frame - 128, known and exact."""
    if node.target is not operator.mul or node.args[1] != 1.0 / STD:
        return False
    centred = node.args[0]
    return isinstance(centred, fx.Node) and centred.target is operator.sub and bool(centred.args[1] == MEAN)


def _insert_after(graph_module: fx.GraphModule, node: fx.Node, quantizer: Quantizer) -> None:
    name = QUANTIZER_PREFIX + node.name
    graph_module.add_submodule(name, quantizer)
    users = list(node.users)
    with graph_module.graph.inserting_after(node):
        inserted = graph_module.graph.call_module(name, (node,))
    for user in users:
        if user.target is unpool:
            user.args = (inserted if user.args[0] is node else user.args[0], user.args[1])
        # The shape of a tensor is no consumer of its values.
        elif not (user.op == "call_function" and user.target is getattr):
            user.replace_input_with(node, inserted)


def quantizers(graph_module: fx.GraphModule) -> dict[str, Quantizer]:
    """The activation quantizers by name, in the order of the graph."""
    names = [str(n.target) for n in graph_module.graph.nodes if n.op == "call_module"]
    modules = {name: graph_module.get_submodule(name) for name in names}
    return {name: module for name, module in modules.items() if isinstance(module, Quantizer)}


def floating(graph_module: fx.GraphModule) -> dict[str, int]:
    """What runs in floating point whatever the convolutions do: operator -> how often."""
    found: dict[str, int] = {}
    for node in graph_module.graph.nodes:
        module = module_of(graph_module, node)
        known = isinstance(module, INT8_MODULES) or node.target in INT8_FUNCTIONS
        if node.op in ("call_module", "call_function", "call_method") and not known:
            name = (
                type(module).__name__ if module is not None else getattr(node.target, "__name__", node.target)
            )
            found[str(name)] = found.get(str(name), 0) + 1
    return found


def quant_convs(graph_module: fx.GraphModule) -> dict[str, QuantConv]:
    """The quantized convolutions by name, in the order of the graph."""
    names = [str(n.target) for n in graph_module.graph.nodes if n.op == "call_module"]
    modules = {name: graph_module.get_submodule(name) for name in names}
    return {name: module for name, module in modules.items() if isinstance(module, QuantConv)}
