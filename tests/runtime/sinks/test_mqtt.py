"""MQTT, against a real mosquitto."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pictures import fresh_frame, road_and_car, sink_at

from bisenet_edge.errors import MissingDependencyError, SinkError, UsageError
from bisenet_edge.runtime.sinks import MqttSink, mqtt
from bisenet_edge.runtime.status import RunStatus

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
needs_broker = pytest.mark.skipif(
    MOSQUITTO is None, reason="no MQTT broker: sudo apt-get install -y --no-install-recommends mosquitto"
)
STATUS = RunStatus(1.0, 24.5, 30.0, None, 12, 10, 2)


def wait_until(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def broker(folder: Path, port: int, *, password: str = "") -> Iterator[subprocess.Popen[bytes]]:
    lines = [f"listener {port} 127.0.0.1", f"allow_anonymous {'false' if password else 'true'}"]
    if password:
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "users"), "robot", password], check=True)
        (folder / "users").chmod(0o644)
        lines.append(f"password_file {folder / 'users'}")
    (folder / "mosquitto.conf").write_text("\n".join([*lines, "user root", ""]))
    assert MOSQUITTO is not None
    process = subprocess.Popen([MOSQUITTO, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: can_connect(port))
        yield process
    finally:
        process.kill()
        process.wait()


def can_connect(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def listening(port: int) -> Iterator[list[tuple[str, str]]]:
    """What a subscriber is sent: (topic, text)."""
    from paho.mqtt import client as paho

    heard: list[tuple[str, str]] = []
    ready = threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_message = lambda client, data, message: heard.append((message.topic, message.payload.decode()))
    client.on_subscribe = lambda *told: ready.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe("robot/#")
    assert ready.wait(10)
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


@needs_broker
def test_a_subscriber_hears_frames_status_and_whether_it_runs(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), listening(port) as heard:
        with sink_at(f"mqtt://127.0.0.1:{port}/robot/front") as sink:
            for index in range(5):
                sink.write(fresh_frame(index), road_and_car())
            sink.tell(STATUS)
        wait_until(lambda: ("robot/front/online", "0") in heard)
    frames = [json.loads(text) for topic, text in heard if topic == "robot/front/frame"]
    assert [f["frame"] for f in frames] == list(range(5))
    assert frames[0]["areas"] == {"road": 0.5, "car": 0.5}
    assert [json.loads(t) for topic, t in heard if topic == "robot/front/status"] == [STATUS.to_json()]
    assert [text for topic, text in heard if topic == "robot/front/online"] == ["1", "0"]


CRASHES = """
import sys
from pictures import sink_at
sink = sink_at(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""


@needs_broker
def test_the_broker_tells_when_the_service_was_killed(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", CRASHES, f"mqtt://127.0.0.1:{port}/robot"]
    path = {"PYTHONPATH": ":".join([str(Path(__file__).parent), *filter(None, sys.path)])}
    with broker(tmp_path, port), listening(port) as heard:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=path) as service:
            assert service.stdout is not None
            assert service.stdout.readline() == b"connected\n"
            wait_until(lambda: heard == [("robot/online", "1")])
            service.kill()
        wait_until(lambda: heard[1:] == [("robot/online", "0")])


@needs_broker
def test_a_broker_that_is_restarted_is_found_again(tmp_path: Path) -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:
        with broker(tmp_path, port):
            sink = stack.enter_context(sink_at(f"mqtt://127.0.0.1:{port}/robot"))
            assert isinstance(sink, MqttSink)
        wait_until(lambda: not sink._client.is_connected())
        sink.write(fresh_frame(0), road_and_car())  # nobody is there: it is left out
        with broker(tmp_path, port), listening(port) as heard:
            wait_until(sink._client.is_connected)
            sink.write(fresh_frame(1), road_and_car())
            wait_until(lambda: any(topic == "robot/frame" for topic, _ in heard))
            assert [json.loads(t)["frame"] for topic, t in heard if topic == "robot/frame"] == [1]
            stack.close()


@needs_broker
def test_a_broker_that_hangs_stops_no_frame_and_fills_no_memory(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port) as process:
        sink = sink_at(f"mqtt://127.0.0.1:{port}/robot")
        assert isinstance(sink, MqttSink)
        process.send_signal(signal.SIGSTOP)
        mask, longest_s = road_and_car(), 0.0
        for index in range(30_000):
            start_s = time.monotonic()
            sink.write(fresh_frame(index, (8, 8)), mask)
            longest_s = max(longest_s, time.monotonic() - start_s)
            if sink._unsent >= mqtt.MOST_UNSENT:
                break
        assert sink._unsent == mqtt.MOST_UNSENT  # the kernel's buffers are full, and so are ours
        assert len(sink._client._out_packet) <= mqtt.MOST_UNSENT
        sink.write(fresh_frame(0), mask)
        assert sink._unsent == mqtt.MOST_UNSENT
        assert longest_s < 5
        process.send_signal(signal.SIGCONT)
        sink.close()


@needs_broker
def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port, password="right-horse"):
        with pytest.raises(SinkError, match="cannot be used") as caught:
            sink_at(f"mqtt://robot:wrong-horse@127.0.0.1:{port}/robot")
        assert "horse" not in str(caught.value)
        sink_at(f"mqtt://robot:right-horse@127.0.0.1:{port}/robot").close()


@pytest.mark.parametrize(
    "rest", ["me:hunter2@localhost", "me:hunter2@localhost/t?qos=1", "me:x/hunter2@localhost/t"]
)
def test_a_wrong_address_does_not_tell_the_password(rest: str) -> None:
    with pytest.raises(UsageError) as caught:
        sink_at(f"mqtt://{rest}")
    assert "hunter2" not in str(caught.value)


def test_no_broker_is_told() -> None:
    with pytest.raises(SinkError, match="cannot be used"):
        sink_at(f"mqtt://127.0.0.1:{free_port()}/robot")


def test_a_server_that_says_nothing_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(SinkError, match="does not answer"):
        sink_at(f"mqtt://127.0.0.1:{silent.getsockname()[1]}/robot")


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(MissingDependencyError, match="paho-mqtt"):
        sink_at("mqtt://localhost/robot")


@pytest.mark.parametrize(
    "rest", ["", "localhost", "localhost/", "localhost/a/%23", "h:x/t", "/t", "h/t?qos=1"]
)
def test_uris_that_are_not_understood(rest: str) -> None:
    with pytest.raises(UsageError):
        sink_at(f"mqtt://{rest}")
