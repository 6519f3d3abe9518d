"""github.com/ycszen/TorchSeg, `bisenet`: the authors' code, with ResNet-18 or Xception39.

Where it departs from ours: up-sampling aligns corner pixels, and frames are normalised with ImageNet's mean
and deviation.
"""

from __future__ import annotations

from bisenet_edge.errors import CheckpointError
from bisenet_edge.toolchain.importing.family import (
    Family,
    Names,
    Normalisation,
    State,
    resnet18_names,
    width,
    with_norm,
)
from bisenet_edge.toolchain.models.bisenet_config import BiSeNetConfig

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
XCEPTION_BLOCKS = {8: 4, 16: 8, 32: 4}


class TorchSeg(Family):
    """Its names begin with spatial_path, context_path, global_context, arms, refines, heads and ffm."""

    name = "torchseg"
    origin = "github.com/ycszen/TorchSeg, model/bisenet"
    notes = (
        "its evaluation up-samples the logits with aligned corners (the .speed networks do not); here the "
        "last step always has half-pixel centres, so edges of masks may differ by a few pixels",
    )

    def matches(self, state: State) -> bool:
        return "spatial_path.conv_7x7.conv.weight" in state and "heads.2.conv_1x1.weight" in state

    def config(self, state: State) -> BiSeNetConfig:
        mixed, squeezed = width(state, "ffm.conv_1x1.conv"), width(state, "ffm.channel_attention.1.conv")
        return BiSeNetConfig(
            self._backbone(state),
            auxiliary_width=width(state, "heads.0.conv_3x3.conv"),
            gate_reduction=max(1, mixed // squeezed) if squeezed else 1,
            head_width=width(state, "heads.2.conv_3x3.conv") or 64,
            upsampling="bilinear-corners",
        )

    @staticmethod
    def _backbone(state: State) -> str:
        if "context_path.conv1.conv.weight" in state:
            return "xception39"
        if (
            "context_path.layer1.0.conv2.weight" in state
            and "context_path.layer1.0.conv3.weight" not in state
        ):
            return "resnet18"
        raise CheckpointError(
            "a backbone of TorchSeg that cannot be imported",
            got=", ".join([key for key in state if key.startswith("context_path.")][:3]) or "none",
            expected="bisenet with ResNet-18 or Xception39",
        )

    def modules(self, config: BiSeNetConfig) -> Names:
        parts = {"conv_7x7": "conv1", "conv_3x3_1": "conv2", "conv_3x3_2": "conv3", "conv_1x1": "conv_out"}
        blocks = {f"spatial_path.{there}": f"spatial.{here}" for there, here in parts.items()}
        blocks |= {"global_context.1": "global_context", "ffm.conv_1x1": "ffm.mix"}
        names = {
            "ffm.channel_attention.1.conv": "ffm.squeeze",
            "ffm.channel_attention.2.conv": "ffm.excite",
        }
        for index, stride in enumerate((32, 16)):
            blocks[f"arms.{index}.conv_3x3"] = f"arm{stride}.conv"
            blocks[f"arms.{index}.channel_attention.1"] = f"arm{stride}.gate"
            blocks[f"refines.{index}"] = f"refine{stride}"
        heads = {2: "head"} | ({0: "aux32", 1: "aux16"} if config.auxiliary_width else {})
        for index, head in heads.items():
            blocks[f"heads.{index}.conv_3x3"] = f"{head}.conv"
            names[f"heads.{index}.conv_1x1"] = f"{head}.classifier"
        if config.backbone == "xception39":
            backbone = _xception39_names("context_path", "backbone")
        else:
            backbone = resnet18_names("context_path", "backbone")
        return {**with_norm(blocks), **names, **backbone}

    def normalisation(self, num_classes: int) -> Normalisation | None:
        return IMAGENET

    def ignored(self, key: str) -> bool:
        # Class weights of the losses, which the training module holds.
        return key.startswith(("criterion.", "ohem_criterion."))


def _xception39_names(theirs: str, ours: str) -> Names:
    blocks: Names = {f"{theirs}.conv1": f"{ours}.stem"}
    names: Names = {}
    for layer, (stride, count) in enumerate(XCEPTION_BLOCKS.items(), 1):
        for block in range(count):
            there, here = f"{theirs}.layer{layer}.{block}", f"{ours}.stage{stride}.{block}"
            pairs = {f"{there}.residual_branch.{i}": f"{here}.branch.{i}" for i in range(3)}
            pairs |= {f"{there}.proj": f"{here}.skip"} if block == 0 else {}
            for separable, same in pairs.items():
                names[f"{separable}.conv1"] = f"{same}.depthwise"
                blocks[f"{separable}.point_wise_cbr"] = f"{same}.pointwise"
    return {**with_norm(blocks), **names}
