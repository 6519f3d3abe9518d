"""`bisenet-edge profile --estimate BOARD`: a lower bound for a board that is not at hand."""

from __future__ import annotations

from typing import Any

import click
import onnx

from bisenet_edge.artifact import Artifact
from bisenet_edge.boards import Board, load_board
from bisenet_edge.cli.render import emit, next_command
from bisenet_edge.errors import UsageError
from bisenet_edge.runtime.profile.roofline import LABEL, estimates
from bisenet_edge.runtime.profile.text import estimate_text
from bisenet_edge.toolchain.graph_cost import layer_costs

FLAVOURS = {"int8": "int8", "fp16": "fp32"}
"""Precision on the board -> the file whose graph is counted."""


def tell_estimate(name: str, artifacts: list[Artifact], as_json: bool) -> int:
    """Print what a board could reach at best with each artifact; nothing is measured.

    Raises:
        UsageError: no such board, or one whose file has no figures.
        ArtifactError: an artifact without INT8, or a graph that cannot be counted.
    """
    board = load_board(name)
    told = [(artifact, _estimate(board, artifact)) for artifact in artifacts]
    if as_json:
        networks = [{"artifact": str(artifact.path), "modes": modes} for artifact, modes in told]
        emit({"label": LABEL, "board": board.to_json(), "networks": networks})
        return 0
    for artifact, modes in told:
        manifest = artifact.manifest
        click.echo(estimate_text(modes, f"{manifest.model} {manifest.size} on {board.title}", board.sources))
        click.echo()
    next_command(f"bisenet-edge deploy jetson --board {board.name}")
    return 0


def _estimate(board: Board, artifact: Artifact) -> list[dict[str, Any]]:
    found = []
    for precision, flavour in FLAVOURS.items():
        model = onnx.load(str(artifact.model_path(flavour)))
        found += [estimate.to_json() for estimate in estimates(board, precision, layer_costs(model))]
    if not found:
        raise UsageError(
            "nothing can be estimated for this board",
            got=f"{board.name}: its file has no peak figures",
            expected="a dense INT8 rate or a memory bandwidth in a [[mode]] of deploy/boards",
            fix="measure on it: bisenet-edge profile",
        )
    return found
