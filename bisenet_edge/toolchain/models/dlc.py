"""DLC, Deep Layer Cascade (Li et al., CVPR 2017, "Not All Pixels Are Equal").

Inception-ResNet-v2 is cut into three stages (figure 2), each ending in two convolutions that classify. Pixels
of which a stage is sure (largest probability above rho) are done; the next stage works on the others alone,
with *region convolutions*, which compute inside a region and give 0 outside (figure 3; the authors' code,
liuziwei7/region-conv). rho = 0.985 is the best of table 1.

A region differs from picture to picture, so no static graph can skip the rest of it. This is the dense
equivalent: every convolution runs everywhere and is masked where a neighbour would read it, which gives the
same logits. **It saves nothing: the speed that the paper gains by leaving pixels out (table 3, figure 7) is
not to be had from an exported graph**, and its cost here is that of all stages on all pixels.

Our choices: the two convolutions are a 3x3 of 256 channels and a 1x1 (figure 2 gives no widths); max pooling
in Reduction-B is masked like a convolution; what else is open is listed in `inception_resnet`. In training
the main output is the cascade's: its loss trains each stage on its own pixels ("cascade training"), those of
the auxiliary outputs train stages 1 and 2 on all pixels ("initial training"). The paper keeps batch
normalisation fixed meanwhile; that is the training recipe's matter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bisenet_edge.toolchain.models.bisenet import Head
from bisenet_edge.toolchain.models.inception_resnet import (
    AFTER_A,
    AFTER_B,
    BlockA,
    ReductionA,
    ReductionB,
    Stem,
    block_b,
    block_c,
)
from bisenet_edge.toolchain.models.network import Network, normalised

RHO = 0.985
BLOCKS = (5, 10, 5)  # of A, B and C
HEAD_WIDTH = 256


class DLC(Network):
    """Three stages, each for the pixels of which the one before was not sure.

    A BGR picture, float [N, 3, H, W] in 0..255, gives

    - in evaluation: logits [N, C, H/8, W/8], those of a pixel from the first stage that is sure of it;
    - in training: these, and those of stages 1 and 2 for all pixels.

    All stages are part of the answer, so there are no auxiliary heads to drop.
    """

    logits_stride = 8
    input_multiple = 8

    def __init__(self, num_classes: int, rho: float = RHO, blocks: tuple[int, int, int] = BLOCKS) -> None:
        super().__init__()
        self.rho = rho
        blocks_a, blocks_b, blocks_c = blocks
        self.stage1 = nn.Sequential(Stem(), *(BlockA() for _ in range(blocks_a)), ReductionA())
        self.stage2 = nn.ModuleList(block_b() for _ in range(blocks_b))
        self.reduction_b = ReductionB()
        self.stage3 = nn.ModuleList(block_c() for _ in range(blocks_c))
        self.head1 = Head(AFTER_A, HEAD_WIDTH, num_classes)
        self.head2 = Head(AFTER_B, HEAD_WIDTH, num_classes)
        self.head = Head(AFTER_B, HEAD_WIDTH, num_classes)

    def drop_auxiliary_heads(self) -> None:
        """There are none."""

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        x = self.stage1(normalised(image))
        logits1: Tensor = self.head1(x)
        region = self._unsure(logits1)
        for block in self.stage2:
            x = block(x, region)
        x = self.reduction_b(x, region)
        logits2: Tensor = self.head2(x)
        smaller_region = region * self._unsure(logits2)
        for block in self.stage3:
            x = block(x, smaller_region)
        logits = torch.where(smaller_region > 0, self.head(x), logits2)
        logits = torch.where(region > 0, logits, logits1)
        return (logits, logits1, logits2) if self.training else logits

    def _unsure(self, logits: Tensor) -> Tensor:
        """1 where the largest probability does not exceed rho, else 0; [N, C, h, w] -> [N, 1, h, w]."""
        # A sum over classes, not the maximum: ONNX moved ReduceMax's axes between the two opsets we write.
        sure_of = torch.where(torch.softmax(logits, dim=1) > self.rho, 1.0, 0.0)
        return torch.where(torch.sum(sure_of, dim=1, keepdim=True) > 0, 0.0, 1.0)
