"""The two public BiSeNets, written down a second time: names, shapes, and the computation from a state dict.

Nothing here uses bisenet_edge: it is what `import` is measured against.
"""

from __future__ import annotations

import functools

import torch
from torch.nn import functional as F

LAST_OF_A_BRANCH = (".bn2", "residual_branch.2.point_wise_cbr.bn")


class Weights:
    """A state dict of random values, made name by name."""

    def __init__(self, seed):
        self.state = {}
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low, high, *shape):
        return torch.rand(*shape, generator=self.generator) * (high - low) + low

    def conv(self, name, inputs, outputs, kernel, *, groups=1, bias=False):
        shape = (outputs, inputs // groups, kernel, kernel)
        fan_in = inputs // groups * kernel * kernel
        gain = 1 if groups > 1 else 2  # no ReLU behind a depthwise one
        self.state[f"{name}.weight"] = torch.randn(shape, generator=self.generator) * (gain / fan_in) ** 0.5
        if bias:
            self.state[f"{name}.bias"] = self.uniform(-1, 1, outputs)

    def norm(self, name, channels):
        # Damped at the end of residual branches, or the values would double from block to block.
        scale = 0.2 if name.endswith(LAST_OF_A_BRANCH) else 1.0
        self.state[f"{name}.weight"] = scale * self.uniform(0.5, 1.5, channels)
        self.state[f"{name}.bias"] = self.uniform(-0.3, 0.5, channels)
        self.state[f"{name}.running_mean"] = self.uniform(-0.3, 0.3, channels)
        self.state[f"{name}.running_var"] = self.uniform(0.5, 1.5, channels)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(1234)

    def block(self, name, inputs, outputs, kernel):
        """`conv` and `bn` under one name."""
        self.conv(f"{name}.conv", inputs, outputs, kernel)
        self.norm(f"{name}.bn", outputs)

    def resnet18(self, name):
        self.conv(f"{name}.conv1", 3, 64, 7)
        self.norm(f"{name}.bn1", 64)
        inputs = 64
        for layer, outputs in enumerate((64, 128, 256, 512), 1):
            for index in range(2):
                block = f"{name}.layer{layer}.{index}"
                self.conv(f"{block}.conv1", inputs, outputs, 3)
                self.norm(f"{block}.bn1", outputs)
                self.conv(f"{block}.conv2", outputs, outputs, 3)
                self.norm(f"{block}.bn2", outputs)
                if inputs != outputs:
                    self.conv(f"{block}.downsample.0", inputs, outputs, 1)
                    self.norm(f"{block}.downsample.1", outputs)
                inputs = outputs

    def xception39(self, name):
        self.block(f"{name}.conv1", 3, 8, 3)
        inputs = 8
        for layer, (blocks, width) in enumerate(((4, 16), (8, 32), (4, 64)), 1):
            for index in range(blocks):
                block = f"{name}.layer{layer}.{index}"
                if index == 0:
                    self.separable(f"{block}.proj", inputs, 4 * width)
                for step, (a, b) in enumerate(((inputs, width), (width, width), (width, 4 * width))):
                    self.separable(f"{block}.residual_branch.{step}", a, b)
                inputs = 4 * width

    def separable(self, name, inputs, outputs):
        self.conv(f"{name}.conv1", inputs, inputs, 3, groups=inputs)
        self.block(f"{name}.point_wise_cbr", inputs, outputs, 1)


def coincheung_state(classes, *, seed=0, auxiliary=True, two_convs=False):
    """BiSeNetV1: as at present, without auxiliary heads, or with the gate of 2020."""
    w = Weights(seed)
    w.resnet18("cp.resnet")
    for stride, channels in ((16, 256), (32, 512)):
        w.block(f"cp.arm{stride}.conv", channels, 128, 3)
        w.conv(f"cp.arm{stride}.conv_atten", 128, 128, 1)
        w.norm(f"cp.arm{stride}.bn_atten", 128)
        w.block(f"cp.conv_head{stride}", 128, 128, 3)
    w.block("cp.conv_avg", 512, 128, 1)
    w.block("sp.conv1", 3, 64, 7)
    w.block("sp.conv2", 64, 64, 3)
    w.block("sp.conv3", 64, 64, 3)
    w.block("sp.conv_out", 64, 128, 1)
    w.block("ffm.convblk", 256, 256, 1)
    if two_convs:
        w.conv("ffm.conv1", 256, 64, 1)
        w.conv("ffm.conv2", 64, 256, 1)
    else:
        w.conv("ffm.conv", 256, 256, 1)
        w.norm("ffm.bn", 256)
    heads = [("conv_out", 256, 256), ("conv_out16", 128, 64), ("conv_out32", 128, 64)]
    for name, inputs, width in heads if auxiliary else heads[:1]:
        w.block(f"{name}.conv", inputs, width, 3)
        w.conv(f"{name}.conv_out", width, classes, 1, bias=not two_convs)
    return w.state


def torchseg_state(classes, backbone, *, seed=0, auxiliary=True):
    """BiSeNet with `backbone` "resnet18" or "xception39"."""
    w = Weights(seed)
    getattr(w, backbone)("context_path")
    channels16, channels32 = (256, 512) if backbone == "resnet18" else (128, 256)
    w.block("spatial_path.conv_7x7", 3, 64, 7)
    w.block("spatial_path.conv_3x3_1", 64, 64, 3)
    w.block("spatial_path.conv_3x3_2", 64, 64, 3)
    w.block("spatial_path.conv_1x1", 64, 128, 1)
    w.block("global_context.1", channels32, 128, 1)
    for index, channels in enumerate((channels32, channels16)):
        w.block(f"arms.{index}.conv_3x3", channels, 128, 3)
        w.block(f"arms.{index}.channel_attention.1", 128, 128, 1)
        w.block(f"refines.{index}", 128, 128, 3)
    width = 256 if backbone == "resnet18" else 128
    for index, (inputs, inner) in enumerate(((128, width), (128, width), (256, 64))):
        if auxiliary or index == 2:
            w.block(f"heads.{index}.conv_3x3", inputs, inner, 3)
            w.conv(f"heads.{index}.conv_1x1", inner, classes, 1, bias=True)
    w.block("ffm.conv_1x1", 256, 256, 1)
    w.conv("ffm.channel_attention.1.conv", 256, 256, 1)
    w.conv("ffm.channel_attention.2.conv", 256, 256, 1)
    return w.state


class Runner:
    """Computes layers by name."""

    def __init__(self, state):
        self.state = state

    def conv(self, name, x, stride=1):
        weight = self.state[f"{name}.weight"]
        groups = x.shape[1] // weight.shape[1]
        bias = self.state.get(f"{name}.bias")
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, groups=groups)

    def norm(self, name, x):
        numbers = [self.state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *numbers, training=False, eps=1e-5)

    def block(self, name, x, stride=1):
        """Convolution and BN, without ReLU."""
        return self.norm(f"{name}.bn", self.conv(f"{name}.conv", x, stride))

    def relu_block(self, name, x, stride=1):
        return F.relu(self.block(name, x, stride))

    def resnet18(self, name, x):
        x = F.relu(self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, 2)))
        x = F.max_pool2d(x, 3, 2, 1)
        features = []
        for layer in range(1, 5):
            for index in range(2):
                block, stride = f"{name}.layer{layer}.{index}", 2 if layer > 1 and index == 0 else 1
                y = F.relu(self.norm(f"{block}.bn1", self.conv(f"{block}.conv1", x, stride)))
                y = self.norm(f"{block}.bn2", self.conv(f"{block}.conv2", y))
                if stride == 2:
                    x = self.norm(f"{block}.downsample.1", self.conv(f"{block}.downsample.0", x, 2))
                x = F.relu(x + y)
            features.append(x)
        return features[2], features[3]

    def separable(self, name, x, stride=1):
        return self.block(f"{name}.point_wise_cbr", self.conv(f"{name}.conv1", x, stride))

    def xception39(self, name, x):
        x = F.max_pool2d(self.relu_block(f"{name}.conv1", x, 2), 3, 2, 1)
        features = []
        for layer, blocks in ((1, 4), (2, 8), (3, 4)):
            for index in range(blocks):
                block, stride = f"{name}.layer{layer}.{index}", 2 if index == 0 else 1
                y = F.relu(self.separable(f"{block}.residual_branch.0", x, stride))
                y = F.relu(self.separable(f"{block}.residual_branch.1", y))
                y = self.separable(f"{block}.residual_branch.2", y)
                x = F.relu(y + (self.separable(f"{block}.proj", x, 2) if index == 0 else x))
            features.append(x)
        return features[1], features[2]


def mean_of(x):
    return x.mean(dim=(2, 3), keepdim=True)


def coincheung_logits(state, x):
    """Normalised RGB [N, 3, H, W], sides multiples of 32 -> logits [N, C, H/8, W/8], before the last step."""
    r = Runner(state)
    x16, x32 = r.resnet18("cp.resnet", x)

    def arm(name, features):
        features = r.relu_block(f"{name}.conv", features)
        gate = r.norm(f"{name}.bn_atten", r.conv(f"{name}.conv_atten", mean_of(features)))
        return features * torch.sigmoid(gate)

    def doubled(features):
        return F.interpolate(features, scale_factor=2.0, mode="nearest")

    context = arm("cp.arm32", x32) + r.relu_block("cp.conv_avg", mean_of(x32))
    context = r.relu_block("cp.conv_head32", doubled(context))
    context = r.relu_block("cp.conv_head16", doubled(arm("cp.arm16", x16) + context))
    spatial = r.relu_block("sp.conv2", r.relu_block("sp.conv1", x, 2), 2)
    spatial = r.relu_block("sp.conv_out", r.relu_block("sp.conv3", spatial, 2))
    fused = r.relu_block("ffm.convblk", torch.cat([spatial, context], 1))
    if "ffm.conv1.weight" in state:
        gate = r.conv("ffm.conv2", F.relu(r.conv("ffm.conv1", mean_of(fused))))
    else:
        gate = r.norm("ffm.bn", r.conv("ffm.conv", mean_of(fused)))
    fused = fused * torch.sigmoid(gate) + fused
    return r.conv("conv_out.conv_out", r.relu_block("conv_out.conv", fused))


def torchseg_logits(state, x):
    """Normalised RGB [N, 3, H, W], sides multiples of 8 -> logits [N, C, H/8, W/8], before the last step."""
    r = Runner(state)
    backbone = r.xception39 if "context_path.conv1.conv.weight" in state else r.resnet18
    x16, x32 = backbone("context_path", x)
    spatial = r.relu_block("spatial_path.conv_3x3_1", r.relu_block("spatial_path.conv_7x7", x, 2), 2)
    spatial = r.relu_block("spatial_path.conv_1x1", r.relu_block("spatial_path.conv_3x3_2", spatial, 2))
    context = r.relu_block("global_context.1", mean_of(x32))
    for index, (features, like) in enumerate(((x32, x16), (x16, spatial))):
        refined = r.relu_block(f"arms.{index}.conv_3x3", features)
        gate = torch.sigmoid(r.block(f"arms.{index}.channel_attention.1", mean_of(refined)))
        total = refined * gate + context
        total = F.interpolate(total, size=like.shape[2:], mode="bilinear", align_corners=True)
        context = r.relu_block(f"refines.{index}", total)
    fused = r.relu_block("ffm.conv_1x1", torch.cat([spatial, context], 1))
    gate = F.relu(r.conv("ffm.channel_attention.1.conv", mean_of(fused)))
    gate = torch.sigmoid(r.conv("ffm.channel_attention.2.conv", gate))
    fused = fused + fused * gate
    return r.conv("heads.2.conv_1x1", r.relu_block("heads.2.conv_3x3", fused))


STATES = {
    "coincheung": lambda: coincheung_state(19),
    "coincheung, no auxiliary heads": lambda: coincheung_state(19, auxiliary=False),
    "coincheung of 2020": lambda: coincheung_state(19, two_convs=True),
    "torchseg resnet18": lambda: torchseg_state(19, "resnet18"),
    "torchseg xception39": lambda: torchseg_state(19, "xception39"),
    "torchseg, no auxiliary heads": lambda: torchseg_state(19, "xception39", auxiliary=False),
}


@functools.cache
def state_of(case):
    return STATES[case]()


def saved(folder, value, name="weights.pth"):
    path = folder / name
    torch.save(value, path)
    return path
