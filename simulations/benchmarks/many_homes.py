"""What many homes cost their server: as all join at once, as they wait, and in rounds.

``python -m fedhome.simulations.benchmarks.many_homes 50 200`` runs a server and that many homes on
this machine, the server's processes as in a deployment, the homes as threads of a few processes
(``--processes``; :mod:`fedhome.simulations.light_agents`): keys, TLS, connections and secure sums
are all real. The homes share the processor with their server, and most of a round's seconds are
their own work, one after the other; what the server needs is in its processor time.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import EngineError, RunError
from fedhome.ops.processes import Processes, allow_many_files
from fedhome.plan.settings import Plan
from fedhome.run.absent import AGAIN, AWAY, DROPPED, LATE, absence, lateness, taken_again
from fedhome.run.events import Event
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.health import SERVICES
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.simulations.benchmarks.process_costs import ProcessCost
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import named, prepare, start

Mode = Literal["secure", "plain"]

_RUN, _HOMES, _DAYS = "run", "homes", 8
_LOOK_S = 0.5
_SETTLED_S = 15.0  # after homes have joined, before they count as idle
_LINE = re.compile(r"^(\S+ \S+) (?:INFO|WARNING) (.*)$")
_BEGIN, _CONNECTED, _AGAIN = " homes begin", "connected to ", "; again in "


def _dropped(event: Event) -> str:
    return f"{event.data['home']}'s answer ({event.data['stage']}): {event.data['reason']}"


_TOLD = {AWAY: absence, LATE: lateness, AGAIN: taken_again, DROPPED: _dropped}


@dataclass(frozen=True, kw_only=True)
class FleetCost:
    """What a fleet's homes cost, by process: the server's `SERVICES`, the run, and all homes.

    Args:
        homes: How many they are.
        mode: How their updates are added up.
        join_s: From the moment when all begin to join until the last one is connected.
        join_cpu_s: Processor time of that.
        join_retries: How often one of them had to try again.
        idle_ms: Processor time of a home that waits, ms a second.
        answered: Homes in each round's sum.
        missed: Why homes were missing from rounds, as the run's log says, a line each.
        round_s: Of each round; the first one counts examples and fetches keys too.
        round_cpu_s: Processor time of a round after the first.
        peak_mb: Most resident memory, MB (2^20 bytes).
        files: Descriptors that were open, at most.
    """

    homes: int
    mode: Mode
    join_s: float
    join_cpu_s: Mapping[str, float]
    join_retries: int
    idle_ms: Mapping[str, float]
    answered: Sequence[int]
    missed: Sequence[str]
    round_s: Sequence[float]
    round_cpu_s: Mapping[str, float]
    peak_mb: Mapping[str, float]
    files: Mapping[str, int]


class Meter:
    """What processes have cost so far.

    Args:
        processes: The processes; those whose names begin with ``homes`` count as one.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self.cpu_s: dict[str, float] = {}
        self.peak_mb: dict[str, float] = {}
        self.files: dict[str, int] = {}

    def read(self) -> dict[str, float]:
        """Return the processor time of each so far, and note what else it takes."""
        found: dict[str, list[ProcessCost]] = {}
        for name, child in self._processes.children.items():
            if child.process is not None:
                cost = ProcessCost.of(child.process.pid)
                found.setdefault(name.partition("-")[0], []).append(cost)
        for name, costs in found.items():
            # A process that has ended has cost what it had cost before.
            self.cpu_s[name] = max(self.cpu_s.get(name, 0.0), sum(one.cpu_s for one in costs))
            self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), sum(one.peak_mb for one in costs))
            self.files[name] = max(self.files.get(name, 0), sum(one.files for one in costs))
        return dict(self.cpu_s)


def fleet_cost(
    *,
    homes: int,
    rounds: int,
    idle_s: float,
    folder: Path,
    mode: Mode = "secure",
    sets: Sequence[str] = (),
    agents: int = 2,
    patience_s: float = 600.0,
) -> FleetCost:
    """Run a fleet: let all homes join at once, wait, and take part in some rounds.

    Args:
        homes: How many.
        rounds: How many rounds; 0: none.
        idle_s: For how long they wait; 0: not at all.
        folder: An empty folder.
        mode: How updates are added up.
        sets: Changes to the plan, as ``"aggregation.groups=10"``.
        agents: Processes in which the homes are.
        patience_s: How long each of these steps may take.

    Raises:
        EngineError: The run failed.
        PlanError: A change to the plan does not fit it.
        RunError: A step took too long.
    """
    plan = Plan.load(
        sets=sets,
        name="many",
        data={"homes": homes, "days": _DAYS, "history_days": _DAYS},
        model={"hidden": [4]},
        rounds={
            "count": max(rounds, 1),
            "deadline_s": patience_s,
            "fraction": 1.0,
            "close_share": 1.0,  # homes that share a processor answer one after the other
            "close_after": 1000.0,
        },
        aggregation={"mode": mode},
        personalise={"name": "none", "epochs": 1, "local_epochs": 1},
    )
    tables = list(generate(homes=homes, days=_DAYS, seed=plan.seed))
    plan = named(plan, tables)
    server, home_folders = prepare(folder / "deployment", plan, tables)
    run = RunFolder.create(folder / "run", name=plan.name)
    run.write_plan(plan.to_toml())
    with Processes() as processes:
        start(processes, server, [])
        meter = Meter(processes)
        before = meter.read()
        logs = _start_homes(processes, server, home_folders, agents)
        processes.until(
            lambda: _connected(logs) >= homes, what="all homes joined", timeout_s=patience_s
        )
        joined = meter.read()
        join_s, retries = join_times(path.read_text(encoding="utf-8") for path in logs)
        idle = _idle(processes, meter, idle_s, homes)
        first = dict[str, float]()
        ends = [time.time()]
        if rounds:
            first, ends = _play(processes, server, run, meter, rounds=rounds, patience_s=patience_s)
        last = meter.read()
        if rounds and not run.finished:
            text = (server.logs / "run.log").read_text(encoding="utf-8")
            raise EngineError("the run failed", hint=text[-2000:])
    events = run.read_events() if rounds else []
    closed = [one for one in events if one.event == "round-closed"]
    later = max(rounds - 1, 1)
    return FleetCost(
        homes=homes,
        mode=mode,
        join_s=join_s,
        join_cpu_s={name: joined[name] - before.get(name, 0.0) for name in SERVICES},
        join_retries=retries,
        idle_ms=idle,
        answered=[int(str(one.data["homes_answered"])) for one in closed],
        missed=[_TOLD[one.event](one) for one in events if one.event in _TOLD],
        round_s=[after - begin for begin, after in pairwise(ends)],
        round_cpu_s={name: (last[name] - cpu_s) / later for name, cpu_s in first.items()},
        peak_mb=meter.peak_mb,
        files=meter.files,
    )


def _start_homes(
    processes: Processes, server: ServerFolder, home_folders: Sequence[HomeFolder], agents: int
) -> list[Path]:
    """Start the homes' processes; return their logs."""
    logs = []
    for number in range(agents):
        logs.append(server.logs / f"{_HOMES}-{number}.log")
        folders = [str(one.path) for one in home_folders[number::agents]]
        processes.start(
            f"{_HOMES}-{number}", "fedhome.simulations.light_agents", *folders, log=logs[-1]
        )
    return logs


def _connected(logs: Iterable[Path]) -> int:
    """Return how many homes have connected; those that were cut off count twice."""
    texts = (path.read_text(encoding="utf-8") for path in logs if path.exists())
    return sum(text.count(_CONNECTED) for text in texts)


def join_times(texts: Iterable[str]) -> tuple[float, int]:
    """Return how long homes took to join, s, and how often one of them tried again.

    Args:
        texts: The logs of their processes.

    Raises:
        RunError: No home has joined.
    """
    begins, ends, retries = [], [], 0
    for text in texts:
        for match in filter(None, map(_LINE.match, text.splitlines())):
            at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
            if match[2].endswith(_BEGIN):
                begins.append(at)
            elif match[2].startswith(_CONNECTED):
                ends.append(at)
            retries += _AGAIN in match[2]
    if not begins or not ends:
        raise RunError("no home has joined")
    return max(ends) - max(begins), retries


def _idle(processes: Processes, meter: Meter, idle_s: float, homes: int) -> dict[str, float]:
    """Return what homes cost that wait, ms of processor a second and home."""
    if not idle_s:
        return {}
    _watch(processes, _SETTLED_S)
    before = meter.read()
    _watch(processes, idle_s)
    after = meter.read()
    return {name: 1e3 * (after[name] - before[name]) / idle_s / homes for name in before}


def _watch(processes: Processes, seconds: float) -> None:
    end = time.monotonic() + seconds
    processes.until(lambda: time.monotonic() >= end, what="a while")


def _play(
    processes: Processes,
    server: ServerFolder,
    run: RunFolder,
    meter: Meter,
    *,
    rounds: int,
    patience_s: float,
) -> tuple[dict[str, float], list[float]]:
    """Let the homes take part in a run.

    Returns:
        The processor time of each process at the end of the first round; and when the run began
        and each round ended, Unix time in s.
    """
    begin = time.time()
    deploy = ("fedhome.server.daemon.deploy", str(server.path), str(run.path), "60", "60")
    processes.start(_RUN, *deploy, log=server.logs / "run.log", ends=(0, 1))
    at_first, looked = dict[str, float](), 0.0

    def over() -> bool:
        nonlocal looked
        if time.monotonic() - looked > _LOOK_S:
            looked, now = time.monotonic(), meter.read()
            if not at_first and run.events_path.exists():
                events = run.read_events()
                if any(one.event == "round-closed" for one in events):
                    at_first.update(now)
        return processes.children[_RUN].look() is not None

    processes.until(over, what="the run", timeout_s=patience_s * (rounds + 1))
    closed = [one for one in run.read_events() if one.event == "round-closed"]
    return at_first, [begin, *(one.time.timestamp() for one in closed)]


def many_homes(
    homes: Annotated[list[int], typer.Argument(min=5, help="how many homes, one fleet each")],
    *,
    rounds: Annotated[int, typer.Option(min=0, help="0: no run")] = 3,
    idle_s: Annotated[float, typer.Option("--idle", min=0, help="seconds of waiting")] = 60.0,
    mode: Annotated[str, typer.Option(help="secure or plain")] = "secure",
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="change the plan: aggregation.groups=10")
    ] = None,
    patience_s: Annotated[
        float, typer.Option("--patience", min=1, help="seconds that each step may take")
    ] = 600.0,
    agents: Annotated[
        int, typer.Option("--processes", min=1, help="in how many processes the homes are")
    ] = 2,
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Show what many homes cost their server."""
    if mode not in {"secure", "plain"}:
        raise typer.BadParameter(f"{mode!r} is neither secure nor plain")
    chosen: Mode = "plain" if mode == "plain" else "secure"
    allow_many_files()
    costs = []
    for count in homes:
        with tempfile.TemporaryDirectory() as folder:
            costs.append(
                fleet_cost(
                    homes=count,
                    rounds=rounds,
                    idle_s=idle_s,
                    folder=Path(folder),
                    mode=chosen,
                    sets=sets or (),
                    patience_s=patience_s,
                    agents=agents,
                )
            )
        Console().print(_table(costs))
        for line in costs[-1].missed:
            print(f"{count} homes: {line}")
    if json_path is not None:
        report = [asdict(cost) for cost in costs]
        json_path.write_text(json.dumps(report, indent=2), encoding="utf-8")


def _table(costs: Sequence[FleetCost]) -> Table:
    table = Table(title=f"what homes cost their server ({costs[0].mode} sums)", title_style="")
    for name in ("", *(f"{cost.homes} homes" for cost in costs)):
        table.add_column(name, justify="right" if name else "left")

    def row(name: str, text: Callable[[FleetCost], str]) -> None:
        table.add_row(name, *map(text, costs))

    row("all join at once: s", lambda cost: f"{cost.join_s:.1f}")
    row("- tried again", lambda cost: f"{cost.join_retries}")
    row("- processor s: front, link", lambda cost: _by_process(cost.join_cpu_s, ".1f"))
    row("they wait: processor ms a second and home", lambda cost: _by_process(cost.idle_ms, ".2f"))
    row("homes in the rounds' sums", lambda cost: ", ".join(map(str, cost.answered)))
    row("rounds: s", lambda cost: ", ".join(f"{seconds:.1f}" for seconds in cost.round_s))
    row("a round's processor s", lambda cost: _by_process(cost.round_cpu_s, ".1f"))
    row("most memory, MB", lambda cost: _by_process(cost.peak_mb, ".0f"))
    row("most open files", lambda cost: _by_process(cost.files, "d"))
    return table


def _by_process(values: Mapping[str, float], form: str) -> str:
    return "\n".join(f"{name} {format(value, form)}" for name, value in sorted(values.items()))


if __name__ == "__main__":
    typer.run(many_homes)
