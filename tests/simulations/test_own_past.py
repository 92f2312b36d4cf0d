"""What a home's past says of how to fit a line, held against what was worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.learning.alone import OwnRows, linear
from fedhome.learning.alone.own_rows import by_others, choice_of
from fedhome.simulations.benchmarks.own_past import OwnTimes, line_by_past, past_errors, pasts

_NOW, _HOUR = 1_790_000_000 // 86_400 * 86_400, 3600


def _home(
    x: Any,
    y: Any,
    later: tuple[Any, Any],
    times: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    targets: Targets = "continuous",
    outputs: int = 1,
    ahead: int | str = 0,
) -> tuple[OwnRows, OwnTimes]:
    inputs = [np.asarray(one, np.float32).reshape(len(one), -1) for one in (x, later[0])]
    kind: Any = np.int64 if targets == "multi-class" else np.float32
    truth = [np.asarray(one, kind) for one in (y, later[1])]
    if targets != "multi-class":
        truth = [one.reshape(-1, 1) for one in truth]
    rows = OwnRows(
        targets=targets,
        outputs=outputs,
        x=(inputs[0], inputs[1], inputs[1]),
        y=(truth[0], truth[1], truth[1]),
    )
    return rows, OwnTimes(train=times[0], validation=times[1], ahead=ahead)


def _hours(begin: float, count: int) -> NDArray[np.int64]:
    return np.asarray(_NOW + round(24 * begin) * _HOUR + _HOUR * np.arange(count), np.int64)


def _of_days(days: float, ahead: int | str = 0) -> tuple[OwnRows, OwnTimes]:
    """Return a home whose inputs are the numbers of its rows, with six hours of validation."""
    count = np.arange(round(24 * days))
    times = _hours(0, len(count)), _hours(days, 6)
    return _home(count, count % 5, (np.arange(6), np.arange(6)), times, ahead=ahead)


def _told(home: tuple[OwnRows, OwnTimes]) -> list[tuple[int, int, int, int]]:
    """Return the first and last row that is fitted to and that is asked, of each stretch."""
    found = []
    for one in pasts(*home):
        fitted, asked = (part[:, 0].astype(int) for part in one.x[:2])
        found.append((fitted[0], fitted[-1], asked[0], asked[-1]))
        assert len(one.x[2]) == len(one.y[2]) == 0
    return found


def test_each_day_but_the_first_is_asked_and_what_is_left_over_joins_the_last() -> None:
    assert _told(_of_days(3.25)) == [(0, 23, 24, 47), (0, 47, 48, 77)]


def test_of_a_longer_past_the_last_four_of_ten_stretches_are_asked() -> None:
    # Twenty days are ten stretches of 48 hours.
    assert _told(_of_days(20)) == [(0, end - 1, end, end + 47) for end in (288, 336, 384, 432)]


@pytest.mark.parametrize(("ahead", "last"), [(1, 23), ("1h", 23), (6, 18), ("6h", 18)])
def test_what_was_not_known_yet_is_not_fitted_to(ahead: int | str, last: int) -> None:
    # When row 24 is foretold six hours ahead, row 18 has just been read.
    assert _told(_of_days(2, ahead)) == [(0, last, 24, 47)]


@pytest.mark.parametrize("days", [1, 0.25])
def test_a_home_of_a_day_has_no_past_and_the_line_as_built(days: float) -> None:
    rows, times = _of_days(days)
    assert _told((rows, times)) == []
    assert past_errors(pasts(rows, times), linear.tried) == 0.0
    for one, other in zip(line_by_past(rows, times)[:3], linear.fit(rows)[:3], strict=True):
        np.testing.assert_array_equal(one, other)


def test_before_a_single_target_nothing_is_asked() -> None:
    rows, times = _of_days(3)
    rows.y[0][:24] = 1
    assert _told((rows, times)) == [(0, 47, 48, 71)]


def test_classes_that_were_split_by_themselves_have_a_past_each() -> None:
    # Forty rows of class 0, then forty of class 1; the last ten of both are for validation.
    times = np.concatenate([np.arange(30), np.arange(40, 70)])
    after = np.concatenate([np.arange(30, 40), np.arange(70, 80)])
    later = after, np.repeat([0, 1], 10)
    home = _home(
        times, np.repeat([0, 1], 30), later, (times, after), targets="multi-class", outputs=2
    )
    found = list(pasts(*home))
    assert len(found) == 4
    # Tenths of thirty rows: the seventh to tenth begin with rows 18, 21, 24 and 27.
    assert found[0].x[0][:, 0].tolist() == [*range(18), *range(40, 58)]
    assert found[0].x[1][:, 0].tolist() == [18, 19, 20, 58, 59, 60]
    assert found[0].y[1].tolist() == [0, 0, 0, 1, 1, 1]


def _off_by_1_and_3(rows: OwnRows) -> list[NDArray[np.float64]]:
    truth = rows.y[1].astype(np.float64)
    return [truth + 1, truth + 3]


def test_past_and_validation_rows_choose_together_by_the_sum_of_all_rows() -> None:
    # Of 24 rows of the past the first way is 1 off and the second 3; of four validation rows they
    # are 5 and 0 off. By these alone the second is better; together it is 24 + 100 against 216.
    rows, times = _of_days(2)
    past = past_errors(pasts(rows, times), _off_by_1_and_3)
    np.testing.assert_allclose(past, [24.0, 216.0])
    truth = np.zeros((4, 1), np.float32)
    four = OwnRows(
        targets="continuous",
        outputs=1,
        x=(rows.x[0], rows.x[1][:4], rows.x[2]),
        y=(rows.y[0], truth, rows.y[2]),
    )
    stated = [np.full((4, 1), 5.0), np.zeros((4, 1))]
    assert choice_of(four, stated).best == 1
    assert choice_of(four, stated, past).best == 0
    # Each row is stated by what the other three and the past choose: 24 + 75 against 216.
    assert choice_of(four, stated, past).by_others.ravel().tolist() == [5.0] * 4
    assert by_others(stated, truth.astype(np.float64)).ravel().tolist() == [0.0] * 4
    # A single row has no others, but a past.
    single = [one[:1] for one in stated]
    assert by_others(single, truth[:1].astype(np.float64), past).tolist() == [[5.0]]


def test_an_odd_day_of_validation_does_not_choose_the_penalty_alone() -> None:
    """Two days follow a line exactly; in the six hours after them it is upside down."""
    drawn = np.random.default_rng(0)
    x, later = drawn.normal(size=48), drawn.normal(size=6)
    rows, times = _home(x, x, (later, -0.2 * later), (_hours(0, 48), _hours(2, 6)))

    def slope(stated: NDArray[np.float64]) -> float:
        return float(np.polyfit(later, stated[:, 0], 1)[0])

    assert slope(linear.fit(rows).validation) < 0.05  # the greatest penalty leaves hardly any
    assert slope(line_by_past(rows, times).validation) > 0.9


@pytest.mark.long
def test_classes_are_chosen_by_their_past_as_well() -> None:
    """Class follows the sign of the input for two days, and the opposite in six hours after."""
    drawn = np.random.default_rng(1)
    x, later = drawn.normal(size=48), drawn.normal(size=6)
    home = _home(
        x,
        x > 0,
        (later, later < 0),
        (_hours(0, 48), _hours(2, 6)),
        targets="multi-class",
        outputs=2,
    )
    doubtful, sure = linear.fit(home[0]).validation, line_by_past(*home).validation
    assert np.abs(doubtful - 0.5).max() < 0.1
    assert np.abs(sure - 0.5).max() > 0.4
    assert ((sure[:, 1] > 0.5) == (later > 0)).mean() >= 5 / 6
