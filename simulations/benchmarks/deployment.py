"""A round over real processes: its seconds, and each home's requests and bytes, beside Flower's.

``python -m fedhome.simulations.benchmarks.deployment`` runs the default plan over a small fleet of
processes on this machine, secure sums and all: once as it is, for the time; once with a tap in
the homes' lines, for the traffic; once with a home behind Flower's stock SuperNode, for what that
costs; and stock Flower with as many homes and a model as large.
Traffic is what goes through TLS: heads and bodies of HTTP, between homes and the server's front.
"""

from __future__ import annotations

import json
import re
import ssl
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fedhome.clients.lean_process import LEAN
from fedhome.clients.membership.consent_record import ConsentRecord, plan_digest
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import EngineError
from fedhome.ops import tls
from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.simulations.benchmarks.agent_memory import children_of, resident_mb
from fedhome.simulations.benchmarks.stock_flower import Flower, flower
from fedhome.simulations.benchmarks.tap import Tap, TappedTraffic
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import named, prepare, start

_GOAL_S = 1.0
_WAIT_S = 120.0
_FLEET, _STOCK = "/v1/fleet/", "supernode"
_STEP = re.compile(
    r"^(?P<day>\S+) (?P<time>\S+) INFO (?P<kind>\S+) "
    r"(?P<step>came: fetched|is answered:|is sent:) in (?P<seconds>[\d.]+) s$"
)
_STEPS = {"came: fetched": "fetched", "is answered:": "answered", "is sent:": "sent"}


@dataclass(frozen=True, kw_only=True)
class RoundTimes:
    """A run's rounds after the first.

    Args:
        seconds: Of each round, from the end of the one before.
        parts: Median seconds of a round by part, as the server sees it.
        home: Mean seconds of a round and home by what the home did.
        traffic: Over these rounds, of all homes together; None where nobody counted.
        idle: The same in a minute after the run.
        supernode_mb: Resident memory of the stock SuperNode and its SuperExec while they wait,
            MB (2^20 bytes); None without one.
    """

    seconds: tuple[float, ...]
    parts: Mapping[str, float]
    home: Mapping[str, float]
    traffic: TappedTraffic | None = None
    idle: TappedTraffic | None = None
    supernode_mb: float | None = None


def ours(
    plan: Plan, folder: Path, *, homes: int, tapped: bool = False, stock: bool = False
) -> RoundTimes:
    """Run a plan over processes on this machine.

    Args:
        plan: The plan; it asks all homes in every round.
        folder: An empty folder.
        homes: How many.
        tapped: Count what goes over the homes' lines, which makes the rounds slower.
        stock: Put the first home behind Flower's stock SuperNode.

    Raises:
        EngineError: The run failed, or homes were lost.
        RunError: A process is not up in time.
    """
    tables = list(generate(homes=homes, days=plan.data.days, seed=plan.seed))
    plan = named(plan, tables)
    server, home_folders = prepare(folder / "deployment", plan, tables)
    run = RunFolder.create(folder / "run", name=plan.name)
    run.write_plan(plan.to_toml())
    with ExitStack() as stack:
        tap = stack.enter_context(_tap(server)) if tapped else None
        if tap is not None:
            for home_folder in home_folders:
                _redirect(home_folder, plan, tap.port)
        processes = stack.enter_context(Processes())
        start(processes, server, home_folders[stock:])
        if stock:
            _start_stock(processes, server, home_folders[0], plan)
        deploy = ("fedhome.server.daemon.deploy", str(server.path), str(run.path), str(_WAIT_S))
        processes.start("run", *deploy, log=server.logs / "run.log", ends=(0, 1))
        processes.wait("run")
        waiting_mb = _waiting_mb(processes) if stock else None
        idle = None if tap is None else tap.minute()
    if not run.finished:
        raise EngineError("the run failed", hint=(server.logs / "run.log").read_text()[-2000:])
    closed = [event for event in run.read_events() if event.event == "round-closed"]
    if any(event.data["homes_answered"] != homes for event in closed):
        raise EngineError("homes were lost: their rounds cannot be compared", hint="run it again")
    ends = [event.time.timestamp() for event in closed]
    texts = [(server.logs / f"{one.path.name}.log").read_text() for one in home_folders[stock:]]
    seconds = tuple(after - before for before, after in pairwise(ends))
    parts = [_parts(event.data, whole) for event, whole in zip(closed[1:], seconds, strict=True)]
    return RoundTimes(
        seconds=seconds,
        parts={name: statistics.median(part[name] for part in parts) for name in parts[0]},
        home=steps(texts, begin=ends[0], end=ends[-1], rounds=len(seconds)),
        traffic=None if tap is None else tap.between(ends[0], ends[-1]),
        idle=idle,
        supernode_mb=waiting_mb,
    )


def _parts(row: Mapping[str, object], whole: float) -> dict[str, float]:
    """Return the seconds of a round by part; the rest is publishing, log and checkpoint."""
    stem = "seconds_"
    parts = {
        name.removeprefix(stem): float(str(value))
        for name, value in row.items()
        if name.startswith(stem)
    }
    return parts | {"between rounds": whole - sum(parts.values())}


def steps(texts: Iterable[str], *, begin: float, end: float, rounds: int) -> dict[str, float]:
    """Return what agents say of their time, mean seconds of a round and home.

    Args:
        texts: Each home's log.
        begin: What was written until then does not count, Unix time in s.
        end: Nor what was written after.
        rounds: How many rounds there were between.
    """
    spent: dict[str, float] = defaultdict(float)
    homes = 0
    for text in texts:
        homes += 1
        for line in text.splitlines():
            match = _STEP.match(line)
            if match is None:
                continue
            written = datetime.strptime(
                f"{match['day']} {match['time']}", "%Y-%m-%d %H:%M:%S,%f"
            ).astimezone()
            if begin < written.timestamp() <= end:
                step = _STEPS[match["step"]]
                name = f"{match['kind']} {step}" if step == "answered" else step
                spent[name] += float(match["seconds"])
    return {name: seconds / rounds / homes for name, seconds in sorted(spent.items())}


def each(traffic: TappedTraffic, *, homes: int, rounds: int) -> dict[str, float]:
    """Return a home's traffic of a round: requests by path, then bytes."""
    share = 1 / homes / rounds
    counted = {path.removeprefix(_FLEET): n * share for path, n in traffic.requests.items()}
    return {
        "requests": sum(counted.values()),
        **{f"- {path}": number for path, number in counted.items()},
        "bytes up": traffic.up * share,
        "bytes down": traffic.down * share,
    }


def hour(minute: TappedTraffic, *, homes: int) -> dict[str, float]:
    """Return a home's traffic of an hour like a minute that was counted."""
    return {name: 60 * number for name, number in each(minute, homes=homes, rounds=1).items()}


def _start_stock(
    processes: Processes, server: ServerFolder, home_folder: HomeFolder, plan: Plan
) -> None:
    """Start a home's SuperNode; its people would have agreed when it joined."""
    ConsentRecord(plan=plan_digest(plan), text="a benchmark", invite="").keep(home_folder)
    log = server.logs / f"{_STOCK}.log"
    processes.start(_STOCK, LEAN, "fedhome.clients.supernode", str(home_folder.path), log=log)


def _waiting_mb(processes: Processes) -> float:
    """Return the resident memory of a SuperNode and its SuperExec once they wait."""
    process = processes.children[_STOCK].process
    assert process is not None
    helpers = children_of(process.pid)
    # SuperExec leaves what has ended unreaped: such a process has no memory any more.
    processes.until(
        lambda: not any(resident_mb(one) for helper in helpers for one in children_of(helper)),
        what="the last answer",
        timeout_s=_WAIT_S,
    )
    return sum(resident_mb(number) for number in (process.pid, *helpers))


def _tap(server: ServerFolder) -> Tap:
    """Return a tap that homes take for the front."""
    outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    outer.load_cert_chain(server.tls / tls.CERTIFICATE, server.tls / tls.KEY)
    inner = ssl.create_default_context(cafile=server.tls / tls.CA)
    return Tap(to=server.settings.port, inner=inner, outer=outer)


def _redirect(home_folder: HomeFolder, plan: Plan, port: int) -> None:
    """Let a home speak to another port."""
    host = home_folder.settings.server.rpartition(":")[0]
    home_folder.fill(
        replace(home_folder.settings, server=f"{host}:{port}"),
        plan=plan,
        anchor=home_folder.anchor,
        authorities=home_folder.authorities,
    )


def deployment(
    homes: Annotated[int, typer.Option(min=3)] = 3,
    rounds: Annotated[int, typer.Option(min=3)] = 10,
    stock_rounds: Annotated[int, typer.Option(min=0, help="0: leave SuperNodes out")] = 4,
    flower_rounds: Annotated[int, typer.Option(min=0, help="0: leave Flower out")] = 4,
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Show what a round over real processes takes."""
    plan = Plan.load(
        name="deployment",
        data={"homes": homes, "history_days": 35},  # all that they have
        train={"learning_rate": 0.05},
        rounds={"count": rounds},
        aggregation={"min_cohort": min(homes, 5)},
        personalise={"name": "none"},
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed = ours(plan, folder / "timed", homes=homes, tapped=False)
        tapped = ours(plan, folder / "tapped", homes=homes, tapped=True)
        size = parameters(folder / "timed" / "run")
        behind = None
        if stock_rounds:
            short = plan.change(rounds={"count": stock_rounds})
            behind = ours(short, folder / "behind", homes=homes, stock=True)
        stock = None
        if flower_rounds:
            (folder / "flower").mkdir()
            stock = flower(homes=homes, size=size, rounds=flower_rounds, folder=folder / "flower")
    assert tapped.traffic is not None
    assert tapped.idle is not None
    traffic = each(tapped.traffic, homes=homes, rounds=rounds - 1)
    idle, theirs, their_idle = hour(tapped.idle, homes=homes), None, None
    if stock is not None:
        theirs = each(stock.traffic, homes=homes, rounds=flower_rounds - 1)
        their_idle = hour(stock.idle, homes=homes)
    console = Console()
    console.print(_times(timed, behind, stock, title=f"{homes} homes, {size:,} parameters"))
    console.print(_counts(traffic, theirs, title="of a round and home"))
    console.print(_counts(idle, their_idle, title="of an idle hour and home"))
    if json_path is not None:
        report = {
            "homes": homes,
            "parameters": size,
            "ours": asdict(timed) | {"traffic": traffic, "idle": idle},
            "behind_supernode": behind and asdict(behind),
            "flower": stock and {"seconds": stock.seconds, "traffic": theirs, "idle": their_idle},
        }
        json_path.write_text(json.dumps(report, indent=2), encoding="utf-8")


def parameters(folder: Path) -> int:
    """Return how many numbers a run's model has."""
    model = RunFolder.open(folder).read_model()
    return sum(array.size for array in model.parameters.values())


def _times(
    timed: RoundTimes, behind: RoundTimes | None, stock: Flower | None, *, title: str
) -> Table:
    table = Table(title=f"{title}: a round after the first", title_style="")
    table.add_column("")
    table.add_column("s", justify="right")
    table.add_row(f"fedhome, median (goal {_GOAL_S})", f"{statistics.median(timed.seconds):.2f}")
    for name, seconds in timed.parts.items():
        table.add_row(f"- {name}", f"{seconds:.2f}")
    for name, seconds in timed.home.items():
        table.add_row(f"a home: {name}", f"{seconds:.3f}")
    if behind is not None:
        table.add_row("one home behind a SuperNode", f"{statistics.median(behind.seconds):.2f}")
        table.add_row("- its idle memory, MB", f"{behind.supernode_mb:.0f}")
    if stock is not None:
        table.add_row("stock Flower", f"{statistics.median(stock.seconds):.2f}")
    return table


def _counts(
    traffic: Mapping[str, float], theirs: Mapping[str, float] | None, *, title: str
) -> Table:
    table = Table(title=title, title_style="")
    for name in ("", "fedhome", "stock Flower"):
        table.add_column(name, justify="right" if name else "left")
    for name in {**traffic, **(theirs or {})}:
        cells = [f"{one[name]:,.1f}" if one and name in one else "" for one in (traffic, theirs)]
        table.add_row(name, *cells)
    return table


if __name__ == "__main__":
    typer.run(deployment)
