"""How a home's files are to be read, where their own content does not tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from fedhome.plan.section import Section
from fedhome.plan.step_rule import Rule


def _as_tuple(value: object) -> object:
    """Take one name for a list of one."""
    return ((value,) if value else ()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
"""Names of columns; a plan may give a single one without brackets."""


class ReadingSettings(Section):
    """How cells and columns of files are read; what is not set is found out, and told."""

    time: Names = Field((), description="column of the times, or date and hour; empty: found")
    time_zone: str = Field("", description="zone of times that carry none; empty: UTC")
    dates: Literal["", "day-first", "month-first"] = Field(
        "", description="order in dates such as 03/04/2024; empty: as the whole column tells"
    )
    decimal: Literal["", ".", ","] = Field(
        "", description="decimal sign; empty: as the whole column tells"
    )
    thousands: Literal["", ",", ".", "'", " "] = Field(
        "", description="thousands sign; empty: as the whole column tells"
    )
    na_values: tuple[str, ...] = Field(
        (), description="further words for a missing reading, besides the usual ones"
    )
    home_column: str = Field(
        "", description="column that names each row's home, where one file holds many homes"
    )
    pivot: Names = Field(
        (), description="columns of the names and of the values, where each reading has a row"
    )
    rename: Mapping[str, str] = Field(
        {}, description="names of columns as the files have them, and as the plan calls them"
    )

    def reading(self) -> dict[str, Any]:
        """Return the settings of reading alone, by name."""
        return {name: getattr(self, name) for name in ReadingSettings.model_fields}


class HomeReading(ReadingSettings):
    """How a single home's files are read, and what its readings are, unlike other homes'."""

    rules: Mapping[str, Rule] = Field(
        {}, description="what goes before the plan's data.rules for this home: column to rule"
    )
