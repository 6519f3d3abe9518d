"""What each frame shows, to an MQTT broker: for dashboards and home or plant automation."""

from __future__ import annotations

import json
import threading
from typing import Any, Optional
from urllib.parse import unquote, urlsplit

import numpy as np

from bisenet_edge.errors import MissingDependencyError, SinkError, UsageError
from bisenet_edge.frame import Frame
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.datasets import parse_options
from bisenet_edge.runtime.sinks.base import Sink
from bisenet_edge.runtime.sinks.records import frame_record
from bisenet_edge.runtime.status import RunStatus

PORT = 1883
CONNECT_S = 5.0
LONGEST_PAUSE_S = 30
# A broker that takes nothing must not fill our memory: paho keeps what it has not sent.
MOST_UNSENT = 100


class MqttSink(Sink):
    """Publishes JSON, at most once (QoS 0), to three topics below TOPIC.

    `frame`: `records.frame_record`. `status`: the RunStatus, once a second. `online`: "1" while this runs and
    "0" when it has ended or its connection is lost; kept by the broker. A connection that breaks is made
    again, and frames meanwhile are left out.

    Args:
        uri: `mqtt://[USER:PASSWORD@]BROKER[:1883]/TOPIC`, unencrypted.
        rest: what follows `mqtt://`.
        labels: the classes.

    Raises:
        UsageError: no broker or topic.
        SinkError: the broker cannot be reached or lets us not in.
        MissingDependencyError: paho-mqtt is not installed.
    """

    def __init__(self, uri: str, rest: str, labels: LabelSet) -> None:
        super().__init__(uri)
        parts = urlsplit(f"mqtt://{rest}")
        topic = unquote(parts.path).strip("/")
        broker = f"mqtt://{parts.netloc.rpartition('@')[2]}"  # what errors may tell: without the password
        try:
            port = parts.port or PORT
        except ValueError:
            port = 0
        if not parts.hostname or not port or not topic or set(topic) & set("+#\0"):
            raise UsageError(
                "an MQTT sink needs a broker and a topic",
                # A password with a slash in it ends up in the path.
                got=f"mqtt://{rest.rpartition('@')[2]}",
                expected="mqtt://[USER:PASSWORD@]BROKER[:PORT]/TOPIC",
                fix="for example mqtt://localhost/robot/camera",
            )
        parse_options(parts.query, {}, broker)
        self._topic, self._labels = topic, labels
        self._unsent, self._lock = 0, threading.Lock()
        self._answered = threading.Event()
        self._refusal: Optional[str] = None
        self._client = self._new_client()
        if parts.username is not None:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        self._connect(parts.hostname, port, broker)

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        self._publish("frame", json.dumps(frame_record(frame, mask, self._labels)))

    def tell(self, status: RunStatus) -> None:
        self._publish("status", json.dumps(status.to_json()))

    def _new_client(self) -> Any:
        try:
            from paho.mqtt import client as paho
        except ImportError as error:
            raise MissingDependencyError(
                "an MQTT sink needs the package paho-mqtt",
                got=str(error),
                fix="python3 -m pip install 'bisenet-edge[mqtt]' (on a device: 'paho-mqtt>=2,<3')",
            ) from error
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.reconnect_delay_set(1, LONGEST_PAUSE_S)
        client.will_set(f"{self._topic}/online", "0", retain=True)
        return client

    def _connect(self, host: str, port: int, broker: str) -> None:
        reason = ""
        try:
            self._client.connect_timeout = CONNECT_S
            self._client.connect(host, port)
        except OSError as error:
            reason = error.strerror or str(error)
        if not reason:
            self._client.loop_start()
            if not self._answered.wait(CONNECT_S):
                reason = "it does not answer"
            elif self._refusal:
                reason = self._refusal
        if reason:
            self._client.disconnect()
            self._client.loop_stop()
            raise SinkError(
                "an MQTT broker cannot be used",
                got=f"{broker}: {reason}",
                expected="a broker that answers, and lets this user in",
                fix=f"mosquitto_sub -h {host} -p {port} -t '$SYS/broker/version' -C 1 -W 5",
            )

    def _publish(self, kind: str, text: str) -> None:
        with self._lock:
            if self._unsent >= MOST_UNSENT or not self._client.is_connected():
                return
            self._unsent += 1
        if self._client.publish(f"{self._topic}/{kind}", text).rc:
            with self._lock:
                self._unsent -= 1

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            self._refusal = None
            with self._lock:
                self._unsent = 1  # the next message; what an earlier connection had is gone
            client.publish(f"{self._topic}/online", "1", retain=True)
        self._answered.set()

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._lock:
            self._unsent = 0

    def _on_publish(self, client: Any, data: Any, number: Any, reason: Any, properties: Any) -> None:
        with self._lock:
            self._unsent = max(0, self._unsent - 1)

    def _complete(self) -> None:
        if self._client.is_connected():
            last = self._client.publish(f"{self._topic}/online", "0", retain=True)
            if last.rc == 0:
                last.wait_for_publish(CONNECT_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _discard(self) -> None:
        self._complete()
