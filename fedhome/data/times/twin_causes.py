"""Why rows have one time but differ: a column that tells them apart, and the way out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.files.data_files import Raw
from fedhome.data.times.axis import Axis
from fedhome.data.times.column_cells import are_numbers, is_number_type, plain_column, to_numbers
from fedhome.data.times.column_looks import look_at
from fedhome.data.times.time_cells import MOMENT, parse
from fedhome.data.times.time_columns import is_clock_column
from fedhome.data.times.time_names import is_exact_clock
from fedhome.data.times.time_reading import NO_DAY
from fedhome.data.times.twins import column_codes
from fedhome.data.times.zones import DAY_S
from fedhome.data.told_once import some
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

_FEW_OF = 100
_SLIPS = 2  # rows that may be lost from a small file
_SMALL_HOURS_S = 4 * 3600  # on the clock: all zones set theirs back before
_APART_DAYS = 300  # clocks are set back once a year
_LOOKED_AT = 50_000  # rows of one time that are compared to find the column
_HOMES = re.compile(
    r"home|house|lclid|meter|dataid|customer|site|mprn|mpan|ean|cups|nmi|building|client|user|"
    r"z[aä]hler|contador|pdl|prm|dwelling|apartment|participant|subject|messpunkt|malo|melo"
)
_READINGS = re.compile(
    r"entity|device|register|sensor|variable|item|measure|parameter|channel|metric|field|type|"
    r"statistic|name|tag|series|appliance|obis|direction|kind|attribute|room|zone"
)
# Names that say nothing else, so that no overlap in time is needed to believe them.
_OF_HOMES = re.compile(
    r"lclid|data_?id|household(_?id)?|(home|house|meter|customer|building|site)_?id|mprn|mpan|nmi|"
    r"cups|pdl|prm"
)
_OF_READINGS = re.compile(r"entity_?id|statistic_?id|sensor_?id|variable|metric|obis|register")
_VALUES = re.compile(r"state|value|valor|wert|valeur|mean|reading|consum|volume|kwh|energy|_value")


def check_twins(
    raw: Raw, axis: Axis, *, times: Sequence[str], settings: ReadingSettings | None = None
) -> None:
    """Refuse rows of which many have the time of another row but hold something else.

    Up to 1 % of the rows may: of these the last row of a time is kept, which the axis notes.

    Args:
        raw: The rows.
        axis: Their times.
        times: The columns that the times stand in.
        settings: How cells are read.

    Raises:
        SourceError: More than 1 % of the rows were left out; says which column tells rows of
            one time apart, and the setting that makes use of it.
    """
    count = raw.rows.num_rows
    if axis.twins <= count // _FEW_OF:
        return
    where = raw.files[0][0]
    lost = f"{axis.twins} of {count} rows have the time of another row but hold something else"
    if axis.naive and _clocks_set_back(axis):
        raise SourceError(
            f"{where}: {lost}, all of them in hours in which clocks may be set back",
            hint='name the zone in which they are: data.time_zone = "Europe/Berlin"',
        )
    settings = settings or ReadingSettings()
    others = [name for name in raw.rows.column_names if name not in times]
    rows, group = _looked_at(axis)
    apart = [name for name in others if _tells_apart(raw.rows[name].take(pa.array(rows)), group)]
    if len(times) == 1 and _one_time_of_day(axis):
        clock = next((n for n in others if is_clock_column(raw.rows[n], n, settings)), None)
        if clock is not None:
            if look_at(raw.rows[times[0]], times[0], settings).kind == "span":
                raise SourceError(
                    f"{where}: {lost}: {times[0]!r} holds months or weeks, and {clock!r} a time of "
                    "day, but nothing says the day",
                    hint=NO_DAY,
                )
            raise SourceError(
                f"{where}: {lost}: the time of day is in another column, {clock!r}",
                hint=f'name both columns: data.time = ["{times[0]}", "{clock}"]',
            )
        named = next((n for n in others if _is_unread_clock(raw.rows[n], n)), None)
        if named is not None:
            raise SourceError(
                f"{where}: {lost}: the column {named!r} is called one of clock times, but its "
                "cells cannot be read as such",
                hint="write in it when each row begins, as in 14:30",
            )
    names = sorted(
        (name for name in apart if _is_name(raw.rows[name], name)),
        key=lambda name: not (_HOMES.search(name.lower()) or _READINGS.search(name.lower())),
    )
    if names:
        raise _told_apart(raw, where, lost, names[0], [n for n in others if n not in names])
    if axis.twins <= _SLIPS:
        return
    raise SourceError(f"{where}: {lost}, and no column tells them apart", hint=_one_row(raw))


def _one_row(raw: Raw) -> str:
    """Return what helps where rows of one time differ and nothing tells them apart."""
    if len(raw.files) == 1:
        return "keep one row for each time"
    return (
        "the files of one sub-folder, or of one archive, are read as one home's: where each is of "
        "a home of its own, put them (unpacked) into the folder itself; where each holds other "
        "columns, put them side by side into one file; else keep one row for each time"
    )


def check_names(raw: Raw, times: Sequence[str], sources: Mapping[str, str]) -> None:
    """Refuse rows of several homes, or of one reading each, also where all their times differ.

    Args:
        raw: The rows.
        times: The columns that the times stand in.
        sources: What a plan calls each column: one that it gives another name is a reading.

    Raises:
        SourceError: A column names the home or the entity of each row, and there are several.
    """
    others = [name for name in raw.rows.column_names if name not in times]
    for name in others:
        called = sources[name].lower()
        if not (_OF_HOMES.fullmatch(called) or _OF_READINGS.fullmatch(called)):
            continue
        if _is_name(raw.rows[name], name):
            count = pc.count_distinct(raw.rows[name]).as_py()
            what = f"it holds {count} names, and each row belongs to one of them"
            rest = [n for n in others if n != name]
            error = _told_apart(raw, raw.files[0][0], what, name, rest)
            kept = f'data.rename = {{"{name}" = "{name}_word"}} keeps it as a reading'
            raise SourceError(error.message, hint=f"{error.hint}; {kept}")


def _told_apart(raw: Raw, where: str, lost: str, name: str, others: Sequence[str]) -> SourceError:
    numeric = [one for one in others if _is_numeric(raw.rows[one])]
    values = [one for one in numeric if _VALUES.search(one.lower())] or numeric
    split = f'data.home_column = "{name}" makes a home of each of its names'
    if _HOMES.search(name.lower()) and not re.search(r"register|entity", name.lower()):
        return SourceError(f"{where}: several homes in one file, column {name}: {lost}", hint=split)
    if values:
        pivot = f'data.pivot = ["{name}", "{values[0]}"] makes a column of each of its names'
        if len(values) > 1:
            pivot += f" (or {some([repr(one) for one in values[1:]])} in the place of the values)"
        hint = f"{pivot}; {split}"
    else:
        hint = split
    return SourceError(f"{where}: the column {name!r} tells rows apart: {lost}", hint=hint)


def _one_time_of_day(axis: Axis) -> bool:
    """Tell whether times are days or longer: all of one time of day, but for summer time."""
    return len(np.unique(axis.time_s % DAY_S)) <= 2  # noqa: PLR2004


def _clocks_set_back(axis: Axis) -> bool:
    """Tell whether pairs of one time are in the small hours only, of one day in a year."""
    seconds = axis.time_s[axis.twin_places]
    clock = seconds % DAY_S
    nights = bool(np.all((clock > 0) & (clock <= _SMALL_HOURS_S)))
    pairs = len(np.unique(axis.twin_places)) == axis.twins
    days = np.unique(seconds // DAY_S)
    return nights and pairs and bool(np.all(np.diff(days) > _APART_DAYS))


def _looked_at(axis: Axis) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of shared times, and a number for each time."""
    left, places = axis.twin_rows[:_LOOKED_AT], axis.twin_places[:_LOOKED_AT]
    kept = np.unique(places)
    return np.concatenate([left, axis.rows[kept]]), np.concatenate([places, kept])


def _tells_apart(column: pa.ChunkedArray, group: NDArray[np.int64]) -> bool:
    codes = column_codes(plain_column(column))
    if not len(codes):
        return False
    both = group * (int(codes.max()) + 1) + codes
    repeated = len(both) - len(np.unique(both))
    return repeated <= len(both) // _FEW_OF


def _is_name(column: pa.ChunkedArray, name: str) -> bool:
    """Tell whether a column holds names or numbers of things, each in many rows: no readings."""
    column = plain_column(column)
    kind = column.type
    if pa.types.is_nested(kind) or pa.types.is_null(kind) or pa.types.is_temporal(kind):
        return False
    text = pa.types.is_string(kind)
    if is_number_type(kind) or (text and _is_numeric(column)):
        numbers = to_numbers(column.drop_null())
        if np.any(numbers % 1) or not (
            _HOMES.search(name.lower()) or _READINGS.search(name.lower())
        ):
            return False
    elif not text:
        return False
    distinct = pc.count_distinct(column).as_py()
    return bool(1 < distinct <= max(len(column) // 2, 2))


def _is_unread_clock(column: pa.ChunkedArray, name: str) -> bool:
    """Tell whether a column has the name of clock times and text with digits in every cell."""
    column = plain_column(column)
    if not is_exact_clock(name) or not pa.types.is_string(column.type):
        return False
    cells = pc.utf8_trim_whitespace(column.drop_null())
    digits = bool(len(cells)) and bool(pc.all(pc.match_substring_regex(cells, r"\d")).as_py())
    return digits and not bool(np.any(parse(cells).kinds == MOMENT))  # such as an interval's begin


def _is_numeric(column: pa.ChunkedArray) -> bool:
    column = plain_column(column)
    if is_number_type(column.type):
        return True
    if not pa.types.is_string(column.type):
        return False
    cells = pc.utf8_trim_whitespace(column.drop_null())
    cells = cells.filter(pc.not_equal(cells, ""))  # of statistics, each row fills some columns
    return bool(len(cells)) and 2 * int(pc.sum(are_numbers(cells)).as_py() or 0) > len(cells)
