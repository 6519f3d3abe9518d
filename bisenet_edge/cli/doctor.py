"""`bisenet-edge doctor`: is this machine fit for the job?"""

from __future__ import annotations

from pathlib import Path

import click

from bisenet_edge.cli.app import EXIT_ERROR
from bisenet_edge.cli.options import json_option
from bisenet_edge.cli.render import emit, next_command


@click.command("doctor")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    show_default=True,
    help="Look at the system in a folder (a mounted SD card, say) instead of this machine.",
)
@json_option
def command(root: Path, as_json: bool) -> int:
    """Check JetPack, TensorRT, CUDA, cameras, power mode, clocks and room, with a remedy for each problem.

    Nothing is changed. A problem stops the job; a warning costs speed or stops a part of it (a CSI camera,
    say). On a machine that is no Jetson, what concerns Jetsons is not applicable.

    Exit code 0 when nothing stops the job, 1 when a problem does.
    """
    from bisenet_edge.runtime.doctor import as_text, examine, next_step

    diagnosis = examine(root)
    if as_json:
        emit(diagnosis.to_json())
    else:
        click.echo(as_text(diagnosis))
        # A Jetson gets its artifact from a workstation; the engine is timed where it runs.
        healthy = "bisenet-edge profile --res 640x360" if diagnosis.jetson else "bisenet-edge export --int8"
        next_command(next_step(diagnosis, healthy))
    return 0 if diagnosis.healthy else EXIT_ERROR
