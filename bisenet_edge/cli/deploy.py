"""`bisenet-edge deploy`: one sub-command per kind of device, and what is done with devices afterwards."""

from __future__ import annotations

from bisenet_edge.cli.app import LazyGroup

command = LazyGroup(
    name="deploy",
    help="Pack an artifact and the runtime for a device, and bring it there.",
    modules={
        "jetson": ("deploy_jetson", "A bundle for an NVIDIA Jetson; with --host, installed there."),
        "status": ("deploy_status", "What devices run, and how it is doing."),
        "rollback": ("deploy_rollback", "Back to the previous release."),
        "prune": ("deploy_prune", "Remove old releases from devices."),
        "keygen": ("deploy_keygen", "A key to sign bundles with."),
    },
)
