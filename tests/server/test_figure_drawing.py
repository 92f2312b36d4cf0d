"""A figure is drawn as Plotly describes it: in the right place, whole, or not at all."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import PluginError, RunError
from fedhome.server.report.figure_axes import axis_of, moment
from fedhome.server.report.figure_drawing import NARROW, WIDE, drawings, drawn
from fedhome.server.report.figure_marks import plain
from fedhome.server.report.theme import BLUE, GREEN, GREY, figure, soft

FINITE = st.floats(-1e9, 1e9, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-6)


def svg_of(plot: go.Figure, width: int = WIDE) -> ET.Element:
    return ET.fromstring(drawn(json.loads(plot.to_json()), width))  # noqa: S314 - our own


def paths(svg: ET.Element, *words: str) -> list[list[float]]:
    """Return the numbers of each path whose element holds some words."""
    return [
        [float(number) for number in re.findall(r"-?[\d.]+", one.attrib["d"])]
        for one in svg.iter("path")
        if all(word in str(one.attrib) for word in words)
    ]


def line(**more: Any) -> go.Scatter:
    settings: dict[str, Any] = {
        "mode": "lines",
        "line": {"color": BLUE, "width": 2, "dash": "dash"},
    }
    return go.Scatter(**{"x": [0, 1, 2], "y": [0.0, 10.0, None], **settings, **more})


def test_a_soft_colour_is_the_same_red_green_and_blue() -> None:
    assert soft("#0a141e") == "rgba(10,20,30,0.2)"


def test_a_line_ends_where_its_values_do() -> None:
    plot = figure(300, xaxis={"range": [0, 2]}, yaxis={"range": [0, 20]})
    plot.add_trace(line())
    (points,) = paths(svg_of(plot), "stroke-dasharray")
    assert len(points) == 4
    left, bottom, middle, half = points
    assert middle - left == pytest.approx((WIDE - 14 - left) / 2, abs=0.2)
    assert half == pytest.approx((bottom + 10) / 2, abs=0.2), "10 of 20 is half of the height"


def test_a_label_at_the_edge_stays_within_the_figure() -> None:
    """At 8.3 px a digit, as wide fonts have them: the date of the last tick was cut off."""
    ticks = {"range": [0, 2], "tickvals": [0, 1, 2], "ticktext": ["first", "middle", "2024-10-10"]}
    plot = figure(300, xaxis=ticks, yaxis={"range": [0, 20]}).add_trace(line())
    places = {
        one.text: float(one.attrib["x"])
        for one in svg_of(plot).iter("tspan")
        if one.text is not None
    }
    assert places["2024-10-10"] == pytest.approx(WIDE - 10 * 8.3 / 2, abs=0.05)
    assert places["middle"] == pytest.approx((WIDE - 14 + places["first"]) / 2, abs=0.2)


def test_gaps_are_bridged_where_the_figure_says_so() -> None:
    plot = figure(300).add_trace(line(y=[1.0, None, 3.0], connectgaps=True))
    (points,) = paths(svg_of(plot), "stroke-dasharray")
    assert len(points) == 4
    plot = figure(300).add_trace(line(y=[1.0, None, 3.0]))
    assert svg_of(plot).find(".//path[@stroke-dasharray]").attrib["d"].count("M") == 2  # type: ignore[union-attr]


def test_bars_that_are_stacked_stand_on_one_another() -> None:
    plot = figure(300, barmode="stack", bargap=0.5, yaxis={"range": [0, 4]})
    for colour, values in ((BLUE, [1.0, 2.0]), (GREEN, [3.0, 2.0])):
        marker = {"color": colour, "line": {"width": 0}}
        plot.add_trace(go.Bar(x=[1, 2], y=values, marker=marker, hovertemplate="%{y:.1f}"))
    bars = paths(svg_of(plot))
    standing = [bar for bar in bars if len(bar) == 5]
    assert len(standing) == 4
    # Each is M left foot, V top, H right, V foot.
    (_, foot, top, _, _), _, (_, foot_above, top_above, _, _), _ = standing
    assert foot_above == pytest.approx(top, abs=0.1)
    assert (foot - top) * 4 == pytest.approx(foot - top_above, abs=0.5)


def test_words_of_marks_are_text_and_come_with_their_values() -> None:
    plot = figure(300).add_trace(
        go.Scatter(
            x=[0, 1],
            y=[0.5, -1.25],
            mode="markers",
            marker={"color": GREY, "size": 8},
            customdata=["oak", "&lt;b&gt;"],
            hovertemplate="%{customdata}<br>%{y:+.2f}<extra></extra>",
        )
    )
    assert [one.text for one in svg_of(plot).iter("title")] == ["oak, +0.50", "<b>, -1.25"]


def test_a_violin_is_as_wide_as_it_may_where_most_values_are() -> None:
    values = [0.0] + [5.0] * 30 + [10.0]
    violin = go.Violin(
        x=[0] * len(values),
        y=values,
        width=1.0,
        points=False,
        line={"color": BLUE, "width": 1},
        fillcolor=soft(BLUE),
    )
    plot = figure(300, xaxis={"range": [-0.5, 0.5]}, yaxis={"range": [0, 10]}).add_trace(violin)
    svg = svg_of(plot)
    numbers = next(one for one in paths(svg) if len(one) > 100)
    across, heights = numbers[::2], numbers[1::2]
    widest = across.index(max(across))
    assert max(across) == pytest.approx(WIDE - 14, abs=0.2)
    assert heights[widest] == pytest.approx((min(heights) + max(heights)) / 2, abs=3)
    assert "31 homes" not in "".join(one.text or "" for one in svg.iter("title"))
    assert "32 homes, from 0.000 to 10.000, median 5.000" in "".join(svg.itertext())


def test_both_widths_have_the_same_words() -> None:
    plot = figure(300, showlegend=True)
    for name in ("training loss", "validation loss of a long name", "another one"):
        plot.add_trace(line(name=name))
    plot.update_xaxes(title_text="round", tickformat="d")
    wide, narrow = (ET.fromstring(one) for one in drawings(plot))  # noqa: S314 - our own
    assert wide.attrib["viewBox"] == f"0 0 {WIDE} 300"
    assert narrow.attrib["viewBox"] == f"0 0 {NARROW} 300"
    for svg in (wide, narrow):
        said = " ".join(svg.itertext())
        assert all(words in said for words in ("training loss", "of a long name", "round"))


@pytest.mark.parametrize(
    "strange", [go.Heatmap(z=[[1.0]]), go.Scatter(x=[1], y=[1], fill="tozeroy")]
)
def test_what_is_not_drawn_is_refused(strange: Any) -> None:
    with pytest.raises((PluginError, RunError), match=r"heatmap|fill"):
        drawings(figure(300).add_trace(strange))


@given(st.lists(FINITE, min_size=1, max_size=20), st.integers(2, 10))
def test_ticks_stand_on_the_axis_and_are_not_too_many(values: list[float], most: int) -> None:
    axis = axis_of({}, values)
    ticks = axis.ticks(most)
    assert len(ticks) <= most + 1
    assert all(-1e-6 <= axis.share(tick.at) <= 1 + 1e-6 for tick in ticks)
    assert len({tick.label for tick in ticks}) == len(ticks)
    assert all(0 <= axis.share(value) <= 1 for value in values)


@given(st.integers(0, 4_000_000_000), st.integers(60, 400_000_000), st.integers(2, 8))
def test_dates_have_few_ticks_on_whole_steps(begin: int, span: int, most: int) -> None:
    axis = axis_of({}, [begin, begin + span], dates=True)
    ticks = axis.ticks(most)
    assert len(ticks) <= most + 1
    assert all(tick.at % 60 == 0 for tick in ticks)


def test_whole_numbers_have_whole_ticks() -> None:
    axis = axis_of({"tickformat": "d"}, [1.0, 3.0])
    assert [tick.label for tick in axis.ticks(10)] == [("1",), ("2",), ("3",)]
    axis = axis_of({"ticksuffix": " %"}, [-1500.0, 0.0])
    assert [tick.label[0] for tick in axis.ticks(3)] == ["\N{MINUS SIGN}1,000 %", "0 %"]
    assert moment("1970-01-02T00:00:00") == 86_400


@given(st.text())
def test_text_is_text(text: str) -> None:
    assert not re.search("[<>]", plain(text))
