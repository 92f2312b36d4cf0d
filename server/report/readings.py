"""Homes' readings as a picture: each home's target over time, with its gaps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from fedhome.data.table import HomeTable
from fedhome.run.written_whole import write_atomically
from fedhome.server.report.figures import Figure, text
from fedhome.server.report.html import render
from fedhome.server.report.theme import BLUE, figure

MOST: Final = 40
"""Homes that are drawn."""

_BINS = 700
_GAP = 1.5  # steps
_HEIGHT = 190


def write_readings(homes: Sequence[HomeTable], out: Path, *, target: str | None) -> int:
    """Draw homes' readings into one HTML file that fetches nothing.

    Args:
        homes: The homes; the first `MOST` are drawn.
        out: The file to write.
        target: The column to draw; None for the first that is drawable in each home.

    Returns:
        How many homes are drawn.

    Raises:
        RunError: ``out`` cannot be written.
    """
    figures = [
        readings_figure(home, name, number)
        for number, home in enumerate(homes[:MOST])
        if (name := _drawn(home, target)) is not None
    ]
    page = render(
        "readings.html.j2",
        title="Readings",
        drawn=len(figures),
        homes=len(homes),
        figures=figures,
    )
    write_atomically(out, page.encode("utf-8", "replace"))
    return len(figures)


def readings_figure(home: HomeTable, column: str, number: int) -> Figure:
    """Return one home's readings of a column; a line ends where readings are missing.

    Args:
        home: The home.
        column: The column.
        number: Tells its figure from the others of a page.
    """
    values = home.columns[column]
    read = np.isfinite(values)
    moments, shown = _thinned(home.time_s[read], values[read])
    unit = home.units.get(column, "")
    plot = figure(_HEIGHT, showlegend=False)
    times: list[Any] = (
        moments.tolist() if home.timeless else np.array(moments, "datetime64[s]").tolist()
    )
    plot.add_trace(
        go.Scatter(
            x=times,
            y=[value if np.isfinite(value) else None for value in shown.tolist()],
            mode="lines",
            line={"color": BLUE, "width": 1},
            connectgaps=False,
        )
    )
    plot.update_yaxes(title_text=text(f"{column} ({unit})" if unit else column))
    missing = int(np.sum(~read))
    reading = f"{int(read.sum()):,} readings, {missing:,} missing; times in UTC"
    return Figure(
        key=f"home-{number}",
        title=home.home,
        reading=reading,
        alt=f"{column} of {home.home}: {reading}",
        plot=plot,
    )


def _drawn(home: HomeTable, target: str | None) -> str | None:
    names = [target] if target is not None else [*home.columns]
    return next((name for name in names if name in home.columns), None)


def _thinned(
    time_s: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the least and greatest of each of many stretches, and NaN within gaps."""
    gaps = np.diff(time_s)
    step = np.median(gaps) if len(gaps) else 0.0
    breaks = np.flatnonzero(gaps > _GAP * step) + 1
    if len(values) > 2 * _BINS:
        edges = np.unique(np.concatenate([np.arange(0, len(values), len(values) // _BINS), breaks]))
        parts = np.split(np.arange(len(values)), edges[1:])
        kept = [sorted({int(p[values[p].argmin()]), int(p[values[p].argmax()])}) for p in parts]
        rows = np.array([row for pair in kept for row in pair])
        breaks = np.searchsorted(rows, breaks)
        time_s, values = time_s[rows], values[rows]
    # A line ends at a gap: a point without a value stands there.
    return np.insert(time_s, breaks, time_s[breaks - 1] + 1), np.insert(values, breaks, np.nan)
