"""One request at the front: how much of a body is received, how long, and how an answer ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fedhome.ops.door_server import VISITOR
from fedhome.ops.doors import Visitor
from fedhome.server.daemon import front_request
from fedhome.server.daemon.front_request import (
    HUNG_UP,
    TOO_LARGE,
    TOO_SLOW,
    FrontRequest,
    RefusedError,
)

Event = dict[str, Any]


class ShownOut(Visitor):
    """A visitor that notes that it was shown out."""

    gone = False

    def show_out(self) -> None:
        self.gone = True


def request_of(
    events: list[Event],
    *,
    length: int | None = None,
    visitor: Visitor | None = None,
    send: Callable[[Any], Awaitable[None]] | None = None,
) -> FrontRequest:
    """Return a request whose events come one by one, and after them nothing for ever."""

    async def receive() -> Event:
        if not events:
            await asyncio.Event().wait()
        return events.pop(0)

    async def drop(_: object) -> None: ...  # to nobody

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {"method": "POST", "path": "/x", "headers": headers, "state": {VISITOR: visitor}}
    return FrontRequest(scope, receive, send or drop)


def piece(data: bytes, *, more: bool = True) -> Event:
    return {"type": "http.request", "body": data, "more_body": more}


def refused(work: Callable[[], Awaitable[object]]) -> int:
    async def run() -> None:
        await work()

    with pytest.raises(RefusedError) as raised:
        asyncio.run(run())
    return raised.value.status


def test_a_body_is_its_pieces() -> None:
    request = request_of([piece(b"a"), piece(b""), piece(b"b", more=False)])
    assert asyncio.run(request.body(2)) == b"ab"


def test_what_is_announced_as_too_large_is_not_received() -> None:
    events = [piece(b"a", more=False)]
    request = request_of(events, length=11)
    assert refused(lambda: request.body(10)) == TOO_LARGE
    assert events


def test_what_is_not_announced_is_received_up_to_its_limit() -> None:
    events = [piece(bytes(4)) for _ in range(9)]
    request = request_of(events)
    assert refused(lambda: request.body(10)) == TOO_LARGE
    assert len(events) == 6


def test_a_piece_that_does_not_come_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_request, "_SILENT_S", 0.05)
    request = request_of([piece(b"a")], length=1 << 20)
    assert refused(lambda: request.body(1 << 20)) == TOO_SLOW


@pytest.mark.long
def test_a_body_that_drips_has_an_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_request, "_SILENT_S", 0.2)

    async def drip() -> Event:
        await asyncio.sleep(0.01)
        return piece(b"a")

    request = request_of([], length=100)
    request._receive = drip
    assert refused(lambda: request.body(1 << 20)) == TOO_SLOW


def test_who_has_hung_up_is_not_answered() -> None:
    assert refused(lambda: request_of([{"type": "http.disconnect"}]).body(1)) == HUNG_UP


def test_who_does_not_take_the_answer_is_shown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_request, "_SILENT_S", 0.05)

    async def stuck(_: object) -> None:
        await asyncio.Event().wait()

    visitor = ShownOut()
    request = request_of([], visitor=visitor, send=stuck)
    assert refused(lambda: request.answer(200, [], b"here")) == HUNG_UP
    assert visitor.gone


@pytest.mark.parametrize("name", ["", "oak"])
def test_only_who_is_known_may_ask_again(name: str) -> None:
    sent: list[Event] = []

    async def send(event: Event) -> None:
        sent.append(event)

    async def run() -> None:
        visitor = Visitor()
        visitor.is_known(name)
        request = request_of([piece(b"", more=False)], visitor=visitor, send=send)
        await request.body(1)
        await request.answer(200, [], bytes(1 << 17))

    asyncio.run(run())
    assert ((b"connection", b"close") in sent[0]["headers"]) == (not name)
    assert [len(event["body"]) for event in sent[1:]] == [1 << 16, 1 << 16, 0]
    assert [event["more_body"] for event in sent[1:]] == [True, True, False]
