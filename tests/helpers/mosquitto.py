"""A broker of MQTT: mosquitto, a process on this machine, for as long as a test wants."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from fedhome.ops.listening import free_port
from helpers.patience import PATIENCE_S

HOST = "127.0.0.1"
PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")

needs_broker = pytest.mark.skipif(
    PROGRAM is None, reason="no mosquitto here: apt-get install mosquitto"
)


@dataclass
class Mosquitto:
    """A broker.

    Args:
        folder: Where its settings are, and what it keeps over a restart.
        settings: Lines of its settings, besides where it listens.
    """

    folder: Path
    settings: Sequence[str] = ("allow_anonymous true",)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; it listens when this returns."""
        assert PROGRAM is not None
        text = [
            f"listener {self.port} {HOST}",
            "persistence true",
            f"persistence_location {self.folder}/",
            "autosave_interval 1",
            *(["user root"] if os.geteuid() == 0 else []),  # else it could not read the folder
            *self.settings,
        ]
        path = self.folder / "mosquitto.conf"
        path.write_text("\n".join(text) + "\n")
        log = (self.folder / "mosquitto.log").open("ab")
        self.process = subprocess.Popen([PROGRAM, "-c", path], stdout=log, stderr=log)
        log.close()
        try:
            self._await()
        except BaseException:
            self.stop(kill=True)
            raise
        return self

    def _await(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection((HOST, self.port), timeout=PATIENCE_S).close()
            except ConnectionRefusedError:
                assert self.process is not None
                assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
                assert time.monotonic() < end, "mosquitto runs and does not listen"
                time.sleep(0.02)
            else:
                return

    def stop(self, *, kill: bool = False) -> None:
        """End it."""
        if self.process is not None:
            if kill:
                self.process.kill()
            else:
                self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"mqtt://{HOST}:{self.port}"


class Publisher:
    """Somebody who publishes; each message is at the broker when `publish` returns.

    Args:
        broker: The broker.
    """

    def __init__(self, broker: Mosquitto) -> None:
        from paho.mqtt.client import Client  # noqa: PLC0415 - an extra
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

        self._client: Any = Client(CallbackAPIVersion.VERSION2)
        self._client.connect(HOST, broker.port)
        self._client.loop_start()

    def publish(self, topic: str, payload: str | bytes, *, retain: bool = False) -> None:
        """Publish with QoS 1."""
        told = self._client.publish(topic, payload, qos=1, retain=retain)
        told.wait_for_publish(PATIENCE_S)
        assert told.is_published(), f"the broker took no message of {topic}"

    def close(self) -> None:
        """End it."""
        _end(self._client)


class Heard(NamedTuple):
    """A message, and whether the broker had kept it."""

    topic: str
    payload: str
    retained: bool


class Subscriber:
    """Somebody who listens, from when it is made.

    Args:
        broker: The broker.
        topic: What it listens to.
    """

    def __init__(self, broker: Mosquitto, topic: str = "#") -> None:
        from paho.mqtt.client import Client  # noqa: PLC0415 - an extra
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

        self._heard: queue.Queue[Heard] = queue.Queue()
        ready = threading.Event()
        self._client: Any = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _, __, one: self._heard.put(
            Heard(one.topic, one.payload.decode(), bool(one.retain))
        )
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect(HOST, broker.port)
        self._client.subscribe(topic, qos=1)
        self._client.loop_start()
        assert ready.wait(PATIENCE_S)

    def next(self, ending: str, payload: str | None = None) -> Heard:
        """Return the next message on a topic with this ending, and what it is to say, if named."""
        while True:
            one = self._heard.get(timeout=PATIENCE_S)
            if one.topic.endswith(ending) and payload in {None, one.payload}:
                return one

    def close(self) -> None:
        """End it."""
        _end(self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(client: Any) -> None:
    client.disconnect()
    client.loop_stop()
    if (still_open := client.socket()) is not None:
        still_open.close()
