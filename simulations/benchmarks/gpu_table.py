"""What a GPU is measured by, in one call: fedhome's kernels, alone and in simulations, and JAX.

``python -m fedhome.simulations.benchmarks.gpu_table`` takes ten minutes at most, prints a table in
Markdown, and what is still missing where time ran out. Contenders of whole float32 have to learn
the same, as in ``speed``; those of coarser products nearly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from fedhome.errors import EngineError
from fedhome.simulations.benchmarks.measure import (
    GPU_CONTENDERS,
    BenchmarkCase,
    Measurement,
    NotHereError,
    measure,
)
from fedhome.simulations.benchmarks.workloads import WORKLOADS

CASES = ("S:1000", "S:20000", "L:100", "L:1000")
_ROUNDS = 6  # the first is not measured; models are compared after the last
_EXACT = (1e-5, 1e-3)  # how far losses may differ, of themselves, and models, of their way
_COARSE = (2e-2, 2e-1)
_COARSE_NAMES = ("-tf32", "-bf16")


class GpuTable:
    """Measures contenders in cases, one after the other, until time is up.

    Args:
        minutes: How long all may take.
        measured: Measures one, as `measure`.
        say: Called with what is going on.
    """

    def __init__(
        self,
        *,
        minutes: float,
        measured: Callable[..., Measurement] = measure,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._end = time.monotonic() + 60 * minutes
        self._measured, self._say = measured, say
        self.cells: dict[str, dict[str, float | str]] = {}
        """Client-updates per second by case and contender, or why there are none."""

    def fill(self, cases: list[str], names: list[str]) -> None:
        """Measure; the first contenders of all cases before the second of any.

        Args:
            cases: Each a workload and how many clients, as ``S:1000``.
            names: Of the contenders.
        """
        first: dict[str, NDArray[np.float32]] = {}
        for name in names:
            for case in cases:
                self._say(f"{name}, {case}")
                cell = self._cell(name, case, first)
                self.cells.setdefault(case, {})[name] = cell

    def _cell(self, name: str, case: str, first: dict[str, NDArray[np.float32]]) -> float | str:
        left = self._end - time.monotonic()
        if left <= 0:
            return "no time was left"
        workload, _, clients = case.partition(":")
        wanted = BenchmarkCase(
            workload=WORKLOADS[workload], clients=int(clients), rounds=_ROUNDS, checked=_ROUNDS
        )
        try:
            found = self._measured(name, wanted, timeout_s=left)
        except NotHereError as error:
            return str(error)
        except EngineError as error:
            return _last_line(error.message)
        coarse = name.endswith(_COARSE_NAMES)
        expected = found.params if coarse else first.setdefault(case, found.params)
        if reason := _apart(wanted, first.get(case, expected), found.params, coarse=coarse):
            return reason
        return found.updates_per_s(wanted.clients)

    def markdown(self) -> str:
        """Return the table, what each cell without a figure lacks, and on what it was measured."""
        cases = list(self.cells)
        names = list(next(iter(self.cells.values())))
        lines = [f"| client-updates/s | {' | '.join(cases)} |", f"|---|{'---|' * len(cases)}"]
        notes: list[str] = []
        for name in names:
            shown = []
            for case in cases:
                cell = self.cells[case][name]
                if isinstance(cell, str) and cell not in notes:
                    notes.append(cell)
                known = isinstance(cell, float)
                shown.append(f"{cell:,.0f}" if known else f"none ({notes.index(str(cell)) + 1})")
            lines.append(f"| {name} | {' | '.join(shown)} |")
        lines += ["", *(f"({number}) {note}" for number, note in enumerate(notes, 1)), machine()]
        return "\n".join(lines)


def machine() -> str:
    """Return in a line what it was measured on."""
    cuda = torch.cuda.is_available()
    parts = [torch.cuda.get_device_name(0) if cuda else "no GPU"]
    for package in ("torch", "triton", "jax", "fedhome"):
        try:
            parts.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            parts.append(f"no {package}")
    return ", ".join(parts)


def _apart(
    case: BenchmarkCase,
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    *,
    coarse: bool,
) -> str:
    """Return how far two models are apart that should be one; empty where they are near enough."""
    most_loss, most_way = _COARSE if coarse else _EXACT
    losses = [case.workload.mean_loss(params, case.clients) for params in (expected, found)]
    way = float(np.linalg.norm(expected - case.workload.initial()))
    apart = float(np.linalg.norm(found - expected))
    # Written so that a NaN fails.
    if abs(losses[1] - losses[0]) <= most_loss * abs(losses[0]) and apart <= most_way * way:
        return ""
    return (
        f"it did not learn the same: losses {losses[1]:.6f} and {losses[0]:.6f}, models "
        f"{apart:.3g} apart after a way of {way:.3g}"
    )


def _last_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else "it failed without a word"


def gpu_table(
    cases: Annotated[str, typer.Option(help="workload:clients, by commas")] = ",".join(CASES),
    contenders: Annotated[
        str, typer.Option("--with", help=f"some of {', '.join(GPU_CONTENDERS)}")
    ] = ",".join(GPU_CONTENDERS),
    minutes: Annotated[float, typer.Option(help="how long all may take", min=0.1)] = 10.0,
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Measure client-updates per second on a GPU, and print a table in Markdown."""
    names, wanted = contenders.split(","), cases.split(",")
    if unknown := [name for name in names if name not in GPU_CONTENDERS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: known are {', '.join(GPU_CONTENDERS)}")
    if bad := [case for case in wanted if not _is_case(case)]:
        raise typer.BadParameter(f"{', '.join(bad)}: a case is a workload and clients, as S:1000")
    table = GpuTable(minutes=minutes, say=lambda text: typer.echo(text, err=True))
    table.fill(wanted, names)
    typer.echo(table.markdown())
    if json_path is not None:
        report = {"machine": machine(), "cases": table.cells}
        json_path.write_text(json.dumps(report, indent=2), encoding="utf-8")


def _is_case(case: str) -> bool:
    workload, _, clients = case.partition(":")
    return workload in WORKLOADS and clients.isdecimal() and int(clients) > 0


if __name__ == "__main__":
    typer.run(gpu_table)
