"""What a finished run says: what each model is worth to the homes, and where the report is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from simulations.simulate import Result

_NAMES = {
    "baseline": "no learning",
    "local": "local only",
    "global": "global",
    "personalised": "personalised",
}


def print_summary(console: Console, result: Result) -> None:
    """Print the table of models and the path of the report."""
    folder = result.folder
    if folder.homes_path.exists():
        score = next(
            str(event.data["score"])
            for event in folder.read_events()
            if event.event == "fleet-ready"
        )
        table = Table(title=f"{score} on test rows, over {_homes(result)} homes", title_style="")
        table.add_column("model")
        for name in ("mean", "median", "10th pct", "hurt", "helped"):
            table.add_column(name, justify="right")
        for row in result.summary:
            table.add_row(
                _NAMES[row.model],
                f"{row.mean:.3f}",
                f"{row.median:.3f}",
                f"{row.p10:.3f}",
                _share(row.hurt),
                _share(row.helped),
                style="bold" if row.model == "personalised" else None,
            )
        console.print(table)
        console.print("hurt, helped: homes worse, better off than alone", style="dim")
    console.print(f"report: {escape(str(folder.report_path))}", highlight=False, soft_wrap=True)


def _homes(result: Result) -> int:
    return len(np.unique(result.homes["home"].to_numpy(zero_copy_only=False)))


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0%}"
