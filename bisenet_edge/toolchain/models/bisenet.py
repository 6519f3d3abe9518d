"""BiSeNet (Yu et al., ECCV 2018), as the authors' released code builds it.

Differences from that code, each without effect on parameters or multiply-adds:
- Bilinear up-sampling uses half-pixel centres (align_corners=False), the one form that TensorRT,
  OpenVINO and the exact cell argmax of the device agree on.
- The globally pooled context is broadcast where the authors "interpolate" it from 1x1.
- The FFM multiplies by (1 + gate) where the authors write f + f * gate: one pass less over the
  largest feature map, and one tensor less to quantize.
- Input is a BGR picture in 0..255, normalised inside by (x - 128) / 64: with a mean of 128 and a
  power of two, the uint8 frame minus 128 is the first INT8 tensor, without loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bisenet_edge.toolchain.models.layers import ConvBnRelu
from bisenet_edge.toolchain.models.network import Network, normalised, upsample
from bisenet_edge.toolchain.models.resnet18 import ResNet18
from bisenet_edge.toolchain.models.xception39 import Xception39

CONTEXT_CHANNELS = 128


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

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = ConvBnRelu(channels, channels, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, channels, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.excite = nn.Conv2d(channels, channels, 1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.mix(torch.cat([spatial, context], dim=1))
        gate: Tensor = self.sigmoid(self.excite(self.relu(self.squeeze(self.pool(x)))))
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
    """Spatial Path + Context Path + FFM.

    `forward` takes a BGR picture, float [N, 3, H, W] in 0..255, H and W multiples of 8, and gives

    - in evaluation: logits [N, C, H/8, W/8];
    - in training: (logits, auxiliary logits at 1/8, auxiliary logits at 1/8 of the 1/16 stage's
      refined features), the three heads of section 3.4, all [N, C, h, w].
    """

    logits_stride = 8
    input_multiple = 8

    def __init__(self, backbone: Xception39 | ResNet18, num_classes: int, aux_width: int) -> None:
        super().__init__()
        channels16, channels32 = backbone.channels
        context = CONTEXT_CHANNELS
        self.spatial = SpatialPath(context)
        self.backbone = backbone
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.global_context = ConvBnRelu(channels32, context, 1)
        self.arm32 = AttentionRefinement(channels32, context)
        self.refine32 = ConvBnRelu(context, context, 3)
        self.arm16 = AttentionRefinement(channels16, context)
        self.refine16 = ConvBnRelu(context, context, 3)
        self.ffm = FeatureFusion(2 * context)
        self.head = Head(2 * context, 64, num_classes)
        self.aux32: Head | None = Head(context, aux_width, num_classes)
        self.aux16: Head | None = Head(context, aux_width, num_classes)

    def drop_auxiliary_heads(self) -> None:
        """Remove the two heads that only training needs."""
        self.aux32 = self.aux16 = None

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        x = normalised(image)
        spatial = self.spatial(x)
        x16, x32 = self.backbone(x)
        context = self.arm32(x32) + self.global_context(self.pool(x32))
        context = self.refine32(upsample(context, x16))
        aux32_in = context
        context = self.arm16(x16) + context
        context = self.refine16(upsample(context, spatial))
        logits: Tensor = self.head(self.ffm(spatial, context))
        if not self.training:
            return logits
        if self.aux32 is None or self.aux16 is None:
            raise RuntimeError("this network's auxiliary heads were removed: it can no longer be trained")
        return logits, self.aux16(context), self.aux32(aux32_in)
