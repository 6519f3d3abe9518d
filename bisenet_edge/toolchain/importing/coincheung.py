"""github.com/CoinCheung/BiSeNet, `bisenetv1`: ResNet-18.

Where it departs from the authors' code: nearest up-sampling in the Context Path, an FFM gate of one
convolution and batch normalisation (2021 on; before that two convolutions, the first a quarter as wide),
a main head of 256 channels and auxiliary ones of 64, and a mean and deviation of each data set.
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

NORMALISATIONS = {
    19: Normalisation((0.3257, 0.3690, 0.3223), (0.2112, 0.2148, 0.2115)),  # Cityscapes
    171: Normalisation((0.46962251, 0.4464104, 0.40718787), (0.27469736, 0.27012361, 0.28515933)),  # COCO
    150: Normalisation((0.49343230, 0.46819794, 0.43106043), (0.25680755, 0.25506608, 0.27422913)),  # ADE20K
}


class CoinCheung(Family):
    """Its names begin with sp, cp, ffm and conv_out."""

    name = "coincheung"
    origin = "github.com/CoinCheung/BiSeNet, bisenetv1"

    def matches(self, state: State) -> bool:
        return "cp.resnet.conv1.weight" in state and "conv_out.conv_out.weight" in state

    def config(self, state: State) -> BiSeNetConfig:
        self._refuse_pixel_shuffle(state)
        squeezed, excited = width(state, "ffm.conv1"), width(state, "ffm.conv2")
        return BiSeNetConfig(
            "resnet18",
            auxiliary_width=width(state, "conv_out16.conv.conv"),
            gate="two-convs" if squeezed else "conv-bn",
            gate_reduction=max(1, excited // squeezed) if squeezed else 1,
            head_width=width(state, "conv_out.conv.conv") or 256,
            upsampling="nearest",
        )

    def _refuse_pixel_shuffle(self, state: State) -> None:
        # For some months of 2020 heads gave 64 values per class, one for each pixel of an 8x8 cell.
        at8, at16 = width(state, "conv_out16.conv_out"), width(state, "conv_out32.conv_out")
        if at16 == 4 * at8 > 0:
            raise CheckpointError(
                "a checkpoint of late 2020, whose heads up-sample by pixel shuffle: not supported",
                got=f"{width(state, 'conv_out.conv_out')} outputs for {at8 // 64} classes",
                expected="heads with one output per class",
                fix="use a checkpoint of 2021 or later, for example model_final_v1_city_new.pth",
            )

    def modules(self, config: BiSeNetConfig) -> Names:
        blocks = {f"sp.{part}": f"spatial.{part}" for part in ("conv1", "conv2", "conv3", "conv_out")}
        blocks |= {"cp.arm16.conv": "arm16.conv", "cp.arm32.conv": "arm32.conv"}
        blocks |= {"cp.conv_head32": "refine32", "cp.conv_head16": "refine16"}
        blocks |= {"cp.conv_avg": "global_context", "ffm.convblk": "ffm.mix", "conv_out.conv": "head.conv"}
        names = {"conv_out.conv_out": "head.classifier"}
        for arm in ("arm16", "arm32"):
            names[f"cp.{arm}.conv_atten"] = f"{arm}.gate.conv"
            names[f"cp.{arm}.bn_atten"] = f"{arm}.gate.bn"
        if config.gate == "conv-bn":
            names |= {"ffm.conv": "ffm.gate.conv", "ffm.bn": "ffm.gate.bn"}
        else:
            names |= {"ffm.conv1": "ffm.squeeze", "ffm.conv2": "ffm.excite"}
        if config.auxiliary_width:
            for stride in (16, 32):
                blocks[f"conv_out{stride}.conv"] = f"aux{stride}.conv"
                names[f"conv_out{stride}.conv_out"] = f"aux{stride}.classifier"
        return {**with_norm(blocks), **names, **resnet18_names("cp.resnet", "backbone")}

    def normalisation(self, num_classes: int) -> Normalisation | None:
        return NORMALISATIONS.get(num_classes)
