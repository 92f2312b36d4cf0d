"""The plan's table ``data``: where homes' readings come from, and how they become examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from fedhome.errors import PlanError
from fedhome.plan.input_settings import InputSpec, input_faults
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.plan.time_steps import step_seconds

SYNTHETIC_HOMES = 100
"""Synthetic homes where a plan names no number."""

SYNTHETIC_HISTORY_DAYS = 5.0
"""Days of readings to learn from that synthetic homes have where a plan names none."""


Rule = Literal["mean", "last", "hold", "sum", "difference"]
"""How readings become one a step of the grid: `fedhome.data.series.step_rules`."""


def _as_text(value: object) -> object:
    """Take a bare number for text: it lacks its unit, and the fault of the step says so."""
    return str(value) if isinstance(value, int | float) else value


class DataSettings(ReadingSettings):
    """Where the homes' data comes from and how it becomes examples."""

    source: str = Field(
        "synthetic", description='"synthetic", a named set, a folder, or yours as "file.py:name"'
    )
    homes: int | None = Field(
        None,
        ge=1,
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
    lags: tuple[int, ...] = Field(
        (1, 2, 3, 23, 24, 25), description="earlier targets, in steps before the predicted time"
    )
    horizon: int = Field(1, ge=0, description="steps ahead; 0: predict a row from its own columns")
    calendar: bool = Field(default=True, description="add hour and weekday of the predicted time")
    step: Annotated[str, BeforeValidator(_as_text)] = Field(
        "", description='step of the grid, such as "15min" or "1h"; empty: that of the readings'
    )
    rules: Mapping[str, Rule] = Field(
        {}, description='column to "mean", "last", "hold", "sum" or "difference" within a step'
    )
    scale: Literal["home", "none"] = Field(
        "home", description="standardise by the home's own training rows, or leave as they are"
    )
    split: tuple[float, float, float] = Field(
        (0.6, 0.2, 0.2), description="shares in time for training, validation and test"
    )
    split_by: Literal["time", "class"] = Field(
        "time", description="in time over all rows, or in time within each class"
    )
    gap: int = Field(24, ge=0, description="rows left out between the parts")
    history_days: float | None = Field(
        None,
        gt=0,
        description="keep only the last days before the test part (cold start); unset: 5 of "
        "synthetic homes, all of others",
    )
    min_rows: int = Field(8, ge=1, description="homes with fewer training rows are left out")

    def simulated(self) -> DataSettings:
        """Return the settings by which a simulation cuts its homes' readings.

        Synthetic homes have a few days to learn from unless a plan says otherwise; readings of
        real homes are never left out unasked.
        """
        if self.source != "synthetic" or self.history_days is not None:
            return self
        return self.model_copy(update={"history_days": SYNTHETIC_HISTORY_DAYS})

    def faults(self) -> list[str]:
        """Return what does not fit together, one plain sentence each; empty when all does."""
        faults: list[str] = []
        if abs(sum(self.split) - 1.0) > 1e-6 or min(self.split) <= 0:  # noqa: PLR2004
            faults.append(
                f"data.split is {list(self.split)}: three positive shares that add up to 1 are "
                "needed"
            )
        early = [lag for lag in self.lags if lag < max(self.horizon, 1)]
        if self.horizon > 0 and early:
            faults.append(
                f"data.lags {early} lie after the moment of prediction: with data.horizon = "
                f"{self.horizon} a lag must be at least {self.horizon}"
            )
        if self.horizon == 0 and self.lags:
            faults.append(
                "data.lags need a series: set data.horizon to 1 or more, or data.lags = []"
            )
        if self.step:
            try:
                step_seconds(self.step)
            except PlanError as error:
                faults += error.faults
        if self.decimal and self.decimal == self.thousands:
            faults.append(f"data.decimal and data.thousands are both {self.decimal!r}")
        if self.horizon == 0 and (self.step or self.rules):
            faults.append(
                "data.step and data.rules make a series: set data.horizon to 1 or more, or leave "
                "them out"
            )
        for name, columns in (
            ("features", self.features),
            ("inputs", [spec.name for spec in self.inputs or ()]),
        ):
            if self.target in columns and self.horizon == 0:
                faults.append(
                    f"data.{name} holds the target {self.target!r}, which would give the answer "
                    "away"
                )
        return [*faults, *input_faults(self.inputs, self.features)]
