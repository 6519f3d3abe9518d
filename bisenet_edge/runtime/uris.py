"""URIs: sources and sinks (`synthetic://?seed=1` or the path of a file), options, no passwords in texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterable, Optional, Sequence, Tuple
from urllib.parse import parse_qsl, unquote

from bisenet_edge.errors import UsageError, unknown_name

HIDDEN = "***"
# The last "@" before the path ends the password, which may hold one itself.
_USER = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^/?#\s:@]*:)(?P<password>[^/?#\s]*)(?=@)", re.IGNORECASE)
_SECRET_NAMES = r"pass|passwd|password|pwd|pw|token|secret|key|auth|apikey|api_key|access_token"
_SECRET_OPTION = re.compile(rf"(?P<head>[?&](?:{_SECRET_NAMES})=)(?P<password>[^&#\s]*)", re.IGNORECASE)


def redacted(uri: str) -> str:
    """A URI as it may be told: `rtsp://user:***@host/`, and `?token=***`."""
    for pattern in (_USER, _SECRET_OPTION):
        uri = pattern.sub(lambda found: found["head"] + HIDDEN, uri)
    return uri


def redacted_text(text: str, uri: str) -> str:
    """A text of someone else's, GStreamer's for example, without the passwords of `uri`."""
    for pattern in (_USER, _SECRET_OPTION):
        for found in pattern.finditer(uri):
            for secret in {found["password"], unquote(found["password"])} - {""}:
                text = text.replace(secret, HIDDEN)
    return redacted(text)


def has_secret(uri: str) -> bool:
    """Whether a URI holds a login, the name alone included, or a token among its options."""
    place = re.split(r"[/?#]", uri.partition("://")[2], maxsplit=1)[0]
    return "@" in place or redacted(uri) != uri


def local_path(uri: str) -> Optional[Path]:
    """The file or folder that a URI names: a plain path, or `file:///path?options`; None for all others."""
    if "://" not in uri:
        return Path(uri).expanduser()
    scheme, rest = split_scheme(uri, ())
    return Path(unquote(rest.partition("?")[0])).expanduser() if scheme == "file" else None


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


def refuse_clashes(source: str, sinks: Sequence[str]) -> None:
    """Refuse a sink that would replace the source or another sink.

    Raises:
        UsageError: two of them are the same file or folder.
    """
    source_path = local_path(source)
    taken = {source_path.resolve()} if source_path is not None else set()
    for sink in sinks:
        path = local_path(sink)
        if path is None:
            continue
        path = path.resolve()
        if path in taken:
            raise UsageError(
                "a sink would replace the source or another sink",
                got=redacted(sink),
                expected="a file or folder of its own for every sink",
                fix="give it another name",
            )
        taken.add(path)


def parse_options(query: str, defaults: Dict[str, str], uri: str) -> Dict[str, str]:
    """Read `a=1&b=2` over `defaults`.

    Raises:
        UsageError: an option that `defaults` does not name.
    """
    options = dict(defaults)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in defaults:
            raise unknown_name(f"option in '{uri}'", key, defaults)
        options[key] = value
    return options


def parse_int(text: str, name: str, uri: str) -> int:
    """Read a count or seed from a URI.

    Raises:
        UsageError: not a whole number from 0 up.
    """
    if not text.isdecimal():  # isdigit is true of "²", which int() refuses
        raise UsageError(f"cannot read '{name}' in '{uri}'", got=repr(text), expected="a whole number")
    return int(text)
