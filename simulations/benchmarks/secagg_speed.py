"""Secure aggregation beside Flower's SecAgg+, beside raw cryptography, and in whole simulations.

``python -m fedhome.simulations.benchmarks.secagg_speed --help``. Everything is measured in one
run and one thread, in processor time; every sum is compared with what was added up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from fedhome.flower.messages import quiet
from fedhome.plan.settings import Plan
from fedhome.secagg.packing import Packing
from fedhome.simulations.benchmarks.flower_secagg import flower_costs
from fedhome.simulations.benchmarks.one_sum import server_memory
from fedhome.simulations.benchmarks.secure_runs import compare, compare_tests
from fedhome.simulations.benchmarks.sum_budget import budget_of, budget_table
from fedhome.simulations.benchmarks.sum_costs import ABSENT, Costs, costs
from fedhome.simulations.benchmarks.sum_tables import run_table, small_table, sum_table, tests_table
from fedhome.simulations.benchmarks.workloads import S

_TESTED, _EVERY = 11, 5  # ten rounds after the first, of which every fifth is tested
_THRESHOLD = 0.56  # of Flower's shares: what the committee of a hundred homes needs


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured; ``QUICK`` only shows that it can be.

    Args:
        small: Numbers and homes of the complete graph.
        large: Numbers and homes of the long vector: a home has all others as neighbours.
        weighed: Numbers and homes of the sums whose memory is measured.
        homes: Homes of the simulation of many; of the default scenario, None: as it says.
        rounds: Rounds of both; None: as they say.
        runs: How often short things are measured.
    """

    small: tuple[int, int] = (100_000, 100)
    large: tuple[int, int] = (1_000_000, 33)
    weighed: tuple[int, tuple[int, ...]] = (1_000_000, (25, 50, 100))
    homes: tuple[int, int | None] = (1000, None)
    rounds: int | None = None
    runs: int = 9


QUICK = Size(
    small=(500, 10),
    large=(2000, 6),
    weighed=(2000, (6, 8)),
    homes=(20, 20),
    rounds=2,
    runs=1,
)


def secagg(
    *,
    quick: Annotated[bool, typer.Option(help="only show that it runs")] = False,
    flower: Annotated[bool, typer.Option(help="Flower's SecAgg+ too: minutes")] = True,
    budget: Annotated[
        bool, typer.Option(help="only count a sum's operations, and measure each alone")
    ] = False,
    tests: Annotated[
        bool, typer.Option(help="only compare simulations that test more and fewer rounds")
    ] = False,
    repeat: Annotated[int, typer.Option(min=1, help="sums and simulations of each kind")] = 3,
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Measure sums, masks, memory and whole simulations."""
    quiet()
    size, console, report = QUICK if quick else Size(), Console(), dict[str, Any]()
    if budget:
        counted = budget_of(*size.small, repeat=repeat)
        console.print(budget_table(counted))
        _write({"budget": vars(counted)}, json_path)
        return
    if tests:
        plan = _default(size.homes[1], size.rounds or _TESTED)
        plan = plan.change(personalise={"name": "none"})  # rounds alone are looked at
        ran_ms = compare_tests(plan, (1, _EVERY), repeat)
        console.print(tests_table(ran_ms))
        _write({"tests": ran_ms}, json_path)
        return
    for label, (elements, homes), whole in (
        ("complete graph", size.small, True),
        ("long vector", size.large, False),
    ):
        console.print(f"{label}: {elements} numbers, {homes} homes", style="dim")
        theirs = None
        if flower:
            absent = homes // ABSENT
            theirs = flower_costs(
                elements, homes, absent=absent, threshold=_THRESHOLD, one_sends=not whole
            )
        measured = costs(elements, homes, repeat=repeat, runs=size.runs, flower=theirs)
        console.print(sum_table(measured, whole=whole))
        report[label] = _plain_costs(measured)
    report["bytes"] = upload_bytes()
    report["memory"] = server_memory(*size.weighed)
    console.print(small_table(report["bytes"], report["memory"]))
    many, few = size.homes
    for label, plan, modes in (
        ("default scenario", _default(few, size.rounds), ("plain", "ideal", "secure")),
        ("workload S", S.plan(clients=many, rounds=size.rounds or 11), ("plain", "ideal")),
    ):
        ran = compare(plan, modes, repeat)  # type: ignore[arg-type]  # both are tuples of modes
        console.print(run_table(label, ran))
        report[label] = {mode: vars(one) for mode, one in ran.items()}
    _write(report, json_path)


def _write(report: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps(report, indent=2), encoding="utf-8")


def _default(homes: int | None, rounds: int | None) -> Plan:
    plan = Plan.load(rounds={"count": 10, "judge_every": 0})
    plan = plan if homes is None else plan.change(data={"homes": homes})
    return plan if rounds is None else plan.change(rounds={"count": rounds})


def upload_bytes() -> dict[str, float]:
    """Return bytes of an upload for one number, by bits and homes."""
    report, many = {}, 3 << 10
    for bits, homes in ((9, 128), (8, 1000), (16, 1000)):
        lanes = Packing.of(bits, homes)
        size = lanes.words(many) * lanes.dtype.itemsize / many
        report[f"{bits} bits, up to {homes} homes ({lanes.name})"] = size
    return report


def _plain_costs(measured: Costs) -> dict[str, Any]:
    theirs = measured.flower
    mine = {name: value for name, value in vars(measured).items() if name != "flower"}
    mine |= {"client_ms": measured.client_ms, "server_ms": measured.server_ms}
    if theirs is not None:
        mine["flower"] = {
            "keys_ms": float(np.median(theirs.keys_ms)),
            "vector_ms": float(np.median(theirs.vector_ms)),
            "server_ms": theirs.server_ms,
            "upload_bytes": theirs.upload_bytes / measured.elements,
        }
    return mine


if __name__ == "__main__":
    typer.run(secagg)
