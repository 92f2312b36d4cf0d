"""Draws a figure as SVG, with no script and no library in the page.

What is drawn is Plotly's description of the figure, as far as the report uses it; anything else in
it is refused, since a figure that silently lacks a part is wrong. Text has the size in which it is
drawn, so each figure is drawn twice: for a screen, and for a phone.

Source of the description: https://plotly.com/python/reference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import plotly.graph_objects as go

from fedhome.errors import RunError
from fedhome.plugins import look_up
from fedhome.server.report.figure_axes import FigureAxis, axis_of
from fedhome.server.report.figure_marks import (
    Bar,
    Plane,
    bars,
    plain,
    scatter,
    values_of,
    violin,
)
from fedhome.server.report.theme import INK, named_colour

WIDE, NARROW = 820, 400
"""Widths in which figures are drawn, in CSS pixels."""

_LINE: Final = 16.0
_LETTER: Final = 7.0  # of text of 13 pixels, on average
_DIGIT: Final = 8.3  # and of the digits of a wide font
_RIGHT, _TOP, _GAP = 14.0, 10.0, 6.0
_OF_ALL: Final = frozenset(
    [
        "type",
        "name",
        "x",
        "y",
        "xaxis",
        "yaxis",
        "showlegend",
        "legendgroup",
        "customdata",
        "hovertemplate",
        "hoverinfo",
    ]
)
_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "scatter": _OF_ALL | {"mode", "line", "marker", "connectgaps", "fill", "fillcolor"},
    "bar": _OF_ALL | {"marker"},
    "violin": _OF_ALL
    | {"box", "fillcolor", "hoveron", "jitter", "line", "marker", "meanline", "orientation"}
    | {"pointpos", "points", "side", "spanmode", "width"},
}
"""What is drawn of each kind of trace; jitter is not, and dots of a violin stand in one line."""


class _Box(NamedTuple):
    """Where the axes of one row stand, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def plane(self, x: FigureAxis, y: FigureAxis) -> Plane:
        return Plane(
            lambda value: self.left + x.share(value) * (self.right - self.left),
            lambda value: self.bottom - y.share(value) * (self.bottom - self.top),
        )


def drawings(plot: go.Figure) -> tuple[str, str]:
    """Return a figure as two SVG elements: for a screen, and for a phone.

    Raises:
        PluginError: It holds a kind of trace that is not drawn.
        RunError: One of its traces has something that is not drawn.
    """
    described = json.loads(plot.to_json())
    return drawn(described, WIDE), drawn(described, NARROW)


def drawn(plot: Mapping[str, Any], width: int) -> str:
    """Return a figure as an SVG element.

    Args:
        plot: As `plotly.graph_objects.Figure.to_json` describes it.
        width: Its width, CSS pixels; it is as high as the figure says.

    Raises:
        PluginError: It holds a kind of trace that is not drawn.
        RunError: One of its traces has something that is not drawn.
    """
    layout, traces = plot["layout"], list(plot["data"])
    for trace in traces:
        look_up(_KINDS, trace["type"], "kind of trace")
        strange = sorted(set(trace) - _KINDS[trace["type"]])
        if trace.get("fill", "toself") != "toself":
            strange.append(f"fill {trace['fill']}")
        if strange:
            raise RunError(
                f"a figure's {trace['type']} has {', '.join(strange)}, which the report does not "
                "draw",
                hint="teach server/report/figure_marks.py to",
            )
    height = float(layout["height"])
    standing = _standing(traces, layout)
    axes = _axes(traces, layout, standing)
    rows = [name for name in sorted(axes) if name.startswith("y")]
    entries = _legend(traces, layout)
    lines = _in_lines(entries, width)
    below = _below(axes, rows) + (_LINE + 4) * len(lines)
    left = max(_beside(axes[name]) for name in rows)
    bottom = height - below
    parts = []
    for name in rows:
        x, y = axes[_partner(name)], axes[name]
        low, high = y.settings.get("domain", (0.0, 1.0))
        box = _Box(
            left, bottom - high * (bottom - _TOP), width - _RIGHT, bottom - low * (bottom - _TOP)
        )
        parts.append(_frame(x, y, box))
        plane = box.plane(x, y)
        for number, trace in enumerate(traces):
            if trace.get("yaxis", "y") == name:
                parts.append(_mark(trace, standing.get(number, ()), plane))
        parts += [
            _rule(shape, plane, box) for shape in layout.get("shapes", ()) if shape["yref"] == name
        ]
    parts.append(_legend_drawn(lines, height - (_LINE + 4) * len(lines)))
    kind = "wide" if width == WIDE else "narrow"
    return f'<svg viewBox="0 0 {width} {height:g}" class="{kind}-plot">{"".join(parts)}</svg>'


def _mark(trace: Mapping[str, Any], standing: Sequence[Bar], plane: Plane) -> str:
    if trace["type"] == "bar":
        return bars(trace, standing, plane)
    return violin(trace, plane) if trace["type"] == "violin" else scatter(trace, plane)


def _partner(name: str) -> str:
    """Return the axis across of an axis upwards: of the same row."""
    return f"x{name[1:]}"


def _standing(
    traces: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]
) -> dict[int, list[Bar]]:
    """Return where each trace's bars stand: on their axis, or on those of the traces before."""
    standing: dict[int, list[Bar]] = {}
    tops: dict[tuple[str, float], float] = {}
    stacked, share = layout.get("barmode") == "stack", 1.0 - float(layout.get("bargap", 0.2))
    feet = sorted({x for t in traces if t["type"] == "bar" for x in values_of(t, "x") if x})
    apart = min((after - before for before, after in pairwise(feet)), default=1.0)
    for number, trace in enumerate(traces):
        if trace["type"] != "bar":
            continue
        axis, own = trace.get("yaxis", "y"), []
        for x, y in zip(values_of(trace, "x"), values_of(trace, "y"), strict=True):
            if x is None or y is None:
                continue
            base = tops.get((axis, x), 0.0) if stacked else 0.0
            tops[axis, x] = base + y
            own.append(Bar(x, base, base + y, share * apart))
        standing[number] = own
    return standing


def _axes(
    traces: Sequence[Mapping[str, Any]],
    layout: Mapping[str, Any],
    standing: Mapping[int, Sequence[Bar]],
) -> dict[str, FigureAxis]:
    """Return the axes by their names, such as ``x`` and ``y2``."""
    shown: dict[str, list[float]] = {}
    dates = set()
    for number, trace in enumerate(traces):
        x, y = str(trace.get("xaxis", "x")), str(trace.get("yaxis", "y"))
        for axis, name in ((x, "x"), (y, "y")):
            shown.setdefault(axis, []).extend(v for v in values_of(trace, name) if v is not None)
            if any(isinstance(value, str) for value in (trace.get(name) or ())[:1]):
                dates.add(axis)
        for bar in standing.get(number, ()):
            shown[x] += [bar.at - bar.width / 2, bar.at + bar.width / 2]
            shown[y] += [bar.base, bar.top]
    settings = {name: layout.get(_setting(name), {}) for name in shown}
    for name, own in settings.items():  # of axes that move together, each shows what all show
        if matched := own.get("matches"):
            shown[name] = shown[matched] = shown[name] + shown[matched]
    for name, own in settings.items():
        if matched := own.get("matches"):
            shown[name] = shown[matched]
    return {
        name: axis_of(settings[name], values, dates=name in dates) for name, values in shown.items()
    }


def _setting(name: str) -> str:
    """Return the name under which a layout has an axis: ``xaxis2`` of ``x2``."""
    return f"{name[0]}axis{name[1:]}"


def _beside(y: FigureAxis) -> float:
    """Return how much room an axis upwards needs to its left, px."""
    longest = max((len(plain(one)) for tick in y.ticks(6) for one in tick.label), default=0)
    return longest * _LETTER + 2 * _GAP + (_LINE + 4 if y.title else 0)


def _below(axes: Mapping[str, FigureAxis], rows: Sequence[str]) -> float:
    """Return how much room the axes across need below the last of them, px."""
    across = [axes[_partner(name)] for name in rows]
    lines = max((len(tick.label) for x in across if x.labelled for tick in x.ticks(6)), default=0)
    titled = any(x.title for x in across)
    return lines * _LINE + _GAP + (_LINE + 4 if titled else 0) + _GAP


def _frame(x: FigureAxis, y: FigureAxis, box: _Box) -> str:
    """Return grid, ticks and titles of one row."""
    plane, parts = box.plane(x, y), []
    room = box.bottom - box.top
    for tick in y.ticks(max(3, min(6, int(room / 35)))):
        at = plane.y(tick.at)
        if y.settings.get("showgrid", True):
            parts.append(f'<path class="grid" d="M{box.left:.1f} {at:.1f}H{box.right:.1f}"/>')
        first = at + 4 - _LINE * (len(tick.label) - 1) / 2
        parts.append(_text(tick.label, box.left - _GAP, first, "end"))
    most = max(2, int((box.right - box.left) / (110 if x.dates else 60)))
    for tick in x.ticks(min(10, most)):
        at = plane.x(tick.at)
        if x.settings.get("showgrid"):
            parts.append(f'<path class="grid" d="M{at:.1f} {box.top:.1f}V{box.bottom:.1f}"/>')
        if x.labelled:
            half = max(map(len, tick.label), default=0) * _DIGIT / 2
            inside = min(max(at, half), box.right + _RIGHT - half)  # else a label is cut off
            parts.append(_text(tick.label, inside, box.bottom + _LINE, "middle"))
    parts.append(f'<path class="grid" d="M{box.left:.1f} {box.bottom:.1f}H{box.right:.1f}"/>')
    if y.title:
        parts.append(_upright(y.title, (box.top + box.bottom) / 2, room))
    if x.title:
        lines = max((len(tick.label) for tick in x.ticks(6)), default=0) if x.labelled else 0
        under = box.bottom + lines * _LINE + _LINE + 4
        parts.append(_text((x.title,), (box.left + box.right) / 2, under, "middle"))
    return "".join(parts)


def _upright(title: str, middle: float, room: float) -> str:
    """Return a title that is read upwards; one that is too long for its row is cut off."""
    most = int(room / _LETTER)
    text = title if len(title) <= most else f"{title[: most - 1]}…"
    return (
        f'<text transform="translate(13 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{plain(text)}</text>"
    )


def _text(lines: Sequence[str], x: float, y: float, anchor: str) -> str:
    spans = "".join(
        f'<tspan x="{x:.1f}" y="{y + _LINE * number:.1f}">{plain(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    return f'<text text-anchor="{anchor}">{spans}</text>'


def _rule(shape: Mapping[str, Any], plane: Plane, box: _Box) -> str:
    """Return a line across all of a row, such as zero."""
    at = plane.y(float(shape["y0"]))
    colour = named_colour(shape.get("line", {}).get("color", INK))
    return f'<path d="M{box.left:.1f} {at:.1f}H{box.right:.1f}" style="stroke:{colour}"/>'


class _Entry(NamedTuple):
    """One entry of a legend."""

    name: str
    sample: str

    @property
    def width(self) -> float:
        return 34 + _LETTER * len(self.name) + 14


def _legend(traces: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> list[_Entry]:
    """Return the entries of a figure's legend; a single trace has none unless it says so."""
    named = [trace for trace in traces if trace.get("name")]
    wanted = layout.get("showlegend", len(named) > 1 or any(t.get("showlegend") for t in named))
    if not wanted:
        return []
    return [
        _Entry(str(trace["name"]), _sample(trace))
        for trace in named
        if trace.get("showlegend", True)
    ]


def _sample(trace: Mapping[str, Any]) -> str:
    """Return how a trace looks, in little."""
    if trace["type"] == "scatter" and "fill" in trace:
        return f'<path d="M4 -5h18v10h-18z" style="fill:{named_colour(trace["fillcolor"])}"/>'
    if trace["type"] == "scatter":
        small = {**trace, "x": [0.0, 13.0, 26.0], "y": [0.0] * 3, "hovertemplate": ""}
        if "markers" in str(trace.get("mode", "")):
            small |= {"customdata": None}
        return scatter(small, Plane(lambda x: x, lambda y: y))
    colour = trace["marker"]["color"] if trace["type"] == "bar" else trace["line"]["color"]
    return f'<path d="M4 -5h18v10h-18z" style="fill:{named_colour(colour)}"/>'


def _in_lines(entries: Sequence[_Entry], width: float) -> list[list[_Entry]]:
    """Return a legend's entries by lines, each no longer than there is room."""
    lines: list[list[_Entry]] = []
    for entry in entries:
        if lines and sum(one.width for one in lines[-1]) + entry.width <= width:
            lines[-1].append(entry)
        else:
            lines.append([entry])
    return lines


def _legend_drawn(lines: Sequence[Sequence[_Entry]], top: float) -> str:
    parts = []
    for row, entries in enumerate(lines):
        x, y = 4.0, top + (row + 0.5) * (_LINE + 4)
        for entry in entries:
            parts.append(
                f'<g transform="translate({x:.1f} {y:.1f})">{entry.sample}'
                f'<text x="34" y="4">{plain(entry.name)}</text></g>'
            )
            x += entry.width
    return "".join(parts)
