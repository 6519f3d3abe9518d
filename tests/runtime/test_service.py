"""What systemd hears, on a real datagram socket."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Dict, List

import pytest
from pipeline_doubles import TIMEOUT_S, EchoSession, ListSink, NumberSource

from bisenet_edge.errors import UsageError
from bisenet_edge.runtime.pipeline import service
from bisenet_edge.runtime.pipeline.run import RunOptions, run
from bisenet_edge.runtime.pipeline.segmenter import Segmenter
from bisenet_edge.runtime.pipeline.service import Notifier, describe
from bisenet_edge.runtime.status import RunStatus


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.environ: Dict[str, str] = {"NOTIFY_SOCKET": address}

    def heard(self) -> List[List[str]]:
        """The datagrams so far, each as its lines."""
        self._socket.setblocking(False)
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path: Path):
    name = f"@bisenet-edge-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    other_end = Systemd(name)
    yield other_end
    other_end.close()


STATUS = RunStatus(
    running_s=3.0, fps=29.97, age_p50_ms=12.34, age_p99_ms=None, captured=90, delivered=88, dropped=2
)


def test_the_life_of_a_service(systemd) -> None:
    notifier = Notifier.from_environment({**systemd.environ, "WATCHDOG_USEC": "30000000"})
    assert notifier.watchdog_s == 30
    notifier.loading("csi://0")
    notifier.ready()
    notifier.status(STATUS, alive=True)
    notifier.status(STATUS, alive=False)
    notifier.stopping()
    notifier.close()
    notifier.ready()  # nobody listens to a closed one
    said = "STATUS=30.0 FPS, frame age p50 12.3 ms, 2 of 90 frames dropped"
    assert systemd.heard() == [
        ["STATUS=opening csi://0", "EXTEND_TIMEOUT_USEC=60000000"],
        ["READY=1", "STATUS=waiting for the first mask"],
        [said, "WATCHDOG=1"],
        [said],
        ["STOPPING=1", "STATUS=completing outputs"],
    ]


def test_a_build_asks_for_time_step_by_step_and_once_a_second_at_most(systemd, monkeypatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(service.time, "monotonic", lambda: now_s[0])
    notifier = Notifier.from_environment(systemd.environ)
    for tenth in range(25):
        now_s[0] = tenth / 10
        notifier.building("building the engine", tenth, 100)
    now_s[0] = 50.0
    notifier.building("timing kernels", 0, 0)
    more_time = "EXTEND_TIMEOUT_USEC=60000000"
    assert systemd.heard() == [
        ["STATUS=building the engine, 0 of 100", more_time],
        ["STATUS=building the engine, 10 of 100", more_time],
        ["STATUS=building the engine, 20 of 100", more_time],
        ["STATUS=timing kernels", more_time],
    ]


def test_without_a_watchdog_none_is_fed(systemd) -> None:
    Notifier.from_environment(systemd.environ).status(STATUS, alive=True)
    other_process = {**systemd.environ, "WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "1"}
    Notifier.from_environment(other_process).status(STATUS, alive=True)
    assert [len(lines) for lines in systemd.heard()] == [1, 1]


def test_without_systemd_nothing_is_sent() -> None:
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "9000000"})
    assert notifier.watchdog_s is None
    notifier.ready()
    notifier.status(STATUS, alive=True)


def test_a_run_does_not_depend_on_who_watches_over_it(systemd) -> None:
    notifier = Notifier.from_environment(systemd.environ)
    systemd.close()
    notifier.ready()


@pytest.mark.parametrize(
    "environ", [{"NOTIFY_SOCKET": "vsock:2:1234"}, {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}]
)
def test_an_environment_that_is_not_understood_is_an_error(environ) -> None:
    with pytest.raises(UsageError, match="is not understood"):
        Notifier.from_environment(environ)


def test_everything_that_is_known_is_in_the_status_line() -> None:
    full = RunStatus(9, 30, 10, 20.55, 300, 290, 10, reopened=2, temperature_c=51.4, power_mw=7420)
    assert describe(full) == (
        "30.0 FPS, frame age p50 10.0 ms, p99 20.6 ms, 10 of 300 frames dropped, "
        "source opened again 2 times, 51 °C, 7.4 W"
    )


def wait_until(condition) -> None:
    end_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_the_watchdog_is_fed_by_masks_and_by_nothing_else(systemd) -> None:
    # Three phases: masks arrive; the source waits without a frame; it is lost and tried again.
    looks: List[bool] = []
    counts: List[int] = []

    class Counting(Notifier):
        def status(self, status, *, alive):
            super().status(status, alive=alive)
            looks.append(alive)

    def looked(times: int) -> None:
        seen = len(looks)
        wait_until(lambda: len(looks) >= seen + times)

    def before_read(index: int) -> None:
        if index < 20:
            wait_until(lambda: len(looks) > index // 10)
        if index == 20:
            wait_until(lambda: sink.seen and sink.seen[-1][0] == 19)
            looked(2)  # one look that still finds the last masks, and one that has seen them
            counts.append(len(looks))
            looked(5)
            counts.append(len(looks))
            for _ in range(4):
                source.attempts += 1
                looked(1)

    sink = ListSink()
    source = NumberSource(21, live=True, before=before_read)
    notifier = Counting(systemd.environ["NOTIFY_SOCKET"], 30.0)
    options = RunOptions(observers=(notifier,), status_s=0.0)
    run(source, Segmenter(EchoSession()), [sink], options=options)
    quiet_from, quiet_to = counts
    assert True in looks[:quiet_from]
    assert looks[quiet_from:quiet_to] == [False] * (quiet_to - quiet_from)
    assert looks[quiet_to : quiet_to + 4].count(True) >= 3
    heard = systemd.heard()
    assert ["WATCHDOG=1" in lines for lines in heard[: len(looks)]] == looks[: len(heard)]


def test_masks_that_no_sink_takes_do_not_feed_the_watchdog() -> None:
    # The engine goes on, but the one sink hangs in its first frame.
    stop, release = threading.Event(), threading.Event()
    looks: List[bool] = []

    class Counting(Notifier):
        def status(self, status, *, alive):
            looks.append((status.delivered, alive))
            if status.delivered > 50 and len(looks) > 5:
                stop.set()
                release.set()

    sink = ListSink(before=lambda index: release.wait(TIMEOUT_S) and None)
    options = RunOptions(observers=(Counting(),), status_s=0.0)
    run(NumberSource(10**9, live=True), Segmenter(EchoSession()), [sink], stop=stop, options=options)
    assert not any(alive for _, alive in looks[:5])
