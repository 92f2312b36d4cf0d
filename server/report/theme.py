"""Colours and layout of the report's figures, in light and in dark.

Figures are made in the light colours and name them; in the dark the page's style gives each name
its partner in :data:`DARK`, so that figures follow the system's setting without being made twice.
Hues are those of Okabe and Ito, darkened or lightened until lines have a contrast of 3:1 against
the page; wherever colour distinguishes two things, position, label or dash does so too.

Source: M. Okabe and K. Ito, Color Universal Design, 2008.
"""

from __future__ import annotations

from typing import Any, Final

import plotly.graph_objects as go

GREY: Final = "#6b7280"
ORANGE: Final = "#c65102"
BLUE: Final = "#0072b2"
GREEN: Final = "#007a5a"
PURPLE: Final = "#8a4fa3"
OLIVE: Final = "#7d6608"
ROSE: Final = "#b03060"
INK: Final = "#1c2126"
GRID: Final = "#e3e6e9"
PAPER: Final = "#ffffff"
CLEAR: Final = "rgba(0,0,0,0)"

_PARTNERS: Final = {
    GREY: "#9aa3ad",
    ORANGE: "#ff9a57",
    BLUE: "#5ab4f0",
    GREEN: "#3ccfa4",
    PURPLE: "#c79be0",
    OLIVE: "#d9c25a",
    ROSE: "#f28cb1",
    INK: "#e6e8ea",
    GRID: "#2c3238",
    PAPER: "#1d2125",
}

MODEL_COLOURS: Final = {
    "baseline": GREY,
    "local": OLIVE,
    "alone": ORANGE,
    "global": BLUE,
    "tuned": PURPLE,
    "personalised": GREEN,
}
"""Of the models that are drawn."""
RUN_COLOURS: Final = (BLUE, ORANGE, GREEN, PURPLE, OLIVE, ROSE, GREY)
RUN_DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash")


def soft(colour: str) -> str:
    """Return the colour at a fifth of its strength, for areas."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.2)"


DARK: Final = _PARTNERS | {soft(light): soft(dark) for light, dark in _PARTNERS.items()}
"""Each colour of a figure, by its partner in the dark."""


_NAMES: Final = {light: f"--figure-{number}" for number, light in enumerate(DARK)}


def named_colour(colour: str) -> str:
    """Return the name by which the page's style knows a colour; one without a partner stays."""
    name = _NAMES.get(colour)
    return colour if name is None else f"var({name})"


def colours_named() -> str:
    """Return the style that gives each name of a colour its value, in light and in dark."""
    light, dark = (
        "".join(f"{name}:{value};" for name, value in values)
        for values in (
            ((_NAMES[one], one) for one in DARK),
            ((_NAMES[one], partner) for one, partner in DARK.items()),
        )
    )
    return f":root{{{light}}}@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}"


def figure(height: int, **layout: Any) -> go.Figure:
    """Return an empty figure in the report's style.

    Args:
        height: Height in CSS pixels; the width is the page's.
        layout: Further settings of Plotly's layout.
    """
    return styled(go.Figure(), height, **layout)


def styled(plot: go.Figure, height: int, **layout: Any) -> go.Figure:
    """Give a figure the report's style and return it."""
    plot.update_layout(
        template=go.layout.Template(),
        height=height,
        autosize=True,
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font={"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 13},
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top", "traceorder": "normal"},
        hoverlabel={"bgcolor": PAPER, "bordercolor": GREY, "align": "left"},
        modebar={"bgcolor": CLEAR, "color": GREY, "activecolor": INK},
    )
    plot.update_layout(font={"color": INK}, hoverlabel={"font": {"color": INK}}, **layout)
    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zeroline": False,
        "automargin": True,
        "title": {"standoff": 8},
        "fixedrange": False,
    }
    plot.update_xaxes(showgrid=False, showline=True, **axis)
    plot.update_yaxes(showgrid=True, **axis)
    return plot
