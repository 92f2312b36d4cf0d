"""The figures of one run."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fedhome.run.results import differences
from fedhome.server.report.number_words import byte_unit
from fedhome.server.report.run_results import RunResults
from fedhome.server.report.theme import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MODEL_COLOURS,
    OLIVE,
    ORANGE,
    PURPLE,
    figure,
    soft,
    styled,
)

FEW_HOMES: Final = 60
"""Up to this many homes are drawn as single dots; more, as their distribution."""

FEW_ROUNDS: Final = 40
"""Up to this many rounds have a dot each on their curve, and gaps between their bars."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure with the words that belong to it.

    Args:
        key: Its name in the page.
        title: What it shows.
        reading: One sentence on how to read it: what is good, what is bad.
        alt: What it shows in numbers, for those who cannot see it.
        plot: The figure itself.
    """

    key: str
    title: str
    reading: str
    alt: str
    plot: go.Figure


def learning_curves(run: RunResults) -> Figure | None:
    """Return loss and score by round; None for a run without rounds."""
    validated, scored = run.measured("validation_loss"), run.measured("validation_score")
    if not (run.measured("train_loss") or validated or scored):
        return None
    plot = make_subplots(rows=1 + scored, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    rounds = run.column("round")
    lines = [
        ("train_loss", "training loss", 1, GREY, "dash"),
        ("validation_loss", "validation loss", 1, BLUE, "solid"),
        ("validation_score", f"validation {run.score_name}", 2, GREEN, "solid"),
    ]
    descriptions = []
    for name, label, row, colour, dash in lines:
        if run.measured(name):
            values = run.column(name)
            plot.add_trace(line(rounds, values, text(label), colour, dash), row=row, col=1)
            descriptions.append(f"{label} {_from_to(values)}")
    styled(plot, 320 + 160 * scored, hovermode="x unified", showlegend=True)
    plot.update_yaxes(title_text="loss", row=1, col=1)
    if scored:
        plot.update_yaxes(title_text=text(run.score_name), row=2, col=1)
    round_axis(plot, len(rounds), row=1 + scored)
    reading = "The loss should fall and level off"
    reading += ", and the score should rise" if scored else ""
    reading += (
        "; a validation loss that turns upwards while the training loss still falls means "
        "that the homes learn their data by heart."
        if validated
        else "; this run measured no validation loss, so overfitting cannot be seen here."
    )
    return Figure(
        key="curves",
        title="Learning curves",
        reading=reading,
        alt=f"Over {len(rounds)} rounds: {'; '.join(descriptions)}.",
        plot=plot,
    )


def distribution(run: RunResults) -> Figure | None:
    """Return how each model's score is spread over the homes; None where nothing was scored."""
    if not run.scores:
        return None
    models = list(run.drawn)
    most = max(map(len, run.drawn.values()))
    plot = figure(420, showlegend=False, violingap=0.1, violingroupgap=0)
    if most <= FEW_HOMES:
        _add_dots(plot, run)
        reading = (
            "Each dot is a home, a line joins the same home under different models, and the bar "
            "is the median"
        )
    else:
        _add_violins(plot, run)
        reading = (
            "Each shape is as wide as there are homes with that score, the box holds the middle "
            "half of them, and the line joins the medians"
        )
    medians = {model: median(values.values()) for model, values in run.drawn.items()}
    plot.update_xaxes(
        tickvals=list(range(len(models))),
        ticktext=models,
        tickfont={"size": 11},
        tickangle=0,
        range=[-0.5, len(models) - 0.5],
    )
    plot.update_yaxes(title_text=text(run.score_name))
    return Figure(
        key="distribution",
        title="How the homes fare",
        reading=f"{reading}: higher is better, and a long lower tail means that some homes are "
        "served badly whatever the average says.",
        alt="Median "
        + ", ".join(f"{m} {value:.3f}" for m, value in medians.items())
        + f", over up to {most} homes.",
        plot=plot,
    )


def hurt_and_helped(run: RunResults) -> Figure | None:
    """Return each home's gain over its best alone, sorted; None where no home has both scores."""
    gaps = differences(run.homes, run.learnt) if run.homes is not None and run.learnt else {}
    verdicts = run.verdicts(run.learnt)
    if not gaps:
        return None
    ordered = sorted(gaps.items(), key=lambda item: item[1])
    kinds = [
        (label, colour, [verdicts.get(home, "no difference") == label for home, _ in ordered])
        for label, colour in (("hurt", ORANGE), ("no difference", GREY), ("helped", GREEN))
    ]
    plot = figure(360, barmode="overlay", bargap=0.25 if len(ordered) <= FEW_HOMES else 0.0)
    for label, colour, mask in kinds:
        plot.add_trace(
            go.Bar(
                name=f"{label}: {sum(mask)}",
                x=[rank for rank, included in enumerate(mask, 1) if included],
                y=[value for (_, value), included in zip(ordered, mask, strict=True) if included],
                customdata=[
                    text(home)
                    for (home, _), included in zip(ordered, mask, strict=True)
                    if included
                ],
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate="%{customdata}<br>%{y:+.4f}<extra></extra>",
                showlegend=True,
            )
        )
    plot.add_hline(y=0, line={"color": INK, "width": 1})
    plot.update_xaxes(
        title_text="homes, sorted",
        showticklabels=False,
        range=[0.4, len(ordered) + 0.6],
    )
    plot.update_yaxes(title_text=f"{run.learnt} minus best alone, {text(run.score_name)}")
    plot.update_layout(legend={"y": -0.12})
    return Figure(
        key="differences",
        title="Homes hurt and helped",
        reading="Each bar is one home, from most hurt to most helped: above zero its "
        f"{run.learnt} model beats the best that it could do alone, below zero it would have "
        "been better off alone. Grey bars are within what chance makes of its test days.",
        alt=f"Of {len(ordered)} homes, "
        + ", ".join(f"{sum(mask)} {label}" for label, _, mask in kinds)
        + f"; from {ordered[0][1]:+.3f} to {ordered[-1][1]:+.3f}.",
        plot=plot,
    )


def traffic(run: RunResults) -> Figure | None:
    """Return bytes and seconds by round, stacked; None for a run without rounds."""
    rounds = run.column("round")
    if not rounds:
        return None
    most = max(
        map(
            sum,
            zip(_column_or_zero(run, "bytes_up"), _column_or_zero(run, "bytes_down"), strict=True),
        )
    )
    unit, factor = byte_unit(most)
    plot = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    parts = [
        ("bytes_up", f"{unit} up", 1, BLUE, factor),
        ("bytes_down", f"{unit} down", 1, PURPLE, factor),
        ("seconds_train", "s training", 2, GREEN, 1.0),
        ("seconds_evaluate", "s evaluating", 2, OLIVE, 1.0),
        ("seconds_other", "s other", 2, GREY, 1.0),
    ]
    sums = []
    for name, label, row, colour, scale in parts:
        values = [value / scale for value in _column_or_zero(run, name)]
        if not any(values):
            continue
        sums.append(f"{sum(values):.4g} {label}")
        bar = go.Bar(name=label, x=rounds, y=values, marker={"color": colour, "line": {"width": 0}})
        plot.add_trace(bar, row=row, col=1)
    styled(
        plot,
        460,
        barmode="stack",
        bargap=0.2 if len(rounds) <= FEW_ROUNDS else 0.0,
        hovermode="x unified",
    )
    plot.update_traces(hovertemplate="%{y:.4g}")
    plot.update_yaxes(title_text=f"{unit} per round", row=1, col=1)
    plot.update_yaxes(title_text="seconds per round", row=2, col=1)
    round_axis(plot, len(rounds), row=2)
    return Figure(
        key="traffic",
        title="Bytes and time per round",
        reading="Bytes are those of all homes together; shorter bars are cheaper, and much time "
        "that is neither training nor evaluation is spent on waiting and overhead.",
        alt=f"Added up over {len(rounds)} rounds: {', '.join(sums)}.",
        plot=plot,
    )


def line(
    rounds: Sequence[float | None],
    values: Sequence[float | None],
    label: str,
    colour: str,
    dash: str,
) -> go.Scatter:
    """Return a curve over rounds; rounds without a measurement are bridged."""
    return go.Scatter(
        name=label,
        x=list(rounds),
        y=list(values),
        mode="lines+markers" if len(rounds) <= FEW_ROUNDS else "lines",
        connectgaps=True,
        line={"color": colour, "width": 2, "dash": dash},
        marker={"color": colour, "size": 5},
        hovertemplate="%{y:.4f}",
    )


def round_axis(plot: go.Figure, rounds: int, row: int) -> None:
    """Name the axis of rounds below the last row, with whole numbers only."""
    plot.update_xaxes(title_text="round", row=row, col=1)
    plot.update_xaxes(tickformat="d", **({"dtick": 1} if rounds <= 10 else {"nticks": 10}))  # noqa: PLR2004


LONGEST_TEXT: Final = 60


def text(name: str) -> str:
    """Return text as a figure may hold it: Plotly reads tags and entities in every label."""
    short = name if len(name) <= LONGEST_TEXT else f"{name[: LONGEST_TEXT - 1]}…"
    return html.escape(short)


def _add_dots(plot: go.Figure, run: RunResults) -> None:
    models = list(run.drawn)
    homes = list(dict.fromkeys(home for by_home in run.drawn.values() for home in by_home))
    # One trace with gaps for all lines: a trace for each home would be slow to draw.
    joined: dict[str, list[Any]] = {"x": [], "y": []}
    for home in homes:
        for position, model in enumerate(models):
            joined["x"].append(position)
            joined["y"].append(run.drawn[model].get(home))
        joined["x"].append(None)
        joined["y"].append(None)
    plot.add_trace(
        go.Scatter(
            **joined, mode="lines", line={"color": soft(GREY), "width": 1.5}, hoverinfo="skip"
        )
    )
    for position, model in enumerate(models):
        by_home = run.drawn[model]
        colour = MODEL_COLOURS[model]
        plot.add_trace(
            go.Scatter(
                name=model,
                x=[position] * len(by_home),
                y=list(by_home.values()),
                customdata=[text(home) for home in by_home],
                mode="markers",
                marker={"color": colour, "size": 8, "opacity": 0.75},
                hovertemplate="%{customdata}<br>%{y:.4f}<extra></extra>",
            )
        )
        middle = median(by_home.values())
        plot.add_trace(
            go.Scatter(
                x=[position - 0.22, position + 0.22],
                y=[middle, middle],
                mode="lines",
                line={"color": colour, "width": 4},
                hoverinfo="skip",
            )
        )


def _add_violins(plot: go.Figure, run: RunResults) -> None:
    for position, (model, by_home) in enumerate(run.drawn.items()):
        colour = MODEL_COLOURS[model]
        plot.add_trace(
            go.Violin(
                name=model,
                x=[position] * len(by_home),
                y=list(by_home.values()),
                width=0.9,
                points=False,
                spanmode="hard",
                line={"color": colour, "width": 1.5},
                fillcolor=soft(colour),
                box={"visible": True, "width": 0.16},
                hoveron="violins",
                hoverinfo="y",
            )
        )
    plot.add_trace(
        go.Scatter(
            x=list(range(len(run.drawn))),
            y=[median(by_home.values()) for by_home in run.drawn.values()],
            mode="lines+markers",
            line={"color": INK, "width": 1.5, "dash": "dot"},
            marker={"color": INK, "size": 6},
            hovertemplate="median %{y:.4f}<extra></extra>",
        )
    )


def _column_or_zero(run: RunResults, name: str) -> list[float]:
    return [value or 0.0 for value in run.column(name)]


def _from_to(values: Sequence[float | None]) -> str:
    measured = [value for value in values if value is not None]
    return f"from {measured[0]:.4g} to {measured[-1]:.4g}"
