"""Sources and sinks by URI: tell `synthetic://?seed=1` from the path of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Sequence, Tuple

from bisenet_edge.errors import UsageError


def split_scheme(uri: str, known: Iterable[str]) -> Tuple[str, str]:
    """Split a URI into scheme and rest: ("synthetic", "?seed=1"); a plain path has the scheme "".

    "name:rest" without slashes counts as a URI only where `known` has the name: "take:2.mp4" is a file.
    """
    scheme, found, rest = uri.partition("://")
    if found:
        return scheme.lower(), rest
    scheme, found, rest = uri.partition(":")
    if found and scheme.lower() in known:
        return scheme.lower(), rest
    return "", uri


def not_yet(uri: str, scheme: str, expected: str) -> UsageError:
    """Build the error for a scheme that is planned and not written."""
    return UsageError(
        f"'{scheme}://' is not in this version of bisenet-edge yet",
        got=uri,
        expected=expected,
        fix="see what works now: bisenet-edge run --help",
    )


def refuse_clashes(source: str, sinks: Sequence[str]) -> None:
    """Refuse a sink that would replace the source or another sink.

    Raises:
        UsageError: two of them are the same file or folder.
    """
    taken = set() if "://" in source else {Path(source).expanduser().resolve()}
    for sink in sinks:
        if "://" in sink:
            continue
        path = Path(sink).expanduser().resolve()
        if path in taken:
            raise UsageError(
                "a sink would replace the source or another sink",
                got=sink,
                expected="a file or folder of its own for every sink",
                fix="give it another name",
            )
        taken.add(path)
