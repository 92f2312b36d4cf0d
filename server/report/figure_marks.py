"""What a figure's traces look like: lines, dots, bars and violins, as pieces of SVG.

A mark that has words (a home's name, a value) has them as its title, which browsers show to whoever
points at it. Colours stand as names of the page's style, so that they follow the system's setting.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.server.report.figure_axes import moment
from fedhome.server.report.theme import named_colour

_DASHES: Final = {
    "dash": "7 5",
    "dot": "2 4",
    "dashdot": "7 4 2 4",
    "longdash": "12 6",
}
_MOST_TITLES: Final = 150
"""Marks of a trace that have words: more of them stand too close to be pointed at."""
_CURVE: Final = 60
_FIELD: Final = re.compile(r"%\{(x|y|customdata)(?::([^}]*))?\}")
_EXTRA: Final = re.compile(r"<extra>.*?</extra>")

Place = Callable[[float], float]


class Plane(NamedTuple):
    """Where the values of a trace stand on the page.

    Args:
        x: Of values across.
        y: Of values upwards.
    """

    x: Place
    y: Place


class Bar(NamedTuple):
    """Where one bar of a trace stands.

    Args:
        at: The middle of its foot.
        base: Where it begins.
        top: Where it ends.
        width: Its width, in values of its axis.
    """

    at: float
    base: float
    top: float
    width: float


def values_of(trace: Mapping[str, Any], name: str) -> list[float | None]:
    """Return a trace's values on an axis; dates become seconds."""
    return [
        moment(value) if isinstance(value, str) else None if value is None else float(value)
        for value in trace.get(name) or ()
    ]


def scatter(trace: Mapping[str, Any], plane: Plane) -> str:
    """Return a trace of lines, dots or both."""
    mode, parts = str(trace.get("mode", "lines")), []
    points = list(zip(values_of(trace, "x"), values_of(trace, "y"), strict=True))
    if trace.get("connectgaps"):
        points = [point for point in points if None not in point]
    if trace.get("fill") == "toself":
        fill = named_colour(trace["fillcolor"])
        parts.append(f'<path d="{_path(points, plane)}z" style="fill:{fill}"/>')
    if "lines" in mode and trace["line"]["width"] and (path := _path(points, plane)):
        line = trace["line"]
        dash = _DASHES.get(str(line.get("dash", "")), "")
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        parts.append(
            f'<path d="{path}" fill="none" style="stroke:{named_colour(line["color"])}" '
            f'stroke-width="{line["width"]}" stroke-linejoin="round"{dashed}/>'
        )
    parts.append(_dots(trace, points, plane, shown="markers" in mode))
    return "".join(parts)


def bars(trace: Mapping[str, Any], standing: Sequence[Bar], plane: Plane) -> str:
    """Return a trace of bars."""
    words = _titles(trace, [(bar.at, bar.top - bar.base) for bar in standing])
    pieces, path = [], []
    for bar, title in zip(standing, words, strict=True):
        left, right = plane.x(bar.at - bar.width / 2), plane.x(bar.at + bar.width / 2)
        shape = f"M{left:.1f} {plane.y(bar.base):.1f}V{plane.y(bar.top):.1f}"
        shape += f"H{right:.1f}V{plane.y(bar.base):.1f}z"
        if title:
            pieces.append(f'<path d="{shape}">{title}</path>')
        else:
            path.append(shape)
    if path:
        pieces.append(f'<path d="{"".join(path)}"/>')
    colour = named_colour(trace["marker"]["color"])
    return f'<g style="fill:{colour}">{"".join(pieces)}</g>'


def violin(trace: Mapping[str, Any], plane: Plane) -> str:
    """Return how values are spread: a shape as wide as there are many, half of one, or both."""
    lying = trace.get("orientation") == "h"
    along, across = ("x", "y") if lying else ("y", "x")
    values = np.array([one for one in values_of(trace, along) if one is not None])
    middle = values_of(trace, across)[0] or 0.0
    heights, widths = _density(values)
    reach = float(trace["width"]) / 2
    sides = {"negative": (-1.0, 0.0), "positive": (0.0, 1.0)}.get(
        str(trace.get("side", "both")), (-1.0, 1.0)
    )
    outline = [(middle + sides[1] * reach * w, h) for h, w in zip(heights, widths, strict=True)]
    outline += [
        (middle + sides[0] * reach * w, h) for h, w in zip(heights[::-1], widths[::-1], strict=True)
    ]
    flipped = [(along_, across_) if lying else (across_, along_) for across_, along_ in outline]
    colour, width = named_colour(trace["line"]["color"]), trace["line"]["width"]
    fill = named_colour(trace["fillcolor"])
    low, high = values.min(), values.max()
    said = f"{len(values)} homes, from {low:.3f} to {high:.3f}, median {np.median(values):.3f}"
    style = f'style="fill:{fill};stroke:{colour}" stroke-width="{width}"'
    parts = [f'<path d="{_path(list(flipped), plane)}z" {style}><title>{said}</title></path>']
    box = trace.get("box", {})
    if box.get("visible"):
        quarter, three = np.quantile(values, (0.25, 0.75))
        half = float(box["width"]) * reach
        corners = [(-half, quarter), (half, quarter), (half, three), (-half, three)]
        shape = _path([(middle + at, value) for at, value in corners], plane)
        style = f'style="fill:none;stroke:{colour}" stroke-width="{width}"'
        parts.append(f'<path d="{shape}z" {style}/>')
    if trace.get("meanline", {}).get("visible"):
        mean = float(values.mean())
        ends = [(mean, middle + side * reach * 0.9) for side in sides]
        parts.append(
            f'<path d="{_path(list(ends), plane)}" style="stroke:{colour}" stroke-width="{width}"/>'
        )
    if trace.get("points") == "all":
        at = middle + float(trace["pointpos"]) * reach
        dots = [(value, at) for value in values.tolist()]
        parts.append(_dots({**trace, "hoverinfo": "skip"}, dots, plane, shown=True))
    return "".join(parts)


def _path(points: Sequence[tuple[float | None, float | None]], plane: Plane) -> str:
    """Return a line through points; one without a value ends it."""
    commands, letter = [], "M"
    for x, y in points:
        if x is None or y is None:
            letter = "M"
            continue
        commands.append(f"{letter}{plane.x(x):.1f} {plane.y(y):.1f}")
        letter = "L"
    return "".join(commands)


def _dots(
    trace: Mapping[str, Any],
    points: Sequence[tuple[float | None, float | None]],
    plane: Plane,
    *,
    shown: bool,
) -> str:
    """Return a trace's dots; those that are not shown are there for their words alone."""
    titles = _titles(trace, points)
    marker = trace.get("marker", {})
    radius = float(marker.get("size", 10)) / 2
    pieces = [
        f'<circle cx="{plane.x(x):.1f}" cy="{plane.y(y):.1f}" r="{radius:g}"'
        + (f">{title}</circle>" if title else "/>")
        for (x, y), title in zip(points, titles, strict=True)
        if x is not None and y is not None and (shown or title)
    ]
    if not pieces:
        return ""
    colour = named_colour(marker["color"]) if shown else "transparent"
    clear = f' opacity="{marker["opacity"]:g}"' if shown and "opacity" in marker else ""
    return f'<g style="fill:{colour}"{clear}>{"".join(pieces)}</g>'


def _titles(
    trace: Mapping[str, Any], points: Sequence[tuple[float | None, float | None]]
) -> list[str]:
    """Return the words of each mark, as a piece of SVG; nothing where it has none."""
    template = str(trace.get("hovertemplate", ""))
    if trace.get("hoverinfo") == "skip" or not template or len(points) > _MOST_TITLES:
        return [""] * len(points)
    custom = trace.get("customdata") or [""] * len(points)
    name = "" if "<extra></extra>" in template else str(trace.get("name", ""))
    return [
        f"<title>{plain(': '.join(filter(None, [name, _filled(template, x, y, more)])))}</title>"
        for (x, y), more in zip(points, custom, strict=True)
    ]


def _filled(template: str, x: float | None, y: float | None, custom: object) -> str:
    values = {"x": x, "y": y, "customdata": custom}

    def value(found: re.Match[str]) -> str:
        one = values[found[1]]
        return format(one, found[2] or "") if isinstance(one, float) else str(one)

    return _EXTRA.sub("", _FIELD.sub(value, template))


def plain(text: str) -> str:
    """Return text of a figure, in which Plotly reads tags and entities, as SVG's text."""
    return html.escape(html.unescape(text.replace("<br>", ", ")))


def _density(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values from least to greatest, and how many there are about each, at most 1.

    The kernel is Gaussian, its width Silverman's rule of thumb.
    """
    spread = min(values.std(), np.subtract(*np.quantile(values, (0.75, 0.25))) / 1.34)
    width = 0.9 * (spread or values.std() or 1.0) * len(values) ** -0.2
    places = np.linspace(values.min(), values.max(), _CURVE)
    gaps = (places[:, None] - values[None, :]) / width  # [places, values]
    many = np.exp(-0.5 * gaps**2).sum(1)
    return places, many / many.max()
