"""`bisenet-edge deploy jetson --host ...`: a bundle for each board, brought to every device."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from bisenet_edge.artifact import Artifact
from bisenet_edge.boards import load_board
from bisenet_edge.cli.deploy_options import Reach
from bisenet_edge.cli.deploy_text import DeviceBars, show_results
from bisenet_edge.cli.options import find_artifact, find_or_export
from bisenet_edge.cli.render import next_command, note
from bisenet_edge.delivery.deliver import Delivery, Payload, deliver, plan
from bisenet_edge.delivery.fleet import Rollout, everywhere, roll_out
from bisenet_edge.errors import UsageError
from bisenet_edge.resources import data_folder

Command = Callable[..., Any]

_OPTIONS = (
    click.option("--dry-run", is_flag=True, help="With --host: say what would be done; change nothing."),
    click.option("--allow-unsigned", is_flag=True, help="For a device that trusts no key yet."),
    click.option("--allow-downgrade", is_flag=True, help="Take a bundle older than what is installed."),
    click.option("--any-machine", is_flag=True, help="Do not compare a device with the board."),
    click.option(
        "--latency-budget-ms",
        metavar="MS",
        help="Instead of the board's and the service's; \"none\" = no limit.",
    ),
    click.option(
        "--health-timeout-s", type=click.IntRange(1), help="How long the service has for its first mask (90)."
    ),
    click.option(
        "--max-failures",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="After so many no new device is begun.",
    ),
)
_NAMES = (
    "dry_run",
    "allow_unsigned",
    "allow_downgrade",
    "any_machine",
    "latency_budget_ms",
    "health_timeout_s",
    "max_failures",
)


@dataclass(frozen=True)
class Wishes:
    """How a delivery is to go, as the command line says."""

    dry_run: bool
    allow_unsigned: bool
    allow_downgrade: bool
    any_machine: bool
    latency_budget_ms: str | None
    health_timeout_s: int | None
    max_failures: int

    def installer_options(self) -> tuple[str, ...]:
        """For verify-and-install.sh."""
        words = [
            *(["--allow-unsigned"] if self.allow_unsigned else []),
            *(["--allow-downgrade"] if self.allow_downgrade else []),
            *(["--latency-budget-ms", self.latency_budget_ms] if self.latency_budget_ms else []),
            *(["--health-timeout-s", str(self.health_timeout_s)] if self.health_timeout_s else []),
        ]
        return tuple(words)


def delivery_options(command: Command) -> Command:
    """Add the options; the command gets one argument `wishes` for all of them."""

    @wraps(command)
    def with_wishes(**values: Any) -> Any:
        return command(wishes=Wishes(**{name: values.pop(name) for name in _NAMES}), **values)

    for option in reversed(_OPTIONS):
        with_wishes = option(with_wishes)
    return with_wishes


@dataclass(frozen=True)
class Source:
    """What bundles are made of.

    Attributes:
        artifact: the folder named; None = the newest.
        out: where bundles are put.
        key: to sign with; None = unsigned.
    """

    artifact: Path | None
    out: Path
    key: Path | None


def deliver_everywhere(source: Source, reach: Reach, wishes: Wishes, *, as_json: bool) -> int:
    """Bring a bundle to every device, print what became of it, and give the exit code.

    Raises:
        UsageError: a latency budget that is no number, or no such key.
        ArtifactError: there is nothing to deliver, or it is damaged.
    """
    from bisenet_edge.toolchain.signing import check_key

    _check_budget(wishes.latency_budget_ms)
    if source.key:
        check_key(source.key.expanduser())
    with ExitStack() as stack:
        if wishes.dry_run:
            # What is not there yet is not made: a dry run leaves no traces, here neither.
            artifact = find_artifact(source.artifact)
            out = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            artifact, out = find_or_export(source.artifact), source.out
        delivery = Delivery(
            payload_for=_Packer(artifact, out, source.key).payload_for,
            installer=(data_folder("deploy") / "verify-and-install.sh").read_text(encoding="utf-8"),
            options=wishes.installer_options(),
            any_machine=wishes.any_machine,
        )
        if wishes.dry_run:
            results = everywhere(
                reach.targets, lambda target: plan(target, delivery, reach.way), reach.parallel
            )
        else:
            results = _roll_out(reach, delivery, wishes.max_failures)
    code = show_results("deploy", results, as_json=as_json)
    if not as_json:
        next_command(reach.again("bisenet-edge deploy status"))
    return code


def _roll_out(reach: Reach, delivery: Delivery, max_failures: int) -> list[Any]:
    bars = DeviceBars()
    try:
        return roll_out(
            reach.targets,
            lambda target: deliver(target, delivery, reach.way, bars.of(target.host)),
            Rollout(reach.parallel, max_failures),
            reach.way.stop,
        )
    except KeyboardInterrupt:
        note("interrupted: what a device has begun, it finishes; the same command finds out and goes on")
        raise


def _check_budget(text: str | None) -> None:
    if text in (None, "none"):
        return
    try:
        good = float(str(text)) > 0
    except ValueError:
        good = False
    if not good or not str(text).replace(".", "").isdigit():
        raise UsageError("not a latency budget", got=repr(text), expected="milliseconds, or none")


class _Packer:
    """Makes and signs the bundle of each board once, whoever asks first."""

    def __init__(self, artifact: Artifact, out: Path, key: Path | None) -> None:
        self._artifact = artifact
        self._out = out
        self._key = key
        self._lock = threading.Lock()
        self._made: dict[str, Payload] = {}

    def payload_for(self, board: str) -> Payload:
        """See `Delivery.payload_for`."""
        with self._lock:
            if board not in self._made:
                self._made[board] = self._make(board)
            return self._made[board]

    def _make(self, board: str) -> Payload:
        from bisenet_edge.toolchain.bundle import make_bundle
        from bisenet_edge.toolchain.signing import sign

        bundle = make_bundle(self._artifact, load_board(board), self._out)
        signature = sign(bundle.path, self._key.expanduser()).path if self._key else None
        return Payload(bundle.path, signature, bundle.sha256, sum(bundle.part_bytes.values()))
