"""Rows as JSON, an object in each line, as a table whose cells have the types that came."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import pyarrow as pa

from fedhome.data.files.json_hints import laid_flat
from fedhome.data.told_once import some
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
MOST_FIELDS = 1000
"""Of the rows that are read together: whatever sends them may make up names without end."""
_MOST_INTEGER = 1 << 62
_LARGEST = 1.7e308  # of a float


def parsed(line: bytes) -> Row:
    """Return the row in a line.

    Raises:
        SourceError: It is no JSON object of single values.
    """
    try:
        row = loaded(line)
    except (ValueError, RecursionError):
        raise SourceError(
            "this is no JSON", hint='a line is an object, such as {"time": ..., "load_kwh": 0.4}'
        ) from None
    return checked(row)


def loaded(text: bytes) -> Any:
    """Return what JSON says.

    Args:
        text: The whole of it.

    Raises:
        SourceError: It says NaN or the like, which JSON does not have, or a field twice.
        ValueError: It is no JSON.
        RecursionError: What lies within each other in it has no end.
    """
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)


def checked(row: object) -> Row:
    """Return a row.

    Raises:
        SourceError: It is no mapping of names to single values, or holds nothing.
    """
    if not isinstance(row, Mapping) or not row:
        raise SourceError(
            "this is no object with a reading",
            hint="of a list of objects, give each a line of its own: jq -c '.[]'",
        )
    _check_number(len(row))
    nested = [name for name, one in row.items() if not isinstance(one, Cell)]
    for name, value in row.items():
        if not isinstance(name, str) or not name:
            raise SourceError("a field has no name", hint="give every reading a name")
        if not _is_text(name):
            raise SourceError(
                "a field's name holds half a character", hint="write names in whole letters"
            )
        if isinstance(value, str) and not _is_text(value):
            raise SourceError(
                f"the field {name!r} holds half a character",
                hint="see what wrote it: it has cut a text in the middle of a letter",
            )
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise SourceError(
                f"the field {name!r} holds a number beyond all readings",
                hint="a reading that is missing is null, or has no field",
            )
    if nested:
        told = some([repr(name) for name in nested])
        several = f"the fields {told} are no single values"
        reason = several if len(nested) > 1 else f"the field {told} is no single value"
        raise SourceError(reason, hint=laid_flat())
    return row


def table_of(rows: Sequence[Row], settings: ReadingSettings) -> pa.Table:
    """Return rows as a table; a field that a row lacks is missing there.

    Args:
        rows: The rows.
        settings: How numbers are written where a column has text besides: its cells are text then.

    Raises:
        SourceError: They have more than `MOST_FIELDS` fields together.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    _check_number(len(names))
    return pa.table({name: _column([row.get(name) for row in rows], settings) for name in names})


def _check_number(fields: int) -> None:
    if fields > MOST_FIELDS:
        raise SourceError(
            f"there are {fields:,} fields with these readings, and {MOST_FIELDS:,} at most are "
            "taken together",
            hint="send those that the plan names; of many sensors, a line for each with its name "
            "in a field (data.pivot)",
        )


def _column(cells: list[Cell], settings: ReadingSettings) -> pa.Array:
    there = [cell for cell in cells if cell is not None]
    if all(isinstance(cell, bool) for cell in there):
        return pa.array(cells, pa.bool_())
    if all(isinstance(cell, int) and not isinstance(cell, bool) for cell in there) and all(
        abs(cell) < _MOST_INTEGER for cell in there if isinstance(cell, int)
    ):
        return pa.array(cells, pa.int64())
    if all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in there):
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    return pa.array([_text(cell, settings.decimal) for cell in cells], pa.string())


def _text(cell: Cell, decimal: str) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return repr(cell).replace(".", decimal or ".")


def _refuse(constant: str) -> NoReturn:
    raise SourceError(
        f"it says {constant}, which is no number of JSON",
        hint="write null where a reading is missing, or leave the field out",
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of a field that it has twice, nobody knows which counts."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise SourceError(
                f"an object has the field {name!r} twice",
                hint="give each reading a name of its own",
            )
        found[name] = value
    return found


def _is_text(text: str) -> bool:
    """Return whether a text is one that can be written: no half of a character stands in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
