"""Where quantizers go: the rules that TensorRT fuses best, applied to a folded network.

| pattern               | quantizers                                                             |
|-----------------------|------------------------------------------------------------------------|
| convolution           | on its input and its weights; nothing between it and its ReLU          |
| residual add          | on the identity operand only; the convolution's output goes in raw     |
| add of two activations| on both operands                                                       |
| multiply by a gate    | on both operands and on the product                                    |
| concat                | one after it                                                           |
| bilinear resize       | on its input; none of its own                                          |
| classifier            | on input and weights; the logits stay float                            |

One quantizer per tensor, shared by all its consumers. The network's input, (frame - 128) / 64, is quantized
with scale 1/64: its codes are uint8 minus 128, so nothing is lost there.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Collection, Iterator

from torch import fx
from torch.nn import functional as F

from bisenet_edge.toolchain.models.network import MEAN, STD
from bisenet_edge.toolchain.quant.fake_quant import QMAX, QuantConv2d, Quantizer
from bisenet_edge.toolchain.quant.fold import conv_of

QUANTIZER_PREFIX = "quantize_"


def insert_quantizers(folded: fx.GraphModule, keep_float: Collection[str] = ()) -> fx.GraphModule:
    """Put quantizers into a copy of a folded network.

    Args:
        folded: from `fold`, perhaps with pairs collapsed.
        keep_float: names of convolutions that stay in floating point, input and weights.

    Returns:
        the graph module with `Quantizer` and `QuantConv2d` modules, uncalibrated but for the input.
    """
    quantized = copy.deepcopy(folded)
    targets = dict.fromkeys(_tensors_to_quantize(quantized, keep_float))
    for node in list(quantized.graph.nodes):
        convolution = conv_of(quantized, node)
        if convolution is not None and str(node.target) not in keep_float:
            quantized.set_submodule(str(node.target), QuantConv2d(convolution))
    for node in targets:
        quantizer = Quantizer(QMAX / STD, fixed=True) if _is_exact_input(node) else Quantizer()
        _insert_after(quantized, node, quantizer)
    quantized.recompile()
    return quantized.eval()


def _tensors_to_quantize(graph_module: fx.GraphModule, keep_float: Collection[str]) -> Iterator[fx.Node]:
    for node in graph_module.graph.nodes:
        if conv_of(graph_module, node) is not None:
            if str(node.target) not in keep_float:
                yield node.args[0]
        elif _in_float(graph_module, node, keep_float):
            continue
        elif node.target is F.interpolate:
            yield node.args[0]
        elif node.target is operator.mul and _two_tensors(node):
            yield from node.args
            yield node
        elif node.target is operator.add and _two_tensors(node):
            first, second = node.args
            # In `branch + identity` the branch ends in a convolution, which TensorRT fuses with the
            # add when its output goes in raw.
            if conv_of(graph_module, first) is None:
                yield first
            yield second


def _in_float(graph_module: fx.GraphModule, node: fx.Node, keep_float: Collection[str]) -> bool:
    """Whether the convolution whose output a node works on, upstream along its first operands, is float.

    An add, gate or resize belongs to the block of that convolution: in a float block it needs no
    quantizers, and on its own a pair of them costs time and gains none.
    """
    while node.all_input_nodes:
        if conv_of(graph_module, node) is not None:
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
        # The shape of a tensor is no consumer of its values.
        if not (user.op == "call_function" and user.target is getattr):
            user.replace_input_with(node, inserted)


def quantizers(graph_module: fx.GraphModule) -> dict[str, Quantizer]:
    """The activation quantizers by name, in the order of the graph."""
    names = [str(n.target) for n in graph_module.graph.nodes if n.op == "call_module"]
    modules = {name: graph_module.get_submodule(name) for name in names}
    return {name: module for name, module in modules.items() if isinstance(module, Quantizer)}


def quant_convs(graph_module: fx.GraphModule) -> dict[str, QuantConv2d]:
    """The quantized convolutions by name, in the order of the graph."""
    names = [str(n.target) for n in graph_module.graph.nodes if n.op == "call_module"]
    modules = {name: graph_module.get_submodule(name) for name in names}
    return {name: module for name, module in modules.items() if isinstance(module, QuantConv2d)}
