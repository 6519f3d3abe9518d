"""Who may look at the preview.

Pictures of a camera are private. On the loopback interface only programs of this machine can ask, and the
browser among them is kept from asking on behalf of a foreign page: a name that such a page has pointed at
127.0.0.1 (DNS rebinding) is told by the Host header. On a network a token is needed.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Dict, Optional

from bisenet_edge.runtime.sinks.addresses import is_loopback


@dataclass(frozen=True)
class Guard:
    """Checks requests.

    Attributes:
        host: the address that the server listens on, as the user wrote it.
        port: and its port.
        token: what a request must carry; "" for none.
    """

    host: str
    port: int
    token: str

    @property
    def cookie(self) -> str:
        """Name of the cookie that carries the token: browsers share cookies between the ports of a host."""
        return f"bisenet_edge_{self.port}"

    def knows_host(self, header: Optional[str]) -> bool:
        """Whether a Host header names this machine, and not a name that somebody made point to it.

        Any port will do, so that `ssh -L 9000:localhost:8080` works.
        """
        if header is None:
            return True  # HTTP/1.0: no browser
        name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
        name = name.strip("[]").lower().rstrip(".")
        if is_loopback(name) or name == self.host.lower():
            return True
        if is_loopback(self.host):
            return False
        own = socket.gethostname().lower()
        return _is_address(name) or name in (own, f"{own.partition('.')[0]}.local")

    def admits(self, given: Optional[str], headers: Dict[str, str]) -> bool:
        """Whether a request carries the token: as `?token=`, as a cookie or as `Authorization: Bearer`."""
        if not self.token:
            return True
        offers = [
            given,
            _bearer(headers.get("authorization", "")),
            self._from_cookie(headers.get("cookie", "")),
        ]
        right = [hmac.compare_digest((offer or "").encode(), self.token.encode()) for offer in offers]
        return any(right)

    def _from_cookie(self, header: str) -> str:
        try:
            found = SimpleCookie(header).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""


def _bearer(header: str) -> str:
    kind, _, value = header.partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
