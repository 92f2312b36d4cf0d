"""Rows that hang together, and what can be told from few independent blocks of them.

Neighbouring rows of a home are alike, so that a day of readings says hardly more than one of them.
A block is a day where rows have a time, else a tenth of the rows, in their order. Forecasts of
several steps ahead err together where the steps between overlap, so blocks of theirs are at least
twice as long as that.

Sources: Künsch, "The jackknife and the bootstrap for general stationary observations", Annals of
Statistics 1989 (blocks); Hesterberg, "What teachers should know about the bootstrap", 2015,
section 4.1.2 (the interval, widened for few blocks).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.clocks import usual_gap
from fedhome.learning.tasks.segments import Floats, Segments
from fedhome.plan.data_settings import Span
from fedhome.plan.time_steps import step_seconds

_DAY_S = 86_400
_OUR_DAYS_S = 600_000_000  # rows that are numbered lie before
_TENTHS = 10
_DRAWS = 1000
_LEVEL = 0.95
_FEW = 8  # of fewer blocks the resampled means do not reach far enough
_OVERLAPS = 2  # in a block


def blocks_of(times: NDArray[np.int64], ahead: Span = 0) -> NDArray[np.int64]:
    """Return each row's block, from 0, ``[rows]``.

    Args:
        times: UTC seconds of the rows of one home, or their numbers, ``[rows]``.
        ahead: How far ahead they were predicted, as the plan writes it.
    """
    rows = len(times)
    if rows and int(times.max()) >= _OUR_DAYS_S:
        days = max(-(-_OVERLAPS * overlap_s(times, ahead) // _DAY_S), 1)
        # They are counted from the newest row on, so that it is the oldest that may be short.
        since = times.max() // _DAY_S - times // _DAY_S
        count = np.unique(since // days, return_inverse=True)[1]
        return np.asarray(count.max() - count, np.int64)
    blocks = min(_TENTHS, rows)
    if isinstance(ahead, int) and ahead > 1:
        blocks = min(blocks, max(rows // (_OVERLAPS * (ahead - 1)), 1))
    return np.arange(rows) * blocks // max(rows, 1)


def overlap_s(times: NDArray[np.int64], ahead: Span) -> int:
    """Return over how many seconds errors of forecasts hang together: all steps but one.

    Args:
        times: UTC seconds of the rows of one home, or their numbers, ``[rows]``.
        ahead: How far ahead they were predicted, as the plan writes it.
    """
    if ahead in {0, 1} or len(times) < 2:  # noqa: PLR2004
        return 0
    step_s = usual_gap(np.sort(times))
    far = step_seconds(ahead) if isinstance(ahead, str) else ahead * step_s
    return max(far - step_s, 0)


def stretches_of(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each row's stretch, from 0, ``[rows]``: days from the first row on, else as blocks.

    Where it is asked how much a home's rows can decide, a night is not two days because it has a
    midnight in it, and what is left over at the end, less than half a day, is no stretch of its
    own.

    Args:
        times: UTC seconds of the rows of one home, rising, or their numbers, ``[rows]``.
    """
    if not len(times) or int(times.max()) < _OUR_DAYS_S:
        return blocks_of(times)
    since = times - times.min()
    days = since // _DAY_S
    last = int(days.max())
    if last and int(since.max()) % _DAY_S < _DAY_S // 2:  # it joins the day before
        days = np.minimum(days, last - 1)
    return np.asarray(np.unique(days, return_inverse=True)[1], np.int64)


def interval(gains: Floats, blocks: NDArray[np.int64]) -> tuple[float, float]:
    """Return the interval of 95 % of the mean of paired gains, resampled block by block.

    With fewer than eight blocks it is at least as wide as Student's. Of a single block it is the
    whole line: nothing can be told.

    Args:
        gains: What one model is better by, row by row, ``[rows]``.
        blocks: Each row's block, ``[rows]``.
    """
    count = int(blocks.max()) + 1 if len(blocks) else 0
    if count < 2:  # noqa: PLR2004
        return -np.inf, np.inf
    segments = np.bincount(blocks, minlength=count).astype(np.float64)
    sums = np.bincount(blocks, weights=gains, minlength=count)
    draws = _draws(count)
    means = (draws @ sums) / (draws @ segments)
    tail, student = _tails(count)
    low, high = np.quantile(means, [tail, 1.0 - tail])
    if count < _FEW:
        each = sums / segments
        middle, reach = each.mean(), student * each.std(ddof=1) / np.sqrt(count)
        low, high = min(low, middle - reach), max(high, middle + reach)
    return float(low), float(high)


def verdicts(
    gains: Floats, times: NDArray[np.int64], segments: Segments, ahead: Span = 0
) -> NDArray[np.int64]:
    """Return for each home whether a model helped (1), hurt (-1) or neither can be told (0).

    Args:
        gains: What it is better by than another one, row by row, ``[rows]``.
        times: UTC seconds of the rows, or their numbers, ``[rows]``.
        segments: Which rows are whose.
        ahead: How far ahead they were predicted, of several horizons the furthest.
    """
    ends = np.cumsum(segments.counts)
    told = np.zeros(len(ends), np.int64)
    for home, (end, count) in enumerate(zip(ends, segments.counts, strict=True)):
        rows = slice(int(end - count), int(end))
        low, high = interval(gains[rows], blocks_of(times[rows], ahead))
        told[home] = int(low > 0) - int(high < 0)
    return told


@lru_cache(maxsize=64)
def _draws(count: int) -> Floats:
    """Return how often each block is drawn, ``[draws, blocks]``; the same for all homes."""
    drawn = np.random.default_rng(count).multinomial(count, np.full(count, 1 / count), _DRAWS)
    return np.asarray(drawn, np.float64)


@lru_cache(maxsize=64)
def _tails(count: int) -> tuple[float, float]:
    """Return the share to leave out on either side, and the reach of Student's interval."""
    # Not scipy.stats, which call the same and take half a second and 15 MB to load.
    from scipy.special import ndtr, stdtrit  # noqa: PLC0415 - few commands should pay for them

    student = float(stdtrit(count - 1, (1 + _LEVEL) / 2))
    return float(ndtr(-student * np.sqrt(count / (count - 1)))), student
