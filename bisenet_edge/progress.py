"""How long work tells how far it is, without knowing who watches."""

from __future__ import annotations

from typing import Callable

Progress = Callable[[str, int, int], None]
"""Called as `progress(step, done, total)`: "calibrating", 12, 64. Called with done == total at the end."""


def quiet(step: str, done: int, total: int) -> None:
    """Tell nobody."""
