"""BiSeNet (Yu et al., ECCV 2018), as the authors' released code builds it.

Differences from that code, each without effect on parameters or multiply-adds:
- Bilinear up-sampling uses half-pixel centres (align_corners=False), the one form that TensorRT,
  OpenVINO and the exact cell argmax of the device agree on.
- The globally pooled context is broadcast where the authors "interpolate" it from 1x1.
- The FFM multiplies by (1 + gate) where the authors write f + f * gate: one pass less over the
  largest feature map, and one tensor less to quantize.
- Input is a BGR picture in 0..255, normalised inside, by default as (x - 128) / 64: with a mean of 128
  and a power of two, the uint8 frame minus 128 is the first INT8 tensor, without loss.
What it is made of is a `BiSeNetConfig`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bisenet_edge.toolchain.models.bisenet_config import BiSeNetConfig
from bisenet_edge.toolchain.models.layers import ConvBnRelu
from bisenet_edge.toolchain.models.network import Network
from bisenet_edge.toolchain.models.resnet import ResNet, resnet18, resnet101
from bisenet_edge.toolchain.models.xception39 import Xception39

CONTEXT_CHANNELS = 128
BACKBONES: dict[str, Callable[[], Xception39 | ResNet]] = {
    "xception39": Xception39,
    "resnet18": resnet18,
    "resnet101": resnet101,
}


class SpatialPath(nn.Module):
    """Three stride-2 convolutions and a 1x1 (section 3.1); [N, 3, H, W] -> [N, 128, H/8, W/8]."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBnRelu(3, 64, 7, stride=2)
        self.conv2 = ConvBnRelu(64, 64, 3, stride=2)
        self.conv3 = ConvBnRelu(64, 64, 3, stride=2)
        self.conv_out = ConvBnRelu(64, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_out(self.conv3(self.conv2(self.conv1(x))))
        return out


class AttentionRefinement(nn.Module):
    """ARM (section 3.2): features scaled per channel by a gate from their global average."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(in_channels, out_channels, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = ConvBnRelu(out_channels, out_channels, 1, relu=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate: Tensor = self.sigmoid(self.gate(self.pool(x)))
        return x * gate


class FeatureFusion(nn.Module):
    """FFM (section 3.3): concatenate, mix with a 1x1, and re-weight channels by a gate."""

    def __init__(self, channels: int, reduction: int = 1) -> None:
        super().__init__()
        self.mix = ConvBnRelu(channels, channels, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.excite = nn.Conv2d(channels // reduction, channels, 1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.mix(torch.cat([spatial, context], dim=1))
        gate: Tensor = self.sigmoid(self.excite(self.relu(self.squeeze(self.pool(x)))))
        out: Tensor = x * (gate + 1)
        return out


class OneConvFeatureFusion(nn.Module):
    """The FFM with one convolution and batch normalisation for a gate, as a public implementation has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = ConvBnRelu(channels, channels, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = ConvBnRelu(channels, channels, 1, relu=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.mix(torch.cat([spatial, context], dim=1))
        gate: Tensor = self.sigmoid(self.gate(self.pool(x)))
        out: Tensor = x * (gate + 1)
        return out


class Head(nn.Module):
    """3x3 convolution and 1x1 classifier; [N, in, h, w] -> logits [N, C, h, w]."""

    def __init__(self, in_channels: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(in_channels, width, 3)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.conv(x))
        return out


class BiSeNet(Network):
    """Context Path, and what a configuration adds to it: Spatial Path + FFM, ARMs, global pooling.

    `forward` takes a BGR picture, float [N, 3, H, W] in 0..255, H and W multiples of 8, and gives

    - in evaluation: logits [N, C, H/8, W/8];
    - in training: (logits, auxiliary logits at 1/8, auxiliary logits at 1/8 of the 1/16 stage's
      refined features), the three heads of section 3.4, all [N, C, h, w]; the logits alone when the
      configuration has no auxiliary heads.
    """

    logits_stride = 8
    input_multiple = 8
    mean: Tensor | float
    inverse_std: Tensor | float

    def __init__(self, config: BiSeNetConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        context = CONTEXT_CHANNELS
        fused = 2 * context if config.fusion == "ffm" else context
        self.spatial = SpatialPath(context) if config.fusion != "none" else None
        self.backbone = BACKBONES[config.backbone]()
        channels16, channels32 = self.backbone.channels
        if config.global_pooling:
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.global_context = ConvBnRelu(channels32, context, 1)
        self.arm32 = _lateral(config, channels32)
        self.refine32 = ConvBnRelu(context, context, 3)
        self.arm16 = _lateral(config, channels16)
        self.refine16 = ConvBnRelu(context, context, 3)
        self.ffm = _fusion(config, fused)
        self.head = Head(fused, config.head_width, num_classes)
        self.aux32: Head | None = None
        self.aux16: Head | None = None
        if config.auxiliary_width:
            self.aux32 = Head(context, config.auxiliary_width, num_classes)
            self.aux16 = Head(context, config.auxiliary_width, num_classes)
        self._set_normalisation(config)

    def _set_normalisation(self, config: BiSeNetConfig) -> None:
        if len(set(config.mean)) == len(set(config.std)) == 1:
            # Plain numbers where they do: `placement` knows (x - 128) / 64, whose INT8 codes are exact.
            self.mean, self.inverse_std = config.mean[0], 1.0 / config.std[0]
        else:
            self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
            inverse = 1.0 / torch.tensor(config.std).view(1, 3, 1, 1)
            self.register_buffer("inverse_std", inverse, persistent=False)

    def drop_auxiliary_heads(self) -> None:
        """Remove the two heads that only training needs."""
        self.aux32 = self.aux16 = None

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = (image - self.mean) * self.inverse_std
        spatial = None if self.spatial is None else self.spatial(x)
        x16, x32 = self.backbone(x)
        context = self.arm32(x32)
        if self.config.global_pooling:
            context = context + self.global_context(self.pool(x32))
        context = self.refine32(self._upsample(context, x16.shape[2:]))
        aux32_in = context
        context = self.arm16(x16) + context
        size8 = (image.shape[2] // 8, image.shape[3] // 8) if spatial is None else spatial.shape[2:]
        context = self.refine16(self._upsample(context, size8))
        logits: Tensor = self.head(self._fused(spatial, context))
        if not self.training:
            return logits
        if not self.config.auxiliary_width:
            return (logits,)
        if self.aux32 is None or self.aux16 is None:
            raise RuntimeError("this network's auxiliary heads were removed: it can no longer be trained")
        return logits, self.aux16(context), self.aux32(aux32_in)

    def _fused(self, spatial: Tensor | None, context: Tensor) -> Tensor:
        if spatial is None:
            return context
        fused: Tensor = spatial + context if self.ffm is None else self.ffm(spatial, context)
        return fused

    def _upsample(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        """To a height and width."""
        if self.config.upsampling == "nearest":
            return F.interpolate(x, size=size, mode="nearest")
        corners = self.config.upsampling == "bilinear-corners"
        return F.interpolate(x, size=size, mode="bilinear", align_corners=corners)


def _lateral(config: BiSeNetConfig, in_channels: int) -> nn.Module:
    """From a stage's features to the width of the context.

    Without ARM a plain 3x3 convolution, BN and ReLU: the ARM of the authors' code begins with the same one,
    so that only its gate is taken away.
    """
    if config.attention:
        return AttentionRefinement(in_channels, CONTEXT_CHANNELS)
    return ConvBnRelu(in_channels, CONTEXT_CHANNELS, 3)


def _fusion(config: BiSeNetConfig, channels: int) -> nn.Module | None:
    if config.fusion != "ffm":
        return None
    if config.gate == "conv-bn":
        return OneConvFeatureFusion(channels)
    return FeatureFusion(channels, config.gate_reduction)
