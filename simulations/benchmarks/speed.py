"""Client-updates per second: fedhome against Flower on Ray, a plain loop, FedJAX and JAX.

``python -m fedhome.simulations.benchmarks.speed --help``. Every contender trains the same rows from
the same weights in the same order of batches, and the global models are compared: a
contender that computes something else ends the benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fedhome.errors import EngineError
from fedhome.simulations.benchmarks.measure import (
    CONTENDERS,
    BenchmarkCase,
    Measurement,
    NotHereError,
    measure,
)
from fedhome.simulations.benchmarks.workloads import WORKLOADS

CHECKED = 3  # rounds after which the models are compared; the slowest run no further
_ROUNDS = {"flower-ray": 3, "plain": 3, "fedjax": 4}
_FAST_ROUNDS = {"S": 21, "L": 6}
# Contenders that compute the same end 2e-5 of their way and 1e-8 of their loss apart. One that
# left two thirds of the clients out of its first round came within 1e-4 of the loss.
_SAME_LOSS = 1e-5  # relative
_SAME_WAY = 1e-3  # distance between two models, as a share of the way that they have come


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A contender's figures over all repeats.

    Args:
        name: The contender.
        updates_per_s: Client-updates per second, one figure a repeat, ``[repeats]``.
        cpu_ms: Processor milliseconds of a client-update, ``[repeats]``; empty if unknown.
        loss: Loss of the global model after :data:`CHECKED` rounds, on all training rows.
    """

    name: str
    updates_per_s: NDArray[np.float64]
    cpu_ms: NDArray[np.float64]
    loss: float

    def times(self, other: Standing | None) -> float | None:
        """How many times as fast as another: the median over repeats, each within its repeat."""
        if other is None:
            return None
        return float(np.median(self.updates_per_s / other.updates_per_s))


def compare(
    case: BenchmarkCase, names: tuple[str, ...], *, repeat: int, console: Console
) -> dict[str, Standing]:
    """Run contenders in turn, all of them once before any runs again.

    Args:
        case: What they compute; rounds are chosen for each.
        names: Names of :data:`fedhome.simulations.benchmarks.measure.CONTENDERS`.
        repeat: How often each runs.
        console: Where to say what is going on.

    Raises:
        EngineError: A contender failed, or has learnt something else than the others.
    """
    runs: dict[str, list[Measurement]] = {}
    absent: set[str] = set()
    for repetition in range(repeat):
        for name in names:
            if name in absent:
                continue
            console.print(f"{case.workload.name} {repetition + 1}/{repeat}: {name}", style="dim")
            try:
                runs.setdefault(name, []).append(measure(name, _rounds_for(name, case)))
            except NotHereError as error:
                del runs[name]
                absent.add(name)
                console.print(f"{name} is left out: {error}")
    check_same(
        case,
        {
            name: run.params
            for name, runs_of_contender in runs.items()
            for run in runs_of_contender[:1]
        },
    )
    return {
        name: Standing(
            name=name,
            updates_per_s=np.array([run.updates_per_s(case.clients) for run in runs_of_contender]),
            cpu_ms=np.array(
                [c for run in runs_of_contender if (c := run.cpu_ms(case.clients)) is not None]
            ),
            loss=case.workload.mean_loss(runs_of_contender[0].params, case.clients),
        )
        for name, runs_of_contender in runs.items()
    }


def check_same(case: BenchmarkCase, params: Mapping[str, NDArray[np.float32]]) -> None:
    """Refuse contenders that did not learn the same.

    Args:
        case: What they computed.
        params: Each contender's global parameters after as many rounds, ``[size]``.

    Raises:
        EngineError: Losses differ by more than 1e-5 of themselves, or models by more than
            a thousandth of the way that they have come.
    """
    names = list(params)
    if not names:
        return
    start, first = case.workload.initial(), params[names[0]]
    loss, way = case.workload.mean_loss(first, case.clients), np.linalg.norm(first - start)
    for name in names[1:]:
        other = case.workload.mean_loss(params[name], case.clients)
        apart = float(np.linalg.norm(params[name] - first) / way)
        # Written so that a NaN fails.
        if not (abs(other - loss) <= _SAME_LOSS * abs(loss) and apart <= _SAME_WAY):
            raise EngineError(
                f"{name} and {names[0]} have not learnt the same: losses {other:.6f} and "
                f"{loss:.6f}, models {apart:.2%} of their way apart",
                hint="one of the two computes something else: their speeds cannot be compared",
            )


def _rounds_for(name: str, case: BenchmarkCase) -> BenchmarkCase:
    return replace(case, rounds=max(_ROUNDS.get(name, case.rounds), case.checked))


def speed(
    workload: Annotated[str, typer.Option(help="S, L or both")] = "both",
    clients: Annotated[int, typer.Option(help="0: 1000 of S, 100 of L", min=0)] = 0,
    repeat: Annotated[int, typer.Option(help="how often each contender runs", min=1)] = 3,
    contenders: Annotated[
        str, typer.Option("--with", help=f"some of {', '.join(CONTENDERS)}")
    ] = ",".join(CONTENDERS),
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Measure client-updates per second, each contender in processes of its own."""
    names = tuple(name.strip() for name in contenders.split(","))
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: known are {', '.join(CONTENDERS)}")
    if workload not in {*WORKLOADS, "both"}:
        raise typer.BadParameter(f"{workload}: known are {', '.join(WORKLOADS)} and both")
    console = Console()
    report = {}
    for name in WORKLOADS if workload == "both" else [workload]:
        case = BenchmarkCase(
            workload=WORKLOADS[name],
            clients=clients or WORKLOADS[name].clients,
            rounds=_FAST_ROUNDS[name],
            checked=CHECKED,
        )
        standings = compare(case, names, repeat=repeat, console=console)
        console.print(_table(case, standings))
        report[name] = {"clients": case.clients, "contenders": _plain(standings)}
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2), encoding="utf-8")


def _table(case: BenchmarkCase, standings: Mapping[str, Standing]) -> Table:
    table = Table(
        title=f"workload {case.workload.name}, {case.clients} clients, median over repeats",
        caption="x Flower: times as fast as Flower on Ray; CPU ms: processor time of an update",
        title_style="",
    )
    table.add_column("contender", no_wrap=True)
    for name in ("x Flower", "x plain", "updates/s", "CPU ms", "loss"):
        table.add_column(name, justify="right")
    for name, standing in standings.items():
        table.add_row(
            name,
            _times(standing.times(standings.get("flower-ray"))),
            _times(standing.times(standings.get("plain"))),
            f"{np.median(standing.updates_per_s):,.0f}",
            f"{np.median(standing.cpu_ms):.3f}" if len(standing.cpu_ms) else "",
            f"{standing.loss:.5f}",
        )
    return table


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _plain(standings: Mapping[str, Standing]) -> dict[str, object]:
    return {
        name: {
            "updates_per_s": standing.updates_per_s.tolist(),
            "cpu_ms": standing.cpu_ms.tolist(),
            "loss": standing.loss,
            "times_flower_ray": standing.times(standings.get("flower-ray")),
            "times_plain": standing.times(standings.get("plain")),
        }
        for name, standing in standings.items()
    }


if __name__ == "__main__":
    typer.run(speed)
