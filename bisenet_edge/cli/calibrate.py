"""`bisenet-edge calibrate`: which pictures the INT8 ranges come from."""

from __future__ import annotations

from bisenet_edge.cli.app import LazyGroup

command = LazyGroup(
    name="calibrate",
    help="Choose the pictures that INT8 is calibrated on.",
    modules={"select": ("calibrate_select", "Choose pictures by class and write them to a recipe.")},
)
