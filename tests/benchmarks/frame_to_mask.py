"""Frame -> mask on a CPU: ours (OpenVINO, INT8) against the plain route, on the same weights, in one run.

    python tests/benchmarks/frame_to_mask.py [--samples 200] [--json FILE]

The plain route is what one writes first: numpy preprocessing, float NCHW input, ONNX Runtime FP32,
full-size logits, numpy argmax. Both take the same uint8 frame and give a uint8 mask. They are sampled in
turn, in bursts of 10, so that a drifting machine hits both. Also measured: what our route spends outside
the network, the import time of the runtime, and the memory of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from bisenet_edge.artifact import Artifact
from bisenet_edge.frame import Size
from bisenet_edge.labels import CAMVID
from bisenet_edge.latency import LatencySummary
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.machine import describe_machine
from bisenet_edge.runtime.streets import Scene

SIZE = Size(640, 360)
BURST = 10
GOALS = {"bisenet-xception39": 5.0, "bisenet-resnet18": 8.0}
THREADS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    frames = [Scene(5, SIZE).render(second)[0] for second in range(10)]
    machine = describe_machine()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in GOALS:
            artifact = make_artifact(model, Path(scratch) / model)
            rows.append(measure(artifact, frames, arguments.samples))
            if model == "bisenet-xception39":
                startup = measure_startup(artifact)
    report(machine, rows, startup)
    if arguments.json:
        value = {"machine": machine, "size": str(SIZE), "threads": THREADS, "rows": rows, "startup": startup}
        arguments.json.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def make_artifact(model: str, folder: Path) -> Artifact:
    """An INT8 artifact: of the shipped checkpoint, or (ResNet-18: none is shipped) of random weights.

    Latency does not depend on the weights' values; accuracy is not measured here.
    """
    import torch

    from bisenet_edge.resources import data_folder, shipped_checkpoint
    from bisenet_edge.toolchain import checkpoint as checkpoints
    from bisenet_edge.toolchain.checkpoint import Checkpoint
    from bisenet_edge.toolchain.export import ExportOptions, export
    from bisenet_edge.toolchain.models import zoo
    from bisenet_edge.toolchain.quant.select_frames import CalibrationRecipe

    shipped = checkpoints.read(shipped_checkpoint())
    if model != shipped.model:
        torch.manual_seed(0)
        shipped = Checkpoint(model, CAMVID, dict(zoo.build(model, len(CAMVID)).state_dict()))
    recipe = CalibrationRecipe.read(data_folder("calibration") / "streets.toml")
    options = ExportOptions(SIZE, CalibrationRecipe(recipe.data, count=16))
    return export(shipped, options, folder).artifact


def plain_route(artifact: Artifact) -> Callable[[np.ndarray], np.ndarray]:
    """The straightforward implementation on ONNX Runtime FP32."""
    import onnxruntime

    model = cut_to_float(onnx.load(str(artifact.model_path("fp32"))))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def segment(frame: np.ndarray) -> np.ndarray:
        image = ((frame - 128.0) / 64.0).transpose(2, 0, 1)[None].astype(np.float32)
        logits = session.run(["full"], {"image": image})[0]
        return np.argmax(logits, axis=1)[0].astype(np.uint8)

    return segment


def cut_to_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """The FP32 graph between normalised float NCHW input and full-size logits."""
    producers = {output: node for node in model.graph.node for output in node.output}
    centred = next(node for node in model.graph.node if node.op_type == "Sub")
    normalised = next(node for node in model.graph.node if centred.output[0] in node.input).output[0]
    full = next(node for node in model.graph.node if node.op_type == "ArgMax").input[0]
    wanted, nodes, stack = set(), [], [full]
    while stack:
        name = stack.pop()
        node = producers.get(name)
        if node is None or name == normalised or id(node) in wanted:
            continue
        wanted.add(id(node))
        stack.extend(node.input)
    for node in model.graph.node:
        if id(node) in wanted:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = ["image" if name == normalised else name for name in copy.input]
            copy.output[:] = ["full" if name == full else name for name in copy.output]
            nodes.append(copy)
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *SIZE.hw])],
        [helper.make_tensor_value_info("full", TensorProto.FLOAT, [1, len(CAMVID), *SIZE.hw])],
        list(model.graph.initializer),
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def measure(artifact: Artifact, frames: list[np.ndarray], samples: int) -> dict[str, Any]:
    plain = plain_route(artifact)
    with ExitStack() as stack:
        int8, fp32 = (
            stack.enter_context(open_session(artifact, precision, backend="openvino", threads=THREADS))
            for precision in ("int8", "fp32")
        )
        same = float(np.mean([np.mean(plain(f) == fp32.infer(f)) for f in frames]))
        routes: dict[str, Callable[[np.ndarray], Any]] = {
            "plain": plain,
            "openvino fp32": fp32.infer,
            "openvino int8": int8.infer,
            "int8 network alone": int8.run_network,  # type: ignore[attr-defined]
        }
        times: dict[str, list[float]] = {name: [] for name in routes}
        for route in routes.values():
            for frame in frames:
                route(frame)
        for burst in range(samples // BURST):
            for name, route in routes.items():
                for index in range(BURST):
                    frame = frames[(burst + index) % len(frames)]
                    start = time.perf_counter_ns()
                    route(frame)
                    times[name].append((time.perf_counter_ns() - start) / 1e6)
    summaries = {name: LatencySummary.of(values).to_json() for name, values in times.items()}
    ours, alone = summaries["openvino int8"]["p50_ms"], summaries["int8 network alone"]["p50_ms"]
    return {
        "model": artifact.manifest.model,
        "plain_route_equals_ours_fp32": round(same, 6),
        "times": summaries,
        "speedup": round(summaries["plain"]["p50_ms"] / ours, 2),
        "goal": GOALS[artifact.manifest.model],
        "outside_network_share": round(1 - alone / ours, 3),
    }


def measure_startup(artifact: Artifact) -> dict[str, float]:
    """Import time of the runtime, and peak memory of a process that segments 50 frames (torch-free)."""
    program = (
        "import time; start = time.perf_counter()\n"
        "from bisenet_edge.runtime import backends, sinks, sources\n"
        "from bisenet_edge.runtime.pipeline import run, segmenter\n"
        "print(time.perf_counter() - start)\n"
        "import sys, numpy; from pathlib import Path\n"
        "from bisenet_edge.runtime.profile.profiler import peak_rss_mb\n"
        "from bisenet_edge.artifact import Artifact; from bisenet_edge.runtime.backends import open_session\n"
        "session = open_session(Artifact.open(Path(sys.argv[1])), 'int8', backend='openvino')\n"
        f"frame = numpy.zeros(({SIZE.height}, {SIZE.width}, 3), numpy.uint8)\n"
        "for _ in range(50): session.infer(frame)\n"
        "print(peak_rss_mb())\n"
    )
    runs = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", program, str(artifact.path)], capture_output=True, text=True, check=True
        )
        runs.append([float(line) for line in done.stdout.split()])
    import_s, rss_mb = np.median(np.asarray(runs), axis=0)
    return {"import_s": round(float(import_s), 3), "peak_rss_mb": round(float(rss_mb), 1)}


def report(machine: dict[str, Any], rows: list[dict[str, Any]], startup: dict[str, float]) -> None:
    print(f"{machine['cpu']}, {THREADS} threads, frame -> mask at {SIZE}, milliseconds\n")
    print(f"{'route':<42}{'p50':>8}{'p90':>8}{'p99':>8}")
    for row in rows:
        for name, times in row["times"].items():
            p99 = "-" if times["p99_ms"] is None else f"{times['p99_ms']:.2f}"
            print(f"{row['model'] + ', ' + name:<42}{times['p50_ms']:>8.2f}{times['p90_ms']:>8.2f}{p99:>8}")
        print(
            f"  {row['speedup']:.2f} times as fast as the plain route (goal: {row['goal']:g}); "
            f"{row['outside_network_share']:.0%} of a frame is outside the network (goal: under 20 %)\n"
        )
    print(f"import of the runtime: {startup['import_s']:.2f} s (goal: under 0.5)")
    print(f"peak memory at {SIZE}: {startup['peak_rss_mb']:.0f} MB (goal: under 400)")


if __name__ == "__main__":
    main()
