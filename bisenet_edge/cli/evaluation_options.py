"""The views of a picture: what `check` and `evaluate` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def method_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --scales, --flip and --slide; `Method.parse` takes their values."""
    options = (
        click.option(
            "--scales",
            default="1",
            show_default=True,
            metavar="S,S,...",
            help="Average over the picture at these scales: 0.5,0.75,1,1.25,1.5,1.75 is usual.",
        ),
        click.option("--flip", is_flag=True, help="Average with the mirrored picture."),
        click.option(
            "--slide",
            type=float,
            metavar="OVERLAP",
            help="Windows of the network's size over the picture at its own size, instead of a picture "
            "scaled to fit; 0.33: they overlap by a third.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
