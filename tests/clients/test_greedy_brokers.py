"""A broker that would fill the memory of a device: more than it was asked for is the end of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fedhome.clients.broker import mqtt_link
from fedhome.clients.broker.broker_address import BrokerAddress
from fedhome.clients.broker.mqtt_link import BrokerGoneError, BrokerLink
from helpers.patience import PATIENCE_S

pytest.importorskip("paho.mqtt", reason="brokers need the extra mqtt")

MEBIBYTE = 1 << 20
TOPIC = b"\0\3a/b"


def length(size: int) -> bytes:
    """Return a packet's length in the four bytes of the longest ones."""
    return bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21])


def a_packet_without_end() -> Iterator[bytes]:
    """One message of 64 MiB, as large as MQTT lets a broker say."""
    yield b"\x30" + length(64 * MEBIBYTE) + TOPIC + b"\0"
    for _ in range(63):
        yield bytes(MEBIBYTE)


def messages_that_are_not_let_go() -> Iterator[bytes]:
    """Messages with QoS 2, which wait until the broker sends what it never does."""
    for number in range(1, 9):
        payload = bytes(MEBIBYTE // 2)
        body = TOPIC + number.to_bytes(2, "big") + b"\0" + payload
        yield b"\x34" + length(len(body)) + body


def questions_whose_answers_nobody_reads() -> Iterator[bytes]:
    """Asked whether it is there, a client answers each time."""
    for _ in range(1 << 21):
        yield b"\xc0\0" * 4096


def messages_as_asked() -> Iterator[bytes]:
    """Thousands of small ones with QoS 1, of which each is answered."""
    for number in range(1, 4097):
        yield b"\x32\x09" + TOPIC + number.to_bytes(2, "big") + b"\x001"


class Greedy:
    """A broker that takes a subscription, and then sends; it reads nothing more, or all.

    Args:
        sends: What it sends.
        reads: Whether it reads what comes back.
    """

    def __init__(self, sends: Callable[[], Iterator[bytes]], *, reads: bool = False) -> None:
        self._sends, self._reads = sends, reads
        self._listening = socket.create_server(("127.0.0.1", 0))
        # Small buffers: what nobody reads waits at the client, and not in the system.
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.address = BrokerAddress.parse(f"mqtt://127.0.0.1:{self._listening.getsockname()[1]}")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connected, _ = self._listening.accept()
        with connected:
            connected.settimeout(PATIENCE_S)
            connected.recv(4096)
            connected.sendall(b"\x20\x03\0\0\0")
            asked = connected.recv(4096)
            connected.sendall(b"\x90\x04" + asked[2:4] + b"\0\1")
            try:
                for piece in self._sends():
                    connected.sendall(piece)
                    while self._reads and not connected.recv(1):
                        return
                while connected.recv(4096):
                    pass
            except OSError:
                return

    def close(self) -> None:
        self._listening.close()
        self._thread.join(PATIENCE_S)


def attended(broker: Greedy, until: Callable[[BrokerLink], bool]) -> BrokerLink:
    """Return a connection that was attended until something holds."""
    took: list[bytes] = []
    link = BrokerLink(
        broker.address,
        ("a/#",),
        name="",
        kept=False,
        take=lambda _, payload, *__: took.append(payload),
        stop=lambda: False,
    )
    end = time.monotonic() + PATIENCE_S
    while not until(link):
        assert time.monotonic() < end, "nothing came of it"
        link.attend(0.1)
    return link


ATTACKS = {
    "packet": (a_packet_without_end, "a packet of more than 1,048,576 bytes"),
    "qos 2": (messages_that_are_not_let_go, "messages with QoS 2"),
    "answers": (questions_whose_answers_nobody_reads, "reads no answer"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_broker_that_sends_more_than_was_asked_for_is_gone(attack: str) -> None:
    sends, words = ATTACKS[attack]
    broker = Greedy(sends)
    with pytest.raises(BrokerGoneError, match=words) as caught:
        attended(broker, lambda _: False)
    assert caught.value.passing
    broker.close()


HELD: dict[str, Callable[[BrokerLink], bool]] = {
    "packet": lambda link: len(link._client._in_packet["packet"]) > 60 * MEBIBYTE,
    "qos 2": lambda link: len(link._client._in_messages) == 8,
    "answers": lambda link: len(link._client._out_packet) > 16 * mqtt_link._MOST_WAITING,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_without_the_bound_all_of_it_is_held(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: paho-mqtt itself holds no broker to what it was asked for."""
    monkeypatch.setattr(mqtt_link, "_excess", lambda _: "")
    broker = Greedy(ATTACKS[attack][0])
    attended(broker, HELD[attack]).close()
    broker.close()


def test_a_busy_broker_that_reads_its_answers_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[object] = []
    monkeypatch.setattr(
        BrokerLink, "_came", lambda _, __, ___, message: came.append(message.payload)
    )
    broker = Greedy(messages_as_asked, reads=True)
    attended(broker, lambda _: len(came) == 4096).close()
    broker.close()
