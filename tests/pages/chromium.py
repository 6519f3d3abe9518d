"""A real Chromium, driven by its DevTools protocol over a pipe: JSON messages, each ended by a zero byte."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Type

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
INSTALL = "no Chromium: sudo apt-get install -y chromium"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe about:blank"
)
TIMEOUT_S = 30.0

# Text of every element that has any: its size, its colour, and the ground it stands on.
LEGIBILITY = """
(() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(e).backgroundColor);
      if (a > 0.99) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const light = (c) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = c.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const e of document.body.querySelectorAll("*")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const box = e.getBoundingClientRect();
    if (!own || !box.width || !box.height || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    if (e.closest("svg")) continue;
    const [a, b] = [light(parse(style.color)), light(ground(e))].sort((x, y) => y - x);
    found.push({
      text: e.textContent.trim().slice(0, 40), tag: e.tagName, px: parseFloat(style.fontSize),
      contrast: (a + 0.05) / (b + 0.05), right: box.right,
    });
  }
  return found;
})()
"""


class Chromium:
    """One browser with one page. Use as a context manager.

    Attributes:
        requested: the address of every request that the page has made.
        refused: what the content security policy or a failed load has said.
    """

    def __init__(self) -> None:
        assert PROGRAM is not None
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()

        def as_3_and_4() -> None:
            # 3 may be one of the two ends itself.
            one, other = os.dup(to_browser), os.dup(from_browser)
            os.dup2(one, 3, inheritable=True)
            os.dup2(other, 4, inheritable=True)

        self._process = subprocess.Popen(
            [PROGRAM, *FLAGS.split(), f"--user-data-dir={self._profile.name}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=as_3_and_4,  # noqa: PLW1509 - two system calls
        )
        os.close(to_browser)
        os.close(from_browser)
        self._reading = os.fdopen(self._from, "rb")
        self._rest = b""
        self._number = 0
        self._session = ""
        self.requested: List[str] = []
        self.refused: List[str] = []
        self._target = ""
        self.new_page()

    def new_page(self) -> None:
        """Forget everything and begin with an empty page: no cookies, no requests so far."""
        self._session, before = "", self._target
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        if before:
            self.call("Target.closeTarget", targetId=before)
        self._target = target
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.requested.clear()
        self.refused.clear()

    def call(self, method: str, **params: Any) -> Dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message: Dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next_message()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _next_message(self) -> Dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._from, 65536)
            assert data, "Chromium has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message = dict(json.loads(line))
        self._take_note(message)
        return message

    def _take_note(self, message: Dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.refused.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.refused.append(json.dumps(params["exceptionDetails"]))

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        """The size of the window, in CSS pixels."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **screen)

    def prefer(self, scheme: str) -> None:
        """What the user likes: "light" or "dark"."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str, meanwhile: Optional[Callable[[], None]] = None) -> None:
        """Wait until an expression is true, and not an error either: the page may not be loaded yet."""
        tried = f"(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()"
        end_s = time.monotonic() + TIMEOUT_S
        while not self.ask(tried):
            assert time.monotonic() < end_s, f"never true: {expression}; {self.refused}"
            if meanwhile is not None:
                meanwhile()
            time.sleep(0.1)

    def screenshot(self, path: Path, *, whole: bool = False) -> Path:
        """A PNG of the window, or of the `whole` page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def legibility(self) -> List[Dict[str, Any]]:
        """Every piece of text: `text`, `tag`, `px` (font size), `contrast` (WCAG 2), `right` (edge, px)."""
        return list(self.ask(LEGIBILITY))

    def close(self) -> None:
        os.close(self._to)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reading.close()
        self._profile.cleanup()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()
