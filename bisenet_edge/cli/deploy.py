"""`bisenet-edge deploy`: one sub-command per kind of device."""

from __future__ import annotations

from bisenet_edge.cli.app import LazyGroup

command = LazyGroup(
    name="deploy",
    help="Pack an artifact and the runtime for a device.",
    modules={
        "jetson": ("deploy_jetson", "A bundle for an NVIDIA Jetson."),
        "keygen": ("deploy_keygen", "A key to sign bundles with."),
    },
)
