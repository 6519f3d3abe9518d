"""`bisenet-edge profile --paper`: the paper's table of speeds, measured on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from bisenet_edge.cli.render import Bars, emit, next_command, note
from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.profile.network_speed import NetworkSpeed, speed_table, time_networks
from bisenet_edge.runtime.profile.paper import PAPER, PAPER_DEVICE

# The networks of the paper's table, and the two that people compare with today. Others are variants of these,
# or so slow that nobody should wait for them unasked (DLC: 1.4 million million multiply-adds at 1920x1080).
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
    names, sizes = list(dict.fromkeys(models or NETWORKS)), tuple(dict.fromkeys(sizes or SIZES))
    chosen = flavours(precisions, engine["backend"])
    unknown = [precision for precision in chosen if precision not in FILES]
    if unknown:
        raise UsageError("unknown precision", got=", ".join(unknown), expected=", ".join(FILES))
    note(_announced(names, sizes, chosen, engine))
    progress = Bars()
    cells = []
    for done, model in enumerate(names):
        progress("networks", done, len(names))
        cells += _measure(model, sizes, chosen, engine, progress)
    progress("networks", len(names), len(names))
    told = [cell.to_json() for cell in cells]
    machine = describe_machine()
    if as_json:
        emit({"weights": WEIGHTS, "timed": TIMED, "machine": machine, "cells": told})
        return 0
    click.echo(f"{machine['cpu']}, {cells[0].backend}: {TIMED}\nweights: {WEIGHTS}\n\n{speed_table(told)}\n")
    click.echo(
        f"paper: {PAPER}, {PAPER_DEVICE}, as far as its figures could be looked up; not all of them could be "
        "confirmed by a second text."
    )
    floating = [cell for cell in told if cell["precision"] == "int8" and _partly(cell)]
    for cell in floating:
        click.echo(
            f"{cell['model']} {cell['size']}: {cell['convolutions_int8']} of {cell['convolutions']} "
            "convolutions run in INT8"
        )
    next_command("bisenet-edge models")
    return 0


def _announced(
    models: Sequence[str], sizes: Sequence[Size], precisions: Sequence[str], engine: dict[str, Any]
) -> str:
    """What will be measured, and about how long that takes, where that can be known."""
    from bisenet_edge.runtime.backends import choose_backend
    from bisenet_edge.toolchain import speed_estimate

    what = f"measuring {', '.join(models)} at {', '.join(map(str, sizes))} in {', '.join(precisions)}"
    backend = choose_backend(engine["backend"])
    if backend not in ("openvino", "onnxruntime"):
        why = "minutes for each engine to be built" if backend == "tensorrt" else f"{backend} is slow"
        return f"{what}: how long it takes is not known beforehand ({why})"
    rate = speed_estimate.macs_per_s(engine["threads"])
    seconds = speed_estimate.seconds(models, sizes, precisions, rate)
    return f"{what}: about {_about(seconds)}. Ctrl-C ends it; nothing is left behind"


def _about(seconds: float) -> str:
    return f"{max(round(seconds / 10), 1) * 10} s" if seconds < 95 else f"{round(seconds / 60)} minutes"


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
            if not typed:
                stack.enter_context(_cache_in(Path(name) / "cache"))
            sessions = [
                stack.enter_context(open_session(artifact, precision, **engine, progress=progress))
                for precision in precisions
            ]
            frame = np.ascontiguousarray(Scene(0, size).render(0)[0])
            cells += time_networks(sessions, frame, progress)
    return cells


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Keep compiled models in another folder meanwhile.

    54 of up to 120 MB would push those of the user's own networks out. (TensorRT's engines stay where they
    are: each took minutes.)
    """
    before = os.environ.get("BISENET_EDGE_CACHE")
    os.environ["BISENET_EDGE_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["BISENET_EDGE_CACHE"]
        else:
            os.environ["BISENET_EDGE_CACHE"] = before
