"""The axes of a figure as it is drawn: which values they show, and where ticks stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

_DAY: Final = 86_400
_STEPS_S: Final = (
    *(60, 300, 900, 3_600, 10_800, 21_600, 43_200),
    *(_DAY * days for days in (1, 2, 7, 14, 30, 91, 182, 365, 730, 1_825)),
)
_HEADROOM: Final = 0.05
"""Share of an axis that stays free beyond the values on it."""


class Tick(NamedTuple):
    """A tick.

    Args:
        at: Its value.
        label: Its lines of text, as HTML's entities have them.
    """

    at: float
    label: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FigureAxis:
    """One axis.

    Args:
        settings: As Plotly has them.
        low: The least value that it shows.
        high: The greatest.
        dates: Whether values are seconds since 1970.
    """

    settings: Mapping[str, Any]
    low: float
    high: float
    dates: bool = False

    @property
    def title(self) -> str:
        """What stands beside it."""
        return str(self.settings.get("title", {}).get("text", ""))

    @property
    def labelled(self) -> bool:
        """Whether its ticks have text: of axes that are shared, the last alone."""
        return bool(self.settings.get("showticklabels", True))

    def share(self, value: float) -> float:
        """Return where a value stands, from 0 (low) to 1 (high)."""
        return (value - self.low) / ((self.high - self.low) or 1.0)

    def ticks(self, most: int) -> list[Tick]:
        """Return its ticks, about as many as there is room for."""
        if "tickvals" in self.settings:
            pairs = zip(self.settings["tickvals"], self.settings["ticktext"], strict=True)
            return [Tick(float(at), tuple(str(label).split("<br>"))) for at, label in pairs]
        if self.dates:
            return _dated(self.low, self.high, most)
        whole = self.settings.get("tickformat") == "d"
        step = _step((self.high - self.low) / max(1, most), whole=whole)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        suffix = str(self.settings.get("ticksuffix", ""))
        return [
            Tick(index * step, (_number(index * step, step) + suffix,))
            for index in range(first, last + 1)
        ]


def axis_of(
    settings: Mapping[str, Any], values: Sequence[float], *, dates: bool = False
) -> FigureAxis:
    """Return an axis that shows some values.

    Args:
        settings: As Plotly has them.
        values: What is drawn on it; where there is a range, that counts alone.
        dates: Whether values are seconds since 1970.
    """
    if "range" in settings:
        low, high = map(float, settings["range"])
        return FigureAxis(settings=settings, low=low, high=high, dates=dates)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = _HEADROOM * (high - low) or abs(high) or 1.0
    # Bars stand on their axis: no room below them.
    below = 0.0 if low == 0.0 else room
    above = 0.0 if high == 0.0 and low < 0.0 else room
    return FigureAxis(settings=settings, low=low - below, high=high + above, dates=dates)


def moment(value: str) -> float:
    """Return a date of Plotly's as seconds since 1970."""
    return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp()


def _step(least: float, *, whole: bool) -> float:
    """Return the next step of 1, 2 or 5 times a power of ten."""
    least = max(least, 1.0) if whole else least or 1.0
    power = 10.0 ** math.floor(math.log10(least) + 1e-9)
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def _number(value: float, step: float) -> str:
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value + 0.0:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _dated(low: float, high: float, most: int) -> list[Tick]:
    least = (high - low) / max(1, most)
    step = next((step for step in _STEPS_S if step >= least), _STEPS_S[-1])
    form = "%b %d, %H:%M" if step < _DAY else "%Y-%m-%d"
    first, last = math.ceil(low / step), math.floor(high / step)
    return [
        Tick(index * step, (datetime.fromtimestamp(index * step, UTC).strftime(form),))
        for index in range(first, last + 1)
    ]
