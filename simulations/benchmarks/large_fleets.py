"""Large fleets: most memory, and the cost of a client by the size of the fleet.

``python -m fedhome.simulations.benchmarks.large_fleets``. Each fleet is simulated in a
process of its own: workload S, all homes in every round, log and checkpoints on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fedhome.simulations.benchmarks.measure import BenchmarkCase, measure
from fedhome.simulations.benchmarks.workloads import WORKLOADS

_GOAL_MB = 4096


def scale(
    homes: Annotated[str, typer.Option(help="sizes of fleets")] = "100,1000,5000,20000",
    rounds: Annotated[int, typer.Option(min=2)] = 5,
    workload: Annotated[str, typer.Option(help="S or L")] = "S",
    contender: Annotated[str, typer.Option("--with", help="which kernel")] = "fedhome-fused",
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Show memory and cost by the size of the fleet."""
    table = Table(title=f"workload {workload}, {rounds} rounds, {contender}", title_style="")
    table.add_column("homes", justify="right")
    for name in ("CPU ms a home and round", "wall ms", "set-up ms a home", "peak MB"):
        table.add_column(name, justify="right")
    rows = []
    for size in map(int, homes.split(",")):
        case = BenchmarkCase(
            workload=WORKLOADS[workload], clients=size, rounds=rounds, checked=rounds
        )
        measured = measure(contender, case)
        row = {
            "homes": size,
            "cpu_ms": measured.cpu_ms(size) or 0.0,
            "wall_ms": 1e3 / measured.updates_per_s(size),
            "setup_ms": 1e3 * measured.setup_s / size,
            "peak_mb": measured.peak_mb,
        }
        rows.append(row)
        table.add_row(
            f"{size:,}",
            *(f"{row[name]:.3f}" for name in ("cpu_ms", "wall_ms", "setup_ms")),
            f"{row['peak_mb']:,.0f}",
        )
    Console().print(table)
    Console().print(f"goal: less than {_GOAL_MB} MB, and a flat cost", style="dim")
    if json_path is not None:
        json_path.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    typer.run(scale)
