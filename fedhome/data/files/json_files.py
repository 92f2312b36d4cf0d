"""Files of readings as JSON: an object a line, a list of objects, or what programs wrap them in.

What is read is a table all the same: each object is a row of single values by name. Two shapes of
programs that homes have are known besides: Home Assistant's history (a list for each entity, of
which often the first object alone says which it is) and InfluxDB's ``columns`` and ``values``.
Whatever else lies within each other says nothing of what a row is, and is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedhome.data.files.json_hints import rows_within
from fedhome.data.files.json_rows import Row, checked, loaded, table_of
from fedhome.data.files.packed_files import BLOCK, JSON_SUFFIXES, Source
from fedhome.data.files.table_file import FileTable, named, unreadable
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

MOST_JSON_BYTES = 2**28
"""How long a file may be: as objects it takes some ten times as much memory."""
_HINT = (
    'give an object of single values for each reading, such as {"time": ..., "load_kwh": 0.4}: in '
    "lines of their own, or in a list"
)
_RECORDS = re.compile(rb'\[\s*(\[\s*(\]\s*,\s*\[\s*)*)?\{|\{\s*"results"|\{[^\n]*\}[^\S\n]*\n\s*\{')
_UTF_8 = "save it as JSON in UTF-8"
_LINES = "JSON, an object a line"
_ONE_SERIES = (
    "see whether it tells of an error; ask in one statement for one series, or for CSV (the header "
    "`Accept: application/csv`), in which columns tell series apart"
)
_ENTITY = "entity_id"
_BESIDE = frozenset({"attributes", "context"})
"""Of a state of Home Assistant: what is no reading, and no single value."""


def read_json(source: Source) -> Sequence[FileTable]:
    """Read a file of JSON as a table; numbers and yes and no as they are typed, texts as text.

    Args:
        source: The file.

    Raises:
        SourceError: It is no JSON, too long, or not of a shape of which each row is known.
    """
    blocks, size = [], 0
    with source.opened() as stream:
        # One read of the most would set that much memory aside for the smallest file.
        while size <= MOST_JSON_BYTES and (block := stream.read(BLOCK)):
            blocks.append(block)
            size += len(block)
    if size > MOST_JSON_BYTES:
        raise unreadable(
            source.name,
            f"it has more than {MOST_JSON_BYTES // 2**20} MB, too much for JSON in memory",
            hint="convert it to Parquet or CSV, or divide it by time",
        )
    rows, words, notes = _rows(source.name, b"".join(blocks).removeprefix(b"\xef\xbb\xbf"))
    named(source.name, list(dict.fromkeys(name for row in rows for name in row)))
    return [
        FileTable(
            name=source.name,
            rows=table_of(rows, ReadingSettings()),
            format=f"{words}, in {source.packed}" if source.packed else words,
            notes=tuple(f"{source.name}: {note}" for note in notes),
        )
    ]


def looks_like_records(source: Source) -> bool:
    """Tell by its first bytes whether a file holds readings: much else is written as ``.json``.

    Raises:
        SourceError: It cannot be opened.
    """
    head = source.head(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()
    return source.suffix != JSON_SUFFIXES[0] or bool(_RECORDS.match(head))


def _rows(name: str, data: bytes) -> tuple[list[Row], str, list[str]]:
    """Return the rows of a file, how it is written, and what is to be told."""
    whole = _whole(name, data)
    if whole is None:
        return list(_by_line(name, data)), _LINES, []
    match whole:
        case [[*_], *_] if _are_objects(whole):
            return (*_of_entities(name, whole),)
        case [{}, *_]:
            rows = [_row(name, place, one) for place, one in enumerate(whole, 1)]
            return rows, "JSON, a list of objects", []
        case {"results": [{"series": [{"columns": [*columns], "values": [*values]} as series]}]}:
            return _of_series(name, series, columns, values), "JSON of InfluxDB", []
        case {"results": [*_]}:
            reason = "of InfluxDB's answers those with one series are read, and this is another"
            raise unreadable(name, reason, hint=_ONE_SERIES)
        case dict() if not any(isinstance(one, dict | list) for one in whole.values()):
            return [_row(name, 1, whole)], _LINES, []
    hint = rows_within(whole) or _HINT
    raise unreadable(name, "this JSON does not say what a row is", hint=hint)


def _whole(name: str, data: bytes) -> Any:
    """Return what the whole file says; None where it may say something in each line."""
    is_list = data.lstrip().startswith(b"[")
    try:
        return loaded(data)
    except SourceError as error:
        if not is_list:  # a line has a number that can be told
            return None
        raise unreadable(name, error.message, hint=error.hint) from None
    except UnicodeDecodeError:
        raise unreadable(name, "it is not in UTF-8", hint=_UTF_8) from None
    except json.JSONDecodeError as error:
        if not is_list or error.msg == "Extra data":
            return None
        reason = f"it is no JSON from line {error.lineno}, character {error.colno} on"
        hint = "see whether the whole file came: a list ends with ], and no comma stands before it"
        raise unreadable(name, reason, hint=hint) from None
    except (ValueError, RecursionError):
        return None


def _are_objects(lists: list[Any]) -> bool:
    """Tell whether there are lists of objects; an entity without a state has an empty one."""
    return all(isinstance(one, list) for one in lists) and isinstance(
        next((one[0] for one in lists if one), None), dict
    )


def _by_line(name: str, data: bytes) -> Iterator[Row]:
    there = False
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            there = True
            try:
                yield checked(loaded(line))
            except UnicodeDecodeError:
                reason = f"line {number} is not in UTF-8"
                raise unreadable(name, reason, hint=_UTF_8) from None
            except (ValueError, RecursionError):
                raise unreadable(name, f"line {number} is no JSON", hint=_HINT) from None
            except SourceError as error:
                raise unreadable(name, f"line {number}: {error.message}", hint=error.hint) from None
    if not there:
        raise unreadable(name, "it holds nothing", hint=_HINT)


def _row(name: str, place: int, one: object) -> Row:
    try:
        return checked(one)
    except SourceError as error:
        raise unreadable(name, f"object {place}: {error.message}", hint=error.hint) from None


def _of_entities(name: str, lists: list[list[Any]]) -> tuple[list[Row], str, list[str]]:
    """Return the states of Home Assistant's history, each with its entity."""
    rows: list[Row] = []
    left_out: dict[str, None] = {}
    for states in lists:
        entity = states[0].get(_ENTITY) if states and isinstance(states[0], Mapping) else None
        for state in states:
            if not isinstance(state, Mapping) or not isinstance(entity, str):
                raise unreadable(name, "a list in it does not say whose states it has", hint=_HINT)
            if state.get(_ENTITY, entity) != entity:
                raise unreadable(name, "a list in it has states of several entities", hint=_HINT)
            left_out |= dict.fromkeys(key for key in state if key in _BESIDE)
            flat = {key: value for key, value in state.items() if key not in _BESIDE}
            rows.append(_row(name, len(rows) + 1, {_ENTITY: entity, **flat}))
    notes = [f"left out: {', '.join(left_out)}, which are no readings"] if left_out else []
    return rows, "JSON of Home Assistant's history", notes


def _of_series(
    name: str, series: Mapping[str, Any], columns: list[Any], values: list[Any]
) -> list[Row]:
    """Return the rows of the one series that InfluxDB gave."""
    if series.get("partial"):
        reason = "the server has cut it off (partial)"
        raise unreadable(name, reason, hint="ask for less at once, or with chunked=true")
    if not all(isinstance(one, str) for one in columns) or len({*columns}) < len(columns):
        raise unreadable(name, "two of its columns have one name, or one has none", hint=_HINT)
    rows: list[Row] = []
    for place, row in enumerate(values, 1):
        if not isinstance(row, list) or len(row) != len(columns):
            raise unreadable(name, f"row {place} has not a value for each column", hint=_HINT)
        rows.append(_row(name, place, dict(zip(columns, row, strict=True))))
    if not rows:
        raise unreadable(name, "it holds no row", hint=_HINT)
    return rows
