"""The clock of a home's readings: how far apart they come, and which reading is of which step.

Clocks of devices are seldom exact: a poller is some seconds late, and drifts. Readings that keep
to a clock that well are told apart from those that come when something happens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.local_time import local_seconds
from fedhome.plan.time_steps import DAY_S, MONTH_S, YEAR_S

BESIDE = 0.1
"""Readings may lie beside their step by this share of it: two of them, twice as far apart."""

_LEAST_READINGS = 3  # in two readings no clock can be seen
_COMMON = 1 / 3  # of the gaps, at least, are one step
_REGULAR = 0.9  # of the gaps, at least, are about one step or some
_LOCAL_S = 7200  # where steps are this long or longer, summer time moves readings by less than one
_SLIPPED = 0.6  # steps by which a drifting clock is off before a step is left out, or counts twice
_BLOCK = 1024  # readings that are looked through at once for the next slip
_ROUND = (1, 2, 5, 10, 15, 20, 30)  # seconds, minutes
_ROUND_STEPS = np.array(
    [
        *_ROUND,
        *(60 * minutes for minutes in (*_ROUND[:2], 3, 4, *_ROUND[2:])),
        *(3600 * hours for hours in (1, 2, 3, 4, 6, 8, 12, 24, 168)),
        # First days of months: by the mean of their own gaps, homes' steps would differ.
        *(MONTH_S * months for months in (1, 2, 3, 4, 6)),
        *(YEAR_S * years for years in (1, 2, 3, 4, 5, 10)),
    ]
)
_PROPOSED = (1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, DAY_S)


@dataclass(frozen=True, kw_only=True)
class ReadingClock:
    """The clock that readings keep.

    Args:
        step_s: Seconds from one to the next.
        phase_s: When a step begins: at whole multiples of ``step_s`` and this many seconds.
        local: Whether it is the home's own clock, with summer time, and not UTC.
        exact: Whether every reading lies on a step to the second.
        moments: Where the readings lie on this clock, seconds since 1970, int64 ``[readings]``.
        steps: Each one's step, counted from 1970, int64 ``[readings]``.
        on: Whether it belongs to that step, ``[readings]``; single readings may lie between two.
            The steps of those that do never decrease.
    """

    step_s: int
    phase_s: int
    local: bool
    exact: bool
    moments: NDArray[np.int64]
    steps: NDArray[np.int64]
    on: NDArray[np.bool_]

    @property
    def starts(self) -> NDArray[np.int64]:
        """When each reading's step begins, on this clock, ``[readings]``."""
        return self.steps * self.step_s + self.phase_s

    @property
    def beside_s(self) -> int:
        """How far a reading lies beside its step, at most."""
        return int(np.abs(self.moments - self.starts)[self.on].max(initial=0))


def find_clock(time_s: NDArray[np.int64], zone: str | None) -> ReadingClock | None:
    """Return the clock that readings keep; None where they keep none.

    Args:
        time_s: UTC seconds of the readings, ``[readings]``, strictly increasing.
        zone: The home's zone; None where the readings have no times.

    Raises:
        DataError: No such zone.
    """
    if len(time_s) < _LEAST_READINGS:
        return None
    lengths, counts = _counted(np.diff(time_s))
    common = int(lengths[counts.argmax()])
    if clock := _exact(time_s, lengths, counts, local=False):
        return clock
    if zone is not None and common >= _LOCAL_S:
        shown = local_seconds(time_s, zone)
        gaps = np.diff(shown)
        if bool((gaps > 0).all()):
            lengths_shown, counts_shown = _counted(gaps)
            if clock := _exact(shown, lengths_shown, counts_shown, local=True):
                return clock
            if common >= DAY_S:
                return _about(shown, lengths_shown, counts_shown, zone=None, local=True)
    return _about(time_s, lengths, counts, zone=zone, local=False)


def usual_gap(time_s: NDArray[np.int64]) -> int:
    """Return the gap between readings that is commonest, about, in seconds.

    Args:
        time_s: Seconds, at least two, strictly increasing.
    """
    return max(round(_usual(*_counted(np.diff(time_s)))[0]), 1)


def in_order(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return steps in their order, each once.

    Args:
        steps: Some sequences of steps that rise, one after the other.
    """
    steps = np.sort(steps, kind="stable")  # which finds what is in order, and merges it
    return np.asarray(steps[np.append(steps[1:] != steps[:-1], True)[: len(steps)]])


def round_step(seconds: float) -> int:
    """Return the shortest step to propose that is no shorter than a length.

    Args:
        seconds: The length.
    """
    return next((step for step in _PROPOSED if seconds <= step), _PROPOSED[-1])


def midnight_phase(time_s: NDArray[np.int64], step_s: int, zone: str | None) -> int:
    """Return the phase of steps that begin at midnight of a home, in the middle of its readings.

    Args:
        time_s: UTC seconds of its readings.
        step_s: The step.
        zone: Its zone; None for UTC.

    Raises:
        DataError: No such zone.
    """
    if zone is None:
        return 0
    middle = time_s[len(time_s) // 2 :][:1]
    return int((middle - local_seconds(middle, zone))[0]) % step_s


def _counted(gaps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return the lengths of gaps that there are, rising, and how many gaps have each."""
    if bool((gaps == gaps[0]).all()):  # the usual case, without sorting
        return gaps[:1], np.array([len(gaps)])
    return np.unique(gaps, return_counts=True)


def _exact(
    moments: NDArray[np.int64],
    lengths: NDArray[np.int64],
    counts: NDArray[np.intp],
    *,
    local: bool,
) -> ReadingClock | None:
    step = int(lengths[counts.argmax()])
    if counts.max() < _COMMON * counts.sum() or bool((lengths % step).any()):
        return None
    phase = int(moments[0]) % step
    return ReadingClock(
        step_s=step,
        phase_s=phase,
        local=local,
        exact=True,
        moments=moments,
        steps=(moments - phase) // step,
        on=np.ones(len(moments), np.bool_),
    )


def _about(
    moments: NDArray[np.int64],
    lengths: NDArray[np.int64],
    counts: NDArray[np.intp],
    *,
    zone: str | None,
    local: bool,
) -> ReadingClock | None:
    """Return the clock of readings that lie beside it by little; None where they keep none."""
    gaps = int(counts.sum())
    usual, near = _usual(lengths, counts)
    if near < _COMMON * gaps:
        return None
    step = _plain_step(usual, gaps)
    whole = _is_whole(lengths, step)
    if counts[whole].sum() < _REGULAR * gaps:
        return None
    phase = _phase(moments, step, midnight_phase(moments, step, zone))
    on = ~_between(moments, step)
    return ReadingClock(
        step_s=step,
        phase_s=phase,
        local=local,
        exact=False,
        moments=moments,
        steps=_followed(moments, on, step, phase),
        on=on,
    )


def _usual(lengths: NDArray[np.int64], counts: NDArray[np.intp]) -> tuple[float, int]:
    """Return the mean of the commonest gaps, those within a fifth of each other, and their number.

    Args:
        lengths: The lengths of gaps that there are, rising.
        counts: How many gaps have each.
    """
    until = np.concatenate([[0], np.cumsum(counts)])
    low, high = 1 - 2 * BESIDE, 1 + 2 * BESIDE

    def number(first: NDArray[np.intp], end: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.asarray(until[end] - until[first])

    first = np.arange(len(lengths))
    end = np.searchsorted(lengths, lengths * (high / low), side="right")
    best = int(number(first, end).argmax())
    half = until[best] + number(first, end)[best] / 2
    middle = float(lengths[np.searchsorted(until, half, side="left") - 1])
    first = np.searchsorted(lengths, [middle * low], side="left")
    end = np.searchsorted(lengths, [middle * high], side="right")
    near = slice(int(first[0]), int(end[0]))
    mean = float(np.average(lengths[near], weights=counts[near]))
    return mean, int(number(first, end)[0])


def _plain_step(usual: float, gaps: int) -> int:
    """Return the step of readings whose commonest gaps have some mean.

    A step in common use, unless readings of that step would have drifted off it.
    """
    plain = int(_ROUND_STEPS[np.abs(_ROUND_STEPS / usual - 1).argmin()])
    slack = min((0.5 + 0.1 * gaps**0.5) / gaps, BESIDE / 2)
    return plain if abs(usual - plain) <= plain * slack else max(round(usual), 1)


def _is_whole(gaps: NDArray[np.int64], step: int) -> NDArray[np.bool_]:
    """Return which gaps are about one step long, or some."""
    whole = np.rint(gaps / step)
    return np.asarray((whole >= 1) & (np.abs(gaps - whole * step) <= 2 * BESIDE * step))


def _between(moments: NDArray[np.int64], step: int) -> NDArray[np.bool_]:
    """Return which readings lie between two steps, while those around them keep to the clock."""
    gaps = np.diff(moments)
    odd = ~_is_whole(gaps, step)
    between = np.zeros(len(moments), np.bool_)
    between[1:-1] = odd[:-1] & odd[1:] & _is_whole(moments[2:] - moments[:-2], step)
    between[0] = odd[0] and not odd[1]
    between[-1] = odd[-1] and not odd[-2]
    between[1:] &= ~between[:-1]  # of two neighbours one is left to count from
    return between


def _phase(moments: NDArray[np.int64], step: int, midnight: int) -> int:
    """Return when steps begin: as nearly all readings do, as a day does, or as readings do."""
    lates, counts = np.unique(moments % step, return_counts=True)
    if counts.max() >= _REGULAR * len(moments):
        return int(lates[counts.argmax()])
    turn = np.average(np.exp(2j * np.pi * (lates - midnight) / step), weights=counts)
    late = float(np.angle(turn)) / (2 * np.pi)  # in steps, from -0.5 to 0.5
    if abs(turn) < 0.5 or abs(late) <= BESIDE:  # noqa: PLR2004 - spread over all of the step
        return midnight
    return (midnight + round(late * step)) % step


def _followed(
    moments: NDArray[np.int64], on: NDArray[np.bool_], step: int, phase: int
) -> NDArray[np.int64]:
    """Return each reading's step; a clock that drifts is followed until it is off by a step.

    Rounding alone would let the readings of a clock half a step off waver between two steps.
    """
    at = (moments[on] - phase) / step
    counted = np.concatenate([[0], np.cumsum(np.rint(np.diff(moments[on]) / step))])
    ahead = at - counted  # nearly constant, but for drift
    offset = float(np.rint(ahead[0]))
    slips = np.zeros(len(at))
    slips[0] = offset
    begin, block = 0, _BLOCK
    while begin < len(at):
        off = np.abs(ahead[begin : begin + block] - offset) > _SLIPPED
        if not off.any():
            begin, block = begin + block, 2 * block
            continue
        begin, block = begin + int(off.argmax()), _BLOCK
        slips[begin] = np.rint(ahead[begin]) - offset
        offset += float(slips[begin])
    steps = np.rint((moments - phase) / step).astype(np.int64)
    steps[on] = np.maximum.accumulate((counted + np.cumsum(slips)).astype(np.int64))
    return steps
