"""What a message of a broker says: a number, on or off, a word, or an object of such values.

Objects within objects are laid flat: a reading is called by its topic, and by the fields that lead
to it: ``zigbee2mqtt/living.temperature``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from fedhome.clients.broker.mqtt_link import MOST_BYTES
from fedhome.data.columns.missing import MISSING_WORDS
from fedhome.data.files.json_rows import Cell, loaded
from fedhome.errors import SourceError

FIRST_S: Final = 946_684_800.0
"""2000-01-01: no clock that is set tells an earlier time."""
LONGEST_NAME: Final = 512
"""Characters of a field's name, with those that lead to it; longer ones would fill the memory."""
_MOST_FIELDS = 500  # of a message
_DEEPEST = 8  # objects within each other
_LONGEST_WORD = 64  # bytes of a reading that is a word
_LARGEST = 1e30  # beyond it a home is left out of what is learnt
_END_S = 4_102_444_800.0  # 2100-01-01
_MILLISECONDS = 1e11  # a larger number of seconds is none of our days
_TRUE, _FALSE = frozenset({"on", "true"}), frozenset({"off", "false"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def fields_of(payload: bytes) -> dict[str, object]:
    """Return the values of a message, by the fields that lead to them; of a single one by ``""``.

    >>> fields_of(b'{"state": "ON", "color": {"x": 0.3}}')
    {'state': 'ON', 'color.x': 0.3}
    >>> fields_of(b"21.5"), fields_of(b"open")
    ({'': 21.5}, {'': 'open'})

    Args:
        payload: What the message holds.

    Raises:
        SourceError: It is no such value: no text, too long, a list, or no JSON.
    """
    if len(payload) > MOST_BYTES:
        raise SourceError(
            f"a message has {len(payload):,} bytes, and {MOST_BYTES:,} are the most that is read",
            hint="name topics of readings alone",
        )
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        raise SourceError(
            "a message is no text", hint="readings are numbers, on and off, words, or JSON"
        ) from None
    if not text.startswith(("{", "[")):
        return {"": _single(text)}
    try:
        found = loaded(payload)
    except (ValueError, RecursionError):
        raise SourceError("a message is no JSON", hint="see what wrote it") from None
    if not isinstance(found, Mapping):
        raise SourceError(
            "a message is a list",
            hint='a reading is a single value, or a field of an object: {"temperature": 21.5}',
        )
    fields = list(islice(_flat(found, "", _DEEPEST), _MOST_FIELDS + 1))
    if len(fields) > _MOST_FIELDS:
        raise SourceError(
            f"a message has more than {_MOST_FIELDS} fields, which are the most that is read",
            hint="name topics of readings alone",
        )
    return dict(fields)


def number(cell: object) -> float | None:
    """Return a cell as a number: yes is 1 and no is 0; None where nothing was read.

    Raises:
        SourceError: It is none, or is beyond all readings.
    """
    cell = _checked(cell)
    if isinstance(cell, str):
        text = cell.strip()
        if is_missing(text):
            return None
        if _NUMBER.fullmatch(text):
            cell = float(text)
        elif (state := on_or_off(text)) is not None:
            cell = state
        else:
            raise SourceError(
                "a word comes where the plan has numbers",
                hint="name the topic or the field that holds the number, in `rename`",
            )
    if cell is None:
        return None
    # As a float, a whole number may have no end.
    if isinstance(cell, int) and abs(cell) > _LARGEST:
        cell = math.inf
    value = float(cell)
    if not abs(value) <= _LARGEST:
        raise SourceError("a number beyond all readings comes", hint="check the sensor")
    return value


def flag(cell: object) -> float | None:
    """Return 1 for yes and 0 for no, however a sensor says so; None where nothing was read.

    Raises:
        SourceError: It is neither.
    """
    value = number(cell)
    if value not in {None, 0.0, 1.0}:
        raise SourceError(
            "another number than 0 and 1 comes where the plan has yes and no",
            hint="name the topic or the field that says on and off, in `rename`",
        )
    return value


def word(cell: object) -> str | None:
    """Return a cell as a word; None where nothing was read.

    Raises:
        SourceError: It is longer than a word is, or a number beyond all readings.
    """
    cell = _checked(cell)
    if cell is None or (isinstance(cell, str) and is_missing(cell)):
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    text = cell.strip() if isinstance(cell, str) else f"{number(cell) or 0.0:.15g}"
    if len(text.encode("utf-8", "replace")) > _LONGEST_WORD or not text.isprintable():
        raise SourceError(
            f"a text of more than {_LONGEST_WORD} bytes or one line comes where the plan has words",
            hint="name the topic or the field that holds the word, in `rename`",
        )
    return text


def on_or_off(text: str) -> bool | None:
    """Return what ``ON``, ``off``, ``true`` and the like say; None of other texts."""
    folded = text.strip().casefold()
    return True if folded in _TRUE else False if folded in _FALSE else None


def is_missing(text: str) -> bool:
    """Tell whether a text says that nothing was read, as ``unavailable`` does."""
    folded = text.strip().casefold()
    return not folded or folded in MISSING_WORDS


def moment(cell: object, *, zone: str, arrived_s: float) -> float:
    """Return when a message says that it was read, Unix time in s.

    Args:
        cell: ISO 8601, or seconds or milliseconds since 1970.
        zone: The zone of times that carry none. Of the hour that comes twice in autumn, the one
            counts that is nearer to the arrival.
        arrived_s: When it arrived, Unix time in s.

    Raises:
        SourceError: It is no time, or one that no clock shows that is set.
    """
    if isinstance(cell, str) and _NUMBER.fullmatch(cell.strip()):
        cell = float(cell)
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        seconds = float(number(cell) or 0.0)
        seconds = seconds / 1000 if abs(seconds) > _MILLISECONDS else seconds
    else:
        seconds = _of_text(cell if isinstance(cell, str) else "", zone, arrived_s)
    if not FIRST_S <= seconds < _END_S:
        raise SourceError(
            "a time is not from 2000 to 2099, as of a clock that was not set",
            hint="set the clock of what writes it",
        )
    return seconds


def is_naive(cell: object) -> bool:
    """Tell whether a time that `moment` takes names no zone."""
    try:
        return isinstance(cell, str) and datetime.fromisoformat(cell.strip()).tzinfo is None
    except ValueError:
        return False


def _of_text(text: str, zone: str, arrived_s: float) -> float:
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SourceError(
            "a time is neither ISO 8601 nor a number of seconds since 1970",
            hint="name the field of the time: --time FIELD",
        ) from None
    if read.tzinfo is not None:
        return read.timestamp()
    own = ZoneInfo(zone) if zone else UTC
    both = (read.replace(tzinfo=own, fold=fold).timestamp() for fold in (0, 1))
    return min(both, key=lambda seconds: abs(seconds - arrived_s))


def _single(text: str) -> Cell:
    if _NUMBER.fullmatch(text):
        return float(text)
    if len(text.encode()) > _LONGEST_WORD or not text.isprintable():
        raise SourceError(
            f"a message is a text of more than {_LONGEST_WORD} bytes or one line, and no JSON",
            hint="readings are numbers, on and off, words, or objects of JSON",
        )
    return text


def _checked(cell: object) -> Cell:
    if not isinstance(cell, Cell):
        raise SourceError(
            "a list comes where the plan has a reading",
            hint="which of its values would be the reading, nobody can say: name another field",
        )
    return cell


def _flat(fields: Mapping[str, object], before: str, deep: int) -> Iterator[tuple[str, object]]:
    for name, value in fields.items():
        path = f"{before}.{name}" if before else name
        if len(path) > LONGEST_NAME:
            raise SourceError(
                f"a message has a field whose name is longer than {LONGEST_NAME} characters",
                hint="name topics of readings alone",
            )
        if isinstance(value, Mapping) and deep:
            yield from _flat(value, path, deep - 1)
        else:
            yield path, value
