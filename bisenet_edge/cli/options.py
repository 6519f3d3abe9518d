"""Options and arguments that several commands share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from bisenet_edge.artifact import Artifact, Manifest, has_artifact, newest_artifact
from bisenet_edge.cli.render import note
from bisenet_edge.errors import BisenetEdgeError, UsageError
from bisenet_edge.frame import Size

ARTIFACTS = Path("artifacts")


class SizeType(click.ParamType):
    """WIDTHxHEIGHT."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        return value if isinstance(value, Size) else Size.parse(str(value))


SIZE = SizeType()

artifact_argument = click.argument(
    "artifact", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[ARTIFACT]"
)
DATA_FORMS = "cityscapes:PATH, camvid:PATH, coco-stuff:PATH, folder:PATH or synthetic:"
data_option = click.option("--data", required=True, metavar="URI", help=f"{DATA_FORMS}.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
backend_option = click.option(
    "--backend",
    default="auto",
    show_default=True,
    help="auto, tensorrt, cpu, openvino, onnxruntime, reference (the graph as it stands: slow) or null.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(0, 1024), default=0, help="CPU threads; 0 = all that may be used."
)


def given_words(context: click.Context, *, but: tuple[str, ...] = ()) -> list[str]:
    """What was given on the command line, as words again.

    Args:
        context: of the command.
        but: names of parameters that are left out.
    """
    words = []
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if name in but or not given:
            continue
        value = context.params[name]
        option = [] if isinstance(parameter, click.Argument) else [parameter.opts[-1]]
        for one in value if parameter.multiple else (value,):
            words += option if one is True else [*option, str(one)]
    return words


def refuse_null(backend: str) -> None:
    """Refuse the engine that computes nothing where figures of a network are wanted.

    Raises:
        UsageError: `backend` is "null".
    """
    if backend == "null":
        raise UsageError(
            "the null engine computes no masks, so there is nothing to measure",
            got="--backend null",
            expected="auto, tensorrt, cpu, openvino, onnxruntime or reference",
        )


def find_artifact(path: Path | None, *, int8: bool = True) -> Artifact:
    """The artifact named, else the newest in ./artifacts.

    Raises:
        ArtifactError: none there, or damaged.
    """
    if path is not None:
        return Artifact.open(path)
    return newest_artifact(ARTIFACTS, lambda manifest: not int8 or manifest.precision == "int8")


def find_or_export(path: Path | None, size: Size | None = None) -> Artifact:
    """The artifact named, else the newest INT8 one in ./artifacts (of `size`), else a new one, and say so.

    The export runs in a process of its own, so that torch's memory is not in the caller's figures.

    Raises:
        ArtifactError: the one named is damaged.
        BisenetEdgeError: the export failed.
    """
    if path is not None:
        return Artifact.open(path)

    def wanted(manifest: Manifest) -> bool:
        return manifest.precision == "int8" and size in (None, manifest.size)

    if not has_artifact(ARTIFACTS, wanted):
        chosen = size or Size(640, 360)
        note(f"no INT8 artifact of {chosen} in ./{ARTIFACTS}: exporting the shipped checkpoint first")
        command = [sys.executable, "-m", "bisenet_edge", "export", "--int8", "--res", str(chosen), "--json"]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise BisenetEdgeError(
                "could not make an artifact",
                got=f"exit code {done.returncode}",
                fix=f"bisenet-edge export --int8 --res {chosen}",
            )
    return newest_artifact(ARTIFACTS, wanted)
