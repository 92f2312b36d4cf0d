"""Intervals over blocks of rows: they cover what they say, and tell nothing of one block."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from fedhome.learning.blocks import _tails, blocks_of, interval, stretches_of, verdicts
from fedhome.learning.tasks import Segments

_HOUR, _MONDAY = 3600, 1_799_625_600


def test_a_block_is_a_day_or_a_tenth_of_the_rows() -> None:
    assert _MONDAY % 86_400 == 0
    hours = _MONDAY + _HOUR * np.array([0, 23, 24, 47, 24 * 9, 24 * 9 + 1])
    assert blocks_of(hours).tolist() == [0, 0, 1, 1, 2, 2]  # days without rows are none
    assert blocks_of(np.arange(20)).tolist() == [n // 2 for n in range(20)]
    assert blocks_of(np.arange(100, 103)).tolist() == [0, 1, 2]  # numbers of rows, wherever
    assert blocks_of(np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("ahead", "days"), [(0, 1), (1, 1), ("1h", 1), ("13h", 1), ("14h", 2), (24, 2), ("7d", 14)]
)
def test_a_block_is_twice_as_long_as_forecasts_overlap(ahead: int | str, days: int) -> None:
    found = blocks_of(_MONDAY + _HOUR * np.arange(24 * 28), ahead)
    assert found.tolist() == np.repeat(np.arange(28 // days), 24 * days).tolist()


def test_the_oldest_block_is_the_one_that_is_short() -> None:
    assert blocks_of(_MONDAY + _HOUR * np.arange(24 * 3), "1d").tolist() == [0] * 24 + [1] * 48
    assert blocks_of(_MONDAY + 86_400 * np.arange(5), 1).tolist() == [0, 1, 2, 3, 4]
    assert blocks_of(np.arange(20), 3).tolist() == [n // 4 for n in range(20)]
    assert blocks_of(np.arange(20), 400).tolist() == [0] * 20
    assert blocks_of(np.array([_MONDAY]), "1d").tolist() == [0]


def test_a_night_is_one_stretch_and_what_is_left_over_none_of_its_own() -> None:
    evening = _MONDAY + 15 * _HOUR
    night = evening + _HOUR * np.arange(18)
    assert blocks_of(night).tolist() == [0] * 9 + [1] * 9
    assert stretches_of(night).tolist() == [0] * 18
    assert stretches_of(evening + _HOUR * np.arange(36)).tolist() == [0] * 36  # 12 h are left over
    assert stretches_of(evening + _HOUR * np.arange(37)).tolist() == [0] * 24 + [1] * 13
    apart = evening + _HOUR * np.array([0, 1, 24 * 5, 24 * 5 + 13])
    assert stretches_of(apart).tolist() == [0, 0, 1, 1]  # days without rows are none
    assert stretches_of(np.arange(20)).tolist() == blocks_of(np.arange(20)).tolist()
    assert stretches_of(np.empty(0, np.int64)).tolist() == []


def test_of_one_block_nothing_can_be_told() -> None:
    assert interval(np.full(9, 5.0), np.zeros(9, np.int64)) == (-np.inf, np.inf)
    assert interval(np.empty(0), np.empty(0, np.int64)) == (-np.inf, np.inf)
    day = _MONDAY + _HOUR * np.arange(9)
    assert verdicts(np.full(9, 5.0), day, Segments(counts=np.array([9]))).tolist() == [0]


@pytest.mark.parametrize("count", range(2, 8))
def test_of_few_blocks_it_is_at_least_as_wide_as_students(count: int) -> None:
    drawn = np.random.default_rng(count)
    for _ in range(20):
        gains = drawn.normal(size=count)
        low, high = interval(gains, np.arange(count))
        reach = t.ppf(0.975, count - 1) * gains.std(ddof=1) / np.sqrt(count)
        assert low <= gains.mean() - reach + 1e-12
        assert high >= gains.mean() + reach - 1e-12


@pytest.mark.parametrize("count", [2, 3, 12, 365])
def test_quantiles_are_those_of_statistics(count: int) -> None:
    share, reach = _tails(count)
    assert reach == t.ppf(0.975, count - 1)
    assert share == norm.sf(reach * np.sqrt(count / (count - 1)))


def test_rows_of_one_block_count_as_one() -> None:
    """Forty rows that say the same within a day are no more than ten days."""
    days = np.random.default_rng(0).normal(size=10)
    once = interval(days, np.arange(10))
    assert interval(np.repeat(days, 40), np.repeat(np.arange(10), 40)) == pytest.approx(once)
    by_row = interval(np.repeat(days, 40), np.arange(400))
    assert by_row[1] - by_row[0] < (once[1] - once[0]) / 3


@pytest.mark.long
@pytest.mark.parametrize("count", [3, 5, 8, 20])
def test_where_nothing_is_gained_about_one_in_twenty_seems_to_be(count: int) -> None:
    """Days differ, and rows of a day have much in common: no gain at all is outside rarely."""
    drawn, times = np.random.default_rng(7), 0
    blocks, trials = np.repeat(np.arange(count), 24), 2000
    for _ in range(trials):
        days = drawn.normal(size=count)
        gains = days[blocks] + 0.5 * drawn.normal(size=len(blocks))
        low, high = interval(gains, blocks)
        times += not low <= 0 <= high
    # 5 %, within what chance makes of 2000 trials and what resampling 1000 times costs.
    assert (0.02 if count < 8 else 0.035) < times / trials < 0.07


@pytest.mark.long
def test_of_forecasts_far_ahead_few_that_gain_nothing_seem_to() -> None:
    """Errors two days ahead hang together over two: by days every fifth home would seem to."""
    drawn, days, trials = np.random.default_rng(48), 12, 600
    times = _MONDAY + _HOUR * np.arange(24 * days)
    told = {0: 0, 48: 0}
    for _ in range(trials):
        gains = np.convolve(drawn.normal(size=24 * days + 47), np.ones(48), "valid")
        for ahead in told:
            (verdict,) = verdicts(gains, times, Segments(counts=np.array([len(gains)])), ahead)
            told[ahead] += abs(int(verdict))
    assert told[0] / trials > 0.15, "the control"
    assert told[48] / trials < 0.09


def test_verdicts_by_hand() -> None:
    counts = np.array([4, 4, 4, 4, 0])
    gains = np.array([1, 1, 2, 2, -1, -1, -2, -2, 9, -9, 9, -9, 0, 0, 0, 0], np.float64)
    times = np.concatenate([np.arange(4)] * 4)
    told = verdicts(gains, times, Segments(counts=counts))
    assert told.tolist() == [1, -1, 0, 0, 0]
    np.testing.assert_array_equal(verdicts(-gains, times, Segments(counts=counts)), -told)


def test_a_home_is_told_the_same_whoever_stands_beside_it() -> None:
    drawn = np.random.default_rng(4)
    counts = np.array([12, 30, 7])
    gains, times = drawn.normal(0.4, 1, 49), np.concatenate([np.arange(n) for n in counts])
    together = verdicts(gains, times, Segments(counts=counts))
    ends = np.cumsum(counts)
    for place, (end, count) in enumerate(zip(ends, counts, strict=True)):
        own = slice(end - count, end)
        alone = verdicts(gains[own], times[own], Segments(counts=np.array([count])))
        assert alone.tolist() == [together[place]]
