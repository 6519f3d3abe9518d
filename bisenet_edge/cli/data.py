"""`bisenet-edge data`: what there is to train on."""

from __future__ import annotations

from bisenet_edge.cli.app import LazyGroup

command = LazyGroup(
    name="data",
    help="Look at a data set before training on it.",
    modules={
        "check": ("data_check", "Read a whole data set: counts, classes, and all that is wrong with it.")
    },
)
