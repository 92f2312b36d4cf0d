"""How one home's files are read, where that differs from what the plan says for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from fedhome.errors import PlanError
from fedhome.plan.overrides import faults_in, merge, parse_set
from fedhome.plan.reading_settings import HomeReading, ReadingSettings
from fedhome.spelling import did_you_mean

NOTHING_OWN: Final[Mapping[str, Any]] = MappingProxyType({})
"""A home whose files are read as the plan says."""

_BESIDE = {"time_zone", "home_column"}
_SECTION = "data"  # in a plan; here it may be left out
_WHERE = "how the home's files are read"
_HINT = "settings of reading: " + ", ".join(HomeReading.model_fields)


def own_of(reading: Mapping[str, Any], common: ReadingSettings) -> dict[str, Any]:
    """Return those of a home's settings of reading that its model keeps.

    Its zone and its rules are kept beside them: they are of readings, however these are written.

    Args:
        reading: The home's settings, by name.
        common: The plan's: what is alike in both is left out.

    Raises:
        PlanError: As of :func:`reading_of`.
    """
    known, read = common.reading(), reading_of(common, reading)  # a list is a tuple once it is read
    return {
        name: value
        for name, value in reading.items()
        if name in known and name not in _BESIDE and getattr(read, name) != known[name]
    }


def parse_reading(sets: Sequence[str]) -> dict[str, Any]:
    """Return settings such as ``decimal=,`` or ``rename={"Temp"="temp_c"}``, by name.

    Raises:
        PlanError: Settings that reading does not have, or wrong values; all at once.
    """
    table: dict[str, Any] = {}
    for setting in sets:
        merge(table, parse_set(setting))
    within = table.pop(_SECTION, {})
    if isinstance(within, Mapping):
        merge(table, within)
    reading_of(ReadingSettings(), table)
    return table


def reading_of(common: ReadingSettings, own: Mapping[str, Any]) -> HomeReading:
    """Return how a home's files are read.

    Args:
        common: The plan's settings, for all homes.
        own: The home's own, which are laid over them.

    Raises:
        PlanError: Settings that reading does not have, or wrong values; all at once.
    """
    known = list(HomeReading.model_fields)
    unknown = [name for name in own if name not in known]
    faults = [f"{name} is no setting of reading{did_you_mean(name, known)}" for name in unknown]
    given = {name: value for name, value in own.items() if name in known}
    try:
        settings = HomeReading.model_validate({**common.reading(), **given})
    except ValidationError as error:
        faults += faults_in(error, known)
        raise PlanError(faults, where=_WHERE, hint=_HINT) from None
    if faults:
        raise PlanError(faults, where=_WHERE, hint=_HINT)
    return settings
