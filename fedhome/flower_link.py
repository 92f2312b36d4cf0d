"""The server's end of Flower: the SuperLink and what the server's own processes ask of it.

All of it speaks over loopback, where Flower's Control API knows no authentication: whoever
reaches this port owns the fleet's messages, so only the front's paths are let through.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

import httpx
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import SubStatus
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
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.serverapp import Grid
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, TaskType
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.interceptors import (
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry.retry_invoker import RetryInvoker, exponential
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid, http_grid

from fedhome.errors import RunError
from fedhome.flower_fleet import PATIENCE

LOOPBACK = "127.0.0.1"
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
"""What homes need of Flower. They register with us, not with Flower: those two paths are shut."""

# A home's reply is seen a moment before its objects are there: a pause of a second for each
# would be most of a round.
vars(http_grid)["pull_objects"] = partial(vars(http_grid)["pull_objects"], **PATIENCE)

_IDLE = {
    "ControlEventLogMiddleware",
    "ControlLicenseMiddleware",
    "ControlSensitiveResponseMiddleware",
    "FleetEventLogMiddleware",
    "RuntimeTracingMiddleware",
}
"""What does nothing in a SuperLink such as ours, and takes a fifth of each request's time."""

_START_S = 60.0  # so long a SuperLink is waited for
_POLL_S = 0.2
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


class NodeState(NamedTuple):
    """A registered node: its number, its public key (PEM), and whether it is there."""

    node: int
    key: bytes
    online: bool


def serve_superlink(port: int, secret: bytes) -> None:
    """Run a SuperLink on loopback until the process is told to stop.

    It runs no ServerApp itself (Flower's isolation mode "process"), so that it survives what
    happens to one; it authenticates nodes, and lets none register itself. Its state ends with
    the process; whoever uses it must then begin anew, which costs the round in flight. (A
    database on disk made a round four times as long, and every run has its own checkpoints.)

    Args:
        port: The port on loopback.
        secret: What a process that wants to run ServerApps must know.
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

    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host=LOOPBACK,
        port=port,
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
    uvicorn.run(
        app,
        host=LOOPBACK,
        port=port,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=60,
        timeout_graceful_shutdown=3,
    )


class Control:
    """Flower's Control API on loopback.

    Args:
        port: The SuperLink's port.
    """

    def __init__(self, port: int) -> None:
        self._client = ControlHttpClient(
            f"http://{LOOPBACK}:{port}",
            interceptors=[RuntimeVersionHttpInterceptor(component_name="fedhome")],
        )

    def nodes(self) -> list[NodeState]:
        """Return the registered nodes."""
        told = self._client.ListNodes(ListNodesRequest()).nodes_info
        return [NodeState(n.node_id, n.public_key, n.status == "online") for n in told]

    def register(self, key: bytes) -> int:
        """Register a node by its public key (PEM), and return its number.

        Raises:
            httpx.HTTPError: The SuperLink refuses or is away.
        """
        number: int = self._client.RegisterNode(RegisterNodeRequest(public_key=key)).node_id
        return number

    def unregister(self, node: int) -> None:
        """Let a node be known no more; that one is not known is no error."""
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
        files: Content or place of each file by its path in the app.
    """
    data: bytes = build_fab_from_files(files)[0]
    return data


@contextmanager
def run_grid(port: int, secret: bytes, app: bytes) -> Iterator[Grid]:
    """Open a run of an app, with this process as its ServerApp, and give its grid.

    Runs that were open before are ended. The run is finished when the context ends. A SuperLink
    that ends takes the run with it, since its state is in memory; so the first request that does
    not reach it raises, and whoever called begins anew.

    Args:
        port: The SuperLink's port.
        secret: The SuperLink's.
        app: The app's bundle.

    Raises:
        RunError: The SuperLink gives the run to somebody else.
        httpx.HTTPError: The SuperLink is away, here or in any method of the grid.
    """
    control = Control(port)
    try:
        _once_up(control.stop_runs)
        run = control.start_run(app)
    finally:
        control.close()
    grid = HttpGrid(f"{LOOPBACK}:{port}", insecure=True, token=_token(port, secret, run))
    # Flower's own retries wait for a SuperLink that has forgotten the run, and raise SIGINT.
    grid._retry_invoker = _impatient()  # noqa: SLF001 - as there is no argument for it
    client = grid._runtime_client  # noqa: SLF001 - there is no public way to a task's input
    heart = HeartbeatSender(partial(_beat, client))
    told = client.PullTaskInput(PullTaskInputRequest())
    TaskIdentity.task_id, TaskIdentity.run_id = told.task_id, told.run.run_id
    TaskIdentity.node_id = told.context.node_id
    grid.set_run(run_from_proto(told.run))
    status, details = SubStatus.FAILED, "the server's process ended"
    heart.start()
    try:
        yield grid
        status, details = SubStatus.COMPLETED, ""
    finally:
        if heart.is_running:
            heart.stop()
        with suppress(httpx.HTTPError):
            client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=details))
        grid.close()


def _token(port: int, secret: bytes, run: int) -> str:
    """Take the task of a run, as Flower's SuperExec would, and return what proves it."""
    client = RuntimeHttpClient(
        f"http://{LOOPBACK}:{port}",
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="fedhome"),
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE}),
        ],
        retry_invoker=_impatient(),
    )
    try:
        told = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
    finally:
        client.close()
    if not told.token or told.task.run_id != run:
        raise RunError(
            "the SuperLink has given this run to another process",
            hint="one server process at a time: end the other one",
        )
    token: str = told.token
    return token


def _once_up(ask: Callable[[], None]) -> None:
    """Ask a SuperLink that may be starting."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return ask()
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_S)


def _impatient() -> RetryInvoker:
    """Return what asks again after a timeout, and after nothing else."""
    return RetryInvoker(
        wait_gen_factory=lambda: exponential(max_delay=2),
        recoverable_exceptions=httpx.TimeoutException,
        max_tries=5,
        max_time=None,
    )


def _beat(client: RuntimeHttpClient) -> bool:
    """Tell the SuperLink that this process is alive; an error shows where the grid is used."""
    with suppress(httpx.HTTPError):
        client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
    return True
