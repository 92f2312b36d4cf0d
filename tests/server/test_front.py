"""The server's front and who asks it: what is told to strangers, and how much is listened to."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedhome.errors import LinkError
from fedhome.fleet import front_requests
from fedhome.fleet.front_requests import ENROL, HEALTH, JOIN, ask
from fedhome.ops import tls
from fedhome.server.daemon import front as front_module
from fedhome.server.daemon.front import Front
from fedhome.server.daemon.front_limits import limits_for
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from fedhome.wire.exchange import LOOK
from helpers.patience import PATIENCE_S

Answer = Callable[[httpx.Request], httpx.Response]


def posted(
    front: Front, path: str, body: bytes, headers: dict[str, str] | None = None
) -> httpx.Response:
    """Post a body to the front, without a network."""

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app=front)
        async with httpx.AsyncClient(transport=transport, base_url="https://hub") as client:
            return await client.post(path, content=body, headers=headers)

    return asyncio.run(post())


def test_the_servers_own_trouble_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ServerSettings(host="127.0.0.1", port=1)
    front = Front(ServerFolder.create(tmp_path / "hub", settings, names=["hub"]))
    answer = posted(front, ENROL, b"anything")  # the owner's files are missing
    assert answer.status_code == 503
    assert str(tmp_path) not in answer.text
    assert "inviter.pub" not in answer.text
    assert "inviter.pub" in caplog.text
    assert posted(front, JOIN, bytes(1 << 16)).status_code == 413
    assert posted(front, "/v1/fedhome/other", b"").status_code == 404


def test_a_body_has_one_length_whoever_serves_the_front(tmp_path: Path) -> None:
    """Else its end may be the beginning of another request for whoever it is passed on to."""
    settings = ServerSettings(host="127.0.0.1", port=1)
    front = Front(ServerFolder.create(tmp_path / "hub", settings, names=["hub"]))
    path, chunked = "/v1/fedhome/other", {"transfer-encoding": "chunked"}
    assert posted(front, path, b"four").status_code == 404  # with its length alone
    assert posted(front, path, b"four", chunked).status_code == 400


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Answer], bytes]:
    """Ask a server whose answers the test makes."""
    tls.make_certificates(tmp_path / "tls", ["hub"])
    authorities = (tmp_path / "tls" / tls.CA).read_bytes()
    client = httpx.Client

    def asked(answer: Answer) -> bytes:
        transport = httpx.MockTransport(answer)
        monkeypatch.setattr(front_requests.httpx, "Client", partial(client, transport=transport))
        return ask("hub:1", authorities, JOIN, b"question")

    return asked


def test_an_answer_is_the_body(answering: Callable[[Answer], bytes]) -> None:
    assert answering(lambda request: httpx.Response(200, content=request.read() + b"!")) == (
        b"question!"
    )


def test_a_refusal_is_the_servers_own_words(answering: Callable[[Answer], bytes]) -> None:
    told = front_requests.refusal("clock", "the clock is off", "set it")
    with pytest.raises(LinkError, match="the clock is off") as raised:
        answering(lambda _: httpx.Response(403, content=told))
    assert (raised.value.reason, raised.value.hint) == ("clock", "set it")
    with pytest.raises(LinkError) as raised:
        answering(lambda _: httpx.Response(403, content=b"\xff nonsense"))
    assert raised.value.reason == "refused"


def test_an_answer_without_end_is_not_listened_to(
    answering: Callable[[Answer], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_requests, "_MOST", 1000)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield bytes(100)

    with pytest.raises(LinkError, match="longer than 1000 bytes") as raised:
        answering(lambda _: httpx.Response(200, content=endless()))
    assert raised.value.reason == "unreachable"
    assert sent <= 1200


def test_an_answer_that_is_packed_fills_no_memory(answering: Callable[[Answer], bytes]) -> None:
    """Packed twice, a hundred bytes come to a million at once; the control is what HTTPX makes."""
    twice, kinds = gzip.compress(gzip.compress(bytes(1_000_000))), "gzip, gzip"
    response = httpx.Response(200, headers={"content-encoding": kinds}, content=twice)
    assert len(twice) < 200
    assert len(next(response.iter_bytes())) == 1_000_000
    accepted: list[str] = []

    def packed(request: httpx.Request) -> httpx.Response:
        accepted.append(request.headers["accept-encoding"])
        stream = httpx.ByteStream(twice)
        return httpx.Response(200, headers={"content-encoding": kinds}, stream=stream)

    with pytest.raises(LinkError, match="is packed") as raised:
        answering(packed)
    assert raised.value.reason == "unreachable"
    assert accepted == ["identity"]


def test_a_refusal_without_depth_or_end_ends_nobody(answering: Callable[[Answer], bytes]) -> None:
    deep = b"[" * 10_000
    with pytest.raises(RecursionError):
        json.loads(deep)  # the control: it was let through, and ended a home's agent
    with pytest.raises(LinkError) as raised:
        answering(lambda _: httpx.Response(403, content=deep))
    assert raised.value.reason == "refused"
    face = "\N{GRINNING FACE}"  # twelve bytes, as JSON has it
    many = front_requests.refusal("left-out", face * 10_000, "hint")
    with pytest.raises(LinkError) as raised:
        answering(lambda _: httpx.Response(403, content=many))
    assert (raised.value.reason, raised.value.message) == ("left-out", face * 300)
    with pytest.raises(LinkError, match="longer than 16384 bytes"):
        answering(lambda _: httpx.Response(403, content=bytes(1 << 20)))


def test_a_home_that_hangs_up_waits_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServerSettings(host="127.0.0.1", port=1)
    front = Front(ServerFolder.create(tmp_path / "hub", settings, names=["hub"]))
    events = [{"type": "http.request", "body": b"look"}, {"type": "http.disconnect"}]
    ended: list[str] = []

    async def wait_for_ever(path: str, *_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(path)

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0)
        return dict(events.pop(0))

    async def send(event: object) -> None: ...  # to nobody

    monkeypatch.setattr(front._link, "send", wait_for_ever)
    monkeypatch.setattr(front, "_is_a_homes", lambda _: True)
    headers = [(b"content-length", b"4")]
    scope = {"type": "http", "method": "POST", "path": LOOK, "headers": headers}
    asyncio.run(front(scope, receive, send))
    assert ended == [LOOK]


def test_too_few_files_for_the_fleet_are_told(caplog: pytest.LogCaptureFixture) -> None:
    limits = limits_for(20_000, homes=500)
    assert (limits.strangers, limits.strangers_each) == (1024, 512)
    assert limits.known > 2 * 500
    assert not caplog.text
    few = limits_for(1024, homes=500)
    assert "1024 files, and 500 homes need 5280" in caplog.text
    assert "LimitNOFILE" in caplog.text
    assert few.strangers + 2 * few.known < 1024
    assert few.known > few.known_each


def test_anybody_may_ask_how_the_server_is_but_the_superlink_is_asked_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServerSettings(host="127.0.0.1", port=1)
    front = Front(ServerFolder.create(tmp_path / "hub", settings, names=["hub"]))
    asked: list[str] = []

    class Well:
        status = 200

        async def pieces(self) -> AsyncIterator[bytes]:
            yield b"well"

        def close(self) -> None: ...

    async def get(path: str, *, method: str) -> Well:
        asked.append(f"{method} {path}")
        return Well()

    async def ask() -> list[int]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=front), base_url="https://hub"
        ) as client:
            return [(await client.get(HEALTH)).status_code for _ in range(20)]

    monkeypatch.setattr(front._link, "send", get)
    monkeypatch.setattr(front_module, "_HEALTH_S", 3600.0)
    assert asyncio.run(ask()) == [200] * 20
    assert asked == [f"GET {HEALTH}"]


class Scene:
    """Requests at a front's own doors whose work the test lets end."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = ServerSettings(host="127.0.0.1", port=1)
        self.front = Front(ServerFolder.create(folder / "hub", settings, names=["hub"]))
        self.worked: list[bytes] = []
        self.answers: dict[bytes, int] = {}
        self.headers: dict[bytes, dict[bytes, bytes]] = {}
        self.end = threading.Event()
        route = self.front._routes[JOIN]
        monkeypatch.setitem(self.front._routes, JOIN, route._replace(answer=self._work))

    def _work(self, body: bytes) -> bytes:
        self.worked.append(body)
        assert self.end.wait(PATIENCE_S)
        return body

    def ask(self, name: bytes, hung_up: asyncio.Event) -> asyncio.Task[None]:
        events: list[dict[str, object]] = [{"type": "http.request", "body": name}]

        async def receive() -> dict[str, object]:
            if events:
                return events.pop()
            await hung_up.wait()
            return {"type": "http.disconnect"}

        async def send(event: MutableMapping[str, Any]) -> None:
            if "status" in event:
                self.answers[name] = event["status"]
                self.headers[name] = dict(event["headers"])

        headers = [(b"content-length", str(len(name)).encode())]
        scope = {"type": "http", "method": "POST", "path": JOIN, "headers": headers}
        return asyncio.create_task(self.front(scope, receive, send))

    async def until(self, so: Callable[[], bool]) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while not so():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.001)


def test_homes_join_side_by_side_and_who_has_left_is_not_worked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch)

    async def play() -> None:
        here, left = asyncio.Event(), asyncio.Event()
        first = [scene.ask(b"%d" % number, here) for number in range(4)]
        await scene.until(lambda: len(scene.worked) == 4)
        gone, last = scene.ask(b"gone", left), scene.ask(b"last", here)
        await scene.until(lambda: scene.front._turns.waiting == 2)
        left.set()
        await gone
        assert scene.front._turns.waiting == 1
        scene.end.set()
        await asyncio.gather(*first, last)

    asyncio.run(play())
    assert sorted(scene.worked) == [b"0", b"1", b"2", b"3", b"last"]
    assert scene.answers == dict.fromkeys(scene.worked, 200)


def test_homes_that_are_too_many_are_told_to_come_back_and_a_run_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(front_module, "_MOST_WAITING", 2)
    scene = Scene(tmp_path, monkeypatch)
    scene.front._forwarding = front_module._BUSY_FROM

    async def play() -> None:
        here = asyncio.Event()
        tasks = [scene.ask(b"first", here)]
        await scene.until(lambda: len(scene.worked) == 1)
        tasks += [scene.ask(b"%d" % number, here) for number in range(4)]
        await scene.until(lambda: len(scene.answers) == 2)
        assert scene.worked == [b"first"], "one at a time, while a run's answers come"
        scene.end.set()
        await asyncio.gather(*tasks)

    asyncio.run(play())
    assert scene.answers == {b"first": 200, b"0": 200, b"1": 200, b"2": 503, b"3": 503}
    assert scene.headers[b"3"][b"retry-after"] == b"5"
    assert caplog.text.count("told to come back") == 1


def test_a_refusal_moves_no_cursor_where_it_is_read(answering: Callable[[Answer], bytes]) -> None:
    told = front_requests.refusal("clock\r", "off\x1b[2J\nall is well", "\u202ehint\x9b")
    with pytest.raises(LinkError) as raised:
        answering(lambda _: httpx.Response(403, content=told))
    error = raised.value
    assert (error.reason, error.hint) == ("clock\\r", "\\u202ehint\\x9b")
    assert error.message == "off\\x1b[2J\\nall is well"
