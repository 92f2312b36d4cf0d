"""Pools of any size: how soon a run starts, what a round costs, and most memory.

``python -m fedhome.simulations.benchmarks.large_pools``. Each pool is simulated in a process of
its own: the default scenario, as many homes asked in each round whatever there are, no
personalisation.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from fedhome.plan.settings import Plan
from fedhome.run.events import Event
from fedhome.simulations.simulate import simulate

_GOALS = "goals: a million homes start within 10 s, in less than 2 048 MB"


def pools(
    homes: Annotated[str, typer.Option(help="sizes of pools")] = "1000,30000,1000000",
    asked: Annotated[int, typer.Option(help="homes of a round")] = 1000,
    rounds: Annotated[int, typer.Option(min=2)] = 5,
    only: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Show start, cost and memory by the size of the pool."""
    if only is not None:
        typer.echo(json.dumps(_one(only, min(asked, only), rounds)))
        return
    table = Table(
        title=f"default scenario, {asked:,} homes a round, {rounds} rounds", title_style=""
    )
    for name in ("homes", "start s", "ms a home and round", "peak MB"):
        table.add_column(name, justify="right")
    for size in map(int, homes.split(",")):
        command = [sys.executable, "-m", "fedhome.simulations.benchmarks.large_pools"]
        command += [f"--only={size}", f"--asked={asked}", f"--rounds={rounds}"]
        row = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)  # noqa: S603
        table.add_row(
            f"{size:,}",
            f"{row['start_s']:.1f}",
            f"{row['round_ms'] / min(asked, size):.2f}",
            f"{row['peak_mb']:,.0f}",
        )
    Console().print(table)
    Console().print(_GOALS, style="dim")


def _one(homes: int, asked: int, rounds: int) -> dict[str, float]:
    """Run one pool in this process; its start is counted from the call, imports apart."""
    begun = time.perf_counter()
    ready, ends = [0.0], list[float]()

    def note(event: Event) -> None:
        if event.event == "fleet-ready":
            ready[0] = time.perf_counter()
        elif event.event == "round-closed":
            ends.append(time.perf_counter())

    plan = Plan.load(
        data={"homes": homes},
        rounds={"count": rounds, "fraction": asked / homes, "judge_every": 0},
        personalise={"name": "none"},
        engine={"hold": "asked"},
    )
    with tempfile.TemporaryDirectory() as folder:
        simulate(plan, out=Path(folder) / "run", on_event=note)
    return {
        "start_s": ready[0] - begun,
        "round_ms": 1e3 * float(np.median(np.diff(ends))),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    typer.run(pools)
