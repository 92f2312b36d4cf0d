"""The figures of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fedhome.run.results import differences
from fedhome.server.report.figures import FEW_HOMES, Figure, line, round_axis, text
from fedhome.server.report.run_results import RunResults
from fedhome.server.report.theme import (
    INK,
    MODEL_COLOURS,
    RUN_COLOURS,
    RUN_DASHES,
    figure,
    soft,
    styled,
)

CURVES: Final = {
    "train_loss": "training loss",
    "validation_loss": "validation loss",
    "validation_score": "validation score",
}


def curves(runs: Sequence[RunResults]) -> Figure | None:
    """Return the runs' curves over one another; None where no run has any."""
    names = [name for name in CURVES if any(run.measured(name) for run in runs)]
    if not names:
        return None
    plot = make_subplots(rows=len(names), cols=1, shared_xaxes=True, vertical_spacing=0.05)
    lengths = []
    for number, run in enumerate(runs):
        in_legend = False
        for row, name in enumerate(names, 1):
            if not run.measured(name):
                continue
            curve = line(run.column("round"), run.column(name), text(run.label), *_style(number))
            # Dots would hide the dashes; a curve of one round is nothing but its dot.
            mode = "lines" if len(curve.x) > 1 else "markers"
            curve.update(legendgroup=run.label, showlegend=not in_legend, mode=mode)
            plot.add_trace(curve, row=row, col=1)
            in_legend = True
        lengths.append(f"{run.label} has {len(run.column('round'))} rounds")
    styled(plot, 120 + 190 * len(names), hovermode="x unified")
    for row, name in enumerate(names, 1):
        plot.update_yaxes(title_text=CURVES[name], row=row, col=1)
    round_axis(plot, max(len(run.column("round")) for run in runs), row=len(names))
    return Figure(
        key="curves",
        title="Learning curves",
        reading="Losses should fall and scores should rise; a run whose curve gets to the same "
        "height in fewer rounds is the cheaper one, as far as rounds cost the same.",
        alt=f"Curves of {', '.join(CURVES[name] for name in names)}: {'; '.join(lengths)}.",
        plot=plot,
    )


def distributions(runs: Sequence[RunResults]) -> Figure | None:
    """Return, for each run, the homes' scores when alone and when learning together."""
    scored = [run for run in runs if run.scores]
    if not scored:
        return None
    plot = figure(90 + 110 * len(scored), violingap=0.05, violinmode="overlay")
    medians, in_legend = [], set()
    for position, run in enumerate(reversed(scored)):
        sides = [
            (model, side)
            for model, side in ((_alone(run), "negative"), (run.learnt, "positive"))
            if model
        ]
        for model, side in sides:
            values = list(run.scores.get(model, {}).values())
            if not values:
                continue
            colour = MODEL_COLOURS[model]
            plot.add_trace(
                go.Violin(
                    name=model,
                    legendgroup=model,
                    showlegend=model not in in_legend,
                    orientation="h",
                    side=side,
                    x=values,
                    y=[position] * len(values),
                    width=0.95,
                    points="all" if len(values) <= FEW_HOMES else False,
                    pointpos=0.12 if side == "positive" else -0.12,
                    jitter=0.05,
                    marker={"color": colour, "size": 5},
                    spanmode="hard",
                    line={"color": colour, "width": 1.5},
                    fillcolor=soft(colour),
                    meanline={"visible": True},
                    hoverinfo="x",
                    hoveron="violins",
                )
            )
            in_legend.add(model)
            medians.append(f"{run.label}, {model}: {median(values):.3f}")
    plot.update_yaxes(
        tickvals=list(range(len(scored))),
        ticktext=[_wrapped(run.label) for run in reversed(scored)],
        range=[-0.6, len(scored) - 0.4],
        showgrid=False,
    )
    names = {run.score_name for run in scored}
    plot.update_xaxes(title_text=text(names.pop()) if len(names) == 1 else "score", showgrid=True)
    plot.update_layout(legend={"yref": "container", "y": 0.0, "yanchor": "bottom"})
    return Figure(
        key="distribution",
        title="How the homes fare in each run",
        reading="Below each line are the homes' scores when each learns alone, above it those "
        "when they learn together, a stroke marks the mean: further to the right is better, and "
        "a long tail to the left means that some homes are served badly.",
        alt=f"Medians: {'; '.join(medians)}.",
        plot=plot,
    )


def gains(runs: Sequence[RunResults]) -> Figure | None:
    """Return each run's sorted gains over learning alone; None where no run has any."""
    plot = figure(360, hovermode="closest")
    shares = []
    for number, run in enumerate(runs):
        if run.homes is None or not run.learnt:
            continue
        ordered = sorted(differences(run.homes, run.learnt).items(), key=lambda item: item[1])
        if not ordered:
            continue
        colour, dash = _style(number)
        values = [value for _, value in ordered]
        plot.add_trace(
            go.Scatter(
                name=text(run.label),
                x=[100 * (rank + 0.5) / len(ordered) for rank in range(len(ordered))],
                y=values,
                customdata=[text(home) for home, _ in ordered],
                mode="lines",
                line={"color": colour, "width": 2, "dash": dash},
                hovertemplate="%{customdata}<br>%{y:+.4f}",
                showlegend=True,
            )
        )
        below = sum(value < 0 for value in values) / len(values)
        shares.append(f"{run.label}: {below:.0%} of the homes are below zero")
    if not shares:
        return None
    plot.add_hline(y=0, line={"color": INK, "width": 1})
    plot.update_xaxes(title_text="share of homes, sorted", ticksuffix=" %")
    plot.update_yaxes(title_text="score minus best alone")
    plot.update_layout(legend={"y": -0.2})
    return Figure(
        key="differences",
        title="Homes hurt and helped in each run",
        reading="Each curve sorts a run's homes, from most hurt to most helped, by what learning "
        "together gains them over the best alone: the later a curve crosses zero, the more homes "
        "are hurt.",
        alt=f"{'; '.join(shares)}.",
        plot=plot,
    )


def comparison_figures(runs: Sequence[RunResults]) -> list[Figure]:
    """Return the figures for which the runs have data."""
    candidates = [curves(runs), distributions(runs), gains(runs)]
    return [figure for figure in candidates if figure is not None]


def _alone(run: RunResults) -> str:
    return "alone" if "alone" in run.scores else "local"


def _style(number: int) -> tuple[str, str]:
    return RUN_COLOURS[number % len(RUN_COLOURS)], RUN_DASHES[number % len(RUN_DASHES)]


def _wrapped(label: str) -> str:
    """Break a long label into lines: a phone has little room beside the axis."""
    width = 14  # letters
    short = label if len(label) <= 3 * width else f"{label[: 3 * width - 1]}…"
    return "<br>".join(text(short[i : i + width]) for i in range(0, len(short), width))
