"""The command tree and the one error boundary.

Exit codes: 0 ok; 1 an error of ours, told without a traceback unless --debug; 2 usage; 3 a gate failed;
4 inconclusive. Commands are imported when they are called, so that `run` and `profile` never load torch.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

from bisenet_edge import __version__
from bisenet_edge.errors import BisenetEdgeError, MissingDependencyError, unknown_name

EXIT_ERROR, EXIT_USAGE, EXIT_GATE, EXIT_INCONCLUSIVE, EXIT_INTERRUPTED = 1, 2, 3, 4, 130


class LazyGroup(click.Group):
    """A group whose commands are imported on demand, and which proposes the nearest name for a wrong one."""

    def __init__(self, *, modules: dict[str, tuple[str, str]], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            raise unknown_name("command", cmd_name, self.modules)
        module, _ = self.modules[cmd_name]
        command = getattr(importlib.import_module(f"bisenet_edge.cli.{module}"), "command")  # noqa: B009
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table, not from the commands: help must not import torch.
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.modules.items()])


COMMANDS = {
    "data": ("data", "Look at a data set before training on it."),
    "train": ("train", "Train a network with the paper's recipe."),
    "import": ("import_", "Take over the weights of a public BiSeNet implementation."),
    "export": ("export", "Turn a checkpoint into an artifact, in INT8 with --int8."),
    "calibrate": ("calibrate", "Choose the pictures that INT8 is calibrated on."),
    "check": ("check", "Measure the accuracy drop of INT8 against FP32."),
    "evaluate": ("evaluate", "Measure mIoU and the confusion matrix of a checkpoint or an artifact."),
    "lint": ("lint", "Say which convolutions will not run in INT8, and why."),
    "compile": ("compile", "Build and test the TensorRT engines of an artifact, on the device."),
    "profile": ("profile", "Measure latency, INT8, BF16 and FP32 side by side."),
    "run": ("run", "A camera, a stream, a video or a folder to masks."),
    "deploy": ("deploy", "Pack an artifact and the runtime for a device."),
    "doctor": ("doctor", "Check this machine: JetPack, TensorRT, CUDA, cameras, power mode."),
    "demo": ("demo", "The whole job once, on synthetic streets."),
    "models": ("models", "The networks, their size and cost beside the paper's."),
}


@click.group(cls=LazyGroup, modules=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bisenet-edge")
@click.option("--debug", is_flag=True, help="Show tracebacks (anywhere in the line).")
def app(debug: bool) -> None:
    """BiSeNet from labelled images to camera-to-mask in INT8 on a Jetson, the accuracy drop measured.

    \b
    Start here, in any folder:
      bisenet-edge export --int8
      bisenet-edge deploy jetson
      bisenet-edge profile --res 640x360
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code."""
    debug = "--debug" in arguments
    # torch's OpenMP threads spin while they wait. Where another program uses the cores, that made a
    # calibration take 126 s instead of 8 s; it must be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        # Wherever it stands: people add it to the end of the line that failed.
        words = [word for word in arguments if word != "--debug"]
        result = app.main(words, prog_name="bisenet-edge", standalone_mode=False)
    except BisenetEdgeError as error:
        return _tell(error, debug)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("interrupted: what was not finished is not written", err=True)
        return EXIT_INTERRUPTED
    except ModuleNotFoundError as error:
        if debug or (error.name or "").startswith("bisenet_edge"):
            raise
        missing = MissingDependencyError(
            "a package that this command needs is not installed",
            got=f"no module '{error.name}'",
            fix=f"{sys.executable} -m pip install bisenet-edge",
        )
        return _tell(missing, debug)
    return result if isinstance(result, int) else 0


def _tell(error: BisenetEdgeError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"error: {error}", err=True)
    return error.exit_code
