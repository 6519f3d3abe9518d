"""The networks on a CUDA device with PyTorch alone: speed beside the paper's cards, and frame -> mask.

    PYTHONPATH=. python tests/benchmarks/gpu_torch.py [--samples 200] [--json FILE]

Two tables, batch 1, everything of one table sampled in turn in bursts of 10:

- the network: normalised inside, float frame already on the device -> full-size logits (as the paper's
  code up-samples them), channels_last, one CUDA graph, in FP32, TF32 and FP16, beside table 5 of the paper;
- frame -> mask, from and to host memory. "plain" is what one writes first: float NCHW made on the host,
  FP32 operators one by one, full-size logits back to the host, numpy argmax. "fused" uploads the uint8
  frame, runs normalisation, network, up-sampling and argmax in one CUDA graph, and takes a uint8 mask back.

FP32 is FP32: TF32 is off there and in "plain", and a row of its own. Needs torch, numpy and OpenCV; no
TensorRT, no OpenVINO. `--device cpu --size 96x64` runs all of it without CUDA graphs: that checks this
script and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_routes import PRECISIONS, Network, Route, fused_route, plain_route

from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.latency import LatencySummary
from bisenet_edge.metrics import agreement
from bisenet_edge.resources import shipped_checkpoint
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.profile.paper import PAPER_DEVICE, PAPER_DEVICE_XP, paper_speed
from bisenet_edge.runtime.profile.result import ratio_of_medians
from bisenet_edge.runtime.streets import Scene
from bisenet_edge.toolchain import checkpoint as checkpoints
from bisenet_edge.toolchain.loop import device_of
from bisenet_edge.toolchain.models import zoo
from bisenet_edge.toolchain.quant.fold import fold

SIZES = (Size(640, 360), Size(1280, 720), Size(1920, 1080))
MODELS = ("bisenet-xception39", "bisenet-resnet18")
BURST = 10
PAPER_CLASSES = 19  # Cityscapes
RESULTS = Path(__file__).parent / "results"
CHECK_ONLY = "a check of the script on a CPU: no figure of anything"
LEAST_SAME = 0.999  # of the pixels: two orders of summing in FP32 differ in a few on class borders


def take_turns(samplers: dict[str, Callable[[], float]], samples: int) -> dict[str, np.ndarray]:
    """Milliseconds of each, taken in bursts in turn, so that a drifting machine hits all."""
    times: dict[str, list[float]] = {name: [] for name in samplers}
    for sampler in samplers.values():
        for _ in range(BURST):
            sampler()
    for _ in range(samples // BURST):
        for name, sampler in samplers.items():
            times[name].extend(sampler() for _ in range(BURST))
    return {name: np.asarray(values) for name, values in times.items()}


def network_rows(model: str, size: Size, device: torch.device, samples: int) -> list[dict[str, Any]]:
    """The network of the paper's number of classes, with random weights: they do not change its speed."""
    torch.manual_seed(0)
    folded = fold(zoo.build(model, PAPER_CLASSES))
    networks = {p.name: Network(folded, size, device, p) for p in PRECISIONS}
    times = take_turns({name: network.sample for name, network in networks.items()}, samples)
    rows = []
    for name, values in times.items():
        ratio, low, high = ratio_of_medians(values, times["fp32"], BURST)
        row: dict[str, Any] = {"model": model, "size": str(size), "precision": name}
        row.update(LatencySummary.of(values.tolist()).to_json())
        row.update(over_fp32=round(ratio, 4), ci95=[round(low, 4), round(high, 4)])
        for key, card in (("titan_x", PAPER_DEVICE), ("titan_xp_unconfirmed", PAPER_DEVICE_XP)):
            printed = paper_speed(model, size, card)
            row[key] = printed.to_json() if printed else None
        rows.append(row)
    return rows


def route_rows(model: str, size: Size, device: torch.device, samples: int) -> list[dict[str, Any]]:
    """Frame -> mask, "plain" first.

    Raises:
        RuntimeError: in FP32 the fused route's masks are not the plain route's.
    """
    folded = fold(trained_network(model))
    frames = [Scene(5, size).render(second)[0] for second in range(BURST)]
    routes = {"plain": plain_route(folded, device)}
    routes.update({f"fused {p.name}": fused_route(folded, size, device, p) for p in PRECISIONS})
    expected = [routes["plain"](frame) for frame in frames]
    same = {
        name: float(np.mean([agreement(route(frame), mask) for frame, mask in zip(frames, expected)]))
        for name, route in routes.items()
    }
    if same["fused fp32"] < LEAST_SAME:
        raise RuntimeError(f"{model} {size}: only {same['fused fp32']:.2%} of the masks' pixels are equal")
    times = take_turns({name: timed(route, frames) for name, route in routes.items()}, samples)
    rows = []
    for name, values in times.items():
        ratio, low, high = ratio_of_medians(values, times["plain"], BURST)
        row: dict[str, Any] = {"model": model, "size": str(size), "route": name}
        row.update(LatencySummary.of(values.tolist()).to_json())
        row.update(over_plain=round(ratio, 4), ci95=[round(low, 4), round(high, 4)])
        rows.append({**row, "pixels_equal_to_plain": round(same[name], 6)})
    return rows


def trained_network(model: str) -> Any:
    """The shipped checkpoint's network; of another model (none is shipped) one with random weights."""
    shipped = checkpoints.read(shipped_checkpoint())
    if shipped.model == model:
        return shipped.build()
    torch.manual_seed(0)
    return zoo.build(model, len(CAMVID))


def timed(route: Route, frames: list[np.ndarray]) -> Callable[[], float]:
    """Milliseconds of one frame on the host's clock: every route ends with its mask on the host."""
    number = 0

    def sample() -> float:
        nonlocal number
        number += 1
        begun_ns = time.perf_counter_ns()
        route(frames[number % len(frames)])
        return (time.perf_counter_ns() - begun_ns) / 1e6

    return sample


def describe(device: torch.device) -> dict[str, Any]:
    """The machine and the device, and whether what follows is a figure."""
    value: dict[str, Any] = {"machine": describe_machine(), "torch": torch.__version__}
    if device.type != "cuda":
        return {**value, "device": "cpu", "figures": False, "purpose": CHECK_ONLY}
    properties = torch.cuda.get_device_properties(device)
    capability = f"{properties.major}.{properties.minor}"
    cudnn = torch.backends.cudnn.version()
    return {
        **value,
        "device": properties.name,
        "compute_capability": capability,
        "memory_mb": properties.total_memory // 2**20,
        "cuda": torch.version.cuda,
        "cudnn": cudnn,
        "figures": True,
    }


def report(about: dict[str, Any], network: list[dict[str, Any]], routes: list[dict[str, Any]]) -> None:
    if not about["figures"]:
        print(f"{CHECK_ONLY.upper()}\n")
    print(f"{about['device']}, torch {about['torch']}, batch 1, milliseconds\n")
    columns = ("p50", "p90", "p99", "/ fp32", "95 % interval", "Titan X", "Titan XP*")
    print(f"{'network -> full-size logits':<40}" + "".join(f"{column:>16}" for column in columns))
    for row in network:
        cells = [*percentiles(row), f"{row['over_fp32']:.3f}", interval(row)]
        cells += [
            f"{row[key]['time_ms']:g}" if row[key] else "-" for key in ("titan_x", "titan_xp_unconfirmed")
        ]
        print(
            f"{row['model']} {row['size']} {row['precision']:<6}".ljust(40)
            + "".join(f"{c:>16}" for c in cells)
        )
    print("* from memory of the paper's table 5, unconfirmed\n")
    columns = ("p50", "p90", "p99", "/ plain", "95 % interval", "equal pixels")
    print(f"{'frame on the host -> mask on the host':<44}" + "".join(f"{column:>16}" for column in columns))
    for row in routes:
        same = f"{row['pixels_equal_to_plain']:.2%}"
        cells = [*percentiles(row), f"{row['over_plain']:.3f}", interval(row), same]
        print(f"{row['model']} {row['size']} {row['route']}".ljust(44) + "".join(f"{c:>16}" for c in cells))


def percentiles(row: dict[str, Any]) -> list[str]:
    return ["-" if row[key] is None else f"{row[key]:.3f}" for key in ("p50_ms", "p90_ms", "p99_ms")]


def interval(row: dict[str, Any]) -> str:
    return f"{row['ci95'][0]:.3f} to {row['ci95'][1]:.3f}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N; cpu checks this script")
    parser.add_argument("--samples", type=int, default=200, help="of each row")
    parser.add_argument("--size", action="append", type=Size.parse, help="instead of the paper's three")
    parser.add_argument("--json", type=Path, help="default: results/gpu_torch.DEVICE.json; none for a CPU")
    arguments = parser.parse_args(argv)
    if arguments.samples < BURST or arguments.samples % BURST:
        parser.error(f"--samples must be a multiple of {BURST}")
    device = device_of(arguments.device)
    if device.index is not None:
        torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = True
    about = describe(device)
    network, routes = [], []
    for model in MODELS:
        for size in arguments.size or SIZES:
            network += network_rows(model, size, device, arguments.samples)
            routes += route_rows(model, size, device, arguments.samples)
    report(about, network, routes)
    slug = re.sub(r"[^a-z0-9]+", "-", about["device"].lower()).strip("-")
    target = arguments.json or (RESULTS / f"gpu_torch.{slug}.json" if about["figures"] else None)
    if target:
        value = {**about, "samples": arguments.samples, "network": network, "frame_to_mask": routes}
        target.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
