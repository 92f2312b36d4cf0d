"""The SuperLink and other accounts of its machine: they reach nothing, and a control shows why."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab

from fedhome.flower.node_key import NodeKey
from fedhome.flower.superlink import Control
from fedhome.ops import local_socket
from fedhome.ops.processes import Processes
from fedhome.server.daemon.health import SERVICES
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from helpers.other_account import by_nobody, interpreter, knocked, open_folder
from helpers.patience import PATIENCE_S

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at sockets in /proc"),
]

DEMANDS = {
    "/v1/control/list-nodes": ListNodesRequest().SerializeToString(),
    "/v1/control/list-runs": ListRunsRequest().SerializeToString(),
    "/v1/control/register-node": RegisterNodeRequest(
        public_key=NodeKey.create().public
    ).SerializeToString(),
    "/v1/control/unregister-node": UnregisterNodeRequest(node_id=7).SerializeToString(),
    "/v1/control/start-run": StartRunRequest(fab=Fab(content=b"an app")).SerializeToString(),
    "/v1/control/stop-run": StopRunRequest(run_id=7).SerializeToString(),
}
"""What another account could do before: each is a request that the SuperLink answers."""

OLD_WAY = """\
import socket, sys
from pathlib import Path
from fedhome.flower.superlink import serve_superlink
from fedhome.ops import local_socket
listener = socket.create_server(("127.0.0.1", 0))
local_socket.listen = lambda folder: listener
print(listener.getsockname()[1], flush=True)
serve_superlink(Path(sys.argv[1]), b"a secret that is never asked for")
"""
"""A SuperLink as it was: it differs in its listener alone."""


@contextmanager
def serving(root: Path) -> Iterator[ServerFolder]:
    """Run the SuperLink of a server's folder."""
    settings = ServerSettings(host="127.0.0.1", port=1)
    place = ServerFolder.create(root / "hub", settings, names=["hub"])
    with Processes() as processes:
        processes.start("link", SERVICES["link"], str(place.path), log=root / "link.log")
        processes.until(
            lambda: local_socket.is_open(place.link), what="it listens", timeout_s=PATIENCE_S
        )
        yield place


@pytest.fixture(scope="module")
def hub() -> Iterator[ServerFolder]:
    interpreter()
    with open_folder() as root, serving(root) as place:
        place.path.chmod(0o755)  # the folder of the socket has to hold by itself
        yield place


def test_another_account_reaches_no_superlink(hub: ServerFolder) -> None:
    path = str(hub.link / local_socket.SOCKET)
    assert knocked(path, DEMANDS) == dict.fromkeys(DEMANDS, "PermissionError")
    with closing(Control(hub.link)) as control:
        assert control.nodes() == []  # and its owner does


def test_its_own_socket_lets_nobody_else_in(hub: ServerFolder) -> None:
    hub.link.chmod(0o755)
    try:
        path = str(hub.link / local_socket.SOCKET)
        assert knocked(path, DEMANDS) == dict.fromkeys(DEMANDS, "PermissionError")
    finally:
        hub.link.chmod(0o700)


def test_another_account_cannot_take_the_sockets_place(hub: ServerFolder) -> None:
    script = """\
import json, os, socket, sys
folder = json.load(sys.stdin)
for act in (
    lambda: os.listdir(folder),
    lambda: os.unlink(folder + "/socket"),
    lambda: os.rename(folder, folder + "-aside"),
    lambda: socket.socket(socket.AF_UNIX).bind(folder + "/other"),
    lambda: open(folder + "/secret").read(),
):
    try:
        act()
        print("done")
    except OSError as error:
        print(type(error).__name__)
"""
    assert by_nobody(script, str(hub.link)).split() == ["PermissionError"] * 5


def test_the_superlink_listens_at_no_port(hub: ServerFolder) -> None:
    assert local_socket.is_open(hub.link)
    (process,) = [
        entry
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is(entry, SERVICES["link"], str(hub.path))
    ]
    assert listening_ports(process) == []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert listener.getsockname()[1] in listening_ports(Path("/proc/self"))


def test_a_socket_that_is_open_to_all_is_open_to_them(hub: ServerFolder) -> None:
    door = hub.link / local_socket.SOCKET
    try:
        hub.link.chmod(0o755)
        door.chmod(0o666)
        told = knocked(str(door), {"/v1/control/list-nodes": DEMANDS["/v1/control/list-nodes"]})
    finally:
        hub.link.chmod(0o700)
        door.chmod(0o600)
    assert told == {"/v1/control/list-nodes": "200"}


def test_a_port_on_loopback_was_open_to_them() -> None:
    interpreter()
    with open_folder() as root:
        command = [sys.executable, "-c", OLD_WAY, root]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as link:
            try:
                assert link.stdout is not None
                port = int(link.stdout.readline())
                told = patiently(lambda: knocked(("127.0.0.1", port), DEMANDS))
            finally:
                link.kill()
    assert set(told.values()) <= {"200", "400", "404", "500"}  # answered, each by its meaning
    done = {path.rpartition("/")[2] for path, status in told.items() if status == "200"}
    assert {"list-nodes", "list-runs", "register-node"} <= done


def patiently(knock: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Knock until the SuperLink is up and answers."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        told = knock()
        if not any(text.endswith("Error") for text in told.values()):
            return told
        assert time.monotonic() < deadline, told


def listening_ports(process: Path) -> list[int]:
    """Return the TCP ports at which a process listens, by its folder in /proc."""
    ours = set()
    for link in (process / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile, as what lists them is
            ours.add(str(link.readlink()))
    ports = []
    for table in ("tcp", "tcp6"):
        for line in (process / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in ours:
                ports.append(int(fields[1].rpartition(":")[2], 16))
    return ports


def _is(entry: Path, *words: str) -> bool:
    try:
        command = (entry / "cmdline").read_bytes().decode().split("\0")
    except OSError:
        return False
    return all(word in command for word in words)
