"""What outages are played with: roads that break connections, and what is read off a log."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pytest

from fedhome.run.events import FIRST, Event
from fedhome.simulations.benchmarks.outages.road import CLEAR, Road, RoadState
from fedhome.simulations.benchmarks.outages.told_absences import untold

PATIENCE_S = 20.0


@contextmanager
def echo() -> Iterator[int]:
    """Run a server that gives back what it gets, on each connection, and ends with its client."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(here: socket.socket) -> None:
        with here, suppress(OSError):  # a road that resets
            while data := here.recv(4096):
                here.sendall(data)

    def accept() -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(here,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def road() -> Iterator[Road]:
    with echo() as port:
        road = Road(port)
        road.start()
        try:
            yield road
        finally:
            road.close()
            road.join(PATIENCE_S)


def called(road: Road) -> socket.socket:
    return socket.create_connection(("127.0.0.1", road.port), timeout=PATIENCE_S)


def test_a_clear_road_carries_all(road: Road) -> None:
    with called(road) as home:
        home.sendall(b"here")
        assert home.recv(10) == b"here"
    assert road.broken == 0


@pytest.mark.parametrize("state", [RoadState(closed=True), RoadState(most=3)])
def test_a_road_that_is_closed_or_cuts_resets(road: Road, state: RoadState) -> None:
    road.state = state
    with pytest.raises(ConnectionError), called(road) as home:  # noqa: PT012 - any may tell it
        home.sendall(b"here")
        home.recv(10)
    assert road.broken == 1


def test_a_cut_resets_what_is_open_and_nothing_later(road: Road) -> None:
    with called(road) as home:
        home.sendall(b"here")
        assert home.recv(10) == b"here"
        road.cut()
        with pytest.raises(ConnectionResetError):
            home.recv(10)
    with called(road) as home:
        home.sendall(b"again")
        assert home.recv(10) == b"again"


def test_a_half_closed_connection_still_goes_up(road: Road) -> None:
    road.state = RoadState(half=3)
    with called(road) as home:
        home.sendall(b"here")
        assert home.recv(10) == b"here"
        assert home.recv(10) == b"", "the server's direction has ended"
        home.sendall(b"and more")


@pytest.mark.parametrize("state", [RoadState(hole_up=True), RoadState(hole_down=True)])
def test_a_hole_swallows_and_stays_connected(road: Road, state: RoadState) -> None:
    with called(road) as home:
        road.state = state
        home.sendall(b"lost")
        home.settimeout(0.5)
        with pytest.raises(TimeoutError):
            home.recv(10)
        road.state = CLEAR
        home.settimeout(PATIENCE_S)
        home.sendall(b"found")
        assert home.recv(10) == b"found"


def test_a_slow_road_carries_all_in_small_pieces(road: Road) -> None:
    road.state = RoadState(bytes_a_second=40)
    with called(road) as home:
        home.sendall(b"0123456789")
        first = home.recv(100)
        assert len(first) < 10
        rest = b""
        while len(first + rest) < 10:
            rest += home.recv(100)
        assert first + rest == b"0123456789"


def event(kind: str, **data: object) -> Event:
    time = datetime(2026, 11, 28, tzinfo=UTC)
    return Event(seq=0, time=time, event=kind, data=data, prev=FIRST, hash=FIRST)  # type: ignore[arg-type]


def closed(number: int, answered: int, late: int = 0) -> Event:
    return event("round-closed", round=number, homes_answered=answered, homes_late=late)


def dropped(home: str, stage: str = "train") -> Event:
    return event("reply-dropped", home=home, stage=stage)


def test_a_round_that_misses_homes_without_a_word_is_found() -> None:
    late = event("homes-late", homes=["a"], stage="train")
    assert untold([closed(1, 3)], 3) == []
    assert untold([late, closed(1, 2, late=1)], 3) == []
    assert untold([event("homes-away", homes=["a"]), closed(1, 2), closed(2, 2)], 3) == []
    assert untold([dropped("a"), closed(1, 2)], 3) == []
    passed = event("homes-passed-over", homes=["a"], stage="train")
    assert untold([passed, closed(1, 2)], 3) == []
    assert untold([passed, closed(1, 2), closed(2, 2)], 3), "that was told of one sum"
    assert untold([dropped("a"), dropped("a"), closed(1, 1)], 3), "one home, told twice"
    assert untold([dropped("a", "evaluate"), closed(1, 2)], 3), "that is another question"
    assert untold([event("fleet-ready", homes=2), closed(1, 2)], 3) == [], "one left the fleet"
    (text,) = untold([dropped("a"), closed(1, 2), closed(2, 2)], 3)
    assert "round 2" in text
    first, *lines = text.splitlines()
    assert "named are none" in first
    assert [line.split()[2] for line in lines] == ["round-closed"], "what the log has of that round"
    empty = event("homes-empty-handed", homes=1, stage="train", group=0)
    none = event("homes-empty-handed", homes=0, stage="train", group=0)
    assert untold([empty, closed(1, 2), closed(2, 2), none, closed(3, 3)], 3) == []
    assert untold([empty, none, closed(1, 2)], 3)


def test_absences_that_ended_explain_the_round_that_was_made_meanwhile_alone() -> None:
    away, back = event("homes-away", homes=["a"]), event("homes-back", homes=["a"])
    assert untold([away, back, closed(1, 2)], 3) == [], "it was back too late for that round"
    assert untold([away, closed(1, 2), back, closed(2, 2)], 3) == []
    assert untold([away, closed(1, 2), back, closed(2, 2), closed(3, 2)], 3)
    assert untold([away, back, event("round-failed"), closed(1, 2)], 3), "that attempt failed"
    assert untold([away, event("fleet-ready", homes=2), back, closed(1, 3)], 3) == []


def test_what_was_told_before_a_kill_counts_for_a_sum_of_before_alone() -> None:
    resumed = [event("homes-away", homes=["a"]), event("run-resumed")]
    again = event("sum-taken-again", stage="train", missing={"a": "it was not asked"})
    other = event("sum-taken-again", stage="evaluate", missing={"a": "it was not asked"})
    assert untold([*resumed, closed(1, 2)], 3)
    assert untold([*resumed, again, closed(1, 2)], 3) == []
    assert untold([*resumed, other, closed(1, 2)], 3)
