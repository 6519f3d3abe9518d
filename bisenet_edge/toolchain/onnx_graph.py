"""ONNX files with the graph contract: uint8 BGR frame in, uint8 mask out, everything else inside."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import onnxsim
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bisenet_edge.errors import ExportError
from bisenet_edge.frame import Size
from bisenet_edge.toolchain.models.network import input_multiple

OPSET = 17  # the newest that TensorRT 8.5 (JetPack 5) parses
LOGITS = "logits"
TYPED_OPSET = 19  # the first whose QuantizeLinear takes float16


class FrameToMask(nn.Module):
    """The whole graph: uint8 [1, H, W, 3] BGR -> uint8 [1, H, W] train ids.

    A size that is no multiple of the network's `input_multiple` is padded right and bottom inside (with 128,
    i.e. 0 after the mean is taken off) and the mask cropped. Logits of the picture's own size are not
    up-sampled.
    """

    def __init__(self, core: nn.Module, size: Size) -> None:
        super().__init__()
        self.core = core
        self.size = size
        multiple = input_multiple(core)
        self.pad_h = -size.height % multiple
        self.pad_w = -size.width % multiple

    def forward(self, frame: Tensor) -> Tensor:
        return self.mask(self.logits(frame))

    def logits(self, frame: Tensor) -> Tensor:
        """uint8 [1, H, W, 3] -> the network's logits [1, C, h, w] of the (padded) frame."""
        # TensorRT wants the cast to stand right behind a uint8 input.
        x = frame.float().permute(0, 3, 1, 2)
        if self.pad_h or self.pad_w:
            x = F.pad(x, (0, self.pad_w, 0, self.pad_h), value=128.0)
        logits: Tensor = self.core(x)
        return logits

    def mask(self, logits: Tensor) -> Tensor:
        """Logits -> uint8 [1, H, W] train ids."""
        full_hw = (self.size.height + self.pad_h, self.size.width + self.pad_w)
        full = logits
        if tuple(logits.shape[2:]) != full_hw:
            full = F.interpolate(logits, size=full_hw, mode="bilinear", align_corners=False)
        if self.pad_h or self.pad_w:
            full = full[:, :, : self.size.height, : self.size.width]
        # Through float32, where class ids are exact: TensorRT 8.5 makes uint8 of floating point only.
        return full.argmax(1).float().to(torch.uint8)


def to_onnx(core: fx.GraphModule, size: Size) -> onnx.ModelProto:
    """Export a folded (and perhaps quantized) network with the graph contract.

    Args:
        core: float BGR [1, 3, H, W] in 0..255 -> logits [1, C, H/s, W/s].
        size: of the frame.

    Raises:
        ExportError: the graph cannot be simplified or is not valid.
    """
    module = _WithLogits(core, size).eval()
    frame = torch.zeros(1, *size.hw, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with _quiet_exporter(), torch.no_grad():
        # The TorchScript exporter: the newer one cannot write opset 17, and turns pooling into ReduceMean.
        torch.onnx.export(
            module,
            (frame,),
            buffer,  # type: ignore[arg-type]
            opset_version=OPSET,
            dynamo=False,
            input_names=["frame"],
            output_names=["mask", LOGITS],
        )
    model, same = onnxsim.simplify(onnx.load_from_string(buffer.getvalue()))
    if not same:
        raise ExportError("simplifying the graph changed what it computes", got=f"{size}")
    _hide_logits(model)
    _tidy(model)
    _separate_biases(model)
    check(model)
    return model


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", message=".*[Cc]onstant folding.*")
        yield


def check(model: onnx.ModelProto) -> None:
    """Run the ONNX checker and strict shape inference.

    Raises:
        ExportError: the graph is not valid ONNX.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError("the exported graph is not valid ONNX", got=str(error)) from error


class _WithLogits(FrameToMask):
    """Gives the logits too: as an output of the exported graph they get their name."""

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        logits = self.logits(frame)
        return self.mask(logits), logits


def _hide_logits(model: onnx.ModelProto) -> None:
    """Keep the name `logits` that the graph contract asks for, with `mask` as the only output."""
    (logits,) = [info for info in model.graph.output if info.name == LOGITS]
    model.graph.output.remove(logits)
    model.graph.value_info.append(logits)


def _tidy(model: onnx.ModelProto) -> None:
    """Turn constant nodes into initializers and say who made the file."""
    for node in [n for n in model.graph.node if n.op_type == "Constant"]:
        tensor = node.attribute[0].t
        tensor.name = node.output[0]
        model.graph.initializer.append(tensor)
        model.graph.node.remove(node)
    model.producer_name = "bisenet-edge"
    model.doc_string = "frame: uint8 [1,H,W,3] BGR; mask: uint8 [1,H,W] train ids; logits: before up-sampling"
    for name in ("torch_version", "onnxsim"):
        for prop in [p for p in model.metadata_props if p.key == name]:
            model.metadata_props.remove(prop)


def _separate_biases(model: onnx.ModelProto) -> None:
    """Give each convolution a bias of its own.

    Simplifying makes one tensor of equal ones, as untrained networks have them. ONNX Runtime quantizes
    biases itself, makes two nodes of one name where two convolutions share one, and refuses the graph.
    """
    biases = {tensor.name: tensor for tensor in model.graph.initializer}
    taken: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or len(node.input) < 3:
            continue
        shared = node.input[2]
        if shared in taken and shared in biases:
            own = onnx.TensorProto()
            own.CopyFrom(biases[shared])
            own.name = f"{shared} of {node.output[0]}"
            model.graph.initializer.append(own)
            node.input[2] = own.name
        taken.add(node.input[2])


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The strongly typed flavour: every float32 tensor becomes float16, quantized ones stay INT8.

    No cast is added: the graph's own casts at its two ends (uint8 in, uint8 out) change their type.
    0..255 and the mean 128 are exact in float16.

    Raises:
        ExportError: the graph is not valid, or a constant does not fit float16.
    """
    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    for tensor in typed.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in _resize_scales(typed):
            tensor.CopyFrom(_half(tensor))
    for node in typed.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(_half(attribute.t))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    del typed.graph.value_info[:]
    del typed.opset_import[:]
    typed.opset_import.append(helper.make_opsetid("", TYPED_OPSET))
    typed.ir_version = max(typed.ir_version, 9)
    typed = onnx.shape_inference.infer_shapes(typed, strict_mode=True)
    check(typed)
    return typed


def _resize_scales(model: onnx.ModelProto) -> set[str]:
    # `roi` and `scales` of Resize are float32 by specification, whatever the data's type.
    return {name for n in model.graph.node if n.op_type == "Resize" for name in n.input[1:3] if name}


def _half(tensor: TensorProto) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):  # told below
        halves = values.astype("float16")
    if not np.isfinite(halves).all():
        raise ExportError(
            "a value of this network does not fit float16: it has learnt too little yet, or diverged",
            got=f"{tensor.name}: {abs(values).max():g}",
            expected="at most 65504",
            fix="train it for more steps: bisenet-edge train --help",
        )
    return numpy_helper.from_array(halves, tensor.name)


def census(model: onnx.ModelProto) -> dict[str, int]:
    """How many nodes of each operator the graph has."""
    counts: dict[str, int] = {}
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))
