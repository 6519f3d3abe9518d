"""Text for people: tables, progress bars, the next command."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from tqdm import tqdm

from bisenet_edge.runtime import text_table

table = text_table.table


def points(share: float | None) -> float | None:
    """A share in 0..1 as points in 0..100."""
    return None if share is None else share * 100


def emit(value: dict[str, Any]) -> None:
    """Print JSON for a program."""
    click.echo(json.dumps(value, indent=2))


def next_command(text: str) -> None:
    """End a command with the next one to paste."""
    click.echo(f"\nnext: {text}")


class Bars:
    """A `Progress` that draws one bar per step on stderr; silent where stderr is not a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._step = ""

    def __call__(self, step: str, done: int, total: int) -> None:
        # A step's name may carry figures after a comma ("epoch 3/50, loss 0.41"): same step, new text.
        name = step.split(",", maxsplit=1)[0]
        if self._bar is None or name != self._step or total != self._bar.total:
            self.close()
            self._bar = tqdm(total=total, file=sys.stderr, disable=None, leave=False, dynamic_ncols=True)
            self._step = name
        self._bar.set_description(step, refresh=False)
        self._bar.update(done - self._bar.n)
        if total and done >= total:
            self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def note(text: str) -> None:
    """Say something on stderr that is not part of the report."""
    click.echo(text, err=True)
