"""Messages of a broker as rows of a home's store: what the plan uses of them, and nothing else.

What a broker says has no end: topics, names of fields and words are others' to choose. So what is
kept here, and what reaches the disk, is bounded by what the plan names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedhome.clients.recorded.mqtt_messages import (
    FIRST_S,
    LONGEST_NAME,
    fields_of,
    flag,
    is_naive,
    moment,
    number,
    on_or_off,
    word,
)
from fedhome.data.columns.units import conversion, unit_of_name
from fedhome.data.table import HomeTable
from fedhome.data.told_once import some
from fedhome.errors import SourceError
from fedhome.plan.input_settings import InputKind, InputSpec
from fedhome.plan.time_steps import DAY_S

_MOST_TOLD: Final = 1000  # names and topics of which something was told: then it is told no more
_AHEAD_S, _BEHIND_S = 3600.0, 30.0 * DAY_S
_LAST_PART = re.compile(r"[^/.]*$")

Value = float | str


@dataclass(frozen=True, kw_only=True)
class MessageReading:
    """How the messages of a home are read.

    Args:
        home: The home's name.
        columns: What the plan uses, by its name; None of what is whatever comes.
        rename: What a topic, or a topic and its field, is called in the plan.
        zone: The home's zone, for times that carry none.
        every_s: Times are rounded down to whole multiples of it: of several readings within, the
            last counts.
        time_field: The field of a message that says when it was read; empty: its arrival counts.
    """

    home: str
    columns: Mapping[str, InputSpec | None]
    rename: Mapping[str, str] = field(default_factory=dict)
    zone: str = ""
    every_s: int = 60
    time_field: str = ""


class MessageRows:
    """Rows that messages make, until they are taken.

    Args:
        reading: How messages are read.
        tell: Takes in words what is not recorded, and why: once of each topic.
    """

    def __init__(self, reading: MessageReading, tell: Callable[[str], None]) -> None:
        self._reading, self._tell = reading, tell
        self._rows: dict[int, dict[str, Value]] = {}
        self._kinds: dict[str, InputKind] = {}
        self._units: dict[str, str] = {}
        self._told: set[str] = set()
        self._others: set[str] = set()  # topics of which the plan uses nothing
        self._unused: set[str] = set()
        self._untold: list[str] = []
        self._came: set[str] = set()
        self.used, self.refused = 0, 0

    @property
    def came(self) -> frozenset[str]:
        """What of the plan has come so far, by its name."""
        return frozenset(self._came)

    def take(self, topic: str, payload: bytes, arrived_s: float) -> bool:
        """Take a message; return whether anything of it is to be recorded.

        Args:
            topic: Its topic.
            payload: What it holds.
            arrived_s: When it came, Unix time in s.
        """
        if not self._may_be_used(topic):
            self._not_used(topic, payload)
            return False
        try:
            fields = fields_of(payload)
            if not any(self._name(topic, path) in self._reading.columns for path in fields):
                self._remember([_source(topic, path) for path in fields])
                return False
            row = self._rows_time(topic, fields, arrived_s)
        except SourceError as error:
            self._fault(topic, error)
            return False
        values = self._values(topic, fields)
        if values:
            self.used += 1
            self._rows.setdefault(row, {}).update(values)
        return bool(values)

    def taken(self) -> HomeTable | None:
        """Return the rows that came since the last time; None: there are none."""
        rows, self._rows = self._rows, {}
        if self._untold:
            self._tell_unused()
        if not rows:
            return None
        time_s = np.array(sorted(rows), np.int64)
        names = dict.fromkeys(name for row in rows.values() for name in row)
        columns: dict[str, NDArray[np.float64]] = {}
        labels: dict[str, tuple[str, ...]] = {}
        for name in names:
            cells = [rows[int(second)].get(name) for second in time_s]
            if any(isinstance(cell, str) for cell in cells):
                texts = [word(cell) for cell in cells]
                labels[name] = tuple(sorted({text for text in texts if text is not None}))
                places = {text: place for place, text in enumerate(labels[name])}
                cells = [None if text is None else float(places[text]) for text in texts]
            columns[name] = np.array([np.nan if cell is None else cell for cell in cells], float)
        return HomeTable(
            home=self._reading.home,
            time_s=time_s,
            columns=columns,
            labels=labels,
            units={name: unit for name, unit in self._units.items() if name in columns},
            flags=frozenset(name for name in columns if self._kinds.get(name) == "flag"),
        )

    def _name(self, topic: str, path: str) -> str:
        """Return what the plan may call a reading."""
        source = _source(topic, path)
        return self._reading.rename.get(source, source)

    def _rows_time(self, topic: str, fields: Mapping[str, object], arrived_s: float) -> int:
        reading = self._reading
        if not reading.time_field:
            if arrived_s < FIRST_S:
                raise SourceError(
                    "this device's clock is not set",
                    hint="set it: the time of a reading is that of its arrival",
                )
            seconds = arrived_s
        elif reading.time_field not in fields:
            raise SourceError(
                f"a message has no field {reading.time_field!r} that says when it was read",
                hint="record such topics by a command of their own, without --time",
            )
        else:
            cell = fields[reading.time_field]
            seconds = moment(cell, zone=reading.zone, arrived_s=arrived_s)
            self._check_near(seconds, arrived_s)
            if is_naive(cell) and self._is_news(f"{topic}\0zone"):
                zone = reading.zone or "UTC, since no zone of the home is known"
                self._tell(f"{topic}: its times name no zone, and are read as those of {zone}")
        return int(seconds // reading.every_s * reading.every_s)

    def _check_near(self, seconds: float, arrived_s: float) -> None:
        """Refuse times that no message can have: who chooses them could fill the disk."""
        if arrived_s < FIRST_S:  # nothing can be said by a clock that is not set
            return
        if seconds > arrived_s + _AHEAD_S:
            raise SourceError(
                "its time is ahead of this device's clock",
                hint="set both clocks, and see which zone its times are in: --set time_zone=ZONE",
            )
        if seconds < arrived_s - _BEHIND_S:
            raise SourceError(
                f"its time is more than {_BEHIND_S / DAY_S:.0f} days ago",
                hint="record older readings from a file",
            )

    def _values(self, topic: str, fields: Mapping[str, object]) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for path, cell in fields.items():
            name = self._name(topic, path)
            if name not in self._reading.columns:
                continue
            source = _source(topic, path)
            try:
                value = self._value(source, name, cell)
            except SourceError as error:
                self._fault(source, error)
                continue
            self._came.add(name)
            if value is not None:
                values[name] = value
        return values

    def _value(self, source: str, name: str, cell: object) -> Value | None:
        spec = self._reading.columns[name]
        kind: InputKind = _natural(cell) if spec is None else spec.kind
        if self._kinds.get(name) == "words":
            kind = "words"  # whatever comes, where one of them was a word
        self._kinds[name] = kind
        if kind == "words":
            return word(cell)
        if kind == "flag":
            return flag(cell)
        value, unit = number(cell), unit_of_name(str(_LAST_PART.findall(source)[0]))
        wanted = spec.unit if spec is not None else ""
        if value is None or not unit:
            return value
        if wanted and unit != wanted:
            if (how := conversion(unit, wanted)) is None:
                raise SourceError(
                    f"its name says {unit}, and the plan has {name!r} in {wanted}",
                    hint="name the topic or the field that has it, in `rename`",
                )
            value, unit = value * how[0] + how[1], wanted
        self._units[name] = unit
        return value

    def _fault(self, source: str, error: SourceError) -> None:
        self.refused += 1
        if self._is_news(f"{source}\0{error.message}"):
            self._tell(f"{source}: not recorded: {error.with_hint} (told once)")

    def _may_be_used(self, topic: str) -> bool:
        """Tell whether the plan uses anything that a topic may bring: else it is not even read."""
        reading = self._reading
        sources = (
            *(source for source, name in reading.rename.items() if name in reading.columns),
            *(name for name in reading.columns if name not in reading.rename),
        )
        return any(source == topic or source.startswith(f"{topic}.") for source in sources)

    def _not_used(self, topic: str, payload: bytes) -> None:
        if topic in self._others or len(self._others) >= _MOST_TOLD or len(topic) > LONGEST_NAME:
            return
        self._others.add(topic)
        try:
            self._remember([_source(topic, path) for path in fields_of(payload)])
        except SourceError:
            self._remember([topic])

    def _remember(self, sources: Sequence[str]) -> None:
        for source in sources:
            if source not in self._unused and len(self._unused) < _MOST_TOLD:
                self._unused.add(source)
                self._untold.append(source)

    def _tell_unused(self) -> None:
        """Tell what came that the plan does not use, where something that it uses has not come."""
        names, self._untold = self._untold, []
        if not (lacking := sorted(self._reading.columns.keys() - self._came)):
            return
        wanted = some([repr(name) for name in lacking])
        source = names[0] if len(names) == 1 else "TOPIC.FIELD"
        self._tell(
            f"nothing came so far of {wanted}, and the plan does not use "
            f"{some([repr(name) for name in names])}, which is not recorded: --set "
            f'\'rename={{"{source}"="{lacking[0]}"}}\' says what the plan calls a reading'
        )

    def _is_news(self, what: str) -> bool:
        if what in self._told or len(self._told) >= _MOST_TOLD:
            return False
        self._told.add(what)
        return True


def _source(topic: str, path: str) -> str:
    return f"{topic}.{path}" if path else topic


def _natural(cell: object) -> InputKind:
    """Return what a reading is of which the plan does not say it."""
    if isinstance(cell, bool) or (isinstance(cell, str) and on_or_off(cell) is not None):
        return "flag"
    try:
        number(cell)
    except SourceError:
        return "words"
    return "number"
