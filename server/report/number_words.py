"""Numbers as a report writes them: scores, shares, durations and sizes."""

from __future__ import annotations

import math
from typing import Final

NOTHING: Final = "\N{EN DASH}"


def number(value: float) -> str:
    """Return a score with three decimals."""
    return NOTHING if math.isnan(value) else f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Return a difference of scores with its sign and three decimals."""
    return NOTHING if math.isnan(value) else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def share(value: float) -> str:
    """Return a share as whole per cent; what is not quite none or all does not look like it."""
    if math.isnan(value):
        return NOTHING
    if 0 < value < 0.01:  # noqa: PLR2004
        return "<1 %"
    return ">99 %" if 0.99 < value < 1 else f"{value:.0%}".replace("%", " %")  # noqa: PLR2004


def p_value(value: float) -> str:
    """Return a p-value with two significant digits, or that it is below 0.001."""
    if math.isnan(value):
        return NOTHING
    return "<0.001" if value < 0.001 else f"{value:.2g}"  # noqa: PLR2004


def duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_rest = divmod(minutes, 60)
    return f"{hours} h {minutes_rest} min" if hours else f"{minutes} min {rest} s"


def size(amount: float) -> str:
    """Return bytes in a handy unit."""
    unit, factor = byte_unit(amount)
    return f"{amount / factor:.3g} {unit}"


def byte_unit(most: float) -> tuple[str, float]:
    """Return the decimal unit in which ``most`` bytes are a handy number, and its size."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if most >= factor:
            return unit, factor
    return "bytes", 1.0
