"""Figures of what a fleet gains: against each way to be alone, and in homes that are new."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fedhome.run.cold_start_table import (
    ColdStartPoint,
    best_alone,
    by_days,
    cold_start_points,
    more_than,
)
from fedhome.run.mean_intervals import FEWEST_FOR_A_TEST, mean_interval
from fedhome.run.results import differences
from fedhome.server.report.figures import Figure, text
from fedhome.server.report.run_results import RunResults
from fedhome.server.report.theme import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    figure,
    styled,
)

AGAINST: Final = (
    "baseline",
    "seasonal",
    "linear",
    "trees",
    "local",
    "settings",
    "alone",
    "global",
    "tuned",
)
"""What a gain is shown against, from the simplest."""


def gains(run: RunResults) -> Figure | None:
    """Return the mean gain against each other model, with intervals; None without any."""
    if run.homes is None or not run.learnt:
        return None
    found = []
    for model in AGAINST:
        gap = [] if model == run.learnt else list(_gap(run, model).values())
        if gap:
            low, high = mean_interval(np.array(gap))
            found.append((model, sum(gap) / len(gap), low, high))
    if not found:
        return None
    plot = figure(70 + 34 * len(found), showlegend=False)
    told: list[str] = []
    for at, (model, mean, low, high) in enumerate(reversed(found)):
        sure = not math.isnan(low)
        colour = GREEN if sure and low > 0 else ORANGE if sure and high < 0 else GREY
        said = f"{mean:+.3f}" + (f" ({low:+.3f} to {high:+.3f})" if sure else "")
        told.insert(0, f"against {model} {said}")
        if sure:
            plot.add_trace(_stroke([low, high], [at, at], colour, 4))
        plot.add_trace(
            go.Scatter(
                x=[mean],
                y=[at],
                customdata=[said],
                mode="markers",
                marker={"color": colour, "size": 10},
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    plot.add_trace(_stroke([0, 0], [-0.5, len(found) - 0.5], INK, 1))
    plot.update_yaxes(
        tickvals=list(range(len(found))),
        ticktext=[model for model, *_ in reversed(found)],
        range=[-0.5, len(found) - 0.5],
        showgrid=False,
    )
    plot.update_xaxes(title_text=f"gain, {text(run.score_name)}", showgrid=True)
    return Figure(
        key="gains",
        title="Gains with intervals",
        reading=f"How much more {run.learnt} models score than each other "
        "model, on average over homes; lines are intervals of 95 %, resampled over homes. Green is "
        "surely more, orange surely less.",
        alt=f"{'; '.join(told)}.",
        plot=plot,
    )


def _gap(run: RunResults, model: str) -> dict[str, float]:
    if model not in run.scores:
        return {}
    return differences(run.homes, run.learnt, model)


def _stroke(x: list[float], y: list[float], colour: str, width: int) -> go.Scatter:
    return go.Scatter(
        x=x, y=y, mode="lines", line={"color": colour, "width": width}, hoverinfo="skip"
    )


CURVES: Final = (
    ("personalised", "what a new home gets", GREEN, "solid"),
    ("global", "global model", BLUE, "solid"),
    ("alone", "best alone, by validation", ORANGE, "dash"),
    ("baseline", "no learning", GREY, "dot"),
)


def cold_start(run: RunResults) -> Figure | None:
    """Return how new homes fare with few days; None where none were tried."""
    if run.cold_start is None:
        return None
    points = by_days(cold_start_points(run.cold_start))
    days = list(points)
    plot = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    curves = [
        (label, colour, dash, [some.get(model) for some in points.values()])
        for model, label, colour, dash in CURVES
    ]
    strongest = [best_alone(some.values()) for some in points.values()]
    curves.insert(2, ("strongest alone, on test rows", ORANGE, "solid", strongest))
    for label, colour, dash, curve in curves:
        for row, name in enumerate(("mean", "p10"), 1):
            if any(curve):
                plot.add_trace(_curve(label, colour, dash, curve, name, first=row == 1), row, 1)
    for at, some in enumerate(points.values()):
        got = some.get("personalised")
        if got is not None and got.homes >= FEWEST_FOR_A_TEST:  # of fewer they dwarf the curves
            plot.add_trace(_stroke([at, at], [got.low, got.high], GREEN, 4), 1, 1)
    styled(plot, 480, showlegend=True)
    score = text(run.score_name)
    plot.update_yaxes(title_text=f"mean {score}", row=1, col=1)
    plot.update_yaxes(title_text="10th percentile", row=2, col=1)
    plot.update_xaxes(
        tickvals=list(range(len(days))),
        ticktext=[_in_days(points[one]) for one in days],
        range=[-0.3, len(days) - 0.7],
    )
    plot.update_xaxes(title_text="days of own readings; below, homes that have them", row=2, col=1)
    told = [
        f"at {one:g} day(s) {point.mean:.3f}, 10th percentile {point.p10:.3f}" + _more(some)
        for one, some in points.items()
        if (point := some.get("personalised"))
    ]
    return Figure(
        key="cold-start",
        title="Homes that join afterwards",
        reading="What a home gets that took no part in the rounds, with few days of its own "
        "readings. The green curve should lie above the others; where six homes or more were "
        "tried, its strokes are intervals of 95 % over these. The strongest way to be alone is "
        "known from test rows only, so that no home could choose it beforehand.",
        alt=f"A new home gets, in mean {run.score_name}: {'; '.join(told)}.",
        plot=plot,
    )


def _more(some: dict[str, ColdStartPoint]) -> str:
    """Return what a new home gets more than other models, with intervals, as words."""
    against = (("global", some.get("global")), ("the strongest alone", best_alone(some.values())))
    told = ""
    for name, other in against:
        gain = more_than(some.get("personalised"), other)
        if gain is not None and not math.isnan(gain.low):
            told += f", minus {name} {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    return told


def _in_days(some: dict[str, ColdStartPoint]) -> str:
    point = next(iter(some.values()))
    return f"{point.days:g}<br>{max(one.homes for one in some.values())}"


def _curve(
    label: str,
    colour: str,
    dash: str,
    curve: list[ColdStartPoint | None],
    name: str,
    *,
    first: bool,
) -> go.Scatter:
    return go.Scatter(
        name=label,
        x=list(range(len(curve))),
        y=[None if point is None else getattr(point, name) for point in curve],
        customdata=["" if point is None else point.model for point in curve],
        mode="lines+markers",
        line={"color": colour, "width": 2, "dash": dash},
        marker={"color": colour, "size": 6},
        hovertemplate="%{customdata} %{y:.3f}",
        showlegend=first,
    )
