"""What a home's own model computes from numbers: numpy alone, for processes that stay.

No plan stands behind it, and no reader of tables: they take twice the memory that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.data.series.scaling import InputScaling, beside
from fedhome.data.series.seasons import SEASONS
from fedhome.errors import DataError
from fedhome.learning.bands import Reach, cooled
from fedhome.learning.fitted import Fitted, InputRows, Seasonal
from fedhome.learning.tasks.segments import Floats
from fedhome.learning.tasks.statements import ENCODINGS, finite_or

NETWORKS: Final = ("tuned", "global")
"""Experts whose outputs are raw, and are statements once encoded."""

Role = Literal["feature", "indicator", "last", "season", "moment"]

_ROWS = 2  # dimensions of rows of numbers


class Slot(NamedTuple):
    """One number that is given: its ``name``, what it is for, and of which feature or season."""

    name: str
    role: Role
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A home's mixture, and how numbers in the units of its readings become what it expects.

    Args:
        home: The home's name.
        target: Name of the column that it predicts.
        target_unit: The unit of that; empty where none is known.
        targets: How targets are encoded.
        classes: Names of the classes; none where numbers are predicted.
        indicators: Features of which a number says whether their reading was missing.
        scaling: How features are scaled.
        unit: What one unit of a statement is in the target's own.
        level: What a statement of 0 is in the target's own unit.
        changes: Whether statements are changes from the newest reading of the target.
        weights: Each expert's weight, by its name; they add up to 1.
        experts: The same experts; one that is missing was not finite: ``naive`` stands in.
        naive: The forecast without learning.
        by: How far the band of 80 % around numbers reaches, or the temperature of classes.
    """

    home: str
    target: str
    target_unit: str
    targets: Targets
    classes: tuple[str, ...]
    indicators: tuple[str, ...]
    scaling: InputScaling
    unit: float
    level: float
    weights: Mapping[str, float]
    experts: Mapping[str, Fitted]
    naive: Fitted
    by: Reach | float
    changes: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the numbers that it takes, in their order.

        ``NAME is missing`` is 1 where there was no reading of a feature then, also where an older
        one is given. ``TARGET last`` is the target's newest reading; ``moment`` the Unix time that
        is predicted, s. `fedhome model export` writes of each when it is read.

        Raises:
            DataError: The model predicts several horizons.
        """
        return tuple(slot.name for slot in self.slots)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What it gives: value, low and high, or each class's name."""
        if isinstance(self.by, Reach):
            return ("value", "low", "high")
        return self.classes or ("0", "1")

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """What each number that it takes is for, in their order.

        Raises:
            DataError: The model predicts several horizons.
        """
        if isinstance(self.by, Reach) and self.by.low.ndim > 1:
            raise DataError(
                f"the model of {self.home!r} predicts several horizons, and plain numbers give one",
                hint="fedhome.load(...).predict(readings, horizon) predicts each from readings",
            )
        names, forecasts = self.scaling.features, (*self.experts.values(), self.naive)
        slots = [Slot(name, "feature", number) for number, name in enumerate(names)]
        slots += [
            Slot(f"{name} is missing", "indicator", names.index(name)) for name in self.indicators
        ]
        seasons = {one.season for one in forecasts if isinstance(one, Seasonal)}
        if seasons or self.changes:
            slots.append(Slot(f"{self.target} last", "last"))
        for season in sorted(seasons - {0}):
            slots.append(Slot(f"{self.target} {SEASONS[season - 1].called}", "season", season))
        # The band depends on the time of day.
        if isinstance(self.by, Reach) and any(len(set(side.tolist())) > 1 for side in self.by):
            slots.append(Slot("moment", "moment"))
        return tuple(slots)

    def predict(self, raw: Floats) -> Floats:
        """Return what is to be expected, from numbers in the units of the home's readings.

        Args:
            raw: ``[rows, inputs]``, as of :attr:`inputs`; what is not finite is missing.

        Returns:
            ``[rows, outputs]``, as of :attr:`outputs`: in the target's unit (the 50th, 10th and
            90th percentile of what may come), or probabilities.

        Raises:
            DataError: They are no such rows, or the model predicts several horizons.
        """
        raw = np.asarray(raw, np.float64)
        if raw.ndim != _ROWS or raw.shape[1] != len(self.slots):
            raise DataError(
                f"the model of {self.home!r} takes rows of {len(self.slots)} numbers, and was "
                f"given an array of shape {list(raw.shape)}",
                hint="`inputs` names them in their order; one row is an array [1, inputs]",
            )
        raw = np.where(np.isfinite(raw), raw, np.nan)
        features = self.scaling.features
        many = len(features)
        x, beyond = raw[:, :many], raw[:, many:].T
        filled = {}
        last, seasons = np.full(len(raw), np.nan), np.full((len(raw), len(SEASONS)), np.nan)
        moment = np.zeros(len(raw))
        for slot, column in zip(self.slots[many:], beyond, strict=True):
            if slot.role == "indicator":
                filled[features[slot.number]] = (column != 0) | np.isnan(x[:, slot.number])
            elif slot.role == "last":
                last = column
            elif slot.role == "season":
                seasons[:, slot.number - 1] = column
            else:
                moment = column
        scaled = beside(self.scaling.apply(x, last), filled, self.indicators)
        mixed = self.state(self.rows(scaled, last, seasons))
        if isinstance(self.by, Reach):
            known = np.where(np.isnan(moment), 0, moment)
            value = mixed[:, 0]
            reach = [value + side + 0 * moment for side in self.by.at(known.astype(np.int64))]
            return self.levels(np.stack([value, *reach], axis=1), last[:, None])
        return mixed if mixed.shape[1] > 1 else np.concatenate([1 - mixed, mixed], axis=1)

    def rows(self, x: NDArray[np.float32], last: Floats, seasons: Floats) -> InputRows:
        """Return rows as experts take them.

        Args:
            x: Inputs as models take them, ``[rows, inputs]``.
            last: The newest reading of the target, in its own unit, ``[rows]``.
            seasons: The target some seasons earlier, in the same, ``[rows, seasons]``.
        """
        anchors = last if self.changes else np.zeros(len(last))
        behind = anchors.reshape(-1, *[1] * (seasons.ndim - 1))
        return InputRows(
            x,
            (last - anchors - self.level) / self.unit,
            (seasons - behind - self.level) / self.unit,
        )

    def levels(self, stated: Floats, last: Floats) -> Floats:
        """Return statements in the target's own unit.

        Args:
            stated: The statements.
            last: The newest reading of the target before each, in its own unit.
        """
        above = stated * self.unit + self.level
        return above + last if self.changes else above

    def state(self, rows: InputRows) -> Floats:
        """Return the mixture's statements, float64 ``[rows, outputs]``.

        Args:
            rows: Inputs as models take them.
        """
        naive = self.naive.state(rows)
        mixed = np.zeros_like(naive)
        for name, weight in self.weights.items():
            stated = naive
            if name in self.experts:
                stated = self.experts[name].state(rows)
                if name in NETWORKS:
                    stated = ENCODINGS[self.targets].stated(stated)
            # What is said of a row is remembered in this precision when models are mixed.
            stated = stated.astype(np.float32).astype(np.float64)
            mixed += weight * finite_or(stated, naive)
        return mixed if isinstance(self.by, Reach) else cooled(mixed, self.by)
