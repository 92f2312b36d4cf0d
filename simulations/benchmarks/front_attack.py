"""What strangers' connections cost homes: how long a home waits, and what memory the front takes.

``python -m fedhome.simulations.benchmarks.front_attack`` runs a server on this machine. Strangers,
a process of their own, keep thousands of connections to its front and open another for each that
is closed, while a home asks again and again: on the connection that it has, and on a new one. All
come from one address, as homes and strangers behind one router do, and share the processor.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fedhome.clients.agent.announce import join
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import LinkError
from fedhome.fleet.state_file import FileStore
from fedhome.flower.fleet_connection import FleetConnection
from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.server.daemon.health import SERVICES
from fedhome.simulations.benchmarks.agent_memory import resident_mb
from fedhome.simulations.benchmarks.strangers import KINDS, Fate
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import HOST, named, prepare, start

_HOMES, _DAYS = 3, 10
_GOAL_S, _GOAL_MB = 2.0, 300
_PAUSE_S, _MS = 0.1, 1000.0
_RARELY_S = 1800.0  # the nodes of this fleet send no heartbeats of their own


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What a home and its server notice of strangers.

    Args:
        kind: What the strangers do.
        count: Connections that they want.
        connected_ms: Waits for an answer on the connection that the home has: median, longest.
        new_ms: The same on a new connection, TLS included.
        lost: Questions that were not answered at all.
        front_mb: The front's resident set, at most.
        fate: What became of the strangers' connections.
    """

    kind: str
    count: int
    connected_ms: tuple[float, float]
    new_ms: tuple[float, float]
    lost: int
    front_mb: float
    fate: Fate


class Asker:
    """A home that asks, and notes how long it waits."""

    def __init__(self, home: HomeFolder) -> None:
        self._home = home
        with FileStore.open(home.path, home=home.settings.home) as store:
            self._node = join(
                home.settings.server,
                home.authorities,
                fleet=home.anchor.fleet,
                keys=store.keys,
                node=home.node_key(),
                saves=store.state.version,
            ).node
        self._connection = self._connect()
        self.connected: list[float] = []
        self.new: list[float] = []
        self.lost = 0

    def ask(self) -> None:
        """Ask on the connection that there is, and on a new one."""
        self._note(self.connected, lambda: self._connection.look(0.0))
        self._note(self.new, lambda: self._connect().close())

    def _connect(self) -> FleetConnection:
        settings, authorities = self._home.settings, self._home.authorities
        connection = FleetConnection(
            settings.server, authorities, self._home.node_key(), heartbeat_s=_RARELY_S
        )
        connection.activate(self._node)
        return connection

    def _note(self, waits: list[float], ask: Callable[[], object]) -> None:
        begin = time.perf_counter()
        try:
            ask()
        except LinkError:
            self.lost += 1
        waits.append(time.perf_counter() - begin)


def scenario(kind: str, count: int, seconds: float) -> Scenario:
    """Measure one kind of strangers at a server of its own.

    Args:
        kind: One of `KINDS`; empty: nobody attacks.
        count: Connections that they want.
        seconds: How long it is watched.

    Raises:
        RunError: The server is not up in time.
    """
    plan = Plan.load(
        name="front",
        data={"homes": _HOMES, "days": _DAYS, "history_days": _DAYS},
        aggregation={"min_cohort": _HOMES},
    )
    with tempfile.TemporaryDirectory() as root, Processes() as processes:
        tables = list(generate(homes=_HOMES, days=_DAYS, seed=plan.seed))
        server, homes = prepare(Path(root), named(plan, tables), tables)
        start(processes, server, [])
        front = next(iter({*SERVICES} - {"link"}))
        log, port = Path(root) / "strangers.log", str(server.settings.port)
        asker = Asker(homes[0])
        if kind:
            strangers = "fedhome.simulations.benchmarks.strangers"
            processes.start("strangers", strangers, HOST, port, kind, str(count), log=log)
        process = processes.children[front].process
        assert process is not None
        most, end = 0.0, time.monotonic() + seconds
        while time.monotonic() < end:
            asker.ask()
            most = max(most, resident_mb(process.pid))
            time.sleep(_PAUSE_S)
        lines = log.read_text(encoding="utf-8").splitlines() if kind else []
        told = [line for line in lines if line.startswith("{")]
        return Scenario(
            kind=kind or "nobody",
            count=count if kind else 0,
            connected_ms=_middle_and_longest(asker.connected),
            new_ms=_middle_and_longest(asker.new),
            lost=asker.lost,
            front_mb=most,
            fate=Fate(**json.loads(told[-1])) if told else Fate(),
        )


def _middle_and_longest(waits: list[float]) -> tuple[float, float]:
    return statistics.median(waits) * _MS, max(waits) * _MS


def front_attack(
    count: Annotated[int, typer.Option(min=1, help="connections of strangers")] = 10_000,
    seconds: Annotated[float, typer.Option(min=1.0, help="of each row")] = 60.0,
    only: Annotated[str, typer.Option(help=f"one of: {', '.join(KINDS)}")] = "",
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Show what strangers at a server's front cost its homes."""
    measured = [scenario(kind, count, seconds) for kind in ("", *([only] if only else KINDS))]
    title = f"a home asks while strangers hold connections (goal: {_GOAL_S:.0f} s, {_GOAL_MB} MB)"
    table = Table(title=title, title_style="")
    for column in ("strangers", "open", "closed", "connected", "longest", "new", "longest"):
        table.add_column(column, justify="left" if column == "strangers" else "right")
    table.add_column("lost", justify="right")
    table.add_column("front MB", justify="right")
    for row in measured:
        waits = (*row.connected_ms, *row.new_ms)
        table.add_row(
            f"{row.count} {row.kind}" if row.count else row.kind,
            str(row.fate.open),
            str(row.fate.closed),
            *(f"{wait:.0f} ms" for wait in waits),
            str(row.lost),
            f"{row.front_mb:.0f}",
        )
    Console().print(table)
    if json_path is not None:
        json_path.write_text(json.dumps([asdict(row) for row in measured], indent=2))


if __name__ == "__main__":
    typer.run(front_attack)
