"""Figures of single homes, and of how far predictions can be relied on; of simulations alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fedhome.counted import counted
from fedhome.run.shown_homes import Along, Shown, ShownHome
from fedhome.server.report.figures import Figure, text
from fedhome.server.report.run_results import RunResults
from fedhome.server.report.theme import GREEN, GREY, INK, ORANGE, figure, soft, styled

LEVEL: Final = 0.8
"""Share of the truth that bands should hold."""
_LONGEST_CLASS: Final = 16


def portraits(run: RunResults) -> Figure | None:
    """Return what was predicted and what was true in the best, the median and the worst home."""
    shown = run.shown
    if shown is None or not shown.homes:
        return None
    plot = make_subplots(rows=len(shown.homes), cols=1, vertical_spacing=0.3 / len(shown.homes))
    for row, home in enumerate(shown.homes, 1):
        for trace in _DRAWN[shown.targets](shown, home):
            trace.showlegend = row == 1 and trace.name is not None
            plot.add_trace(trace, row=row, col=1)
        plot.update_yaxes(title_text=text(f"{home.place}: {home.home}"), row=row, col=1)
        if shown.targets == "multi-class":
            _name_classes(plot, shown, row)
    styled(plot, 60 + 200 * len(shown.homes), showlegend=True)
    each = "; ".join(
        f"{one.place} {one.home}, {run.score_name} {one.score:.3f}" for one in shown.homes
    )
    return Figure(
        key="portraits",
        title="Predicted and true",
        reading=f"{_READING[shown.targets]} Shown are the first test rows of the best, the median "
        f"and the worst home, {_of(shown)}. These are readings of homes: before you share "
        "this report, think of whose; evaluation.predictions = false leaves them out.",
        alt=f"{each}.",
        plot=plot,
    )


_READING: Final = {
    "continuous": "The closer the line is to the dots, the better; of ten dots, eight should lie "
    "in the band.",
    "binary": "Dots are what was true, yes above and no below; the line is the stated probability "
    "of a yes, which should be near the dots.",
    "multi-class": "Pale discs are what was true, dots what was predicted: a dot on its disc is "
    "right.",
}


def _of(shown: Shown) -> str:
    return f"{shown.target} in {shown.unit}" if shown.unit else shown.target


def _across(home: ShownHome) -> list[Any]:
    if not home.time_s:
        return list(range(1, len(home.true) + 1))
    return [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S") for at in home.time_s]


def _numbers(shown: Shown, home: ShownHome) -> list[go.Scatter]:
    del shown
    x = _across(home)
    band = go.Scatter(
        name="band of 80 %",
        x=[*x, *reversed(x)],
        y=[*home.low, *reversed(home.high)],
        mode="lines",
        fill="toself",
        fillcolor=soft(GREEN),
        line={"color": soft(GREEN), "width": 0},
        hoverinfo="skip",
    )
    return [band, _line("predicted", x, home.predicted), _dots("true", x, home.true, INK, 4)]


def _yes(shown: Shown, home: ShownHome) -> list[go.Scatter]:
    del shown
    x = _across(home)
    return [
        _line("stated probability", x, home.predicted),
        _dots("true", x, home.true, INK, 4),
    ]


def _classes(shown: Shown, home: ShownHome) -> list[go.Scatter]:
    del shown
    x = _across(home)
    right = [one == other for one, other in zip(home.predicted, home.true, strict=True)]
    return [
        _dots("true", x, home.true, soft(GREY), 10),
        *(
            _dots(
                name,
                [at for at, is_right in zip(x, right, strict=True) if is_right == wanted],
                [
                    y
                    for y, is_right in zip(home.predicted, right, strict=True)
                    if is_right == wanted
                ],
                colour,
                4,
            )
            for name, wanted, colour in (("right", True, GREEN), ("wrong", False, ORANGE))
        ),
    ]


_DRAWN: Final = {"continuous": _numbers, "binary": _yes, "multi-class": _classes}


def _line(name: str, x: list[Any], y: tuple[float, ...]) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=x,
        y=list(y),
        mode="lines",
        line={"color": GREEN, "width": 2},
        hoverinfo="skip",
    )


def _dots(name: str, x: list[Any], y: Any, colour: str, size: int) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=x,
        y=list(y),
        mode="markers",
        marker={"color": colour, "size": size},
        hoverinfo="skip",
    )


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_CLASS else f"{name[: _LONGEST_CLASS - 1]}…"


def _name_classes(plot: go.Figure, shown: Shown, row: int) -> None:
    names = [text(_cut(name)) for name in shown.classes]
    plot.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        range=[-0.5, len(names) - 0.5],
        row=row,
        col=1,
    )


_TITLES: Final[dict[Along, str]] = {
    "hour": "hour of the day (UTC)",
    "fifth": "fifth of a home's predictions, from low to high",
    "probability": "stated probability of the surest class",
}


def reliability(run: RunResults) -> Figure | None:
    """Return how often predictions were as right as they said; None where nothing is known."""
    if run.shown is None:
        return None
    found = run.shown.reliability
    of_classes = found.along == "probability"
    plot = figure(320)
    plot.add_trace(
        go.Scatter(
            name="right" if of_classes else "inside of the band",
            x=list(found.places),
            y=list(found.right),
            customdata=[f"{counted(rows, 'row')}" for rows in found.rows],
            mode="lines+markers",
            line={"color": GREEN, "width": 2},
            marker={"color": GREEN, "size": 7},
            hovertemplate="%{customdata}: %{y:.3f}<extra></extra>",
        )
    )
    ideal = [0.0, 1.0] if of_classes else [LEVEL, LEVEL]
    ends = [0.0, 1.0] if of_classes else [min(found.places), max(found.places)]
    plot.add_trace(
        go.Scatter(
            name="as it should be",
            x=ends,
            y=ideal,
            mode="lines",
            line={"color": INK, "width": 1, "dash": "dash"},
            hoverinfo="skip",
        )
    )
    plot.update_xaxes(title_text=_TITLES[found.along])
    plot.update_yaxes(title_text="share of test rows", range=[0.0, 1.02])
    total = sum(found.rows)
    right = sum(share * rows for share, rows in zip(found.right, found.rows, strict=True)) / total
    reading = (
        "Below the dashed line predictions are surer than they ought to be, above it less sure."
        if of_classes
        else "Where the line is below the dashed one, bands are too narrow; above it, too wide."
    )
    return Figure(
        key="reliability",
        title="How far predictions can be relied on",
        reading=f"{reading} Over the test rows of all homes.",
        alt=f"Over {total:,} test rows, {right:.1%} are "
        f"{'of the surest class' if of_classes else 'inside of bands of 80 %'}.",
        plot=plot,
    )
