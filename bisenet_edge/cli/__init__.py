"""The command line: options -> one call -> text -> exit code. The only place that prints or exits."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `bisenet-edge` and exit with its code."""
    from bisenet_edge.cli.app import run

    sys.exit(run(sys.argv[1:]))
