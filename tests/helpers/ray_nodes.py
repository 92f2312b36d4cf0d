"""Ray nodes on this machine, each in a network namespace of its own, as on several machines.

They share a bridge and nothing else of the network: what goes from one to another is counted by
the kernel. It takes root, and a kernel that makes namespaces; :func:`why_not` says what lacks.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

_PORT = 6399
_START_S = 120
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def why_not() -> str:
    """Return why there can be no such nodes here; empty where there can."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        return "network namespaces need Linux and the command ip (iproute2)"
    name = f"fh-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.decode().strip()}"
    with_bridge = _tried("ip", "link", "add", f"{name[:13]}", "type", "bridge")
    _tried("ip", "link", "del", f"{name[:13]}")
    _tried("ip", "netns", "del", name)
    return (
        "" if with_bridge else "no bridge can be made here: the kernel or the container forbids it"
    )


def _tried(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_START_S)


@dataclass
class RayNode:
    """A node.

    Attributes:
        name: Its namespace.
        ip: Its address on the bridge.
        folder: Where its Ray keeps files. In its usual place it would leave word of a cluster that
            every later `ray.init` on this machine tries to join.
    """

    name: str
    ip: str
    folder: str

    def command(self, *words: str) -> list[str]:
        """Return a command that runs in the node's namespace."""
        apart = f"RAY_TMPDIR={self.folder}"
        return ["ip", "netns", "exec", self.name, "env", apart, *words]

    def ray_start(self, *words: str) -> None:
        """Start Ray here."""
        ray = Path(sys.executable).with_name("ray")
        own = [f"--node-ip-address={self.ip}", "--num-cpus=1", "--disable-usage-stats"]
        subprocess.run(
            self.command(str(ray), "start", *words, *own),
            check=True,
            capture_output=True,
            timeout=_START_S,
            env={**os.environ, **_QUIET},
        )

    def processes(self) -> list[int]:
        """Return all that run in the namespace."""
        told = subprocess.run(
            ["ip", "netns", "pids", self.name],
            capture_output=True,
            text=True,
            check=False,
        )
        return [int(line) for line in told.stdout.split()]

    def kill(self) -> None:
        """Let the whole node die at once."""
        while living := self.processes():
            for process in living:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def bytes_sent(self) -> int:
        """Return how many bytes have left the node for others."""
        told = subprocess.run(
            self.command("cat", "/sys/class/net/eth0/statistics/tx_bytes"),
            capture_output=True,
            text=True,
            check=True,
        )
        return int(told.stdout)


@contextmanager
def ray_nodes(count: int) -> Iterator[Sequence[RayNode]]:
    """Start a cluster of so many nodes; the first is its head.

    Args:
        count: How many nodes.
    """
    number = os.getpid() % 250
    bridge, net = f"fhb{os.getpid()}"[:13], f"10.77.{number}"
    with ExitStack() as after:
        _run("ip", "link", "add", bridge, "type", "bridge")
        after.callback(_tried, "ip", "link", "del", bridge)
        _run("ip", "link", "set", bridge, "up")
        nodes = []
        # Sockets lie in it, whose paths may hold a hundred characters.
        folder = after.enter_context(tempfile.TemporaryDirectory(prefix="fhr", dir="/tmp"))
        for place in range(count):
            node = RayNode(f"fh-{os.getpid()}-{place}", f"{net}.{place + 1}", folder)
            _run("ip", "netns", "add", node.name)
            after.callback(_tried, "ip", "netns", "del", node.name)
            end = f"fhv{os.getpid()}"[:11] + f"-{place}"
            _run(
                "ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", node.name
            )
            after.callback(_tried, "ip", "link", "del", end)
            _run("ip", "link", "set", end, "master", bridge, "up")
            _run(*node.command("ip", "address", "add", f"{node.ip}/24", "dev", "eth0"))
            _run(*node.command("ip", "link", "set", "eth0", "up"))
            _run(*node.command("ip", "link", "set", "lo", "up"))
            nodes.append(node)
            after.callback(node.kill)
        head, *others = nodes
        head.ray_start("--head", f"--port={_PORT}", "--include-dashboard=false")
        for node in others:
            node.ray_start(f"--address={head.ip}:{_PORT}")
        yield nodes


def address_of(head: RayNode) -> str:
    """Return where a cluster's head listens."""
    return f"{head.ip}:{_PORT}"
