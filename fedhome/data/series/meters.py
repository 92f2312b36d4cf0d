"""A meter that counts up, as what was used in each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.clocks import in_order

LONGEST_GAP = 2
"""Between readings that lie this many steps apart, or more, nobody knows when it was used."""


@dataclass(frozen=True, kw_only=True)
class MeterUse:
    """What a meter counted in the steps of a grid.

    Args:
        steps: The steps of which it is known, int64 ``[steps]``, strictly increasing.
        used: What it counted from the step's beginning to its end, in its own unit, ``[steps]``.
        restarts: How often it began again at zero.
        exchanges: How often it fell, but not to zero: that step is missing.
        jumps: Readings that were left out, because the meter jumped there and back.
        gaps: Gaps too long to tell what was used in each of their steps, which are missing.
    """

    steps: NDArray[np.int64]
    used: NDArray[np.float64]
    restarts: int
    exchanges: int
    jumps: int
    gaps: int


def metered(
    at_s: NDArray[np.int64], values: NDArray[np.float64], *, step_s: int, phase_s: int
) -> MeterUse:
    """Return what a meter counted in each step.

    At a step's edge the meter stands where a reading says so, else on the straight line between
    the two readings around it. Where it falls no higher than the most that it ever rose between
    two readings, it began again at zero.

    Args:
        at_s: When it was read, int64 ``[readings]``, never decreasing; of equal times the last
            reading counts.
        values: What it showed, ``[readings]``.
        step_s: Seconds of a step.
        phase_s: Steps begin at whole multiples of ``step_s`` and this many seconds.
    """
    last = np.append(at_s[1:] != at_s[:-1], True)[: len(at_s)]
    at, shown, jumps = _without_jumps(at_s[last], values[last])
    rises = np.diff(shown)
    fell = rises < 0
    restarted = fell & (shown[1:] <= rises.max(initial=0.0))
    total = shown + np.concatenate([[0.0], np.cumsum(np.where(restarted, shown[:-1], 0.0))])
    far = np.diff(at) >= LONGEST_GAP * step_s
    unknown = np.concatenate([[0], np.cumsum(far | (fell & ~restarted))])
    own = (at - phase_s) // step_s
    steps = in_order(np.concatenate([own, own + 1]))
    edge = steps * step_s + phase_s
    begin, end = _stand(at, total, edge), _stand(at, total, edge + step_s)
    known = begin.known & end.known & (unknown[end.after] == unknown[begin.before])
    return MeterUse(
        steps=steps[known],
        used=(end.total - begin.total)[known],
        restarts=int((restarted & ~far).sum()),
        exchanges=int((fell & ~restarted & ~far).sum()),
        jumps=jumps,
        gaps=int(far.sum()),
    )


class _Stand(NamedTuple):
    """Where a meter stands at edges of steps.

    Args:
        total: What it counted until then, ``[edges]``.
        before: The reading at the edge, else the one before it.
        after: The reading at the edge, else the one after it.
        known: Whether the edge lies between readings at all.
    """

    total: NDArray[np.float64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    known: NDArray[np.bool_]


def _stand(at: NDArray[np.int64], total: NDArray[np.float64], edge: NDArray[np.int64]) -> _Stand:
    after = np.minimum(np.searchsorted(at, edge), len(at) - 1)
    exact = at[after] == edge
    before = np.where(exact, after, np.maximum(after - 1, 0))
    share = (edge - at[before]) / np.maximum(at[after] - at[before], 1)
    between = total[before] + share * (total[after] - total[before])
    return _Stand(
        total=np.where(exact, total[after], between),
        before=before,
        after=after,
        known=exact | ((at[before] < edge) & (edge < at[after])),
    )


def _without_jumps(
    at: NDArray[np.int64], shown: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Leave out readings at which a meter jumps down or up, and is back at the next other value.

    Up by more than it rises elsewhere: else it may have begun again at zero just then.
    """
    before = len(at)
    for down in (True, False):
        new = np.append(True, shown[1:] != shown[:-1])[: len(shown)]
        level = shown[new]
        left, here, right = level[:-2], level[1:-1], level[2:]
        odd = np.zeros(len(level), np.bool_)
        if down:
            odd[1:-1] = (here < left) & (right >= left)
        else:
            odd[1:-1] = (here > left) & (right < here) & (right >= left)
            rises = np.append(0.0, np.diff(level))
            odd &= rises > rises[~odd].max(initial=0.0)
        kept = ~odd[np.cumsum(new) - 1]
        at, shown = at[kept], shown[kept]
    return at, shown, before - len(at)
