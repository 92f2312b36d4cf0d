"""Rows and what came some steps before each: which are whole, and what the others lack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.plan.data_settings import DataSettings

TOLD = 0.1
"""What is missing in more than this share of the rows is told."""


@dataclass(frozen=True)
class Past:
    """A home's rows in the order of time, each of a step.

    Args:
        time_s: UTC seconds of each row, ``[rows]``.
        steps: Each row's step, strictly increasing, ``[rows]``.
        columns: What was read, ``[rows]`` each.
        used: The columns that are inputs.
    """

    time_s: NDArray[np.int64]
    steps: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]
    used: tuple[str, ...]

    def before(self, steps: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the row that lies some steps before each row; -1 where there is none.

        Args:
            steps: How many steps.
            rows: The rows; None for all.
        """
        at = self.steps if rows is None else self.steps[rows]
        if steps == 0:
            return np.arange(len(at)) if rows is None else rows
        wanted = at - steps
        count = len(self.steps)
        if count and int(self.steps[-1] - self.steps[0]) == count - 1:  # no step without a row
            return np.asarray(np.maximum(wanted - self.steps[0], -1))
        found = np.asarray(np.searchsorted(self.steps, wanted))  # no later than the row itself
        found[self.steps[found] != wanted] = -1
        return found

    @property
    def step_s(self) -> int:
        """Length of a step in seconds; 0 where there are too few rows to tell."""
        steps = int(self.steps[-1] - self.steps[0]) if len(self.steps) else 0
        return round(int(self.time_s[-1] - self.time_s[0]) / steps) if steps else 0

    def inputs(self, data: DataSettings) -> dict[str, tuple[NDArray[np.float64], int]]:
        """Return the inputs by name: values, and how many steps before the predicted row."""
        target = data.target
        inputs = {name: (self.columns[name], data.horizon) for name in self.used}
        if data.horizon > 0:
            inputs |= {f"{target} {lag} before": (self.columns[target], lag) for lag in data.lags}
        return inputs


def whole_rows(past: Past, data: DataSettings) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the rows in which nothing is missing, and what is missing in many others.

    Args:
        past: The rows.
        data: The plan's settings for data.
    """
    rows, target, horizon = len(past.steps), data.target, data.horizon
    read = np.isfinite(past.columns[target])
    now = past.before(horizon)
    there = now >= 0
    whole = read & there
    lost = [
        _Lost(_number(~read), f"the target {target!r} is missing"),
        _Lost(_number(~there), f"nothing was read {_steps(horizon)} earlier"),
    ]
    for name in past.used:
        known = _finite_at(np.isfinite(past.columns[name]), now)
        whole &= known
        lost.append(_Lost(_number(there & ~known), f"{name!r} is missing", _way(name, data)))
    # A skill is measured against persistence on the same rows: they need the last target as well.
    earlier: list[tuple[int, int]] = []
    for lag in sorted({horizon, *data.lags}) if horizon > 0 else ():
        known = _finite_at(read, past.before(lag))
        whole &= known
        count = _number(there & ~known if lag == horizon else ~known)
        if count > TOLD * rows:
            earlier.append((lag, count))
    kept = np.flatnonzero(whole)
    notes = [
        f"{what} in {count} of {rows} rows, which were left out{way}"
        for count, what, way in lost
        if count > TOLD * rows
    ]
    if earlier:
        told = ", ".join(f"{_steps(lag)} earlier in {count}" for lag, count in earlier)
        lags = ", ".join(str(lag) for lag, _ in earlier if lag in data.lags)
        way = f"; without {lags} in data.lags they count" if lags else ""
        notes.append(f"{target!r} is missing {told} of {rows} rows, which were left out{way}")
    if rows - len(kept) > TOLD * rows:
        notes.append(f"{len(kept)} of {rows} rows are whole and are used")
    return kept, tuple(notes)


class _Lost(NamedTuple):
    """How many rows lack something, what it is, and what can be done about it."""

    number: int
    what: str
    way: str = ""


def _way(name: str, data: DataSettings) -> str:
    way = f"; without {name!r} they count: name the other columns in data.features"
    if data.horizon > 0:
        rule = f'{{{json.dumps(name, ensure_ascii=False)} = "hold"}}'
        way += f", or set data.rules = {rule} if its values stay until the next reading"
    return way


def _number(rows: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(rows))


def _steps(count: int) -> str:
    return f"{count} step{'s' if count != 1 else ''}"


def _finite_at(finite: NDArray[np.bool_], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows there are, and hold something."""
    return finite[rows] & (rows >= 0) if len(finite) else np.zeros(len(rows), np.bool_)
