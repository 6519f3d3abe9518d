"""The paper's ablation (table 3): what each part of BiSeNet adds, on the Xception39 baseline.

The baseline is the Context Path alone: the backbone and the incomplete U-shape that joins its 1/16 and
1/32 features at 1/8 (section 4.2, "U-shape-8s"). Every row keeps both auxiliary losses, which section 3.4
puts on the Context Path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bisenet_edge.toolchain.models.bisenet_config import XCEPTION39, BiSeNetConfig


@dataclass(frozen=True)
class AblationRow:
    """One row of the table.

    Attributes:
        config: the network.
        printed: the row's name in the paper.
        miou: what the paper prints for it, in percent: Cityscapes, validation split.
    """

    config: BiSeNetConfig
    printed: str
    miou: float


_BARE = replace(XCEPTION39, global_pooling=False, attention=False)

ABLATION = {
    "bisenet-xception39-cp": AblationRow(replace(_BARE, fusion="none"), "CP", 66.01),
    "bisenet-xception39-cp-sp-sum": AblationRow(replace(_BARE, fusion="sum"), "CP+SP(Sum)", 66.82),
    "bisenet-xception39-cp-sp-ffm": AblationRow(_BARE, "CP+SP(FFM)", 67.42),
    "bisenet-xception39-cp-sp-ffm-gp": AblationRow(
        replace(_BARE, global_pooling=True), "CP+SP(FFM)+GP", 68.42
    ),
    "bisenet-xception39-cp-sp-ffm-arm": AblationRow(replace(_BARE, attention=True), "CP+SP(FFM)+ARM", 68.72),
    "bisenet-xception39": AblationRow(XCEPTION39, "CP+SP(FFM)+GP+ARM", 71.40),
}
"""Zoo name -> row, in the paper's order."""
