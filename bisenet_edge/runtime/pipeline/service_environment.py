"""What the service runs with, from its environment: systemd reads /etc/bisenet-edge/bisenet-edge.env into it.

Not from arguments: everybody on the device sees those with `ps`, and a URI may hold a password.
"""

from __future__ import annotations

import os
import shlex
from typing import Mapping, Optional, Tuple

from bisenet_edge.errors import UsageError

_FIX = "sudo nano /etc/bisenet-edge/bisenet-edge.env"


def job_from_environment(
    environ: Mapping[str, str] = os.environ,
) -> Tuple[str, Tuple[str, ...], Optional[float]]:
    """SOURCE, SINKS (separated by spaces; quoted where one holds a space) and LATENCY_BUDGET_MS.

    Raises:
        UsageError: no source, no sinks, or a budget that is no number above 0. No value is told: it may be
            a password that went astray.
    """
    source = environ.get("SOURCE", "").strip()
    try:
        sinks = tuple(shlex.split(environ.get("SINKS", "")))
    except ValueError as error:
        raise UsageError("SINKS is not understood", got=error, fix=_FIX) from error
    if not source or not sinks:
        raise UsageError(f"{'SINKS' if source else 'SOURCE'} is empty", expected="a URI", fix=_FIX)
    budget = environ.get("LATENCY_BUDGET_MS", "").strip()
    budget = "" if budget == "none" else budget  # as the installer understands it
    try:
        budget_ms = float(budget) if budget else None
    except ValueError:
        budget_ms = 0.0
    if budget_ms is not None and not 0 < budget_ms < float("inf"):
        raise UsageError("LATENCY_BUDGET_MS is not understood", expected="milliseconds, or none", fix=_FIX)
    return source, sinks, budget_ms
