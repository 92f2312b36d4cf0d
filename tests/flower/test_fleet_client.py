"""A server that answers its homes with what Flower's own client would follow, unpack or hold."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supernode.fleet_http_client import FleetHttpClient
from google.protobuf.wrappers_pb2 import BytesValue

from fedhome.errors import LinkError
from fedhome.flower import fleet_client
from fedhome.flower.fleet_client import FleetClient, bounded_pull
from fedhome.flower.fleet_connection import Arrival, FleetConnection
from fedhome.flower.messages import identify, take_identity
from fedhome.flower.node_key import NodeKey
from fedhome.ops import tls
from helpers.client_world import HOST

pytestmark = pytest.mark.long

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def _answering(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Yield the port of a server that gives one answer to all requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            answer(self)

        do_GET = do_POST  # noqa: N815 - as the library calls it

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _with(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cheat") / "tls"
    tls.make_certificates(folder, [HOST])
    return folder


@contextmanager
def _server(folder: Path, answer: Answer) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / tls.CERTIFICATE, folder / tls.KEY)
    with _answering(answer, context) as port:
        yield f"{HOST}:{port}"


def _connection(address: str, folder: Path) -> FleetConnection:
    return FleetConnection(address, (folder / tls.CA).read_bytes(), NodeKey.create())


def _flowers(address: str, folder: Path) -> FleetHttpClient:
    """Return Flower's own client: the control, in which the attack works."""
    authorities = (folder / tls.CA).read_bytes()
    return FleetHttpClient.from_server_address(
        address, insecure=False, root_certificates=authorities, interceptors=[]
    )


def _asked(client: FleetHttpClient) -> BytesValue:
    value: BytesValue = client._unary_unary(
        path="/v1/fedhome/look",
        rpc_method="look",
        request=BytesValue(value=b"what the home sends"),
        response_type=BytesValue,
    )
    return value


@pytest.mark.parametrize("status", [302, 307])
def test_a_server_cannot_send_a_home_to_what_is_near_it(folder: Path, status: int) -> None:
    """Such as a lamp in the home's own network, which takes orders from whoever reaches it."""
    orders = list[str]()

    def lamp(handler: BaseHTTPRequestHandler) -> None:
        orders.append(f"{handler.command} {handler.path}")
        _with(200)(handler)

    with _answering(lamp) as port:
        away = _with(status, location=f"http://{HOST}:{port}/relay/0?turn=off")
        with _server(folder, away) as address:
            for attempt in ("look", "beat"):
                connection = _connection(address, folder)
                with pytest.raises(LinkError, match=f"answers {status}") as refused:
                    getattr(connection, attempt)()
                connection.close()
                assert refused.value.reason == "answer"
            assert orders == []
            with _flowers(address, folder) as followed:
                _asked(followed)
    # The control: an order in the clear, with what the home would have sent where it is a POST.
    assert orders == [f"{'POST' if status == 307 else 'GET'} /relay/0?turn=off"]


def test_what_a_server_answers_is_not_unpacked(folder: Path) -> None:
    body = BytesValue(value=bytes(1 << 22)).SerializeToString()
    packed = gzip.compress(body)
    assert 500 * len(packed) < len(body)
    with _server(folder, _with(200, packed, content_encoding="gzip")) as address:
        connection = _connection(address, folder)
        with pytest.raises(LinkError, match="packed") as refused:
            connection.look()
        assert "proxy" in refused.value.hint
        connection.close()
        with _flowers(address, folder) as unpacked:
            assert len(_asked(unpacked).value) == 1 << 22


def test_a_home_reads_no_answer_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_client, "MOST_RESPONSE", 1 << 16)
    body = BytesValue(value=bytes(1 << 20)).SerializeToString()
    with _server(folder, _with(200, body)) as address:
        connection = _connection(address, folder)
        with pytest.raises(LinkError, match="longer than 65,536 bytes") as refused:
            connection.look()
        connection.close()
        assert refused.value.reason == "answer"
        with _flowers(address, folder) as client:
            assert len(_asked(client).value) == 1 << 20


def test_a_client_of_ours_reads_what_is_within_bounds(folder: Path) -> None:
    body = BytesValue(value=b"a message").SerializeToString()
    asked = list[str | None]()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers["accept-encoding"])
        _with(200, body)(handler)

    with _server(folder, answer) as address:
        authorities = (folder / tls.CA).read_bytes()
        with FleetClient.from_server_address(
            address, insecure=False, root_certificates=authorities, interceptors=[]
        ) as client:
            assert client.exchange("/v1/fedhome/look", b"") == b"a message"
    assert asked == ["identity"]


def test_a_message_of_many_objects_is_not_held_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet_client, "MOST_MESSAGE", 100)
    pull = bounded_pull(lambda _: bytes(40), ["a", "b", "c"], have={"there": bytes(20)})
    assert [len(pull(name)) for name in "ab"] == [40, 40]
    with pytest.raises(LinkError, match="larger than the 100 bytes") as refused:
        pull("c")
    assert refused.value.reason == "answer"
    monkeypatch.setattr(fleet_client, "MOST_MISSING", 2)
    with pytest.raises(LinkError, match="larger"):
        bounded_pull(lambda _: b"", ["a", "b", "c"], have={})


def test_an_error_is_no_question(folder: Path) -> None:
    """Who takes one for a question asks it for its content, which ends an agent."""
    take_identity(1)
    question = Message(RecordDict({"config": ConfigRecord({})}), 7, "query")
    error = Message(Error(0, "an error"), reply_to=question)
    identify(error, error.object_id)
    name = error.object_id
    arrival = Arrival(error, ObjectTree(object_id=name), {name: error.deflate()})
    with pytest.raises(ValueError, match="content is None"):
        assert error.content  # the control: so an agent ended
    connection = _connection(f"{HOST}:1", folder)
    with pytest.raises(LinkError, match="cannot be read") as refused:
        connection.fetch(arrival)
    connection.close()
    assert refused.value.reason == "answer"
