"""How a column's readings become one number a step: the rules of ``data.rules``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted, was
from fedhome.data.series.local_time import utc_seconds
from fedhome.data.series.meters import LONGEST_GAP, metered
from fedhome.errors import DataError
from fedhome.plan.step_rule import Rule
from fedhome.plan.time_steps import DAY_S, span_text, step_text

HOLD_S = DAY_S
"""A held value stays for this many seconds at most, and for a step at least."""

_DENSE = 100  # steps of a grid for a row, at most
_SMALL = 1_000_000  # steps that are never too many


class Readings(NamedTuple):
    """A column's readings, in the order of time.

    Args:
        home: The home's name, for messages.
        name: The column's name.
        at_s: When, seconds on the grid's clock, int64 ``[readings]``, never decreasing.
        values: What was read, ``[readings]``.
        rows: Each one's row in the home's table, ``[readings]``.
        native_s: Seconds from one to the next; 0 where they keep no clock.
        silent_rows: Rows that say that nothing can be read, as "unavailable" does.
        silent_s: When those are.
        apart: Whether rows without it are other columns', and say nothing of it.
    """

    home: str
    name: str
    at_s: NDArray[np.int64]
    values: NDArray[np.float64]
    rows: NDArray[np.int64]
    native_s: int
    silent_rows: NDArray[np.int64]
    silent_s: NDArray[np.int64]
    apart: bool


class Steps(NamedTuple):
    """A grid's steps, and the clock that they follow.

    Args:
        step_s: Seconds of a step.
        phase_s: Steps begin at whole multiples of ``step_s`` and this many seconds.
        last: The last step with a row of the home.
        zone: The zone whose clock they follow; None for UTC.
    """

    step_s: int
    phase_s: int
    last: int
    zone: str | None

    def of(self, at_s: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the steps of moments."""
        return (at_s - self.phase_s) // self.step_s

    def begins(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return when steps begin, UTC seconds."""
        begins = steps * self.step_s + self.phase_s
        return begins if self.zone is None else utc_seconds(begins, self.zone)


class Stepped(NamedTuple):
    """A column on a grid: steps, strictly increasing, their values, and what is to be told."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def _mean(read: Readings, grid: Steps) -> Stepped:
    steps, first, counts = _runs(grid.of(read.at_s))
    if len(steps) == len(read.values):
        return Stepped(steps, read.values)
    return Stepped(steps, np.add.reduceat(read.values, first) / counts)


def _last(read: Readings, grid: Steps) -> Stepped:
    steps, first, counts = _runs(grid.of(read.at_s))
    return Stepped(steps, read.values[first + counts - 1])


def _sum(read: Readings, grid: Steps) -> Stepped:
    steps, first, counts = _runs(grid.of(read.at_s))
    single = len(steps) == len(read.values)
    sums = read.values if single else np.add.reduceat(read.values, first)
    length = grid.begins(steps + 1) - grid.begins(steps)  # of a day, where summer time begins: 23 h
    parts = length // read.native_s if read.native_s else np.ones(len(steps))
    whole = counts >= parts
    if whole.all():
        return Stepped(steps, sums)
    note = (
        f"{read.name}: {int((~whole).sum())} of {len(steps)} steps lack some of their "
        f"readings, one every {step_text(read.native_s)}: their sums are missing"
    )
    return Stepped(steps[whole], sums[whole], (note,))


def _hold(read: Readings, grid: Steps) -> Stepped:
    own, first, counts = _runs(grid.of(read.at_s))
    final = first + counts - 1
    most = max(HOLD_S // grid.step_s, 1)
    until = np.append(own[1:] - 1, max(grid.last, int(own[-1])))
    next_silent = np.searchsorted(read.silent_rows, read.rows[final])
    silent = np.append(grid.of(read.silent_s), np.iinfo(np.int64).max)[next_silent]
    until = np.maximum(np.minimum(until, silent - 1), own)
    held = np.minimum(until, own + most)
    lengths = held - own + 1
    rows = len(read.rows) + len(read.silent_rows)
    if int(lengths.sum()) > max(_DENSE * rows, _SMALL):
        raise _too_dense(read, grid)
    begins = np.cumsum(lengths) - lengths
    steps = np.repeat(own - begins, lengths) + np.arange(int(lengths.sum()))
    cut = int((until > held).sum())
    end = "" if read.apart else " or a row that has none"
    told = [f"{len(steps) - len(own)} steps without a reading have a value so"]
    if cut:
        told.append(f"{counted(cut, 'time')} the next came later, and steps in between have none")
    if read.apart:
        told.append("rows without it are other columns', and do not end that")
    note = (
        f"{read.name}: the last value stays until the next reading{end}, for "
        f"{span_text(HOLD_S)} or a step at most ({'; '.join(told)})"
    )
    return Stepped(steps, np.repeat(read.values[final], lengths), (note,))


def _difference(read: Readings, grid: Steps) -> Stepped:
    use = metered(read.at_s, read.values, step_s=grid.step_s, phase_s=grid.phase_s)
    found = (
        (use.restarts, "time", "it began again at zero"),
        (use.exchanges, "time", "it fell, but not to zero: what was used then is missing"),
        (use.jumps, "reading", f"at which it jumped and came back {was(use.jumps)} left out"),
        (use.gaps, "gap", f"of {LONGEST_GAP} steps or more: what was used meanwhile is missing"),
    )
    told = "; ".join(f"{counted(count, noun)} {what}" for count, noun, what in found if count)
    note = f"{read.name}: what the meter counts from a step's beginning to its end"
    return Stepped(use.steps, use.used, (f"{note} ({told})" if told else note,))


RULES: Mapping[Rule, Callable[[Readings, Steps], Stepped]] = {
    "mean": _mean,
    "last": _last,
    "hold": _hold,
    "sum": _sum,
    "difference": _difference,
}
"""What each rule makes of a column that has at least one reading."""


def _runs(
    steps: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the steps that there are, the first reading of each, and how many it has."""
    first = np.flatnonzero(np.append(True, steps[1:] != steps[:-1]))
    return steps[first], first, np.diff(np.append(first, len(steps)))


def _too_dense(read: Readings, grid: Steps) -> DataError:
    gaps = np.diff(read.at_s)
    row = int(gaps.argmax()) if len(gaps) else 0
    longest = span_text(int(gaps.max(initial=0)))
    return DataError(
        f"home {read.home!r}: with data.step = {step_text(grid.step_s)}, holding {read.name!r} "
        f"needs more than {_DENSE} steps for a row; its longest gap is {longest}, after row "
        f"{int(read.rows[row]) + 1}",
        hint="set a longer data.step",
    )
