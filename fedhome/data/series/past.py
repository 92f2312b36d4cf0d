"""Rows and what came some steps before each: what is known there, and which rows count."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.spans import StepSpans

TOLD = 0.1
"""What is missing in more than this share of the rows is told."""


@dataclass(frozen=True)
class Past:
    """A home's rows in the order of time, each of a step.

    Args:
        time_s: UTC seconds of each row, ``[rows]``.
        steps: Each row's step, strictly increasing, ``[rows]``.
        columns: What was read, ``[rows]`` each.
        target: The column to predict.
        spans: Lags, horizon and gap in steps.
        held: Steps (of rows that are no series: seconds) for which a reading may stand in for
            those that are missing after it; 0: none does.
        step_s: Seconds of a step; of rows that are no series without meaning.
    """

    time_s: NDArray[np.int64]
    steps: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]
    target: str
    spans: StepSpans
    held: int
    step_s: int = 0

    def ahead(self) -> Past:
        """Return the rows, and those that a series can be predicted for after its last one.

        Their steps are as long as all others, also where a day has an hour more or less.
        """
        more = np.arange(1, self.spans.horizon + 1)
        if not len(more) or not len(self.steps):
            return self
        return replace(
            self,
            time_s=np.concatenate([self.time_s, self.time_s[-1] + more * self.step_s]),
            steps=np.concatenate([self.steps, self.steps[-1] + more]),
            columns={
                name: np.concatenate([values, np.full(len(more), np.nan)])
                for name, values in self.columns.items()
            },
        )

    def targets(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return what comes at each row's moment, ``[rows]``; of several horizons ``[rows, each]``.

        It is NaN where nothing was read.

        Args:
            rows: The rows; None for all.
        """
        values = self.columns[self.target]
        known = [_at(values, self.after(later, rows)) for later in self.spans.later]
        return known[0] if len(known) == 1 else np.stack(known, axis=1)

    def after(self, steps: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the row that lies some steps after each row; -1 where there is none.

        Args:
            steps: How many steps.
            rows: The rows; None for all.
        """
        at = np.arange(len(self.steps)) if rows is None else rows
        if steps == 0:
            return at
        wanted = self.steps[at] + steps
        found = np.minimum(np.searchsorted(self.steps, wanted), len(self.steps) - 1)
        return np.where(self.steps[found] == wanted, found, -1) if len(found) else found

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

    def last_known(
        self, name: str, steps: int, rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return the last row with a reading, some steps before each row or earlier; -1: none.

        Nothing that comes after is looked at, so it is what a home knew at that moment.

        Args:
            name: The column.
            steps: How many steps.
            rows: The rows; None for all.
        """
        clock = self.steps if self.spans.horizon else self.time_s
        read = np.flatnonzero(np.isfinite(self.columns[name]))
        at = clock if rows is None else clock[rows]
        if not len(read):
            return np.full(len(at), -1)
        place = np.searchsorted(clock[read], at - steps, side="right") - 1
        found = np.where(place < 0, -1, read[np.maximum(place, 0)])
        found[(at - steps) - clock[found] > self.held] = -1
        return np.asarray(found)


class CountedRows(NamedTuple):
    """The rows that count, and what became of the others.

    Args:
        rows: Their places, int64 ``[kept]``.
        notes: What is missing in many others, in plain sentences.
        without_target: Rows in which the target is missing.
        without_past: Rows that come too early, or after too long a gap, to be predicted.
    """

    rows: NDArray[np.int64]
    notes: tuple[str, ...]
    without_target: int
    without_past: int


def rows_with_past(past: Past) -> CountedRows:
    """Return the rows that have a target, and something known of it before.

    What else is missing in them is filled in. Of a series, rows need a reading of the target
    from no longer than a day before the moment of prediction: that is what persistence would say.
    Rows that lags reach beyond the first reading from are left out where they are no more than a
    tenth; else they count, and their longest lags are filled in.
    """
    read = _read(past)
    total, there = len(read), read.copy()
    notes = []
    if _number(~read) > TOLD * total:
        notes.append(_left_out(_number(~read), total, _without_target(past)))
    if past.spans.horizon:
        there &= past.last_known(past.target, past.spans.horizon) >= 0
        if (lost := _number(read & ~there)) > TOLD * total:
            what = f"no reading of {past.target!r} came in the day before"
            notes.append(_left_out(lost, total, what))
        first = past.steps[np.isfinite(past.columns[past.target])][:1]
        whole = there
        for _, lag in sorted(past.spans.lags, key=lambda lag: lag[1]):
            reached = there & (past.steps - lag >= first) if len(first) else there
            if _number(there & ~reached) <= TOLD * _number(there):
                whole = reached
        there = whole
    return CountedRows(np.flatnonzero(there), tuple(notes), _number(~read), _number(read & ~there))


def whole_rows(past: Past, used: Sequence[str]) -> CountedRows:
    """Return the rows in which nothing is missing, and what is missing in many others.

    Args:
        past: The rows.
        used: The columns that are inputs.
    """
    rows, target, horizon = len(past.steps), past.target, past.spans.horizon
    read, known_then = _read(past), np.isfinite(past.columns[target])
    now = past.before(horizon)
    there = now >= 0
    whole = read & there
    lost = [
        _Lost(_number(~read), _without_target(past)),
        _Lost(_number(~there), f"nothing was read {_steps(horizon)} earlier"),
    ]
    for name in used:
        known = _finite_at(np.isfinite(past.columns[name]), now)
        whole &= known
        way = _way(name, series=horizon > 0)
        lost.append(_Lost(_number(there & ~known), f"{name!r} is missing", way))
    # A skill is measured against persistence on the same rows: they need the last target as well.
    lags = dict(past.spans.lags)
    earlier: list[tuple[int, int]] = []
    for lag in sorted({horizon, *lags.values()}) if horizon > 0 else ():
        known = _finite_at(known_then, past.before(lag))
        whole &= known
        count = _number(there & ~known if lag == horizon else ~known)
        if count > TOLD * rows:
            earlier.append((lag, count))
    kept = np.flatnonzero(whole)
    notes = [_left_out(*one[:1], rows, *one[1:]) for one in lost if one.number > TOLD * rows]
    if earlier:
        notes.append(_earlier(earlier, rows, target, lags))
    if rows - len(kept) > TOLD * rows:
        notes.append(f"{len(kept)} of {rows} rows are whole and are used")
    return CountedRows(kept, tuple(notes), _number(~read), _number(read & ~whole))


def _read(past: Past) -> NDArray[np.bool_]:
    """Return in which rows the target is known, at every horizon."""
    known = np.isfinite(past.targets())
    return np.asarray(known if known.ndim == 1 else known.all(axis=1), np.bool_)


def _without_target(past: Past) -> str:
    at = ", at one of the horizons or more," if len(past.spans.later) > 1 else ""
    return f"the target {past.target!r} is missing{at}"


class _Lost(NamedTuple):
    """How many rows lack something, what it is, and what can be done about it."""

    number: int
    what: str
    way: str = ""


def _left_out(number: int, rows: int, what: str, way: str = "") -> str:
    return f"{what} in {number} of {rows} rows, which were left out{way}"


def _earlier(
    earlier: Sequence[tuple[int, int]], rows: int, target: str, lags: Mapping[str, int]
) -> str:
    told = ", ".join(f"{_steps(lag)} earlier in {count}" for lag, count in earlier)
    steps = {lag for lag, _ in earlier}
    named = ", ".join(_written(lags, steps))
    way = f"; without {named} in data.lags they count" if named else ""
    return f"{target!r} is missing {told} of {rows} rows, which were left out{way}"


def _written(lags: Mapping[str, int], steps: set[int]) -> Iterator[str]:
    return (written for written, lag in lags.items() if lag in steps)


def _way(name: str, *, series: bool) -> str:
    way = f"; without {name!r} they count: name the other columns in data.features"
    if series:
        rule = f'{{{json.dumps(name, ensure_ascii=False)} = "hold"}}'
        way += f", or set data.rules = {rule} if its values stay until the next reading"
    return way


def _at(values: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the values of some rows; NaN for those that there are not."""
    if not len(values):
        return np.empty(0)
    return np.where(rows < 0, np.nan, values[rows])


def _number(rows: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(rows))


def _steps(count: int) -> str:
    return f"{count} step{'s' if count != 1 else ''}"


def _finite_at(finite: NDArray[np.bool_], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows there are, and hold something."""
    return finite[rows] & (rows >= 0) if len(finite) else np.zeros(len(rows), np.bool_)
