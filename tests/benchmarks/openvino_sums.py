"""What signed residual sums, fused into convolutions, are worth on OpenVINO on a CPU with AMX.

    python tests/benchmarks/openvino_sums.py ARTIFACT

Opens an INT8 artifact as on a CPU with AMX and as on one without (both run on this CPU, with its own
kernels), and times frame -> mask of the two in turns.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import click
import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.metrics import agreement
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.machine import describe_machine, int8_instructions
from bisenet_edge.runtime.profile.network_speed import BURST, time_networks
from bisenet_edge.runtime.profile.result import ratio_of_medians
from bisenet_edge.runtime.selftest import read_golden

FLAGS = "bisenet_edge.runtime.backends.openvino.int8_instructions"
AMX = "amx_int8"


@click.command(help=__doc__)
@click.argument("path", type=click.Path(path_type=Path), metavar="ARTIFACT")
@click.option("--threads", type=int, default=0, help="0 = all cores.")
def main(path: Path, threads: int) -> None:
    if AMX not in int8_instructions():
        raise click.ClickException("this CPU has no AMX: the two would be one")
    artifact = Artifact.open(path)
    frames = [frame for frame, _ in read_golden(artifact, "int8")]
    with ExitStack() as stack:
        sessions = []
        for flags in ([AMX], []):
            with mock.patch(FLAGS, lambda flags=flags: flags):
                session = open_session(artifact, "int8", backend="openvino", threads=threads)
            sessions.append(stack.enter_context(session))
        signed, unsigned = time_networks(sessions, frames[0])
        same = np.mean(
            [agreement(*(session.infer(frame).copy() for session in sessions)) for frame in frames]
        )
    ratio, low, high = ratio_of_medians(signed.times_ms, unsigned.times_ms, BURST)
    click.echo(
        f"{artifact.manifest.model} {artifact.manifest.size}, {describe_machine()['cpu']}, frame -> mask, "
        f"median of {len(signed.times_ms)}: signed {signed.median_ms:.2f} ms, "
        f"unsigned {unsigned.median_ms:.2f} ms, ratio {ratio:.3f} ({low:.3f} to {high:.3f}); "
        f"{same:.2%} of the pixels are the same"
    )


if __name__ == "__main__":
    main()
