"""One home's model: a mixture of experts, and all that it takes to predict from readings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from fedhome.data.home_files import read_home
from fedhome.data.home_objects import ArrowTable, Columns, Row, read_table
from fedhome.data.input_schema import InputSchema, schema_of
from fedhome.data.inputs import matched
from fedhome.data.series.examples import Targets
from fedhome.data.series.scaling import InputScaling, beside
from fedhome.data.series.windows import Windows, rows_to_predict
from fedhome.data.silent_inputs import with_silent_inputs
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, InputsError
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Fitted, InputRows
from fedhome.learning.mixture import FleetsBlend
from fedhome.learning.tasks.segments import Floats
from fedhome.personal.horizons import Predictions, at_horizon, beside_each_other
from fedhome.personal.predictor import Predictor
from fedhome.plan.data_settings import Span
from fedhome.plan.own_reading import reading_of
from fedhome.plan.settings import Plan
from fedhome.plan.step_rule import Rule

Readings = HomeTable | ArrowTable | Columns | list[Row] | Path | str
"""Readings of one home: a table of any kind, or the path of a file or folder."""

COMPUTED: Final = (
    *("home", "targets", "scaling", "unit", "level", "changes"),
    *("weights", "experts", "naive", "by"),
)
"""What a model and what it computes from numbers have in common."""

_OF_FILES: Final = {"time", "pivot"}


class _Asked(NamedTuple):
    """Rows to predict; whether they have no times; and what was done to the readings."""

    cut: Windows
    timeless: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PersonalModel:
    """A home's own model. Nothing of it is fitted to the test rows that its scores are of.

    Args:
        home: The home's name.
        plan: The plan of its fleet, which names its inputs, lags, horizon and classes.
        targets: How targets are encoded.
        scaling: How inputs are scaled.
        unit: What one unit of a statement is in the target's own.
        level: What a statement of 0 is in the target's own unit.
        changes: Whether statements are changes from the newest reading of the target.
        weights: Each expert's weight, by its name; they add up to 1.
        experts: The same experts; one that is missing was not finite: ``naive`` stands in.
        naive: The forecast without learning.
        by: How far the band of 80 % around numbers reaches, or the temperature of classes.
        time_zone: IANA name of the home's zone.
        rules: How the home's readings become one a step, where the plan's rules do not hold for it.
        reading: How its files are read, where that differs from the plan: settings by name.
        rows: Training and validation rows that it was fitted to.
        run: Name of the run, or of the release, that it came from.
        score: Name of the score; higher is better.
        scores: By ``personalised`` and ``baseline`` (the forecast without learning): the score on
            test rows.
        fitted_until: The last moment that it was fitted to, Unix time in s; of rows without times
            the last such row.
        ahead: How far ahead it predicts, where that is another one than its plan's horizon: it is
            a model of several horizons, seen at one.
        blend: What the fleet chose for its homes' mixtures, by which the weights can be fitted to
            other rows; None: that is not known.
    """

    home: str
    plan: Plan
    targets: Targets
    scaling: InputScaling
    unit: float
    level: float
    weights: Mapping[str, float]
    experts: Mapping[str, Fitted]
    naive: Fitted
    by: Reach | float
    time_zone: str
    rows: int
    changes: bool = False
    run: str = ""
    score: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    fitted_until: int = 0
    blend: FleetsBlend | None = None
    ahead: Span | None = None
    rules: Mapping[str, Rule] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """Name of the column that it predicts."""
        return self.plan.data.target

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none where numbers are predicted."""
        return () if self.targets == "continuous" else self.plan.task.classes

    @property
    def target_unit(self) -> str:
        """The unit of what it predicts; empty where none is known."""
        return self.plan.data.target_unit

    @property
    def horizons(self) -> tuple[str, ...]:
        """Names of the horizons that it predicts, where they are several; else empty."""
        return self.plan.data.several

    def predict(self, readings: Readings, horizon: Span | None = None) -> pa.Table:
        """Return what is to be expected at each moment that readings allow, in the order of time.

        Of a series that is every step up to the horizon after the last reading; else every row.
        Each moment is predicted by what was known the horizon before, whatever came later. It is
        what the model says, whatever that is worth: `fedhome client predict` checks it besides.

        What was converted, taken for granted or left out of the readings is told as warnings of
        Python (`UserWarning`, each begins with ``readings of``); `predictions` returns it.

        Args:
            readings: The home's readings, as far back as the longest lag reaches. The target's
                column may be missing where rows do not follow each other in time.
            horizon: One of the plan's horizons, such as ``"6h"``; None: all of them. Where they
                are several, the table of all has a column ``horizon`` after the first.

        Returns:
            ``time`` (UTC; for rows without times ``row``), and of numbers ``value``, ``low`` and
            ``high`` in the target's unit (the 50th, 10th and 90th percentile of what may come); of
            classes ``class`` and the probability of each, ``P(NAME)``. ``missing`` is how many
            inputs had no reading and were filled in; ``without_learning`` is what would be
            expected without learning (of classes: the commonest).

        Raises:
            DataError: The readings lack inputs, or have them in other kinds or units; or nothing
                can be predicted from them. An input's column may be there with nothing in it.
            RunError: The model has no such horizon.
        """
        model = self if horizon is None else at_horizon(self, horizon)
        found = model.predictions(readings)
        for note in found.notes:
            warnings.warn(f"readings of {self.home!r}: {note}", UserWarning, stacklevel=2)
        return found.table

    def predictions(self, readings: Readings) -> Predictions:
        """Return what is to be expected beside what came; arguments and errors as of `predict`."""
        if self.horizons:
            each = [at_horizon(self, horizon).predictions(readings) for horizon in self.horizons]
            return beside_each_other(each, self.horizons)
        cut, timeless, notes = self._cut(readings)
        if not len(cut.time_s):
            raise DataError(
                f"nothing can be predicted from the readings of {self.home!r}: none of "
                f"{self.target!r} is new enough",
                hint="give readings that go back as far as the plan's lags",
            )
        x = self.scaling.apply(cut.x, cut.naive)
        rows = self.predictor.rows(
            beside(x, cut.filled, self.plan.data.indicators or ()), cut.naive, cut.seasonal
        )
        missing = np.sum([np.zeros(len(rows.x)), *cut.filled.values()], axis=0).astype(np.int64)
        place = "row" if timeless else "time"
        kind = None if timeless else pa.timestamp("s", tz="UTC")
        moments = pa.array(cut.time_s + cut.later[0] * cut.step_s, kind)
        told = self._told(self.state(rows), self.naive.state(rows), cut)
        table = pa.table({place: moments, **told, "missing": pa.array(missing)})
        return Predictions(table, cut.y, cut.filled, notes)

    @cached_property
    def predictor(self) -> Predictor:
        """What it computes from numbers, without plan and tables."""
        return Predictor(
            target=self.target,
            target_unit=self.target_unit,
            classes=self.classes,
            indicators=tuple(self.plan.data.indicators or ()),
            **{name: getattr(self, name) for name in COMPUTED},
        )

    def state(self, rows: InputRows) -> Floats:
        """Return the mixture's statements, float64 ``[rows, outputs]``.

        Args:
            rows: Inputs as models take them; of several horizons with a last axis of seasons.
        """
        return self.predictor.state(rows)

    def _told(self, mixed: Floats, naive: Floats, cut: Windows) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        if isinstance(self.by, Reach):
            low, high = self.by.at(cut.time_s)
            for name, values in (
                ("value", mixed[:, 0]),
                ("low", mixed[:, 0] + low),
                ("high", mixed[:, 0] + high),
                ("without_learning", naive[:, 0]),
            ):
                columns[name] = pa.array(self.predictor.levels(values, cut.naive))
            return columns
        whole, plain = (
            shares if shares.shape[1] > 1 else np.concatenate([1 - shares, shares], axis=1)
            for shares in (mixed, naive)
        )
        names = self.classes or tuple(str(number) for number in range(whole.shape[1]))
        columns["class"] = pa.array([names[place] for place in whole.argmax(axis=1)])
        columns |= {
            f"P({name})": pa.array(shares) for name, shares in zip(names, whole.T, strict=True)
        }
        columns["without_learning"] = pa.array([names[place] for place in plain.argmax(axis=1)])
        return columns

    def _cut(self, readings: Readings) -> _Asked:
        schema = schema_of(self.plan, self.targets)
        table, notes = self._table(readings, schema)
        if self.target not in table.columns and not self.plan.data.series:
            nothing = np.full(table.rows, np.nan)
            table = HomeTable(
                home=table.home,
                time_s=table.time_s,
                columns={**table.columns, self.target: nothing},
                time_zone=table.time_zone,
                labels={**table.labels, **({self.target: self.classes} if self.classes else {})},
                units=table.units,
                flags=table.flags,
                rules=table.rules,
            )
        try:
            own = matched(table, schema, self.targets)
        except InputsError as error:
            wanted = (*schema.columns, self.target)
            lacking = [name for name in wanted if name not in table.columns]
            if lacking and not isinstance(readings, HomeTable):  # no home that could be joined
                have = ", ".join(table.columns) or "none"
                error.hint = f"its columns are: {have}; call them as the plan does"
            raise
        cut = rows_to_predict(own.table, self.plan.data, schema.columns, ahead=self.ahead)
        told = dict.fromkeys((*notes, *own.notes, *cut.notes))
        return _Asked(cut, own.table.timeless, tuple(told))

    def _table(self, readings: Readings, schema: InputSchema) -> tuple[HomeTable, tuple[str, ...]]:
        if isinstance(readings, HomeTable):
            rules = {name: rule for name, rule in self.rules.items() if name in readings.columns}
            return replace(readings, rules=readings.rules or rules), ()
        zone = {} if self.plan.data.time_zone else {"time_zone": self.time_zone}
        is_file = isinstance(readings, (str, Path))
        # A table in memory has columns of its own making: which are its times, it tells itself.
        written = {
            name: how for name, how in self.reading.items() if is_file or name not in _OF_FILES
        }
        settings = reading_of(self.plan.data, {**zone, **written, "rules": self.rules})
        numbers = (self.target,) if self.targets == "continuous" else ()
        wanted = {*schema.columns, self.target}
        if isinstance(readings, (str, Path)):
            read = read_home(
                Path(readings),
                home=self.home,
                settings=settings,
                numbers=numbers,
                wanted=wanted,
                step=self.plan.data.step,
                whole=False,
            )
        else:
            read = read_table(self.home, readings, settings, numbers=numbers, wanted=wanted)
        if self.plan.data.series and self.target in read.empty:
            raise DataError(
                f"the readings of {self.home!r} hold nothing in {self.target}, which the model "
                "predicts from what it was before",
                hint="give readings that go back to when something was read there",
            )
        table, told = with_silent_inputs(read.table, schema, read.empty)
        return table, (*read.notes, *told)
