"""The server's end of Flower: the SuperLink, and the requests of the server's own processes to it.

Flower's Control API knows no authentication: whoever reaches the SuperLink owns the fleet's
messages. So it listens at a socket in the server's folder, which other accounts cannot enter, and
at no port; and the front lets only the paths that homes need through to it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

import httpx
from flwr.common.serde import run_from_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab as FabProto
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import (
    RuntimeVersionHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClient
from google.protobuf.wrappers_pb2 import BytesValue

from fedhome.errors import RunError
from fedhome.ops import local_socket
from fedhome.wire.exchange import ABSENT, GONE, MOST_NODES, NODES, ONLINE, NodeQuery, NodeStates

LINK = "http://superlink"
"""The SuperLink's address in requests; what is connected to is its socket."""
HOST = LINK.removeprefix("http://")
FLEET_PATHS = tuple(
    f"/v1/fleet/{name}"
    for name in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
"""What Flower's own SuperNodes need, and homes for what is too large for our own paths
(:mod:`fedhome.wire.exchange`). They register with us, not with Flower: those two paths are shut."""

PUSH_MESSAGES, PUSH_OBJECT = "/v1/fleet/push-messages", "/v1/fleet/push-object"
"""Those of them whose requests are large."""

_IDLE = {
    "ControlEventLogMiddleware",
    "ControlLicenseMiddleware",
    "ControlSensitiveResponseMiddleware",
    "FleetEventLogMiddleware",
    "RuntimeTracingMiddleware",
}
"""Middleware with no effect in a SuperLink such as ours; it takes a fifth of a request's time."""


class NodeState(NamedTuple):
    """A node: its number, its public key (PEM), whether it is online, and whether it is gone.

    Flower never accepts a key again whose node was unregistered.
    """

    node: int
    key: bytes
    online: bool
    gone: bool = False


def serve_superlink(folder: Path, secret: bytes) -> None:
    """Run a SuperLink at a folder's socket until the process is told to stop.

    It runs no ServerApp itself (Flower's isolation mode "process"), so that it survives what
    happens to one; it authenticates nodes, and lets none register itself. Its state ends with
    the process; whoever uses it must then begin anew, which costs the round in flight. (A
    database on disk made a round four times as long, and every run has its own checkpoints.)

    Args:
        folder: Where its socket is made (:mod:`fedhome.ops.local_socket`).
        secret: What a process that wants to run ServerApps must know.

    Raises:
        StateError: The folder cannot be used.
        RunError: Its path is too long for a socket.
    """
    # The SuperLink alone needs these; they cost a second and 60 MB.
    import uvicorn  # noqa: PLC0415
    from flwr.common.constant import (  # noqa: PLC0415
        ISOLATION_MODE_PROCESS,
        TRANSPORT_TYPE_GRPC_RERE,
    )
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan  # noqa: PLC0415
    from flwr.superlink.config_loader import (  # noqa: PLC0415
        SuperLinkLifespanConfig,
        load_control_authn_plugin,
    )
    from flwr.superlink.main import create_app  # noqa: PLC0415

    from fedhome.flower.exchange_server import Exchange  # noqa: PLC0415
    from fedhome.flower.indexed_state import index  # noqa: PLC0415
    from fedhome.ops.serving import GracefulServer  # noqa: PLC0415
    from fedhome.ops.sparing_log import log_sparingly  # noqa: PLC0415

    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host="",
        port=0,
        insecure=True,
        certificates=None,
        superexec_auth_secret=secret,
        authn_plugin=load_control_authn_plugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=None,
        ssl_certfile=None,
        ssl_keyfile=None,
        database=FLWR_IN_MEMORY_DB_NAME,
        isolation=ISOLATION_MODE_PROCESS,
        runtime_dependency_install=False,
    )
    app = create_app(config, SuperLinkLifespan)
    app.user_middleware = [
        one for one in app.user_middleware if getattr(one.cls, "__name__", "") not in _IDLE
    ]
    index(app.state.linkstate_factory)
    logging.getLogger("flwr").setLevel(logging.WARNING)  # else a line for each reply of each home
    exchange = Exchange(app)
    serving = uvicorn.Config(
        exchange,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=60,
        timeout_graceful_shutdown=3,
    )
    log_sparingly("flwr", "uvicorn.error")  # homes can make it complain as often as they like
    GracefulServer(serving, exchange.end).run([local_socket.listen(folder)])


def through_socket(client: ProtobufClient, folder: Path) -> None:
    """Let a client of Flower's connect to the socket in a folder, whatever its address says.

    Args:
        client: Not used yet.
        folder: The SuperLink's.
    """
    before: httpx.Client = client._client  # noqa: SLF001 - Flower knows ports alone
    settings: dict[str, Any] = {
        "timeout": before.timeout,
        "follow_redirects": before.follow_redirects,
    }
    before.close()
    transport = httpx.HTTPTransport(uds=local_socket.address(folder))
    client._client = httpx.Client(transport=transport, **settings)  # noqa: SLF001 - as above


class Control:
    """Flower's Control API at the SuperLink's socket.

    Args:
        folder: The folder of the socket.
    """

    def __init__(self, folder: Path) -> None:
        self._client = ControlHttpClient(
            LINK, interceptors=[RuntimeVersionHttpInterceptor(component_name="fedhome")]
        )
        through_socket(self._client, folder)

    def nodes(self) -> list[NodeState]:
        """Return the nodes that are or were registered."""
        nodes = self._client.ListNodes(ListNodesRequest()).nodes_info
        return [
            NodeState(n.node_id, n.public_key, n.status == "online", n.status == "unregistered")
            for n in nodes
        ]

    def states(self, keys: Sequence[bytes]) -> dict[bytes, NodeState]:
        """Return the nodes with some keys (PEM), by key; what was never registered is not there.

        Raises:
            httpx.HTTPError: The SuperLink is away.
        """
        found = {}
        for first in range(0, len(keys), MOST_NODES):
            asked = tuple(keys[first : first + MOST_NODES])
            response = self._client._unary_unary(  # noqa: SLF001 - Flower has no words for it
                path=NODES,
                rpc_method=NODES,
                request=BytesValue(value=NodeQuery(keys=asked).to_bytes()),
                response_type=BytesValue,
            )
            states = NodeStates.from_bytes(response.value)
            for key, node, state in zip(asked, states.nodes, states.states, strict=True):
                if state != ABSENT:
                    found[key] = NodeState(node, key, state == ONLINE, state == GONE)
        return found

    def register(self, key: bytes) -> int:
        """Register a node by its public key (PEM), and return its number.

        Raises:
            httpx.HTTPError: The SuperLink refuses or is away.
        """
        number: int = self._client.RegisterNode(RegisterNodeRequest(public_key=key)).node_id
        return number

    def unregister(self, node: int) -> None:
        """Unregister a node; an unknown one is no error."""
        with suppress(httpx.HTTPStatusError):
            self._client.UnregisterNode(UnregisterNodeRequest(node_id=node))

    def start_run(self, bundle: bytes) -> int:
        """Announce a run of an app, and return its number.

        Raises:
            RunError: The SuperLink refuses.
        """
        request = StartRunRequest(fab=FabProto(content=bundle))
        try:
            number: int = self._client.StartRun(request).run_id
        except httpx.HTTPStatusError as error:
            raise RunError(f"the SuperLink refuses the run: {error.response.text[:300]}") from None
        return number

    def stop_runs(self) -> None:
        """End all runs that a server process left behind: their homes' answers are of no use."""
        for number, run in self._client.ListRuns(ListRunsRequest()).run_dict.items():
            if run_from_proto(run).status.status != "finished":
                with suppress(httpx.HTTPStatusError):
                    self._client.StopRun(StopRunRequest(run_id=number))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def bundle(files: Mapping[str, bytes | Path]) -> bytes:
    """Return Flower's bundle of an app.

    Args:
        files: Content, or path on disk, of each file by its path in the app.
    """
    from flwr.cli.build import build_fab_from_files  # noqa: PLC0415 - Flower's own command line

    data: bytes = build_fab_from_files(files)[0]
    return data
