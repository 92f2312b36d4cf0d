"""Prints a finished run's summary: each model's scores over the homes, and the report's path."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedhome.run.events import Event
from fedhome.run.folder import RunFolder
from fedhome.run.results import SummaryRow, counted_summary, summary
from fedhome.run.waiting import FAILED, THERE

_NAMES = {
    "baseline": "no learning",
    "local": "local only",
    "global": "global",
    "personalised": "personalised",
}


def print_summary(console: Console, folder: RunFolder) -> None:
    """Print the table of models and the path of the report."""
    every = folder.read_events()
    events = {event.event: event.data for event in every}
    counted: Any = events.get("scores-counted")
    rows: list[SummaryRow] = []
    if folder.homes_path.exists():
        rows = summary(folder.read_homes())
    elif counted is not None:
        rows = counted_summary(counted)
    if rows:
        homes = max(row.homes + row.left_out for row in rows)
        title = f"{events['fleet-ready']['score']} on test rows, over {homes} homes"
        table = Table(title=title, title_style="")
        table.add_column("model")
        for name in ("mean", "median", "10th pct", "hurt", "helped"):
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(
                _NAMES[row.model],
                _score(row.mean),
                _score(row.median),
                _score(row.p10),
                _share(row.hurt),
                _share(row.helped),
                style="bold" if row.model == "personalised" else None,
            )
        console.print(table)
        console.print("hurt, helped: homes worse, better off than alone", style="dim")
        if not folder.homes_path.exists():
            told = "counted in sums over homes: no single home's score is shown"
            if "noise_homes" in counted:
                told += f"; each count has noise of about {counted['noise_homes']:.2g} homes"
            console.print(told, style="dim")
            if any(math.isnan(row.median) for row in rows):
                console.print(
                    "too few homes for median and percentile: steps of the score would tell "
                    "single homes",
                    style="dim",
                )
    if told := rounds_told(every):
        console.print(told, highlight=False)
    console.print(f"report: {escape(str(folder.report_path))}", highlight=False, soft_wrap=True)


def rounds_told(events: Iterable[Event]) -> str:
    """Return how many rounds of a run were real, and what it took; empty where none was closed."""
    real: dict[int, bool] = {}
    failed, repeated, waited_s = False, 0, 0.0
    for event in events:
        data: Any = event.data
        if event.event == FAILED and "again_s" in data:
            repeated += 1
        elif event.event in (FAILED, "round-unused"):
            failed = True
        elif event.event == THERE:
            waited_s += data["seconds"]
        elif event.event == "round-closed":
            real[data["round"]], failed = not failed, False
    if not real:
        return ""
    count = sum(real.values())
    some = f"{count} of {len(real)}" if count < len(real) else f"{count}"
    parts = [f"{some} round{'s' if len(real) > 1 else ''} changed the model"]
    if repeated:
        parts.append(f"{repeated} attempts failed, and were repeated")
    if waited_s:
        parts.append(f"homes were waited for during {waited_s:.0f} s")
    return "; ".join(parts)


def _score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0%}"
