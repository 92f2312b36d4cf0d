"""What a client's round costs besides the arithmetic of learning, in processor time.

``python -m fedhome.simulations.benchmarks.overhead`` runs simulations through the public door and
times the functions on a round's way. Processor time counts, not the clock on the wall: that
would count what other programs do to a shared machine.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import thread as futures
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from flwr.serverapp.strategy import FedAvg
from rich.console import Console
from rich.table import Table

import fedhome.server.rounds.round_loop
from fedhome import rng
from fedhome.learning.cohort import Training
from fedhome.learning.fused import FusedMLP
from fedhome.run.events import Event, EventLog
from fedhome.server.rounds import checkpoint, strategy_memory
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.simulations.benchmarks.stopwatch import Stopwatch, TimedFunction, timing
from fedhome.simulations.benchmarks.workloads import WORKLOADS, Workload
from fedhome.simulations.engines import grid, joint_grid
from fedhome.simulations.engines.kernels import FusedKernel
from fedhome.simulations.engines.vector_cohort import VectorCohort
from fedhome.simulations.simulate import simulate

Mode = Literal["sums", "updates"]

ARITHMETIC = "arithmetic (compiled kernel)"
REST = "the rest (starting threads' work, other threads)"
_GOAL_MS = 0.05
_SUMS = "weighted sums of a chunk"


def _timed_functions() -> list[TimedFunction]:
    return [
        TimedFunction("Flower: configure_train", FedAvg, "configure_train"),
        TimedFunction("Flower: aggregate_train", FedAvg, "aggregate_train"),
        TimedFunction("messages: numbering", grid, "number_messages"),
        TimedFunction("messages: replies", joint_grid, "reply"),
        TimedFunction("messages: replies", joint_grid, "replies"),
        TimedFunction(
            "messages: checking replies", fedhome.server.rounds.round_loop, "sound_replies"
        ),
        TimedFunction("order of batches", rng, "shuffles"),
        TimedFunction("order of batches", rng, "epoch_keys"),
        TimedFunction("kernel: laying out orders", FusedKernel, "train"),
        TimedFunction("kernel: checking arguments", FusedMLP, "_checked"),
        TimedFunction("kernel: laying out orders", FusedKernel, "train_sum"),
        TimedFunction(ARITHMETIC, FusedMLP, "train"),
        TimedFunction(ARITHMETIC, FusedMLP, "train_sum"),
        TimedFunction("checkpoint", checkpoint, "save"),
        TimedFunction("checkpoint", strategy_memory, "remember"),
        TimedFunction("log", EventLog, "append"),
        TimedFunction("workers: copies of the start, keys, futures", futures._WorkItem, "run"),  # noqa: SLF001
        TimedFunction("rounds: the loop itself", RoundLoop, "_round"),
    ]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Processor time of a client's round.

    Args:
        total_ms: All of it.
        parts_ms: By what it was spent on; the parts add up to the total.
    """

    total_ms: float
    parts_ms: Mapping[str, float]

    @property
    def overhead_ms(self) -> float:
        """What is not arithmetic."""
        return self.total_ms - self.parts_ms[ARITHMETIC]


def spent(workload: Workload, *, clients: int, rounds: int, mode: Mode) -> Spent:
    """Simulate, and return what the rounds after the first cost.

    Args:
        workload: What is learnt.
        clients: How many clients.
        rounds: How many rounds, at least 2.
        mode: Whether the strategy sees sums of groups or every single update.
    """
    watch = Stopwatch()
    marks: list[float] = []

    def note(event: Event) -> None:
        if event.event == "round-closed":
            marks.append(time.process_time())
            if len(marks) == 1:
                watch.reset()
            elif len(marks) == rounds:
                parts.update(watch.cpu_s)

    parts: dict[str, float] = {}
    plan = workload.plan(clients=clients, rounds=rounds, kernel="fused").change(
        strategy={"works_on": mode}
    )
    each_chunk = VectorCohort.each_chunk

    def with_timed_sums(
        cohort: VectorCohort, start: Any, how: Training, then: Callable[..., Any], **settings: Any
    ) -> Any:
        return each_chunk(cohort, start, how, watch.timed(_SUMS, then), **settings)

    with tempfile.TemporaryDirectory() as folder, timing(watch, _timed_functions()):
        VectorCohort.each_chunk = with_timed_sums  # type: ignore[method-assign,assignment]
        try:
            simulate(plan, out=Path(folder) / "run", on_event=note)
        finally:
            VectorCohort.each_chunk = each_chunk  # type: ignore[method-assign]
    each = 1e3 / (clients * (rounds - 1))
    total = (marks[-1] - marks[0]) * each
    parts_ms = {label: cpu_s * each for label, cpu_s in parts.items()}
    return Spent(total_ms=total, parts_ms=parts_ms | {REST: total - sum(parts_ms.values())})


def overhead(
    workload: Annotated[str, typer.Option(help="S or L")] = "S",
    clients: Annotated[int, typer.Option(min=1)] = 1000,
    rounds: Annotated[int, typer.Option(min=2)] = 11,
    repeat: Annotated[int, typer.Option(min=1)] = 3,
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Show what a client's round costs besides arithmetic, in milliseconds of processor time."""
    modes: tuple[Mode, ...] = ("sums", "updates")
    runs: dict[Mode, list[Spent]] = {mode: [] for mode in modes}
    for _ in range(repeat):
        for mode in modes:
            some = spent(WORKLOADS[workload], clients=clients, rounds=rounds, mode=mode)
            runs[mode].append(some)
    middle = {mode: _median(runs_of_mode) for mode, runs_of_mode in runs.items()}
    _print(middle, title=f"workload {workload}, {clients} clients: processor ms of a client-round")
    if json_path is not None:
        report = {
            mode: {"total_ms": s.total_ms, "overhead_ms": s.overhead_ms, "parts_ms": s.parts_ms}
            for mode, s in middle.items()
        }
        json_path.write_text(json.dumps(report, indent=2), encoding="utf-8")


def _median(runs: list[Spent]) -> Spent:
    """Return the run whose overhead is the median: its parts add up."""
    by_overhead = sorted(runs, key=lambda run: run.overhead_ms)
    return by_overhead[(len(runs) - 1) // 2]


def _print(middle: Mapping[Mode, Spent], *, title: str) -> None:
    table = Table(title=title, title_style="")
    table.add_column("spent on")
    for mode in middle:
        table.add_column(mode, justify="right")
    labels = dict.fromkeys(label for some in middle.values() for label in some.parts_ms)
    size = {label: max(s.parts_ms.get(label, 0.0) for s in middle.values()) for label in labels}
    for label in sorted(labels, key=lambda name: -size[name]):
        table.add_row(label, *(f"{s.parts_ms.get(label, 0.0):.4f}" for s in middle.values()))
    table.add_section()
    table.add_row("all", *(f"{some.total_ms:.4f}" for some in middle.values()))
    overheads = np.array([some.overhead_ms for some in middle.values()])
    table.add_row(f"not arithmetic (goal {_GOAL_MS})", *(f"{ms:.4f}" for ms in overheads))
    Console().print(table)


if __name__ == "__main__":
    typer.run(overhead)
