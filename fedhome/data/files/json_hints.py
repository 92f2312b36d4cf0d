"""How JSON of another shape becomes rows: commands of jq that are told, and never run here."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

_SINGLE = 'type != "object" and type != "array"'
# A file may hold a list of rows, or a row in each line.
_ROWS = "(arrays[], objects)"
_NAMED = '{($p | map(tostring) | join(".")): getpath($p)}'
_FLAT = f"{_ROWS} | [paths({_SINGLE}) as $p | {_NAMED}] | add"
_WITHOUT = f"{_ROWS} | with_entries(select(.value | {_SINGLE}))"
_DEEPEST = 6  # fields within each other, as answers of services have them


def laid_flat() -> str:
    """Return how rows whose fields hold fields become rows of single values, or lose these."""
    return (
        f"give each reading a field of its own: jq -c {shlex.quote(_FLAT)} makes one of each, such "
        f"as main.temp; jq -c {shlex.quote(_WITHOUT)} leaves out what is not single"
    )


def rows_within(whole: object) -> str:
    """Return how the rows that lie within an object are taken out of it; empty if none seem to.

    Args:
        whole: What a file holds.
    """
    # The longest: beside its readings an answer may hold a list of its alarms, say.
    found = max(_within(whole, "", _DEEPEST), key=lambda one: one[0], default=None)
    if found is None:
        return ""
    _, place, command = found
    taken_out = f"jq -c {shlex.quote(command)} gives each a line of a new file"
    return f"its readings seem to lie in {place}: {taken_out}"


def _within(one: object, path: str, deep: int) -> Iterator[tuple[int, str, str]]:
    """Yield what may be rows: how many, where they lie, and what jq takes them out with."""
    if not isinstance(one, Mapping) or not deep:
        return
    lists = {name: cells for name, cells in one.items() if _is_column(cells)}
    if len(lists) > 1 and len({len(cells) for cells in lists.values()}) == 1:
        names = ", ".join(f"{json.dumps(name)}: {_step(name)}[$i]" for name in lists)
        first = next(iter(lists))
        rows = f"range({_step(first)} | length) as $i | {{{names}}}"
        command = f"{path} | {rows}" if path else rows
        yield len(lists[first]), f"the lists of {path or 'the object'}", command
    for name, within in one.items():
        inner = f"{path}{_step(name)}"
        if isinstance(within, list) and within and all(isinstance(row, dict) for row in within):
            rows = f"{inner}[]"
            if _is_of_pairs(within[0]):  # a series of Prometheus, with what it is called
                pair = "$names + {time: .[0], value: .[1]}"
                rows = f"{rows} | .metric as $names | .values[] | {pair}"
            yield len(within), inner, rows
            yield from _within(within[0], f"{inner}[]", deep - 1)
        yield from _within(within, inner, deep - 1)


def _is_of_pairs(one: Mapping[str, Any]) -> bool:
    """Tell whether an object is a series whose values are pairs of a time and a reading."""
    match one:
        case {"metric": dict(), "values": [[_, _], *_]}:
            return True
    return False


def _is_column(cells: Any) -> bool:
    return isinstance(cells, list) and not any(isinstance(cell, dict | list) for cell in cells)


def _step(name: str) -> str:
    return f".{name}" if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else f".{json.dumps(name)}"
