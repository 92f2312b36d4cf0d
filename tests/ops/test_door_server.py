"""A server's door over real connections: strangers have few places and little time, others not."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import h11
import pytest

from fedhome.errors import RunError
from fedhome.ops import door_server, tls
from fedhome.ops.certificate_files import CertificateFiles
from fedhome.ops.door_server import MOST_HEAD, VISITOR, DoorServer, door_config
from fedhome.ops.doors import DoorLimits
from helpers.client_world import until
from helpers.patience import PATIENCE_S
from helpers.raw_client import connected, is_closed, until_closed

Event = MutableMapping[str, Any]

pytestmark = pytest.mark.long

SOON_S = 1.0  # what has to be over
LATER_S = 5.0  # the same, where something else has to be done before
NEVER_S = 2 * PATIENCE_S
PATIENT = {"handshake_s": NEVER_S, "head_s": NEVER_S, "stranger_s": NEVER_S, "idle_s": NEVER_S}
ASK = b"POST /%s HTTP/1.1\r\nhost: hub\r\ncontent-length: 0\r\n\r\n"


async def app(
    scope: Event,
    receive: Callable[[], Awaitable[Event]],
    send: Callable[[Event], Awaitable[None]],
) -> None:
    """Know whoever gives a name, and read all bodies to their end."""
    if scope["type"] != "http":
        return
    if name := scope["path"].strip("/"):
        scope["state"][VISITOR].is_known(name)
    more = True
    while more:
        event = await receive()
        more = event["type"] == "http.request" and event["more_body"]
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"here"})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door") / "tls"
    tls.make_certificates(folder, ["hub"])
    return folder


def server_of(
    certificates: Path,
    port: int = 0,
    renewed: Callable[[], ssl.SSLContext | None] = lambda: None,
    **limits: Any,
) -> DoorServer:
    config = door_config(app, host="127.0.0.1", port=port)
    config.ssl = CertificateFiles(certificates).context()
    return DoorServer(config, lambda: None, DoorLimits(**PATIENT | limits), renewed)


@contextmanager
def door(certificates: Path, **limits: Any) -> Iterator[int]:
    """Serve the app behind a door; yield its port."""
    with running(server_of(certificates, **limits)) as port:
        yield port


@contextmanager
def running(server: DoorServer) -> Iterator[int]:
    """Run a server; yield its port."""
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        (port,) = server.ports
        yield port
    finally:
        server.should_exit = True
        thread.join()


def asked(connection: ssl.SSLSocket, name: bytes = b"") -> bytes:
    """Ask on a connection, and return the response."""
    connection.sendall(ASK % name)
    told = b""
    while not told.endswith(b"here"):
        part = connection.recv(1000)
        assert part, told
        told += part
    return told


def test_a_response_says_neither_what_serves_nor_when(certificates: Path) -> None:
    with door(certificates) as port, connected(port) as stranger:
        head = asked(stranger).partition(b"\r\n\r\n")[0].lower()
    assert head.split(b"\r\n")[1:] == [b"content-length: 4"]


@pytest.mark.parametrize(
    ("deadline", "tls_first", "said"),
    [
        ("handshake_s", False, b""),
        ("handshake_s", False, b"\x16\x03\x01"),
        ("head_s", True, b""),
        ("head_s", True, b"POST /name HTTP/1.1\r\nhost: hub\r\n"),
        ("stranger_s", False, b""),
        ("stranger_s", True, b""),
        ("stranger_s", True, b"POST / HTTP/1.1\r\nhost: hub\r\ncontent-length: 9\r\n\r\nhalf"),
    ],
)
def test_a_stranger_has_little_time(
    certificates: Path, deadline: str, tls_first: bool, said: bytes
) -> None:
    with (
        door(certificates, **{deadline: SOON_S}) as port,
        connected(port, tls=tls_first) as stranger,
    ):
        with suppress(ConnectionError, ssl.SSLError):  # over already: what it says is not taken
            stranger.sendall(said)
        assert until_closed(stranger) == b""


def shown_at(port: int) -> bytes:
    """Return the certificate that the next handshake shows."""
    with connected(port) as stranger:
        return stranger.getpeercert(binary_form=True) or b""


def test_a_new_certificate_is_taken_and_nobody_is_disconnected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fedhome.door")
    folder = tmp_path / "tls"
    tls.make_certificates(folder, ["hub"])
    files = CertificateFiles(folder)
    server = server_of(folder, renewed=files.renewed)
    server.config.ssl = files.context()
    with running(server) as port, connected(port) as home:
        asked(home, b"oak")
        first = shown_at(port)
        key = (folder / tls.KEY).read_bytes()
        tls.renew_certificate(folder)
        until(lambda: shown_at(port) != first)
        second = shown_at(port)
        # Half of a pair, as a crash leaves it: the one that fits stays, and that is told once.
        renewed = (folder / tls.KEY).read_bytes()
        (folder / tls.KEY).write_bytes(key)
        until(lambda: "cannot be used, the old one stays" in caplog.text)
        assert shown_at(port) == second
        (folder / tls.KEY).write_bytes(renewed)
        until(lambda: caplog.text.count("new handshakes have the new certificate") > 1)
        assert shown_at(port) == second
        assert b"200" in asked(home, b"oak"), "who was there all the time"
    assert caplog.text.count("cannot be used") == 1
    levels = {record.message: record.levelname for record in caplog.records}
    assert levels["new handshakes have the new certificate"] == "INFO"


def test_who_is_known_is_not_idle_for_ever(certificates: Path) -> None:
    with door(certificates, idle_s=SOON_S) as port, connected(port) as home:
        asked(home, b"oak")
        assert until_closed(home) == b""


def test_the_drip_of_a_head_is_no_progress(certificates: Path) -> None:
    with door(certificates, head_s=SOON_S) as port, connected(port) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n")
        deadline = time.monotonic() + PATIENCE_S
        while not is_closed(stranger):
            assert time.monotonic() < deadline
            try:
                stranger.sendall(b"x: y\r\n")
            except (ConnectionError, ssl.SSLError):
                return
            time.sleep(SOON_S / 8)


def test_a_head_has_an_end(certificates: Path) -> None:
    with door(certificates) as port, connected(port) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nx: " + b"y" * (2 * MOST_HEAD))
        assert until_closed(stranger).startswith(b"HTTP/1.1 4")


CHUNKS = 1000
CHUNKED = b"POST /%s HTTP/1.1\r\nhost: hub\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("name", [b"", b"oak"])
def test_no_body_comes_in_chunks(certificates: Path, name: bytes) -> None:
    """Each may have a byte, and costs as much as a large one: 300 KB a second kept homes away."""
    said = CHUNKED % name + b"1\r\nx\r\n" * CHUNKS + b"0\r\n\r\n"
    with door(certificates) as port, connected(port) as visitor:
        visitor.sendall(said)
        assert until_closed(visitor).startswith(b"HTTP/1.1 400 ")
    ours, control = door_server._WholeBodies(h11.SERVER), h11.Connection(h11.SERVER)
    for connection in (ours, control):
        connection.receive_data(said)
    with pytest.raises(h11.RemoteProtocolError):
        ours.next_event()
    found = [control.next_event() for _ in range(1 + CHUNKS + 1)]
    assert isinstance(found[0], h11.Request)
    assert isinstance(found[-1], h11.EndOfMessage)
    assert sum(isinstance(event, h11.Data) for event in found) == CHUNKS


def test_who_is_known_has_time(certificates: Path) -> None:
    with door(certificates, stranger_s=LATER_S) as port, connected(port) as home:
        asked(home, b"oak")
        with connected(port) as stranger:  # came later, and goes first
            assert until_closed(stranger) == b""
        assert b"200" in asked(home, b"oak")


def test_who_is_known_has_no_more_time_for_a_head(certificates: Path) -> None:
    with door(certificates, head_s=LATER_S) as port, connected(port) as home:
        asked(home, b"oak")
        home.sendall(b"POST /oak HTTP/1.1\r\n")
        assert until_closed(home) == b""


def test_the_oldest_stranger_makes_room(certificates: Path) -> None:
    with door(certificates, strangers=6, strangers_each=3) as port, ExitStack() as stack:
        home = stack.enter_context(connected(port))
        asked(home, b"oak")
        strangers = [stack.enter_context(connected(port, tls=way % 2 > 0)) for way in range(6)]
        for stranger in strangers[:3]:
            assert until_closed(stranger) == b""
        # There is room for who comes from the same address, and for who has been known before.
        late = stack.enter_context(connected(port))
        assert b"200" in asked(late, b"elm")
        assert b"200" in asked(home, b"oak")
        assert not is_closed(strangers[-1])


def test_who_is_known_takes_places_from_itself_alone(certificates: Path) -> None:
    with door(certificates, known_each=2) as port, ExitStack() as stack:
        home = stack.enter_context(connected(port))
        asked(home, b"oak")
        greedy = [stack.enter_context(connected(port)) for _ in range(4)]
        for connection in greedy:
            asked(connection, b"elm")
        for connection in greedy[:2]:
            assert until_closed(connection) == b""
        assert b"200" in asked(greedy[-1], b"elm")
        assert b"200" in asked(home, b"oak")


def test_a_port_that_is_taken_is_told(certificates: Path) -> None:
    with door(certificates) as port:
        server = server_of(certificates, port=port)
        with pytest.raises(RunError, match=str(port)) as raised:
            server.run()
        assert "server.toml" in raised.value.hint


def test_without_a_free_descriptor_the_oldest_stranger_makes_room(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = server_of(certificates)
    accept = DoorServer._accept
    scarce = threading.Event()

    async def scarcely(self: DoorServer, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        sock_accept = loop.sock_accept

        async def limited(of: socket.socket) -> Any:
            if scarce.is_set():
                scarce.clear()
                raise OSError(errno.EMFILE, "Too many open files")
            return await sock_accept(of)

        loop.sock_accept = limited  # type: ignore[method-assign]
        await accept(self, listener)

    monkeypatch.setattr(DoorServer, "_accept", scarcely)
    server.config.loop = "asyncio"  # whose methods a test can change
    with running(server) as port, connected(port, tls=False) as first:
        scarce.set()
        with connected(port, tls=False):  # accepted, and then there is no more
            assert until_closed(first) == b""
        with connected(port) as home:
            assert b"200" in asked(home, b"oak")
    assert "LimitNOFILE" in caplog.text
