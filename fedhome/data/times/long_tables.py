"""Files with several rows for one time: of many homes, or one for each reading."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.counted import counted, was
from fedhome.data.columns.unit_columns import mixed_units
from fedhome.data.files.data_files import Raw
from fedhome.data.times.axis import read_moments, told_untimed
from fedhome.data.times.column_cells import plain_column
from fedhome.data.times.time_cells import SECOND_US
from fedhome.data.times.time_columns import find_times
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.spelling import did_you_mean

_FEW_OF = 100  # of this many rows one may be another's double
_MOST_NAMES = 2_000  # columns that a pivot may make
_MOST_CELLS = 200_000_000  # cells, empty ones too, that a pivot may make
_MOST_UNITS = 100  # different ones in a column
_MOST_LETTERS = 64  # of a home's name


def homes_of(raw: Raw, column: str) -> dict[str, Raw]:
    """Return each home's rows of files that hold many homes, by the homes' names.

    Names are made fit for a home's name: letters, digits, ``_ . -``. The column itself is left
    out of the homes' rows.

    Args:
        raw: The rows of all homes.
        column: The column that names each row's home.

    Raises:
        SourceError: There is no such column, it names nothing, or two names become one.
    """
    _require(raw, column, "data.home_column")
    codes, words = _codes(raw.rows[column])
    notes = list(raw.notes)
    if missing := int(np.sum(codes < 0)):
        notes.append(
            f"{counted(missing, 'row')} without a home in column {column!r} {was(missing)} left out"
        )
    if not words:
        raise SourceError(
            f"{raw.files[0][0]}: the column {column!r} names no home",
            hint="data.home_column is the column that names each row's home",
        )
    names = _home_names(
        words, column, where=lambda place: raw.location(int(np.argmax(codes == place)))
    )
    order, bounds = _grouped(codes, len(words))
    rows = raw.rows.drop_columns([column])
    places = order if raw.places is None else raw.places[order]
    if len(order) < len(codes) or bool(np.any(np.diff(order) != 1)):
        rows = rows.take(pa.array(order))
    rows = rows.combine_chunks()
    homes: dict[str, Raw] = {}
    for name, first, end in zip(names, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        homes[name] = replace(
            raw,
            rows=rows.slice(first, end - first),
            places=places[first:end],
            notes=tuple(notes) if not homes else raw.notes,
        )
    return homes


def pivoted(raw: Raw, settings: ReadingSettings, *, arriving: bool = False) -> Raw:
    """Return rows of one reading each as a table with a row a time and a column a reading.

    The first column is the time, whatever columns it came from.

    Args:
        raw: The rows, with a column of names and a column of values.
        settings: ``pivot`` names these two columns; the others say how times are read.
        arriving: The rows are of a stream, where it is no news that some have one time.

    Raises:
        SourceError: No such columns, rows without times, or too many names.
    """
    if len(settings.pivot) != 2:  # noqa: PLR2004  (names and values)
        raise SourceError(
            f"data.pivot names {len(settings.pivot)} columns instead of two",
            hint='it names the column of names and that of values: ["entity_id", "state"]',
        )
    for column in settings.pivot:
        _require(raw, column, "data.pivot")
    name_column, value_column = settings.pivot
    found = find_times(raw.rows.drop_columns([value_column]), settings, file=raw.files[0][0])
    if not found.names:
        raise SourceError(
            f"{raw.files[0][0]}: a table can be pivoted only where its rows have a time",
            hint='name the column of times: data.time = "last_changed"',
        )
    series, words = _codes(raw.rows[name_column])
    notes = [*raw.notes, *found.notes]
    moments = read_moments(raw.rows, found.names, settings, location_of=raw.location, series=series)
    notes += moments.notes
    named = series[moments.rows] >= 0
    seconds, rows = (moments.us // SECOND_US)[named], moments.rows[named]
    order = np.argsort(moments.us[named], kind="stable")
    seconds, rows, names = seconds[order], rows[order], series[rows[order]]
    times, place = np.unique(seconds, return_inverse=True)
    _refuse_wide(len(words), len(times), name_column)
    notes += told_untimed(len(series), moments.rows, found.names, raw.location)
    if missing := int(np.sum(series < 0)):
        notes.append(
            f"{counted(missing, 'row')} without a name in column {name_column!r} "
            f"{was(missing)} left out"
        )
    values = plain_column(raw.rows[value_column])
    left = [n for n in raw.rows.column_names if n not in {*found.names, *settings.pivot}]
    _refuse_several(raw, left, moments.us[named][order], rows, name_column)
    groups = _grouped(names, len(words))
    columns, twins = _columns(values, rows, place, groups, height=len(times))
    if twins:
        notes.append(
            f"{counted(twins, 'row')} with the time and the name in {name_column!r} of a later row "
            f"{was(twins)} left out"
        )
    joined = len(rows) - twins - len(times)
    if joined and not arriving:
        notes.append(
            f"{counted(joined, 'row')} {'stands' if joined == 1 else 'stand'} in one row with "
            "others of the same second: a row holds what all columns were then"
        )
    if left:
        notes.append(f"left out by the pivot: {', '.join(left)}")
        notes += _mixed(raw.rows.select(left), series, words)
    time_name = found.names[0]
    header = [f"{time_name} (time)" if time_name in words else time_name, *words]
    utc = pa.array(times, pa.timestamp("s", tz=moments.time_zone))
    firsts = np.full(len(times), len(raw.rows), dtype=np.int64)
    np.minimum.at(firsts, place, rows)
    return replace(
        raw,
        rows=pa.table([utc, *columns], names=header),
        notes=tuple(notes),
        places=firsts if raw.places is None else raw.places[firsts],
    )


def _refuse_several(
    raw: Raw, left: Sequence[str], us: NDArray[np.int64], rows: NDArray[np.int64], name: str
) -> None:
    """Refuse rows of one moment and one name that a column beside tells apart: of several homes."""
    series = _codes(raw.rows[name])[0][rows]
    doubled = _repeats(us, series)
    if doubled <= len(rows) // _FEW_OF:
        return
    for column in left:
        codes, words = _codes(raw.rows[column])
        # A number of each row tells all of them apart, and says nothing.
        if 1 < len(words) <= len(rows) // 2 and not _repeats(us, series, codes[rows]):
            raise SourceError(
                f"{raw.files[0][0]}: {doubled} of {len(rows)} rows have the time and the name in "
                f"{name!r} of another row: the column {column!r} tells them apart",
                hint=f'data.home_column = "{column}" makes a home of each of its names',
            )


def _repeats(*keys: NDArray[np.int64]) -> int:
    """Return how many rows have all keys of another row."""
    order = np.lexsort(keys)
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for key in keys:
        same &= np.diff(key[order]) == 0
    return int(same.sum())


def _columns(
    values: pa.ChunkedArray,
    rows: NDArray[np.int64],
    place: NDArray[np.int64],
    groups: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    height: int,
) -> tuple[list[pa.ChunkedArray], int]:
    """Return a column for each name ``[times]``, and how many rows a later one stands for."""
    order, bounds = groups
    columns, twins = [], 0
    for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        own = order[first:end]
        last = np.append(np.diff(place[own]) != 0, True) if len(own) else np.empty(0, bool)
        twins += int(np.sum(~last))
        chosen = np.zeros(height, dtype=np.int64)
        empty = np.ones(height, dtype=bool)
        chosen[place[own[last]]] = rows[own[last]]
        empty[place[own[last]]] = False
        columns.append(values.take(pa.array(chosen, mask=empty)))
    return columns, twins


def _mixed(left: pa.Table, series: NDArray[np.int64], words: Sequence[str]) -> list[str]:
    """Return a sentence for each series whose rows have different units in another column."""
    notes = []
    for column in left.column_names:
        if not pa.types.is_string(plain_column(left[column]).type):
            continue
        codes, units = _codes(left[column])
        if len(units) > _MOST_UNITS or not mixed_units(units):
            continue
        for number, word in enumerate(words):
            own = np.unique(codes[(series == number) & (codes >= 0)]).tolist()
            if mixed := mixed_units([units[unit] for unit in own]):
                notes.append(
                    f"column {column!r} gives some rows of {word!r} in {mixed}: no reading was "
                    "converted by it"
                )
    return notes


def _refuse_wide(names: int, times: int, column: str) -> None:
    if not names:
        raise SourceError(
            f"the column {column!r} names no reading",
            hint='data.pivot names the column of names and that of values: ["entity_id", "state"]',
        )
    if names > _MOST_NAMES or names * times > _MOST_CELLS:
        raise SourceError(
            f"the column {column!r} holds {names} different names: a pivot would make a column "
            f"of {times} rows for each",
            hint="data.pivot names the column of names first, then that of values",
        )


def _require(raw: Raw, column: str, setting: str) -> None:
    names = raw.rows.column_names
    if column not in names:
        raise SourceError(
            f"{raw.files[0][0]} has no column {column!r}{did_you_mean(column, names)}",
            hint=f"{setting} names it; the file's columns are: {', '.join(names)}",
        )


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Return each row's index into the sorted distinct words ``[rows]``; -1 where there is none."""
    column = plain_column(column)
    if pa.types.is_floating(column.type):
        whole = pc.cast(column, pa.int64(), safe=False)
        same = pc.all(pc.equal(whole.cast(pa.float64()), column)).as_py()
        column = whole if same else column
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    encoded = text.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    distinct = encoded.dictionary.to_pylist()
    words = sorted(word for word in distinct if word and word.lower() not in {"nan", "null"})
    place = {word: number for number, word in enumerate(words)}
    recoded = np.array([place.get(word, -1) for word in distinct], dtype=np.int64)
    codes = np.asarray(encoded.indices.fill_null(-1), dtype=np.int64)
    if not len(recoded):
        return np.full(len(codes), -1, dtype=np.int64), []
    return np.where(codes < 0, -1, recoded[codes]), words


def _grouped(codes: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows group by group, each in the order of the file, and the groups' bounds."""
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(count + 1))
    return order[bounds[0] :], bounds - bounds[0]


def _home_names(words: Sequence[str], column: str, where: Callable[[int], str]) -> list[str]:
    names: dict[str, int] = {}
    for place, word in enumerate(words):
        name = re.sub(r"[^\w.-]+", "-", word).strip("-.")[:_MOST_LETTERS] or "home"
        name = name if re.match(r"\w", name) else f"home-{name}"
        if (first := names.setdefault(name, place)) != place:
            raise SourceError(
                f"the column {column!r} holds names of homes that become the same in ours, of "
                f"which only {_MOST_LETTERS} letters, digits, '_', '.' and '-' stay: those in "
                f"{where(first)} and in {where(place)}",
                hint="give every home a name of letters and digits of its own",
            )
    return list(names)
