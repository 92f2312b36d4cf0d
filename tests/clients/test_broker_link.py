"""A connection to a broker that is there and does not do what brokers do."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from fedhome.clients.broker import broker_patience, mqtt_link
from fedhome.clients.broker.broker_address import BrokerAddress
from fedhome.clients.broker.broker_patience import BrokerPatience
from fedhome.clients.broker.mqtt_link import BrokerGoneError, BrokerLink, Publication
from fedhome.errors import SourceError
from helpers.patience import PATIENCE_S

pytest.importorskip("paho.mqtt", reason="brokers need the extra mqtt")

SAID = Publication("a/b", "c", retained=True)
CONNECT, PUBLISH, SUBSCRIBE, PING, DISCONNECT = 0x10, 0x30, 0x80, 0xC0, 0xE0
ADDRESS = BrokerAddress.parse("mqtt://broker.local")
RIGHT, QUOTA = 0x87, 0x97  # not authorized, quota exceeded


class OddBroker:
    """Whoever listens where a broker should; of what is published it says what it is told to.

    Args:
        answer: The reason that answers what is published; None: nothing does.
    """

    def __init__(self, answer: int | None) -> None:
        self.answer, self.ends = answer, queue.Queue[bytes]()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress.parse(f"mqtt://127.0.0.1:{self._listening.getsockname()[1]}")

    def _serve(self) -> None:
        connected, _ = self._listening.accept()
        with connected, connected.makefile("rb") as heard:
            while first := heard.read(2):  # no packet here is longer than 127 bytes
                body, kind = heard.read(first[1]), first[0] & 0xF0
                if kind == CONNECT:
                    connected.sendall(b"\x20\x03\0\0\0")
                elif kind == SUBSCRIBE:
                    connected.sendall(b"\x90\x04" + body[:2] + b"\0\1")
                elif kind == PING:
                    connected.sendall(b"\xd0\0")
                elif kind == PUBLISH and self.answer is not None:
                    topic = int.from_bytes(body[:2], "big")
                    number = body[2 + topic : 4 + topic]
                    connected.sendall(b"\x40\x03" + number + bytes([self.answer]))
                elif kind == DISCONNECT:
                    self.ends.put(body)
        self.ends.put(b"closed")

    def close(self) -> None:
        self._listening.close()
        self._thread.join(PATIENCE_S)


@pytest.fixture
def odd() -> Iterator[Callable[[int | None], OddBroker]]:
    made: list[OddBroker] = []

    def make(answer: int | None) -> OddBroker:
        made.append(OddBroker(answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def linked(broker: OddBroker, answered: list[str]) -> BrokerLink:
    return BrokerLink(
        broker.address,
        ("homeassistant/status",),
        name="oak",
        kept=False,
        take=lambda *_: None,
        stop=lambda: False,
        will=SAID,
        answered=answered.append,
    )


def test_a_broker_that_takes_nothing_is_gone_and_says_the_will(
    odd: Callable[[int | None], OddBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, answered = odd(None), list[str]()
    link = linked(broker, answered)
    monkeypatch.setattr(mqtt_link, "_ANSWER_S", 0.1)
    link.publish(SAID)
    with pytest.raises(BrokerGoneError, match="does not answer what is published") as caught:
        link.settle(PATIENCE_S)
    assert caught.value.passing
    assert broker.ends.get(timeout=PATIENCE_S)[:1] == b"\x04", "disconnect with will message"
    assert broker.ends.get(timeout=PATIENCE_S) == b"closed", "on this side, too"
    assert not answered


def test_a_broker_that_has_taken_all_leaves_the_will_unsaid(
    odd: Callable[[int | None], OddBroker],
) -> None:
    broker, answered = odd(0), list[str]()
    link = linked(broker, answered)
    link.publish(SAID)
    link.settle(PATIENCE_S)
    link.close()
    assert broker.ends.get(timeout=PATIENCE_S)[:1] in {b"", b"\0"}
    assert answered == [SAID.topic]


@pytest.mark.parametrize(
    ("reason", "words", "passing"),
    [(RIGHT, "does not let this user publish on a/b", False), (QUOTA, "does not take", True)],
)
def test_what_a_broker_does_not_take_is_told_with_where(
    odd: Callable[[int | None], OddBroker], reason: int, words: str, passing: bool
) -> None:
    link = linked(odd(reason), [])
    link.publish(SAID)
    with pytest.raises(BrokerGoneError, match=words) as caught:
        link.settle(PATIENCE_S)
    assert (caught.value.topic, caught.value.passing) == (SAID.topic, passing)


class Once(threading.Event):
    """Set by the first wait, which takes no time; `waited_s` is how long it should be."""

    waited_s = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        """Note how long, and be set."""
        self.waited_s = timeout or 0.0
        self.set()
        return True


class Waiting:
    """Somebody who waits for a broker, by a clock that the test sets; `said` is what is said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, twice: str = "does the same") -> None:
        self.now_s, self.said = 0.0, list[str]()
        monkeypatch.setattr(broker_patience.time, "monotonic", lambda: self.now_s)
        self.patience = BrokerPatience(ADDRESS, self.said.append, twice=twice)

    def attempt(self, *, links: bool, holds_s: float = 0.0) -> float:
        """Return how long the next attempt waits."""

        def serve() -> None:
            if not links:
                raise BrokerGoneError("connection refused")
            self.patience.linked()
            self.patience.tell("connected")
            self.now_s += holds_s
            self.patience.attended()
            raise BrokerGoneError("the connection was lost")

        once = Once()
        self.patience.connect(serve, once)
        self.now_s += once.waited_s
        return once.waited_s


def test_a_broker_that_starts_again_is_no_other_command(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(monkeypatch)
    waiting.attempt(links=True, holds_s=3600.0)
    for _ in range(9):
        waiting.attempt(links=False)
    waiting.attempt(links=True, holds_s=3600.0)
    assert not [one for one in waiting.said if "at once" in one]
    assert [one for one in waiting.said if "refused" in one] == waiting.said[2:3], "once"


def test_a_broker_that_ends_each_connection_is_told_once_and_again_when_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = Waiting(monkeypatch)
    waits = [waiting.attempt(links=True) for _ in range(100)]
    assert waits[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert len(waiting.said) == 7, "two each of three, and what it is"
    assert "if another command does the same, the two take turns" in waiting.said[-1]
    assert waiting.attempt(links=True, holds_s=61.0) == 1.0
    assert waiting.said[7:] == [
        f"{ADDRESS}: connected, and it holds",
        f"{ADDRESS}: the connection was lost; it is tried again until it is there",
    ]


def test_without_a_name_of_its_own_no_other_command_is_suspected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = Waiting(monkeypatch, twice="")
    for _ in range(9):
        waiting.attempt(links=True)
    assert "at once; no more is said" in waiting.said[-1]


def test_who_refuses_from_the_start_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve() -> None:
        raise BrokerGoneError("nobody may", passing=False)

    with pytest.raises(SourceError, match="nobody"):
        Waiting(monkeypatch).patience.connect(serve, Once())
