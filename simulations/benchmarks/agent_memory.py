"""What a home's agent takes of its device's memory: while it waits, while it learns, afterwards.

``python -m fedhome.simulations.benchmarks.agent_memory`` runs a server and a small fleet as
processes on this machine, secure sums and all; with ``--sliced`` one whose homes carry slices of a
model, in the clear, and the home that is looked at the largest. One home's agent is a process of
its own, as on a device; the others' are threads of one. What is shown is the resident set (VmRSS in
Linux's ``/proc``): it counts the shared libraries that other programs use too.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import EngineError
from fedhome.ops.processes import Child, Processes
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import named, prepare, start

_GOAL_MB = 80
_WAIT_S = 120.0
_KIB_PER_MB = 1024


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident sets, MB (2^20 bytes).

    Args:
        idle: The agent's, connected, before any question.
        agent: The agent's, at most, while it took part in a run.
        worker: The worker's, at most.
        after: The agent's, after the worker had ended.
    """

    idle: float
    agent: float
    worker: float
    after: float


_LARGEST = "hub"
_SLICED: dict[str, Any] = {
    "slicing": {
        "tiers": [
            {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.4},
            {"name": _LARGEST, "width": 1.0, "depth": 2, "share": 0.6},
        ]
    },
    "aggregation": {"mode": "plain"},
}


def memory(
    *, homes: int, days: int, hidden: int, rounds: int, folder: Path, sliced: bool = False
) -> Memory:
    """Run a fleet, and measure one home of it.

    Args:
        homes: How many homes.
        days: Days of readings of each.
        hidden: Width of the model's one hidden layer.
        rounds: How many rounds.
        folder: An empty folder.
        sliced: Whether the model has a second hidden layer, and homes carry slices of it.

    Raises:
        EngineError: The run ended with an error.
        RunError: A process is not up in time.
    """
    plan = Plan.load(
        name="memory",
        data={"homes": homes, "days": days, "history_days": days},
        model={"hidden": [hidden]},
        rounds={"count": rounds, "fraction": 1.0},
        personalise={"name": "none"},
    )
    if sliced:
        plan = plan.change(model={"hidden": [hidden, hidden]}, **_SLICED)
    tables = list(generate(homes=homes, days=days, seed=plan.seed))
    plan = named(plan, tables)
    server, home_folders = prepare(folder / "deployment", plan, tables)
    largest = (one for one in home_folders if not sliced or one.settings.tier == _LARGEST)
    watched = next(largest)
    others = [one for one in home_folders if one is not watched]
    watched.fill(
        replace(watched.settings, worker_idle_s=10.0),
        plan=plan,
        anchor=watched.anchor,
        authorities=watched.authorities,
    )
    run = RunFolder.create(folder / "run", name=plan.name)
    run.write_plan(plan.to_toml())
    with Processes() as processes:
        start(processes, server, [watched])
        agent = processes.children[watched.path.name]
        processes.until(
            lambda: _state(watched) == "connected", what="the agent connected", timeout_s=_WAIT_S
        )
        idle = resident_mb(_number(agent))
        folders = [str(home_folder.path) for home_folder in others]
        log = server.logs / "others.log"
        processes.start("others", "fedhome.simulations.light_agents", *folders, log=log)
        deploy = ("fedhome.server.daemon.deploy", str(server.path), str(run.path), str(_WAIT_S))
        playing = processes.start("run", *deploy, log=server.logs / "run.log", ends=(0, 1))
        peaks = {"agent": idle, "worker": 0.0}

        def played() -> bool:
            peaks["agent"] = max(peaks["agent"], resident_mb(_number(agent)))
            for worker in children_of(_number(agent)):
                peaks["worker"] = max(peaks["worker"], resident_mb(worker))
            return playing.process is not None and playing.process.poll() is not None

        processes.until(played, what="the run ended")
        processes.until(
            lambda: not children_of(_number(agent)), what="the worker ended", timeout_s=_WAIT_S
        )
        after = resident_mb(_number(agent))
    if not run.finished:
        raise EngineError("the run ended with an error", hint=f"its log is in {server.logs}")
    return Memory(idle=idle, agent=peaks["agent"], worker=peaks["worker"], after=after)


def _state(home_folder: HomeFolder) -> str:
    status = home_folder.status
    return "" if status is None else status.state


def _number(child: Child) -> int:
    assert child.process is not None
    return child.process.pid


def resident_mb(number: int) -> float:
    """Return a process's resident set; 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{number}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / _KIB_PER_MB
    return 0.0


def children_of(number: int) -> list[int]:
    """Return the processes that a process's first thread has started."""
    path = Path(f"/proc/{number}/task/{number}/children")
    return [int(word) for word in path.read_text(encoding="ascii").split()]


def agent_memory(
    *,
    homes: Annotated[int, typer.Option(min=5)] = 5,
    days: Annotated[int, typer.Option(min=2)] = 60,
    hidden: Annotated[int, typer.Option(min=1)] = 64,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    sliced: Annotated[bool, typer.Option("--sliced", help="homes carry slices")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Show what a home's agent takes of its device's memory."""
    with tempfile.TemporaryDirectory() as folder:
        measured = memory(
            homes=homes,
            days=days,
            hidden=hidden,
            rounds=rounds,
            folder=Path(folder),
            sliced=sliced,
        )
    table = Table(title=f"a home's resident memory, MB ({days} days)", title_style="")
    table.add_column("process")
    table.add_column("when")
    table.add_column("MB", justify="right")
    table.add_row("agent", f"before any question (goal {_GOAL_MB})", f"{measured.idle:.1f}")
    table.add_row("agent", "during a run, at most", f"{measured.agent:.1f}")
    table.add_row("worker", "during a run, at most", f"{measured.worker:.1f}")
    table.add_row("agent", "after the worker has ended", f"{measured.after:.1f}")
    Console().print(table)
    if json_path is not None:
        json_path.write_text(json.dumps(asdict(measured), indent=2), encoding="utf-8")


if __name__ == "__main__":
    typer.run(agent_memory)
