"""Numbers as times: since 1970, days of a spreadsheet, dates in digits; or hours of a day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.times.time_cells import DAY_US, SECOND_US, parse

# From 1989 to 2191: what lies outside in every unit counts steps, or is a date in digits.
_EPOCH_S = (6e8, 7e9)
_UNITS = {1: "seconds", 1_000: "milliseconds", 1_000_000: "microseconds", 10**9: "nanoseconds"}
SHEET_DAYS = "days of a spreadsheet"
"""How times that a spreadsheet counts in days are called."""

# Ticks of .NET, 100 ns since the year 1, reach this up to the year 3000: so no nanoseconds before
# 2000 are read.
_LEAST_NS = 946_684_800 * 10**9
# Days of a spreadsheet from 1990 to 2099; its day 25569 is the first of 1970.
_SHEET_DAYS = (32_874, 73_050)
_SHEET_1970 = 25_569
_MINUTE_US = 60 * SECOND_US
_TENS_S = 10
_DIGITS = r"^[+-]?\d+(?:[.,](?P<finer>\d*))?(?:[eE]\+?(?P<power>-?\d+))?$"
_DATE_DIGITS = (8, 12, 14)
_HOURLY_DIGITS = 10  # YYYYMMDDhh
_MOST_S = 1e11  # beyond the year 5000 on either side
_MOST_HOURS = 25  # a day has them when clocks are set back


@dataclass(frozen=True, kw_only=True)
class NumberTimes:
    """Numbers as times.

    Args:
        us: Microseconds since 1970, int64 ``[cells]``.
        bad: Which are no times, ``[cells]``.
        aware: Whether they are UTC; otherwise they are a local clock's.
        format: How times are written, in words.
    """

    us: NDArray[np.int64]
    bad: NDArray[np.bool_]
    aware: bool
    format: str


def few(bad: int, count: int) -> bool:
    """Tell whether cells that make no sense are few enough to be left out: a total, a slip.

    Args:
        bad: Number of such cells.
        count: Number of all cells.
    """
    return bad <= max(count // 100, 2 if count >= 20 else 0)  # noqa: PLR2004  (rows of a day)


def times_of_numbers(numbers: NDArray[np.float64]) -> NumberTimes | None:
    """Return numbers as times by the range that they lie in; None if they are none.

    Args:
        numbers: Float64 ``[cells]``; what is not finite is no time.
    """
    finite = np.isfinite(numbers)
    if not finite.any():
        return None
    digits = _from_digits(numbers[finite])
    if digits is not None:
        us = np.zeros(len(numbers), dtype=np.int64)
        us[finite], written = digits
        return NumberTimes(us=us, bad=~finite, aware=False, format=written)
    least, most = _EPOCH_S
    for unit, word in _UNITS.items():
        low = _LEAST_NS if unit == 10**9 else least * unit
        outside = ~((numbers >= low) & (numbers <= most * unit))
        if few(int(outside.sum()), len(numbers)):
            seconds = np.where(finite, numbers, 0) / unit
            far = ~finite | (np.abs(seconds) > _MOST_S)
            us = np.floor(np.where(far, 0, seconds) * SECOND_US).astype(np.int64)
            return NumberTimes(us=us, bad=far, aware=True, format=f"{word} since 1970")
    least, most = _SHEET_DAYS
    outside = ~((numbers >= least) & (numbers <= most))
    if few(int(outside.sum()), len(numbers)):
        seconds = np.round((np.where(outside, least, numbers) - _SHEET_1970) * 86_400)
        us = seconds.astype(np.int64) * SECOND_US
        return NumberTimes(us=us, bad=outside, aware=False, format=SHEET_DAYS)
    return None


def units_since_1970(numbers: NDArray[np.float64]) -> tuple[str, ...]:
    """Return the units of numbers since 1970 where some are of one and some of another; else none.

    Args:
        numbers: Float64 ``[cells]``.
    """
    least, most = _EPOCH_S
    within = {
        word: (numbers >= least * unit) & (numbers <= most * unit) for unit, word in _UNITS.items()
    }
    told = tuple(word for word, some in within.items() if some.any())
    outside = len(numbers) - sum(int(some.sum()) for some in within.values())
    return told if len(told) > 1 and few(outside, len(numbers)) else ()


def cut_to_s(cells: pa.ChunkedArray, found: NumberTimes) -> float:
    """Return to how many seconds numbers were cut before they came here; 0 where they were not.

    Spreadsheets save 1709251200000 as 1.70925E+12, and a time as 45352.04, if told no better;
    numbers of 32 bits keep seven digits. All times that are whole minutes were not cut.

    Args:
        cells: The numbers as they came, text or numbers, ``[cells]``.
        found: What :func:`times_of_numbers` says of them.
    """
    unit = {f"{word} since 1970": 1 / per for per, word in _UNITS.items()} | {SHEET_DAYS: 86_400}
    if found.format not in unit or not np.any(found.us[~found.bad] % _MINUTE_US):
        return 0
    if pa.types.is_float32(cells.type) or pa.types.is_float16(cells.type):
        most = pc.max(cells).as_py()
        bits = np.float32 if pa.types.is_float32(cells.type) else np.float16
        finest = float(np.spacing(bits(most)))
    elif pa.types.is_string(cells.type):
        parts = pc.extract_regex(cells, _DIGITS)
        digits = pc.utf8_length(pc.struct_field(parts, "finer"))
        power = pc.struct_field(parts, "power")
        power = pc.cast(pc.if_else(pc.equal(power, ""), "0", power), pa.int64())
        finest = 10.0 ** (pc.min(pc.subtract(power, digits)).as_py() or 0)
    else:
        return 0
    seconds = round(finest * unit[found.format], 6)
    # 1.70925123E9 is how programs write a time of whole ten seconds: no spreadsheet leaves so many.
    return 0 if seconds <= 1 or seconds == _TENS_S else seconds


def _from_digits(numbers: NDArray[np.float64]) -> tuple[NDArray[np.int64], str] | None:
    """Return numbers such as 20231231 or 202312312345 as times; None if one is none."""
    if np.any(numbers < 10**7) or np.any(numbers >= 10**14 * 10) or np.any(numbers % 1):
        return None
    whole = numbers.astype(np.int64)
    lengths = {len(str(int(edge))) for edge in (whole.min(), whole.max())}
    if lengths == {_HOURLY_DIGITS}:
        whole, lengths, hourly = whole * 100, {12}, True
    else:
        hourly = False
    if len(lengths) != 1 or not lengths <= set(_DATE_DIGITS):
        return None
    parsed = parse(pa.chunked_array([pa.array(whole).cast(pa.string())]))
    years = parsed.us.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970
    if parsed.bad.any() or np.any((years < 1900) | (years > 2100)):  # noqa: PLR2004  (years of use)
        return None
    written = next(iter(parsed.patterns))
    return parsed.us, written.removesuffix("mm") if hourly else written


@dataclass(frozen=True, kw_only=True)
class ClockNumbers:
    """Numbers as clock times.

    Args:
        us: Microseconds since midnight, int64 ``[cells]``.
        format: How they are written, in words.
        counted: Whether they count a day's hours from 1, also those of a day with 23 or 25.
    """

    us: NDArray[np.int64]
    format: str
    counted: bool = False


def clock_of_numbers(numbers: NDArray[np.float64]) -> ClockNumbers | None:
    """Return numbers as hours of a day, as hhmm or as parts of a day; None if they are none.

    Args:
        numbers: Float64 ``[cells]``.
    """
    if not len(numbers) or not np.all(np.isfinite(numbers)) or np.any(numbers < 0):
        return None
    whole = not np.any(numbers % 1)
    most = float(numbers.max())
    if whole and most <= _MOST_HOURS:
        us = numbers.astype(np.int64) * (DAY_US // 24)
        counted = bool(numbers.min() >= 1) and most >= 23  # noqa: PLR2004  (hours of a short day)
        return ClockNumbers(us=us, format="hours", counted=counted)
    if whole and most <= 2400 and np.all(numbers % 100 < 60):  # noqa: PLR2004  (24:00, minutes)
        hours, minutes = np.divmod(numbers.astype(np.int64), 100)
        return ClockNumbers(us=(hours * 60 + minutes) * 60 * SECOND_US, format="hhmm")
    if most < 1:
        return ClockNumbers(
            us=np.round(numbers * 86_400).astype(np.int64) * SECOND_US, format="parts of a day"
        )
    return None
