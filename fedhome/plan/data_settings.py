"""The plan's table ``data``: where homes' readings come from, and how they become examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from fedhome.errors import PlanError
from fedhome.plan.input_settings import InputSpec, input_faults
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.plan.step_rule import Rule
from fedhome.plan.time_steps import step_seconds

SYNTHETIC_HOMES = 100
"""Synthetic homes where a plan names no number."""

SYNTHETIC_HISTORY_DAYS = 5.0
"""Days of readings to learn from that synthetic homes have where a plan names none."""


ROWS_APART = 24
"""Rows between the parts of rows that are no series, where a plan names no gap."""

MOST_HOMES: Final = 10_000_000
"""Homes of a simulation: names of this many fill most of a gigabyte."""
MOST_LAGS: Final = 1000
"""Earlier targets that go into a model: each is a column of a home's examples."""
MOST_HORIZONS: Final = 512
"""Horizons of one model: each is a column, too, and a model beside it."""


def _as_text(value: object) -> object:
    """Take a bare number for text: it lacks its unit, and the fault of the step says so."""
    return str(value) if isinstance(value, int | float) else value


def _as_list(value: object) -> object:
    """Take one lag for a list of one."""
    return (value,) if isinstance(value, int | str) else value


def _as_one(value: object) -> object:
    """Take a list of one horizon for that horizon: the plan says the same."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _not_the_fleets(value: object) -> object:
    """Tell of scales of a whole fleet that there are none, and why: others have them."""
    if value == "fleet":
        raise PydanticCustomError(
            "scale",
            "scales of a whole fleet are not built, since what they were tried for they did not do "
            '(docs/decisions/072): set "home", or "none" for inputs of one scale in all homes',
        )
    return value


Span = int | str
"""A number of steps, or a length of time such as "1h": `fedhome.data.series.spans`."""

Horizon = Span | tuple[Span, ...]
"""How far ahead is predicted: one such, or several, the nearest first."""


class DataSettings(ReadingSettings):
    """Where the homes' data comes from and how it becomes examples."""

    source: str = Field(
        "synthetic", description='"synthetic", a named set, a folder, or yours as "file.py:name"'
    )
    homes: int | None = Field(
        None,
        ge=1,
        le=MOST_HOMES,
        description="synthetic homes (100 if unset); of other sources, at most this many",
    )
    days: int = Field(35, ge=2, description="days of readings of each synthetic home")
    target: str = Field("load_kwh", description="column to predict")
    target_unit: str = Field("", description="unit of the target; empty: none is known")
    features: tuple[str, ...] = Field(
        (), description="columns used now; empty: data.inputs, or all that homes share"
    )
    inputs: tuple[InputSpec, ...] | None = Field(
        None,
        description="columns used now, each with name, kind, unit and words, in the order that all "
        "homes keep: written by `fedhome fleet invite --like`; unset: as homes have them",
    )
    lags: Annotated[tuple[Span, ...] | None, BeforeValidator(_as_list)] = Field(
        None,
        max_length=MOST_LAGS,
        description='earlier targets, before the predicted time: steps, or lengths such as "1d"; '
        "unset: the last three steps and a day before, in a long series a week before too",
    )
    horizon: Annotated[Horizon | None, BeforeValidator(_as_one)] = Field(
        None,
        description='how far ahead, in steps or as "1h", or several such, nearest first; 0: '
        "predict a row from its own columns; unset: a step ahead for numbers that have times, "
        "else 0",
    )
    calendar: bool = Field(default=True, description="add hour and weekday of the predicted time")
    step: Annotated[str, BeforeValidator(_as_text)] = Field(
        "", description='step of the grid, such as "15min" or "1h"; empty: that of the readings'
    )
    rules: Mapping[str, Rule] = Field(
        {}, description='column to "mean", "last", "hold", "sum" or "difference" within a step'
    )
    missing: Literal["impute", "drop"] = Field(
        "impute",
        description="inputs that are missing: filled in, by the last reading of a day or the "
        "median of training, with a column that says where; or their rows left out",
    )
    indicators: tuple[str, ...] | None = Field(
        None,
        description="inputs of which a column says where they were filled in, the same in all "
        "homes; unset: those that homes lack in a hundredth of all rows",
    )
    scale: Annotated[Literal["home", "none"], BeforeValidator(_not_the_fleets)] = Field(
        "home",
        description="standardise by the home's own training rows, or leave as they are",
    )
    learns: Literal["change", "level"] = Field(
        "change",
        description="numbers of a series are learnt as their change from the newest reading, with "
        "earlier ones told as their distance from it, or as they are; unscaled ones as they are",
    )
    split: tuple[float, float, float] = Field(
        (0.6, 0.2, 0.2), description="shares in time for training, validation and test"
    )
    split_by: Literal["time", "class"] = Field(
        "time", description="in time over all rows, or in time within each class"
    )
    gap: Span | None = Field(
        None,
        description='left out between the parts: rows, or a length such as "1d"; unset: a day of a '
        f"series, else {ROWS_APART} rows",
    )
    history_days: float | None = Field(
        None,
        gt=0,
        description="keep only the last days before the test part (cold start); unset: 5 of "
        "synthetic homes, all of others; of rows without times, 24 count as a day",
    )
    min_rows: int = Field(8, ge=1, description="homes with fewer training rows are left out")

    @model_validator(mode="before")
    @classmethod
    def _as_it_was(cls, table: Any) -> Any:
        """Take a table that says all but `learns` as it was meant: written before it was there.

        So are plans in folders of runs and homes, invites and files of models, and all of them go
        on with levels.
        """
        told = isinstance(table, Mapping) and "learns" not in table
        said = (one.default is None or name in table for name, one in cls.model_fields.items())
        whole = told and sum(not there for there in said) == 1
        return {**table, "learns": "level"} if whole else table

    def simulated(self) -> DataSettings:
        """Return the settings by which a simulation cuts its homes' readings.

        Synthetic homes have a few days to learn from unless a plan says otherwise; readings of
        real homes are never left out unasked.
        """
        if self.source != "synthetic" or self.history_days is not None:
            return self
        return self.model_copy(update={"history_days": SYNTHETIC_HISTORY_DAYS})

    @property
    def series(self) -> bool:
        """Whether rows follow each other in time; where the plan is silent, they are taken to."""
        return self.horizon != 0

    @property
    def changes(self) -> bool:
        """Whether a series of numbers is learnt as its change from the newest reading."""
        return self.series and self.learns == "change" and self.scale == "home"

    @property
    def nearest(self) -> Span | None:
        """The horizon that inputs and lags are counted from: the nearest where there are more."""
        if isinstance(self.horizon, tuple):
            return self.horizon[0] if self.horizon else None
        return self.horizon

    @property
    def furthest(self) -> Span:
        """How far ahead is predicted at most; 0 where rows do not follow each other in time."""
        if isinstance(self.horizon, tuple):
            return self.horizon[-1] if self.horizon else 0
        return 1 if self.horizon is None else self.horizon

    @property
    def several(self) -> tuple[str, ...]:
        """Names of the horizons where one model predicts more than one; else empty."""
        return tuple(map(str, self.horizon)) if isinstance(self.horizon, tuple) else ()

    def faults(self) -> list[str]:
        """Return what does not fit together, one plain sentence each; empty when all does."""
        faults: list[str] = []
        if abs(sum(self.split) - 1.0) > 1e-6 or min(self.split) <= 0:  # noqa: PLR2004
            faults.append(
                f"data.split is {list(self.split)}: three positive shares that add up to 1 are "
                "needed"
            )
        faults += _span_faults(self)
        if not self.series and self.lags:
            faults.append(
                "data.lags need a series: set data.horizon to 1 or more, or leave data.lags out"
            )
        if self.step:
            try:
                step_seconds(self.step)
            except PlanError as error:
                faults += error.faults
        if self.decimal and self.decimal == self.thousands:
            faults.append(f"data.decimal and data.thousands are both {self.decimal!r}")
        if not self.series and (self.step or self.rules):
            faults.append(
                "data.step and data.rules make a series: set data.horizon to 1 or more, or leave "
                "them out"
            )
        for name, columns in (
            ("features", self.features),
            ("inputs", [spec.name for spec in self.inputs or ()]),
        ):
            if self.target in columns and not self.series:
                faults.append(
                    f"data.{name} holds the target {self.target!r}, which would give the answer "
                    "away"
                )
        return [*faults, *input_faults(self.inputs, self.features)]


def _span_faults(data: DataSettings) -> Iterator[str]:
    """Yield what is wrong with lags, horizon and gap, as far as it shows without a step."""
    written: list[tuple[str, Span | None]] = [("lags", lag) for lag in data.lags or ()]
    each = data.horizon if isinstance(data.horizon, tuple) else (data.horizon,)
    written += [*(("horizon", one) for one in each), ("gap", data.gap)]
    sound = True
    for name, span in written:
        if isinstance(span, int) and span < 0:
            sound = False
            yield f"data.{name} holds {span}: steps before now are counted from 0"
        elif isinstance(span, str):
            try:
                step_seconds(span, f"data.{name}")
            except PlanError as error:
                sound = False
                yield from error.faults
    if not (sound and data.series):
        return
    yield from _horizon_faults(data)
    horizon = 1 if data.nearest is None else data.nearest
    early = [lag for lag in data.lags or () if _earlier(lag, horizon)]
    if early:
        yield (
            f"data.lags {early} lie after the moment of prediction: with data.horizon = "
            f"{horizon} a lag must be at least {horizon}"
        )


def _horizon_faults(data: DataSettings) -> Iterator[str]:
    """Yield what is wrong with several horizons, as far as it shows without a step."""
    if not isinstance(data.horizon, tuple):
        return
    if len(data.horizon) > MOST_HORIZONS:
        yield f"data.horizon holds {len(data.horizon)} horizons: name {MOST_HORIZONS} at most"
        return
    if not data.horizon:
        yield 'data.horizon is an empty list: name one or more, such as 1 or ["1h", "6h"]'
    if 0 in data.horizon:
        yield (
            f"data.horizon = {list(data.horizon)} holds 0, a row from its own columns, beside "
            "horizons of a series: take it out"
        )
    for near, far in pairwise(data.horizon):
        if not _earlier(near, far) and type(near) is type(far):
            yield (
                f"data.horizon = {list(data.horizon)}: {far} comes after {near}, which is as far "
                "or further: name each once, the nearest first"
            )


def _earlier(lag: Span, horizon: Span) -> bool:
    """Tell whether a lag is surely shorter than the horizon: both steps, or both lengths."""
    if isinstance(lag, int) and isinstance(horizon, int):
        return lag < horizon
    if isinstance(lag, str) and isinstance(horizon, str):
        return step_seconds(lag) < step_seconds(horizon)
    return lag == 0
