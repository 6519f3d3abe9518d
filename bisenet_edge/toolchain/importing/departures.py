"""Where an imported network departs from the paper, and from the authors' code where the paper is silent."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bisenet_edge.toolchain.models.bisenet_config import RESNET18, RESNET101, XCEPTION39, BiSeNetConfig

PAPERS = {config.backbone: config for config in (XCEPTION39, RESNET18, RESNET101)}


@dataclass(frozen=True)
class Departure:
    """One difference: what differs, what it is here, and what it is in the paper."""

    what: str
    here: str
    paper: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def departures(config: BiSeNetConfig) -> list[Departure]:
    """Compare a configuration with the paper's of its backbone; normalisation is not compared."""
    paper = PAPERS[config.backbone]
    papers_heads = paper.auxiliary_width
    rows: list[tuple[str, object, object]] = [
        ("FFM gate", config.gate, paper.gate),
        ("narrowing of the FFM gate", config.gate_reduction, paper.gate_reduction),
        # Whether corner pixels are aligned the paper does not say; the authors' code aligns them.
        ("up-sampling of the context", config.upsampling.replace("-corners", ""), paper.upsampling),
        ("channels of the main head", config.head_width, paper.head_width),
        # Without such heads it was saved for inference alone.
        ("channels of the auxiliary heads", config.auxiliary_width or papers_heads, papers_heads),
    ]
    return [Departure(what, str(here), str(papers)) for what, here, papers in rows if here != papers]
