"""Just enough HTTP/1.1 for a page and a stream of pictures: GET and HEAD, one request per connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Dict
from urllib.parse import parse_qs, urlsplit

MOST_HEAD_BYTES = 8192
# Nothing is loaded from anywhere else, and no other page may show or read what is here.
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the token may stand in the address
    "Cache-Control": "no-store",
}


class BadRequestError(ValueError):
    """A request that is not HTTP."""


@dataclass(frozen=True)
class Request:
    """The head of a request. Header names are in lower case."""

    method: str
    path: str
    query: Dict[str, str]
    headers: Dict[str, str]

    @classmethod
    def parse(cls, head: bytes) -> Request:
        """Read a request line and its headers.

        Raises:
            BadRequestError: it is not HTTP.
        """
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
            raise BadRequestError("not a request of HTTP/1")
        headers: Dict[str, str] = {}
        for line in filter(None, lines[1:]):
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise BadRequestError("not a header")
            if name.lower() in headers and name.lower() == "host":
                raise BadRequestError("two hosts")
            headers[name.lower()] = value.strip()
        try:
            parts = urlsplit(words[1])
            query = {name: values[-1] for name, values in parse_qs(parts.query, max_num_fields=16).items()}
        except ValueError as error:
            raise BadRequestError("not an address") from error
        return cls(words[0], parts.path, query, headers)


@dataclass(frozen=True)
class Response:
    """A whole response."""

    status: HTTPStatus
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    headers: Dict[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, status: HTTPStatus, text: str, **headers: str) -> Response:
        """A line of plain text; header names are written with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, f"{text}\n".encode(), headers=named)

    def to_bytes(self, *, head_only: bool = False) -> bytes:
        head = response_head(self.status, {**self.headers, "Content-Length": str(len(self.body))}, self.kind)
        return head if head_only else head + self.body


def response_head(status: HTTPStatus, headers: Dict[str, str], kind: str) -> bytes:
    """Status line and headers, up to and with the empty line."""
    fields = {"Content-Type": kind, **SECURITY, **headers, "Connection": "close"}
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
