"""`bisenet-edge profile --paper`: the paper's table of speeds, measured on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np

from bisenet_edge.cli.render import Bars, emit, next_command
from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.profile.network_speed import NetworkSpeed, speed_table, time_networks
from bisenet_edge.runtime.profile.paper import PAPER, PAPER_DEVICE

# The networks of the paper's table, and the two that people compare with today. Others take hours on a CPU at
# 1920x1080 (DLC: 1.4 million million multiply-adds a frame) or are variants of these.
NETWORKS = ("segnet", "enet", "icnet", "bisenet-xception39", "bisenet-resnet18", "bisenetv2")
SIZES = (Size(640, 360), Size(1280, 720), Size(1920, 1080))
WEIGHTS = "random: speed does not depend on them, and their masks mean nothing"
TIMED = "network alone, frame of its size in, mask out, median"


def tell_paper(
    models: Sequence[str],
    sizes: Sequence[Size],
    precisions: Sequence[str],
    engine: dict[str, Any],
    as_json: bool,
) -> int:
    """Measure and print the speed of networks with random weights, beside the paper's figures.

    Args:
        models: names in the zoo; empty = `NETWORKS`.
        sizes: empty = the paper's three.
        precisions: empty = INT8 and the floating point worth comparing on this engine.
        engine: "backend" and "threads".
        as_json: print JSON.

    Raises:
        UsageError: an unknown model, precision or backend.
        BackendError: an engine is missing or fails.
    """
    from bisenet_edge.runtime.machine import describe_machine
    from bisenet_edge.runtime.profile.artifacts import flavours
    from bisenet_edge.toolchain.models import zoo
    from bisenet_edge.toolchain.random_artifact import FILES

    for model in models:
        zoo.entry(model)
    chosen = flavours(precisions, engine["backend"])
    unknown = [precision for precision in chosen if precision not in FILES]
    if unknown:
        raise UsageError("unknown precision", got=", ".join(unknown), expected=", ".join(FILES))
    progress = Bars()
    cells = []
    names = list(models or NETWORKS)
    for done, model in enumerate(names):
        progress("networks", done, len(names))
        cells += _measure(model, sizes or SIZES, chosen, engine, progress)
    progress("networks", len(names), len(names))
    told = [cell.to_json() for cell in cells]
    machine = describe_machine()
    if as_json:
        emit({"weights": WEIGHTS, "timed": TIMED, "machine": machine, "cells": told})
        return 0
    click.echo(f"{machine['cpu']}, {cells[0].backend}: {TIMED}\nweights: {WEIGHTS}\n\n{speed_table(told)}\n")
    click.echo(f"paper: {PAPER}, {PAPER_DEVICE}; - where it prints nothing that could be looked up.")
    floating = [cell for cell in told if cell["precision"] == "int8" and _partly(cell)]
    for cell in floating:
        click.echo(
            f"{cell['model']} {cell['size']}: {cell['convolutions_int8']} of {cell['convolutions']} "
            "convolutions run in INT8"
        )
    next_command("bisenet-edge models")
    return 0


def _partly(cell: dict[str, Any]) -> bool:
    return cell["convolutions"] is not None and cell["convolutions_int8"] != cell["convolutions"]


def _measure(
    model: str, sizes: Sequence[Size], precisions: Sequence[str], engine: dict[str, Any], progress: Bars
) -> list[NetworkSpeed]:
    from bisenet_edge.runtime.backends import choose_backend, open_session
    from bisenet_edge.runtime.streets import Scene
    from bisenet_edge.toolchain.random_artifact import RandomNetwork

    typed = choose_backend(engine["backend"]) == "tensorrt"
    network = RandomNetwork.make(model)
    cells = []
    for size in sizes:
        # One at a time: SegNet's graphs alone are 240 MB a size.
        with tempfile.TemporaryDirectory(prefix="bisenet-edge-paper-") as name, ExitStack() as stack:
            progress(f"exporting {model} {size}", 0, 1)
            artifact = network.artifact(size, Path(name) / "artifact", precisions, typed=typed)
            progress(f"exporting {model} {size}", 1, 1)
            sessions = [
                stack.enter_context(open_session(artifact, precision, **engine, progress=progress))
                for precision in precisions
            ]
            frame = np.ascontiguousarray(Scene(0, size).render(0)[0])
            cells += time_networks(sessions, frame, progress)
    return cells
