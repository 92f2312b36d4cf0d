"""Which number of a date is the day and which the month, as the whole column tells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.data.times.time_cells import DAY_US, Order, Parsed, parse
from fedhome.data.times.time_numbers import few
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

_OFTEN_US = DAY_US // 4
_FORTNIGHT_US = 14 * DAY_US  # a day taken for a month is at least twice as far away
_BACK_US = DAY_US // 8  # clocks that are set back are no disorder


def parse_ordered(
    cells: pa.ChunkedArray,
    settings: ReadingSettings,
    *,
    name: str,
    in_rows: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    notes: list[str],
) -> Parsed:
    """Read a column's distinct cells in the order of day and month that makes sense of all.

    Args:
        cells: Text without nulls, ``[cells]``.
        settings: May say the order.
        name: The column's name, for messages.
        in_rows: Brings values of the distinct cells into the order of the rows.
        notes: Gets a sentence where the order was not plain.

    Raises:
        SourceError: The cells make sense both ways.
    """
    first: Order = settings.dates or "day-first"
    parsed = parse(cells, first)
    if settings.dates or not parsed.separators:
        return parsed
    orders: list[Order] = ["month-first"]
    if parsed.short_years and "-" in parsed.separators:
        orders.append("year-first")
    readings: dict[Order, Parsed] = {"day-first": parsed}
    readings |= {order: parse(cells, order) for order in orders}
    least = min(int(reading.bad.sum()) for reading in readings.values())
    readings = {order: one for order, one in readings.items() if int(one.bad.sum()) == least}
    if not few(least, len(cells)):
        return next(iter(readings.values()))
    order, told = _chosen(readings, in_rows)
    if order is None:
        ways = " and ".join(one.removesuffix("-first") for one in readings)
        raise SourceError(
            f"the dates in column {name!r} make sense in several ways, with {ways} first",
            hint='say which it is: data.dates = "day-first" or data.dates = "month-first"',
        )
    if told:
        notes.append(
            f"the dates in {name!r} were read with the {order.removesuffix('-first')} first, "
            f"because {told}"
        )
    return readings[order]


def _chosen(
    readings: dict[Order, Parsed], in_rows: Callable[[NDArray[np.int64]], NDArray[np.int64]]
) -> tuple[Order | None, str]:
    """Return the order of the readings that make sense, and why where it is not plain."""
    orders = list(readings)
    one = readings[orders[0]]
    if len(orders) == 1:
        return orders[0], ""
    if all(np.array_equal(one.us, other.us) for other in readings.values()):
        return orders[0], ""
    if one.separators == {"."} and "day-first" in readings:
        return "day-first", "their numbers stand between dots"
    times = {order: in_rows(reading.us) for order, reading in readings.items()}
    sorted_ones = [order for order in orders if _is_sorted(times[order])]
    if len(sorted_ones) == 1:
        return sorted_ones[0], "only so the rows are in the order of time"
    dense = [order for order in orders if _is_dense(times[order])]
    if len(dense) == 1:
        return dense[0], "only so the rows follow one another without gaps of a month"
    return None, ""


def _is_sorted(us: NDArray[np.int64]) -> bool:
    step = np.diff(us)
    return bool(np.all(step >= -_BACK_US) or np.all(step <= _BACK_US))


def _is_dense(us: NDArray[np.int64]) -> bool:
    """Tell whether a day has several rows, and the next day with rows comes within a fortnight."""
    step = np.diff(np.unique(us))
    return (
        len(step) > 0
        and bool(np.median(step) < _OFTEN_US)
        and bool(np.max(step) < _FORTNIGHT_US)
        and len(np.unique(us // DAY_US)) > 1
    )
