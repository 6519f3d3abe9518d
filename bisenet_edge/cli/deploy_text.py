"""Devices on the terminal: bars while they are worked on, tables afterwards."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import click
from tqdm import tqdm

from bisenet_edge.cli.render import emit, table
from bisenet_edge.delivery.fleet import exit_code
from bisenet_edge.delivery.result import HostResult
from bisenet_edge.progress import Progress


class DeviceBars:
    """One bar per device on stderr; silent where stderr is not a terminal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: set[int] = set()

    def of(self, host: str) -> Progress:
        """The progress of one device; called from its thread."""
        return _DeviceBar(self, host)

    def take_place(self) -> int:
        """The first free line."""
        with self._lock:
            place = next(n for n in range(len(self._places) + 1) if n not in self._places)
            self._places.add(place)
            return place

    def free_place(self, place: int) -> None:
        """The line is no longer used."""
        with self._lock:
            self._places.discard(place)


class _DeviceBar:
    """Bytes with their rate while something is pushed, then the steps of the device."""

    def __init__(self, bars: DeviceBars, host: str) -> None:
        self._bars = bars
        self._host = host
        self._bar: Any = None
        self._place = 0
        self._shown = (False, 0)

    def __call__(self, step: str, done: int, total: int) -> None:
        pushing = step.startswith("pushing ")
        if self._bar is None or self._shown != (pushing, total):
            self._close()
            self._shown = (pushing, total)
            self._place = self._bars.take_place()
            self._bar = tqdm(
                desc=f"{self._host}: {step.partition(' ')[0]}",
                total=total,
                initial=done,
                unit="B" if pushing else " steps",
                unit_scale=pushing,
                position=self._place,
                file=sys.stderr,
                disable=None,
                leave=False,
                dynamic_ncols=True,
            )
        self._bar.set_description(f"{self._host}: {step.partition(' ')[0]}", refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            self._bars.free_place(self._place)


def show_results(command: str, results: Sequence[HostResult], *, as_json: bool) -> int:
    """Print what became of each device, and give the exit code."""
    code = exit_code(results)
    if as_json:
        emit({"command": command, "exit_code": code, "devices": [r.to_json() for r in results]})
        return code
    rows = [(r.host, r.verdict, r.board or None, r.before or None, r.runs or None) for r in results]
    click.echo(table(["device", "result", "board", "before", "runs"], rows))
    for result in results:
        for text in result.notes:
            click.echo(f"{result.host}: {text}")
    for result in results:
        if result.error is not None:
            click.echo(f"error: {result.error}", err=True)
            for line in result.log[-10:]:
                click.echo(f"  | {line}", err=True)
    return code


def show_status(results: Sequence[HostResult], *, as_json: bool) -> int:
    """Print what each device runs, and give the exit code."""
    if as_json:
        return show_results("status", results, as_json=True)
    header = [
        "device",
        "board",
        "release",
        "serial",
        "artifact",
        "service",
        "fps",
        "age p50",
        "age p99",
        "free GB",
    ]
    rows: list[Sequence[object]] = []
    for result in results:
        device = result.device
        if device is None:
            rows.append((result.host, *[None] * (len(header) - 1)))
            continue
        service = device.service
        rows.append(
            (
                result.host,
                device.board or device.title,
                device.current or None,
                device.serial or None,
                device.artifact or None,
                service.state or None,
                service.fps,
                service.age_p50_ms,
                service.age_p99_ms,
                device.free_mb / 1e3,
            )
        )
    click.echo(table(header, rows))
    for result in results:
        device = result.device
        if device is not None:
            click.echo(f"{result.host}: previous {device.previous or '-'}, last job {device.job or '-'}")
            if device.service.text:
                click.echo(f"{result.host}: {device.service.text}")
        if result.error is not None:
            click.echo(f"error: {result.error}", err=True)
    return exit_code(results)
