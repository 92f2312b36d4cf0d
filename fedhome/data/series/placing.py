"""Which moment of the grid's clock each of a home's readings belongs to."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.data.series.clocks import (
    BESIDE,
    ReadingClock,
    find_clock,
    midnight_phase,
    round_step,
    usual_gap,
)
from fedhome.data.series.local_time import local_seconds, utc_seconds
from fedhome.data.series.step_rules import Readings, Steps
from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.step_rule import Rule
from fedhome.plan.time_steps import DAY_S, span_text, step_seconds, step_text

_LEAST = 3  # readings of the target that say a home's step
_ALONE = 0.9  # of the rows read a single column: each is one sensor's, and says nothing of others
_SELDOM = 1 / 3  # of the rows read a column, at most: the others are other columns'
_LOOK = 1000  # readings that show whether a column changes at all


@dataclass(frozen=True, kw_only=True)
class HomeReadings:
    """The columns of a home that are used, and where they were read.

    Args:
        table: The home's table.
        data: The plan's settings.
        names: The columns.
        read: Where each was read, ``[rows]``.
        some: Where any was read, ``[rows]``.
    """

    table: HomeTable
    data: DataSettings
    names: tuple[str, ...]
    read: Mapping[str, NDArray[np.bool_]]
    some: NDArray[np.bool_]

    @classmethod
    def of(cls, table: HomeTable, data: DataSettings, columns: Sequence[str]) -> HomeReadings:
        """Look where columns, and the target, were read."""
        names = tuple(dict.fromkeys((*columns, data.target)))
        read = {name: np.isfinite(table.columns[name]) for name in names}
        some = np.logical_or.reduce(list(read.values()))
        return cls(table=table, data=data, names=names, read=read, some=some)

    @property
    def zone(self) -> str | None:
        """The home's zone; None where its rows have no times."""
        return None if self.table.timeless else self.table.time_zone

    def given_rule(self, name: str) -> Rule | None:
        """Return a column's rule, the home's own before the plan's; None where none is given."""
        return self.table.rules.get(name, self.data.rules.get(name))

    @property
    def telling(self) -> NDArray[np.bool_]:
        """The rows that tell the home's step, ``[rows]``."""
        target = self.read[self.data.target]
        return target if target.sum() >= _LEAST else self.some

    def tells_nothing(self, name: str) -> bool:
        """Return whether rows without a column say nothing of it, as they are other columns'.

        Else they say that it could not be read: so they do where a column is read in a third of
        the rows or more, unless nearly every row reads one column alone.
        """
        if self.read[name].sum() < _SELDOM * self.table.rows:
            return True
        number = np.zeros(len(self.some), np.int64)
        for read in self.read.values():
            number += read
        return len(self.names) > 1 and bool((number == 1).sum() >= _ALONE * self.some.sum())


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A home's readings on the clock of a grid.

    Args:
        home: The readings.
        steps: The grid's steps.
        shown: What their clock showed at each row, int64 ``[rows]``.
        places: Of each column: its rows, where they belong on that clock, and their clock's step.
        exact: Whether every row lies on a step to the second, one on each.
        single: Whether no two rows belong to one step.
        notes: What was moved or left out.
    """

    home: HomeReadings
    steps: Steps
    shown: NDArray[np.int64]
    places: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64], int]]
    exact: bool
    single: bool
    notes: tuple[str, ...] = ()

    def readings(self) -> Iterator[tuple[str, Readings]]:
        """Yield each column's readings."""
        table, shown = self.home.table, self.shown
        for name, (rows, at_s, native_s) in self.places.items():
            held = self.home.given_rule(name) == "hold"
            apart = held and self.home.tells_nothing(name)
            silent = np.flatnonzero(~self.home.read[name]) if held and not apart else rows[:0]
            yield (
                name,
                Readings(
                    home=table.home,
                    name=name,
                    at_s=at_s,
                    values=table.columns[name][rows],
                    rows=rows,
                    native_s=native_s,
                    silent_rows=silent,
                    silent_s=shown[silent],
                    apart=apart,
                ),
            )


def by_clock(home: HomeReadings) -> Placed:
    """Place readings by the clock that those of the target keep.

    Raises:
        DataError: They keep none.
    """
    telling = np.flatnonzero(home.telling)
    clock = find_clock(home.table.time_s[telling], home.zone)
    if clock is None:
        raise _irregular(home, telling)
    shown = _shown(home, local=clock.local)
    steps = _steps(home, shown, clock.step_s, clock.phase_s, local=clock.local)
    if clock.exact and _all_on(home, shown, steps):
        return Placed(
            home=home,
            steps=steps,
            shown=shown,
            places=_places(home, home.some, shown, clock.step_s),
            exact=True,
            single=True,
        )
    kept = np.zeros(home.table.rows, np.bool_)
    kept[telling[clock.on]] = True
    at = shown.copy()
    at[telling[clock.on]] = clock.starts[clock.on]
    others = np.flatnonzero(home.some & ~home.telling)
    if len(others):
        base = telling[clock.on]
        before = base[np.maximum(np.searchsorted(base, others) - 1, 0)]
        since = shown[others] - shown[before]
        whole = np.rint(since / clock.step_s).astype(np.int64)
        slack = (BESIDE if clock.exact else 2 * BESIDE) * clock.step_s
        kept[others] = np.abs(since - whole * clock.step_s) <= slack
        at[others] = at[before] + whole * clock.step_s
    at[kept] = np.maximum.accumulate(at[kept])
    own = steps.of(at[kept])
    notes = list(_beside(home, int(np.abs(at - shown)[kept].max(initial=0)), clock.step_s))
    if lost := int((home.some & ~kept).sum()):
        whose = f"{home.data.target!r}, which comes every {step_text(clock.step_s)},"
        without = int((home.some & ~kept & ~home.read[home.data.target]).sum())
        notes.append(
            f"{lost} of {int(home.some.sum())} rows lie between the readings of {whose} and were "
            f"left out ({without} of them without a reading of it); with data.step set, all "
            "readings of a step count"
        )
    return Placed(
        home=home,
        steps=steps,
        shown=shown,
        places=_places(home, kept, at, clock.step_s),
        exact=False,
        single=bool((own[1:] != own[:-1]).all()),
        notes=tuple(notes),
    )


def by_column(home: HomeReadings, rules: Mapping[str, Rule]) -> Placed:
    """Place readings on the plan's steps: each column's by its own clock, if it keeps one.

    Args:
        home: The readings.
        rules: Each column's rule.

    Raises:
        DataError: The rows have no times, or the steps are shorter than readings are apart.
    """
    if home.table.timeless:
        raise DataError(
            f"home {home.table.home!r}: its rows have no times, so that data.step says nothing",
            hint='leave data.step out, or name the column of the times: data.time = "NAME"',
        )
    step_s = step_seconds(home.data.step)
    found: dict[bytes, ReadingClock | None] = {}

    def clock_of(read: NDArray[np.bool_]) -> ReadingClock | None:
        key = np.packbits(read).tobytes()
        if key not in found:
            found[key] = find_clock(home.table.time_s[read], home.zone)
        return found[key]

    told = clock_of(home.telling)
    local = step_s % DAY_S == 0
    if told is not None and told.step_s == step_s:
        local, phase = told.local, told.phase_s
    elif told is not None and told.step_s % step_s == 0 and told.local == local:
        phase = told.phase_s % step_s
    else:
        phase = 0 if local else midnight_phase(home.table.time_s, step_s, home.zone)
    shown = _shown(home, local=local)
    steps = _steps(home, shown, step_s, phase, local=local)
    exact = told is not None and told.exact and told.step_s == step_s
    if exact and _all_on(home, shown, steps):
        places = _places(home, home.some, shown, step_s)
        return Placed(
            home=home,
            steps=steps,
            shown=shown,
            places=places,
            exact=True,
            single=True,
        )
    places = {}
    for name in home.names:
        read = home.read[name]
        clock = clock_of(read)
        _check_length(home, name, rules[name], clock, step_s)
        at = shown[read]
        if clock is not None:
            starts = _moved(clock.starts, home, local=local, was=clock.local)
            at = np.maximum.accumulate(np.where(clock.on, starts, at))
        places[name] = (np.flatnonzero(read), at, 0 if clock is None else clock.step_s)
    return Placed(
        home=home,
        steps=steps,
        shown=shown,
        places=places,
        exact=False,
        single=False,
        notes=() if told is None else _beside(home, told.beside_s, told.step_s),
    )


def _steps(
    home: HomeReadings, shown: NDArray[np.int64], step_s: int, phase_s: int, *, local: bool
) -> Steps:
    last = int((shown[-1] - phase_s) // step_s)
    return Steps(step_s, phase_s, last, home.table.time_zone if local else None)


def _places(
    home: HomeReadings, kept: NDArray[np.bool_], at: NDArray[np.int64], native_s: int
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64], int]]:
    rows = {name: np.flatnonzero(home.read[name] & kept) for name in home.names}
    return {name: (some, at[some], native_s) for name, some in rows.items()}


def _all_on(home: HomeReadings, shown: NDArray[np.int64], steps: Steps) -> bool:
    return not bool((((shown - steps.phase_s) % steps.step_s != 0) & home.some).any())


def _shown(home: HomeReadings, *, local: bool) -> NDArray[np.int64]:
    """Return what the grid's clock showed at each row; in autumn it stands still for an hour."""
    return _moved(home.table.time_s, home, local=local, was=False)


def _moved(
    moments: NDArray[np.int64], home: HomeReadings, *, local: bool, was: bool
) -> NDArray[np.int64]:
    if local == was:
        return moments
    zone = home.table.time_zone
    if was:
        return utc_seconds(moments, zone)
    return np.maximum.accumulate(local_seconds(moments, zone))


def _beside(home: HomeReadings, beside_s: int, step_s: int) -> tuple[str, ...]:
    if not beside_s:
        return ()
    drifts = ", as a clock does that drifts or starts anew" if beside_s > step_s / 5 else ""
    note = (
        f"readings of {home.data.target!r} come every {step_text(step_s)}, but lie beside the full "
        f"steps by up to {span_text(beside_s)}{drifts}: each was put on its step"
    )
    return (note,)


def _check_length(
    home: HomeReadings, name: str, rule: Rule, clock: ReadingClock | None, step_s: int
) -> None:
    """Refuse steps that are shorter than readings are apart, where that makes no sense."""
    if clock is None or clock.step_s <= step_s or rule == "hold":
        return
    if name != home.data.target and rule != "sum":
        return
    apart = step_text(clock.step_s)
    raise DataError(
        f"home {home.table.home!r}: readings of {name!r} come every {apart}, and data.step is "
        f"{step_text(step_s)}: most steps would have none",
        hint=f'set data.step = "{apart}" or longer; or, where a value stays until the next '
        f'reading, data.rules = {{{json.dumps(name, ensure_ascii=False)} = "hold"}}',
    )


def _irregular(home: HomeReadings, telling: NDArray[np.int64]) -> DataError:
    """Return the error that says what the gaps look like, and what to set."""
    table, target = home.table, home.data.target
    time_s = table.time_s[telling]
    if len(time_s) < _LEAST:
        return DataError(
            f"home {table.home!r} has {counted(len(time_s), 'row')} with a reading: too few "
            "for a series",
            hint="set data.horizon = 0 for rows that do not follow each other in time",
        )
    gaps = np.diff(time_s)
    step = step_text(round_step(float(np.median(gaps))))
    values = table.columns[target][telling]
    counts = target not in table.labels and len(set(values[:_LOOK].tolist())) > _LEAST
    rule = "difference" if counts and bool((np.diff(values) >= 0).all()) else "hold"
    rules = f'{{{json.dumps(target, ensure_ascii=False)} = "{rule}"}}'
    why = {
        "hold": "if a value stays until the next reading",
        "difference": "as it seems to be a meter that counts up",
    }
    return DataError(
        f"home {table.home!r}: its readings of {target!r} keep no regular clock: the commonest gap "
        f"is about {span_text(usual_gap(time_s))}, the shortest {span_text(int(gaps.min()))}, the "
        f"longest {span_text(int(gaps.max()))}",
        hint=f'set data.step = "{step}", and {why[rule]}, data.rules = {rules}: '
        f"--set data.step={step} --set {shlex.quote('data.rules=' + rules)}; "
        "or set data.horizon = 0",
    )
