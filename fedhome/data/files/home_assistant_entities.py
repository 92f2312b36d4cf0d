"""Which of Home Assistant's entities are readings, and what their states are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

SILENT: Final = frozenset({"unknown", "unavailable", ""})
"""States that say that there is none."""

EntityKind = Literal["number", "words", "text", "time", "counter", "other"]
"""What an entity's states are; of the last four no column is made."""

_NAME = re.compile(r"[a-z0-9_]{1,128}[.:][a-z0-9_]{1,128}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NUMBERS = frozenset({"number", "input_number", "counter", "zone"})
_WORDS = frozenset(  # their states are words of a short list
    {
        *("alarm_control_panel", "binary_sensor", "climate", "cover", "device_tracker", "fan"),
        *("humidifier", "input_boolean", "input_select", "lawn_mower", "light", "lock"),
        *("media_player", "person", "remote", "schedule", "select", "siren", "sun", "switch"),
        *("vacuum", "valve", "water_heater", "weather"),
    }
)
_PEOPLE = frozenset({"person", "device_tracker"})
_HOME, _AWAY = "home", "not_home"
_TIMES = frozenset({"timestamp", "date"})
RISING: Final = "total_increasing"
"""The state class of what never falls but where it begins again."""
_COUNTERS = frozenset({"total", RISING})
_FACTS = ("unit_of_measurement", "device_class", "state_class")


class EntityFacts(NamedTuple):
    """What an entity says of its states; what it does not say is empty."""

    unit: str = ""
    device_class: str = ""
    state_class: str = ""


def is_name(name: object) -> bool:
    """Tell whether a text is a name as Home Assistant gives them: ``sensor.hall_temperature``."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name))


def is_read(entity: str) -> bool:
    """Tell whether an entity's states may be readings, by the domain in its name."""
    domain = entity.partition(".")[0]
    return domain == "sensor" or domain in _NUMBERS or domain in _WORDS


def facts_of(attributes: str | None) -> EntityFacts:
    """Return the three facts among an entity's attributes; of the rest nothing is kept.

    Args:
        attributes: Their JSON, which also holds what is private.
    """
    if not attributes or not any(f'"{fact}"' in attributes for fact in _FACTS):
        return EntityFacts()
    try:
        found = json.loads(attributes)
    except (ValueError, RecursionError):
        return EntityFacts()
    if not isinstance(found, dict):
        return EntityFacts()
    told = (found.get(fact) for fact in _FACTS)
    return EntityFacts(*(text if isinstance(text, str) else "" for text in told))


def kind_of_entity(
    entity: str, facts: EntityFacts, states: Iterable[str | None], *, has_statistics: bool
) -> EntityKind:
    """Return what an entity's states are.

    Args:
        entity: Its name.
        facts: What it says of itself.
        states: Its different states.
        has_statistics: Whether Home Assistant keeps means of it.
    """
    domain = entity.partition(".")[0]
    if domain != "sensor":
        return "number" if domain in _NUMBERS else "words" if domain in _WORDS else "other"
    if facts.device_class in _TIMES or facts.device_class == "enum":
        return "words" if facts.device_class == "enum" else "time"
    if not has_statistics and facts.state_class in _COUNTERS:
        return "counter"
    said = has_statistics or facts.unit or facts.state_class
    return "number" if said or not misfits(states) else "text"


def number_of(state: str | None) -> float:
    """Return a state as a number; NaN where it is none."""
    if state is None or not _NUMBER.fullmatch(state):
        return math.nan
    value = float(state)
    return value if math.isfinite(value) else math.nan


def misfits(states: Iterable[str | None]) -> list[str]:
    """Return the states that are no numbers, though they say something."""
    return [
        state
        for state in states
        if state is not None and state not in SILENT and math.isnan(number_of(state))
    ]


def words_of(entity: str, states: Sequence[str | None]) -> list[str | None]:
    """Return what is read for each state; None for nothing.

    Where a person is, is known as home or not: other states are names of places.

    Args:
        entity: Whose states they are.
        states: The states.
    """
    said = [None if state is None or state in SILENT else state for state in states]
    if entity.partition(".")[0] not in _PEOPLE:
        return said
    return [state if state in {None, _HOME} else _AWAY for state in said]
