"""From the start of a process to its first mask, and what it weighs: memory, bundle, program."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bisenet_edge.artifact import Artifact
from bisenet_edge.boards import load_board
from bisenet_edge.toolchain.bundle import make_bundle
from bisenet_edge.toolchain.pyz import build_pyz

from .figures import Summary
from .material import Material
from .turns import Burst, BurstPlan, Patience, Taken, take_turns

PROGRAM = """
import sys, time
begun_ns = int(sys.argv[2])
times = {}
def reached(step):
    times[step] = (time.monotonic_ns() - begun_ns) / 1e6
reached("interpreter")
sys.path.insert(0, sys.argv[1])
import bisenet_edge.cli.device
from pathlib import Path
from bisenet_edge.artifact import Artifact
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.pipeline.run import RunOptions, run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.sinks import Sink
from bisenet_edge.runtime.sources import open_source
reached("imports")
artifact = Artifact.open(Path(sys.argv[3]))
source = open_source(sys.argv[4], artifact.manifest.size)
reached("artifact and source")
session = open_session(artifact, "int8", backend=sys.argv[5], threads=int(sys.argv[6]))
reached("engine")
class First(Sink):
    def write(self, frame, mask):
        if "first mask" not in times:
            reached("first mask")
run(source, Segmenter(session), [First("first")], options=RunOptions(max_frames=100))
import json
status = Path("/proc/self/status").read_text()
rss_mb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
print(json.dumps({"times": times, "peak_rss_mb": rss_mb}))
"""
"""What a service does, out of the program file that a bundle carries; a video stands for the camera."""

BACKENDS = ("openvino", "onnxruntime")
CACHE_VARIABLES = ("XDG_CACHE_HOME", "BISENET_EDGE_CACHE")
BOARD = "cpu"
TARGET_FIRST_MASK_S = 2.0
TARGET_RSS_MB = 300.0


@dataclass(frozen=True)
class Starter:
    """Starts the program once per turn.

    Attributes:
        name: "openvino, cached".
        backend, cached: what it is started with; without a cache every start has an empty one.
        program: the .pyz.
        material: what is segmented.
        threads: of the engine.
        cache: folder for the cached starts.
    """

    name: str
    backend: str
    cached: bool
    program: Path
    material: Material
    threads: int
    cache: Path

    def burst(self, job: str, plan: BurstPlan) -> Burst:
        """One start; `plan` says nothing here."""
        if self.cached:
            return self._start(self.cache)
        with tempfile.TemporaryDirectory() as empty:
            return self._start(Path(empty))

    def _start(self, cache: Path) -> Burst:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment.update(dict.fromkeys(CACHE_VARIABLES, str(cache)))
        words = [self.program, time.monotonic_ns(), self.material.artifact, self.material.clip]
        command = [sys.executable, "-c", PROGRAM, *map(str, words), self.backend, str(self.threads)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command[4] = str(time.monotonic_ns())
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(f"start with {self.name} failed: {done.stderr.strip()}")
        told = json.loads(done.stdout.splitlines()[-1])
        steps = {f"until {step}": value for step, value in told["times"].items()}
        used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Burst([told["times"]["first mask"]], used_s, {**steps, "peak_rss_mb": told["peak_rss_mb"]})


def measure_startup(
    material: Material, threads: int, patience: Patience, tell: Callable[[str], None]
) -> dict[str, Any]:
    """First masks with and without a warm cache, in turn, and sizes.

    Args:
        material: INT8 artifact and video.
        threads: of the engine.
        patience: its rounds are the starts of each kind.
        tell: told how far it is.
    """
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "bisenet-edge.pyz"
        program.write_bytes(build_pyz())
        starters = [
            Starter(
                f"{backend}, {'cached' if cached else 'cold'}",
                backend,
                cached,
                program,
                material,
                threads,
                Path(scratch) / f"cache-{backend}",
            )
            for backend in BACKENDS
            for cached in (False, True)
        ]
        for starter in starters:
            starter.burst("first mask", BurstPlan())  # fills the caches, the system's own too
        taken = take_turns(
            [(starter, "first mask") for starter in starters],
            BurstPlan(),
            patience,
            progress=lambda text: tell(f"start-up: {text}"),
        )
        sizes = _sizes(material, program, Path(scratch))
    return {"turns": taken.to_json(), "starts": _rows(taken), "bytes": sizes}


def _rows(taken: Taken) -> list[dict[str, Any]]:
    rows = []
    for (name, job), bursts in taken.bursts.items():
        if not bursts:
            continue
        summary = Summary.of(taken.times(name, job))
        steps = {key: sorted(b.extra[key] for b in bursts)[len(bursts) // 2] for key in bursts[0].extra}
        rows.append({"name": name, **summary.to_json(), **{k: round(v, 2) for k, v in steps.items()}})
    return rows


def _sizes(material: Material, program: Path, scratch: Path) -> dict[str, int]:
    """Bytes of the program, of the bundle for a CPU, and of the INT8 graph."""
    artifact = Artifact.open(material.artifact)
    bundle = make_bundle(artifact, load_board(BOARD), scratch / "bundle")
    return {
        "program (.pyz)": program.stat().st_size,
        "bundle (.tar.gz, without golden frames)": bundle.size_bytes,
        "INT8 graph": artifact.model_path("int8").stat().st_size,
    }
