"""A real front under strangers: homes are answered, strangers are shown out, memory stays small."""

from __future__ import annotations

import socket
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.common.constant import HEARTBEAT_MAX_INTERVAL, TIMESTAMP_HEADER
from flwr.proto.control_pb2 import RegisterNodeRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import sign_message

import fedhome.server.daemon.flower_bundle
from fedhome.clients.agent.announce import join
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import LinkError
from fedhome.fleet.state_file import FileStore
from fedhome.flower.fleet_connection import FleetConnection
from fedhome.flower.node_key import NodeKey
from fedhome.flower.run_grid import run_grid
from fedhome.flower.superlink import Control
from fedhome.ops import local_socket
from fedhome.ops.doors import DoorLimits
from fedhome.ops.processes import Processes, allow_many_files
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare, start
from helpers.living import tiny_plan
from helpers.patience import PATIENCE_S
from helpers.raw_client import connected, is_closed, until_closed

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc"),
    # Flower's own, when it makes a bundle.
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),
]

HOMES = 3
MANY = DoorLimits().strangers_each + 200  # more than a front has places for, from one address
LARGE = 47 << 20
MOST_MB = 300
HEAD = b"POST %s HTTP/1.1\r\nhost: hub\r\ncontent-type: application/protobuf\r\n"
ANNOUNCED = HEAD + b"content-length: %d\r\n\r\n"
PUSH = b"/v1/fleet/push-object"


@dataclass
class Fleet:
    """A server, its front's process, and homes that a test plays."""

    server: ServerFolder
    homes: list[HomeFolder]
    nodes: list[int]
    front: int

    @property
    def port(self) -> int:
        return self.server.settings.port

    def connect(self, number: int, key: NodeKey | None = None) -> FleetConnection:
        home = self.homes[number]
        return FleetConnection(
            home.settings.server,
            home.authorities,
            key or home.node_key(),
            heartbeat_s=HEARTBEAT_MAX_INTERVAL,
        )

    def home(self, number: int) -> FleetConnection:
        connection = self.connect(number)
        connection.activate(self.nodes[number])
        return connection

    def peak_mb(self) -> float:
        """Return the most memory that the front ever had."""
        for line in Path(f"/proc/{self.front}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise AssertionError(self.front)


def claimed(home: HomeFolder, key: NodeKey | None = None) -> int:
    with FileStore.open(home.path, home=home.settings.home) as store:
        return join(
            home.settings.server,
            home.authorities,
            fleet=home.anchor.fleet,
            keys=store.keys,
            node=key or home.node_key(),
            saves=store.state.version,
        ).node


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    allow_many_files()
    plan = tiny_plan(HOMES, 1, min_cohort=HOMES)
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, homes = prepare(tmp_path_factory.mktemp("strangers"), plan, tables)
    with Processes() as processes:
        start(processes, server, [])
        front = processes.children["front"].process
        assert front is not None
        yield Fleet(server, homes, [claimed(home) for home in homes], front.pid)


@pytest.mark.parametrize(
    "said",
    [
        None,
        pytest.param(b"", marks=pytest.mark.slow),
        pytest.param(HEAD % PUSH, marks=pytest.mark.slow),
        pytest.param(ANNOUNCED % (PUSH, LARGE), marks=pytest.mark.slow),
    ],
)
def test_homes_are_answered_while_strangers_hold_all_their_places(
    fleet: Fleet, said: bytes | None
) -> None:
    with closing(fleet.home(0)) as before, ExitStack() as stack:

        def stranger(_: int) -> socket.socket:
            connection = stack.enter_context(connected(fleet.port, tls=said is not None))
            if said:
                connection.sendall(said)
            return connection

        with ThreadPoolExecutor(4) as pool:
            strangers = list(pool.map(stranger, range(MANY)))
        refused_at_once = bool(said) and said.endswith(b"\r\n\r\n")
        assert refused_at_once or not is_closed(strangers[-1])  # they do hold them
        # From the same address, with all places of strangers taken: nobody is in a home's way.
        assert before.look(0.0) is None
        with closing(fleet.home(1)) as new:
            assert new.look(0.0) is None
        if refused_at_once:  # by its head, as none of the fleet's
            for connection in strangers:
                assert until_closed(connection)[:12] in {b"HTTP/1.1 401", b""}
        else:
            assert sum(map(is_closed, strangers)) >= MANY - DoorLimits().strangers_each
            assert until_closed(strangers[-1]) == b""  # and nobody holds one for long
        before.beat()
    assert fleet.peak_mb() < MOST_MB


@pytest.mark.parametrize("path", [PUSH, b"/v1/fedhome/answer", b"/v1/fedhome/owner"])
@pytest.mark.parametrize("length", [b"content-length: %d" % LARGE, b"transfer-encoding: chunked"])
def test_no_large_body_of_a_stranger_is_read(fleet: Fleet, path: bytes, length: bytes) -> None:
    chunks = length.startswith(b"transfer-encoding")
    statuses = {b"HTTP/1.1 400"} if chunks else {b"HTTP/1.1 401", b"HTTP/1.1 403"}
    with ExitStack() as stack:
        strangers = [stack.enter_context(connected(fleet.port)) for _ in range(8)]
        for connection in strangers:
            connection.sendall(HEAD % path + length + b"\r\n\r\n")
        for connection in strangers:  # refused by its head
            told = until_closed(connection)
            assert told[:12] in statuses, told
            assert b"connection: close" in told.lower()
    assert fleet.peak_mb() < MOST_MB


@pytest.mark.parametrize("path", [b"/v1/fedhome/join", b"/v1/fedhome/enrol", b"/v1/fedhome/leave"])
def test_what_shows_who_somebody_is_is_short(fleet: Fleet, path: bytes) -> None:
    with connected(fleet.port) as stranger:
        stranger.sendall(ANNOUNCED % (path, LARGE))
        assert until_closed(stranger).startswith(b"HTTP/1.1 413")
    with connected(fleet.port) as stranger:
        stranger.sendall(HEAD % path + b"transfer-encoding: chunked\r\n\r\n")
        assert until_closed(stranger).startswith(b"HTTP/1.1 400")


def refused(ask: Callable[[], object]) -> str:
    with pytest.raises(LinkError) as raised:
        ask()
    return raised.value.reason


def test_a_stolen_head_is_of_no_use_for_long_and_a_strange_key_never(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(fleet.connect(2, NodeKey.create())) as stranger:
        assert refused(lambda: stranger.activate(fleet.nodes[2])) == "refused"
    signed_at = fedhome.flower.node_key.now()
    for age_s in (400, -60):
        with closing(fleet.connect(2)) as late, monkeypatch.context() as patch:
            then = signed_at - np.timedelta64(age_s, "s").astype(object)
            patch.setattr("fedhome.flower.node_key.now", lambda then=then: then)
            assert refused(lambda late=late: late.activate(fleet.nodes[2])) == "refused"
    with closing(fleet.home(2)) as home:
        home.beat()


def test_the_key_that_a_home_gave_up_is_a_strangers(fleet: Fleet) -> None:
    home, old, new = fleet.homes[2], fleet.home(2), NodeKey.create()
    with closing(old):
        old.beat()
        old.leave()
        fleet.nodes[2] = claimed(home, new)
        assert refused(old.beat) == "refused"
    with closing(fleet.connect(2, new)) as connection:
        connection.activate(fleet.nodes[2])
        connection.beat()


def test_what_is_large_passes_through_in_pieces(fleet: Fleet) -> None:
    array = np.random.default_rng(1).integers(0, 1 << 30, 10 << 20, dtype=np.int32)
    content = RecordDict({"array": ArrayRecord([array])})  # 40 MB, which Flower cuts in two
    app = fedhome.server.daemon.flower_bundle.app_bundle()
    with (
        run_grid(fleet.server.link, fleet.server.secret, app) as grid,
        closing(fleet.home(0)) as home,
    ):
        before = fleet.peak_mb()
        asked = Message(content, dst_node_id=fleet.nodes[0], message_type="query")
        (name,) = grid.push_messages([asked])
        arrival = home.look()
        assert arrival is not None
        message = home.fetch(arrival)
        assert message.content == content
        sending = home.announce(Message(content, reply_to=message))
        home.push(sending)
        (reply,) = grid.pull_messages([name])
        assert reply.content == content
    assert fleet.peak_mb() - before < 30  # each piece is 20 MB; whole, it was there twice


def signed_head(key: NodeKey, path: bytes, *framing: bytes) -> bytes:
    """Return a request's head, as a home of the fleet signs it."""
    stamp = fedhome.flower.node_key.now().isoformat()
    signature = sign_message(key.private, stamp.encode("ascii"))
    headers = {
        FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(key.public).decode(),
        TIMESTAMP_HEADER: stamp,
        FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode(),
    }
    lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
    return HEAD % path + b"".join(lines) + b"".join(one + b"\r\n" for one in framing) + b"\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def hidden_request(key: NodeKey) -> bytes:
    """Return what no home may ask of the SuperLink: to take a node that nobody claimed."""
    asked = RegisterNodeRequest(public_key=key.public).SerializeToString()
    return ANNOUNCED % (b"/v1/control/register-node", len(asked)) + asked


def test_no_home_hides_a_request_behind_its_own(fleet: Fleet) -> None:
    """A body with two lengths: what is beyond one of them would be the SuperLink's next request.

    The control is the SuperLink itself, whose next request it is where nobody is in between.
    """
    first, keys = 70_000, (NodeKey.create(), NodeKey.create())  # above what is forwarded whole
    path = b"/v1/fleet/push-messages"
    with closing(fleet.home(0)) as home, connected(fleet.port) as connection:
        framing = b"content-length: %d" % first, b"transfer-encoding: chunked"
        head = signed_head(fleet.homes[0].node_key(), path, *framing)
        body = chunk(bytes(first)) + chunk(hidden_request(keys[0])) + chunk(b"")
        connection.sendall(head + body)
        assert until_closed(connection).startswith(b"HTTP/1.1 400")
        home.beat()
    with closing(socket.socket(socket.AF_UNIX)) as link:
        link.settimeout(PATIENCE_S)
        link.connect(local_socket.address(fleet.server.link))
        link.sendall(ANNOUNCED % (path, first) + bytes(first) + hidden_request(keys[1]))
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 2:
            answers += link.recv(1 << 16) or pytest.fail("the SuperLink has hung up")
    with closing(Control(fleet.server.link)) as control:
        assert control.states([key.public for key in keys]).keys() == {keys[1].public}


def test_a_home_that_asks_whether_it_may_go_on_is_answered(fleet: Fleet) -> None:
    """The SuperLink's "100 Continue" is no answer: the front failed, with ten lines in its log."""
    with closing(fleet.home(0)), connected(fleet.port) as connection:
        framing = b"content-length: 8", b"expect: 100-continue", b"connection: close"
        path = b"/v1/fleet/push-messages"
        connection.sendall(signed_head(fleet.homes[0].node_key(), path, *framing))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"no proto")
        assert until_closed(connection).startswith(b"HTTP/1.1 400 ")  # it was passed on
    assert "Traceback" not in (fleet.server.path / "logs" / "front.log").read_text()
