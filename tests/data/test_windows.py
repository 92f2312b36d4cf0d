"""From tables to examples: lags by hand, gaps, time zones, and nothing of the test leaks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedhome.data.input_schema import columns_of
from fedhome.data.inputs import with_classes
from fedhome.data.series.scaling import check_sizes
from fedhome.data.series.windows import examples, windows
from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.settings import Plan
from helpers.examples import share_of

_HOUR = 3600
_MONDAY = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())


def _data(**changes: Any) -> DataSettings:
    plain = {
        "target": "load",
        "lags": [1],
        "missing": "drop",
        "horizon": 1,
        "calendar": False,
        "gap": 0,
        "scale": "none",
        "split": [0.6, 0.2, 0.2],
        "min_rows": 1,
    }
    return Plan.load(data=plain | changes).data


def _table(
    load: list[float] | NDArray[np.float64], *, start: int = _MONDAY, **columns: Any
) -> HomeTable:
    rows = len(load)
    every = {"load": load, **columns}
    return HomeTable(
        home="h",
        time_s=start + _HOUR * np.arange(rows),
        columns={name: np.asarray(values, np.float64) for name, values in every.items()},
    )


def test_lags_and_columns_are_those_of_the_moment_of_prediction() -> None:
    table = _table([10, 11, 12, 13, 14, 15], temperature=[0, 1, 2, 3, 4, 5])
    cut = windows(table, _data(horizon=2, lags=[2, 3]), ["temperature"])
    assert cut.features == ("temperature", "load 2 before", "load 3 before")
    # To predict row 3 (13) two steps ahead, row 1 is known: temperature 1, load 11, and 10.
    assert cut.x.tolist() == [[1, 11, 10], [2, 12, 11], [3, 13, 12]]
    assert cut.y.tolist() == [13, 14, 15]
    assert cut.naive.tolist() == [11, 12, 13]
    assert ((cut.time_s - _MONDAY) / _HOUR).tolist() == [3, 4, 5]


def test_rows_of_their_own_need_no_past() -> None:
    table = _table([1, 0, 1], motion=[5, 6, 7])
    cut = windows(table, _data(horizon=0, lags=[]), ["motion"])
    assert cut.x.tolist() == [[5], [6], [7]]
    assert cut.y.tolist() == [1, 0, 1]


def test_a_missing_row_is_a_gap_and_not_skipped_over() -> None:
    whole = _table([1, 2, 3, 4, 5, 6, 7, 8])
    holes = replace(
        whole,
        time_s=np.delete(whole.time_s, 3),
        columns={"load": np.delete(whole.columns["load"], 3)},
    )
    cut = windows(holes, _data(lags=[1, 2]), [])
    # The row of 4 is missing: neither it nor what needs it (5, 6) can be used.
    assert cut.y.tolist() == [3, 7, 8]
    assert cut.x.tolist() == [[2, 1], [6, 5], [7, 6]]


def test_unread_values_leave_out_what_needs_them() -> None:
    nan = float("nan")
    table = _table([1, 2, nan, 4, 5, 6], wind=[0, 0, 0, 0, nan, 0])
    cut = windows(table, _data(), ["wind"])
    assert cut.y.tolist() == [2, 5]  # 4 lacks its lag, 6 the wind of the hour before
    assert np.isfinite(cut.x).all()


def test_without_yesterday_there_is_no_persistence_to_compare_with() -> None:
    nan = float("nan")
    cut = windows(_table([1, 2, nan, 4, 5, 6]), _data(lags=[3]), [])
    assert cut.y.tolist() == [5]  # 4 has its lag 3, but no hour before; 6 lacks its lag
    assert cut.naive.tolist() == [4]


def test_a_series_remembers_what_it_was_a_day_and_a_week_ago() -> None:
    hours = 24 * 8
    load = np.arange(hours, dtype=np.float64)
    load[30] = np.nan
    cut = windows(_table(load), _data(), [])
    hour = np.round((cut.time_s - _MONDAY) / _HOUR).astype(int)
    expected = np.stack(
        [
            np.where((hour >= 24) & (hour - 24 != 30), hour - 24.0, np.nan),
            np.where(hour >= 168, hour - 168.0, np.nan),
            np.full(len(hour), np.nan),  # of hours a year is no season
        ],
        axis=1,
    )
    np.testing.assert_array_equal(cut.seasonal, expected)
    # In the unit of the target, and part by part as the rows are.
    home = examples(_table(load), _data(scale="home"), [], targets="continuous")
    behind = home.seasons()[:, 0]
    read = np.isfinite(behind)
    np.testing.assert_allclose(
        (home.y[:, 0] - behind)[read] * home.unit, np.full(read.sum(), 24.0), rtol=1e-4
    )
    assert home.time_s.tolist() == sorted(home.time_s.tolist())
    assert home.times().tolist() == home.time_s.tolist()


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"horizon": 24, "lags": [24]}, [True, True, False]),  # yesterday is the last value
        ({"horizon": 25, "lags": [25]}, [False, True, False]),  # and here it is not known yet
        ({"horizon": 0, "lags": []}, []),  # rows of their own have no season
    ],
)
def test_a_season_is_known_when_it_is_said(changes: dict[str, Any], known: list[bool]) -> None:
    cut = windows(_table(np.arange(24.0 * 9)), _data(**changes), ["load"] if not known else [])
    assert cut.seasonal.shape == (len(cut.y), len(known))
    assert np.isfinite(cut.seasonal).any(axis=0).tolist() == known


def test_a_step_that_a_day_is_no_multiple_of_has_no_season() -> None:
    table = _table(np.arange(400.0))
    table = replace(table, time_s=_MONDAY + 7 * 60 * np.arange(400))
    assert np.isnan(windows(table, _data(), []).seasonal).all()
    quarters = replace(table, time_s=_MONDAY + 900 * np.arange(400))
    cut = windows(quarters, _data(), [])
    read = np.isfinite(cut.seasonal[:, 0])
    assert read.sum() == 400 - 96
    assert (cut.y - cut.seasonal[:, 0])[read].tolist() == [96.0] * (400 - 96)


def test_the_calendar_is_that_of_the_predicted_moment_in_the_homes_zone() -> None:
    data = _data(horizon=0, lags=[], calendar=True)
    names = ["hour sin", "hour cos", "weekend"]

    def at(moment: datetime, zone: str) -> dict[str, float]:
        table = replace(_table([1.0], start=int(moment.timestamp())), time_zone=zone)
        cut = windows(table, data, [])
        return {name: cut.x[0, cut.features.index(name)] for name in names}

    def hour(found: dict[str, float]) -> float:
        turn = np.arctan2(found["hour sin"], found["hour cos"]) / (2 * np.pi)
        return float(round(turn * 24, 6) % 24)

    winter, summer = datetime(2024, 1, 15, 12, tzinfo=UTC), datetime(2024, 7, 15, 12, tzinfo=UTC)
    assert hour(at(winter, "Europe/Berlin")) == 13
    assert hour(at(summer, "Europe/Berlin")) == 14
    assert hour(at(winter, "Asia/Kolkata")) == 17.5
    # 02:00 to 03:00 does not exist on 31 March 2024 in Berlin: 00:59 UTC is 01:59, 01:00 is 03:00.
    assert hour(at(datetime(2024, 3, 31, 0, tzinfo=UTC), "Europe/Berlin")) == 1
    assert hour(at(datetime(2024, 3, 31, 1, tzinfo=UTC), "Europe/Berlin")) == 3
    # Friday 23:30 in UTC is Saturday in Berlin.
    friday = datetime(2024, 1, 5, 23, 30, tzinfo=UTC)
    assert at(friday, "UTC")["weekend"] == 0
    assert at(friday, "Europe/Berlin")["weekend"] == 1
    assert at(datetime(2024, 1, 7, 12, tzinfo=UTC), "UTC")["weekend"] == 1
    assert at(datetime(2024, 1, 8, 0, tzinfo=UTC), "UTC")["weekend"] == 0


def test_a_lag_of_a_day_is_a_day_of_real_time_when_clocks_change() -> None:
    start = int(datetime(2024, 3, 30, tzinfo=UTC).timestamp())
    table = replace(_table(np.arange(72.0), start=start), time_zone="Europe/Berlin")
    cut = windows(table, _data(lags=[24]), [])
    np.testing.assert_array_equal(cut.x[:, 0], cut.y - 24)


def test_an_unknown_zone_is_refused() -> None:
    table = replace(_table(np.arange(9.0)), time_zone="Europe/Atlantis")
    with pytest.raises(DataError, match="Atlantis"):
        windows(table, _data(calendar=True), [])


def test_rows_without_times_have_no_calendar() -> None:
    table = HomeTable(
        home="h", time_s=np.arange(5), columns={"load": np.arange(5.0), "x": np.arange(5.0)}
    )
    cut = windows(table, _data(horizon=0, lags=[], calendar=True), ["x"])
    assert cut.features == ("x",)


def test_parts_lie_apart_in_time() -> None:
    load = np.arange(101.0)
    home = examples(_table(load), _data(gap=5), [], "continuous")
    y = home.y[:, 0]
    # 100 examples: history of 80 less a gap of 5; 75 % of it to train on, less a gap of 5.
    assert home.counts == (51, 19, 20)
    assert y[home.rows("train")].tolist() == list(range(1, 52))
    assert y[home.rows("validation")].tolist() == list(range(57, 76))
    assert y[home.rows("test")].tolist() == list(range(81, 101))
    assert home.rows("train+validation") == slice(0, 70)


def test_a_cold_start_keeps_the_last_days_and_the_same_test() -> None:
    table = _table(np.arange(24.0 * 20))
    long = examples(table, _data(), [], "continuous")
    short = examples(table, _data(history_days=2), [], "continuous")
    test_long, test_short = long.y[long.rows("test")], short.y[short.rows("test")]
    np.testing.assert_array_equal(test_long, test_short)
    assert sum(short.counts[:2]) == 48
    assert short.y[0, 0] == test_short[0, 0] - 48


def test_each_class_is_split_in_its_own_time() -> None:
    label = np.repeat([0.0, 1.0, 2.0], 10)
    table = _table(label, x=np.arange(30.0))
    data = _data(horizon=0, lags=[]).model_copy(update={"split_by": "class"})
    home = examples(table, data, ["x"], "multi-class")
    assert home.counts == (18, 6, 6)
    for part, each in (("train", 6), ("validation", 2), ("test", 2)):
        assert np.bincount(home.y[home.rows(part)].astype(int)).tolist() == [each] * 3  # type: ignore[arg-type]
    assert home.x[home.rows("test"), 0].tolist() == [8, 9, 18, 19, 28, 29]


def test_scales_are_those_of_the_training_part() -> None:
    load = np.random.default_rng(1).normal(5, 2, 60)
    wind = np.random.default_rng(2).normal(-1, 3, 60)
    raw = examples(_table(load, wind=wind), _data(), ["wind"], "continuous")
    data = _data(scale="home", learns="level")
    home = examples(_table(load, wind=wind), data, ["wind"], "continuous")
    train = raw.rows("train")
    mean, spread = raw.x[train].mean(axis=0), raw.x[train].std(axis=0)
    np.testing.assert_allclose(home.x, (raw.x - mean) / spread, rtol=1e-4, atol=1e-5)
    middle, unit = raw.y[train].mean(), raw.y[train].std()
    assert home.unit == pytest.approx(unit, rel=1e-6)
    np.testing.assert_allclose(home.y, (raw.y - middle) / unit, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(home.naive, (raw.naive - middle) / unit, rtol=1e-4, atol=1e-5)
    assert not len(home.anchors)


def test_a_series_is_learnt_as_its_change_from_the_newest_reading() -> None:
    load = [10.0, 12.0, 11.0, 15.0, 16.0, 20.0, 18.0, 30.0, 31.0, 130.0]
    data = _data(scale="home", lags=[1, 2], split=[0.75, 0.125, 0.125])
    home = examples(_table(load, wind=load), data, ["wind"], "continuous")
    assert home.counts == (6, 1, 1)  # of the moments 2 to 9
    changes = np.array([-1.0, 4.0, 1.0, 4.0, -2.0, 12.0, 1.0, 99.0])
    middle, unit = changes[:6].mean(), changes[:6].std()
    assert (home.middle, home.unit) == pytest.approx((3.0, np.sqrt(128 / 6)))
    assert (home.middle, home.unit) == pytest.approx((middle, unit))
    np.testing.assert_allclose(home.y[:, 0], (changes - middle) / unit, rtol=1e-5)
    np.testing.assert_allclose(home.naive, -middle / unit, rtol=1e-5)
    np.testing.assert_allclose(home.anchors * unit, load[1:9])
    # wind and the newest reading as they are, up to five spreads; the one before as its distance
    level = np.array(load[1:9])
    expected = np.clip((level - level[:6].mean()) / level[:6].std(), -5, 5)
    np.testing.assert_allclose(home.x[:, :2], np.stack([expected] * 2, axis=1), rtol=1e-5)
    behind = np.array(
        [-2.0, 1.0, -4.0, -1.0, -4.0, 2.0, -12.0, -1.0]
    )  # the change before, reversed
    scaled = (behind - behind[:6].mean()) / behind[:6].std()
    np.testing.assert_allclose(home.x[:, 2], scaled, rtol=1e-5)
    # Levels are what the target was, whatever it was measured by.
    back = (home.y[:, 0] + home.anchors) * home.unit + home.middle
    np.testing.assert_allclose(back, load[2:], rtol=1e-6)


def test_classes_and_what_is_not_scaled_are_learnt_as_they_are() -> None:
    load = [0.0, 1.0] * 10
    for changes, targets in (({"scale": "home"}, "binary"), ({"scale": "none"}, "continuous")):
        home = examples(_table(load), _data(**changes), [], targets)
        assert not len(home.anchors)
        assert set(home.y[:, 0].tolist()) == {0.0, 1.0}


def test_a_column_that_never_changes_is_moved_to_zero() -> None:
    home = examples(
        _table(np.arange(30.0), flat=[7.0] * 30), _data(scale="home"), ["flat"], "continuous"
    )
    assert np.all(home.x[:, 0] == 0)


_READINGS = st.lists(
    st.one_of(st.floats(-100, 100), st.just(float("nan"))), min_size=40, max_size=60
)


@settings(max_examples=share_of(60))
@given(_READINGS, st.integers(0, 4), st.randoms(use_true_random=False), st.booleans())
def test_changing_test_rows_changes_no_training_example_and_no_scale(
    load: list[float], gap: int, random: Any, by_days: bool
) -> None:
    data = _data(
        gap=gap, scale="home", lags=[1, 3], calendar=True, history_days=1 if by_days else None
    )
    table = _table(load, wind=np.sin(np.arange(len(load))))
    try:
        before = examples(table, data, ["wind"], "continuous")
    except DataError:
        return
    cut = windows(table, data, ["wind"])
    first = cut.time_s[len(cut.y) - before.counts[2]]  # the first predicted moment of the test
    changed = [
        random.uniform(-1e3, 1e3) if time >= first and np.isfinite(value) else value
        for time, value in zip(table.time_s, load, strict=True)
    ]
    after = examples(
        replace(table, columns={**table.columns, "load": np.array(changed)}),
        data,
        ["wind"],
        "continuous",
    )
    assert after.counts == before.counts
    assert after.unit == before.unit
    history = before.rows("train+validation")
    for name in ("x", "y", "naive"):
        np.testing.assert_array_equal(getattr(after, name)[history], getattr(before, name)[history])


@settings(max_examples=share_of(60))
@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True),
    st.integers(1, 4),
    st.sets(st.integers(0, 39), max_size=10),
)
def test_every_lag_is_so_many_steps_before_what_is_predicted(
    lags: list[int], horizon: int, missing: set[int]
) -> None:
    lags = [lag + horizon - 1 for lag in lags]
    kept = np.array([row for row in range(40) if row not in missing])
    table = HomeTable(
        home="h", time_s=_MONDAY + _HOUR * kept, columns={"load": kept.astype(np.float64)}
    )
    cut = windows(table, _data(lags=lags, horizon=horizon), [])
    np.testing.assert_array_equal(cut.x, cut.y[:, None] - np.array(lags))
    np.testing.assert_array_equal(cut.naive, cut.y - horizon)
    possible = [
        row for row in kept if {row - horizon, *(row - lag for lag in lags)} <= set(kept.tolist())
    ]
    assert cut.y.tolist() == possible


@pytest.mark.parametrize(
    ("table", "changes", "why"),
    [
        (_table([1, 2]), {}, "too few for a series"),
        (_table([1, 2, 3, 4]), {"min_rows": 8}, "too few whole rows"),
        (
            replace(_table([1, 2, 3, 4]), time_s=np.array([0, 10, 20, 25])),
            {},
            "keep no regular clock: the commonest gap is about 10 s, the shortest 5 s",
        ),
        (_table([float("nan")] * 20), {}, "too few whole rows"),
    ],
)
def test_a_home_that_cannot_take_part_says_why(
    table: HomeTable, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(DataError, match=why) as caught:
        examples(table, _data(**changes), [], "continuous")
    assert "'h'" in caught.value.message


@pytest.mark.parametrize(
    ("kind", "values"),
    [("binary", [0, 2] * 20), ("multi-class", [0, 1.5] * 20), ("multi-class", [-1, 1] * 20)],
)
def test_numbers_that_are_no_classes_are_refused(kind: str, values: list[float]) -> None:
    with pytest.raises(DataError, match=f"no {kind} class"):
        examples(_table(values), _data(), [], kind)


def test_columns_are_those_that_all_homes_share_in_the_first_ones_order() -> None:
    one = _table([1.0], wind=[1], sun=[1], rain=[1])
    other = _table([1.0], rain=[1], wind=[1])
    assert columns_of([one, other], _data()) == ("wind", "rain")
    assert columns_of([one, other], _data(features=["sun"])) == ("sun",)
    with pytest.raises(DataError, match="lacks the column sun"):
        windows(other, _data(features=["sun"]), ["sun"])
    with pytest.raises(DataError, match="shared columns are: load, rain, wind"):
        columns_of([one, other], _data(target="heat"))


def test_words_are_numbered_as_the_plan_does() -> None:
    nan = float("nan")
    table = replace(_table([0, 1, nan, 1]), labels={"load": ("cook", "sleep")})
    named = with_classes(table, "load", ("sleep", "eat", "cook"))
    np.testing.assert_array_equal(named.columns["load"], [2, 0, nan, 0])
    assert named.labels["load"] == ("sleep", "eat", "cook")
    assert with_classes(table, "load", ()) is table
    # A word that the fleet knows, but this home never uses, is no fault.
    assert with_classes(
        replace(table, labels={"load": ("cook", "sleep", "swim")}), "load", ("sleep", "cook")
    )
    with pytest.raises(DataError, match=r"lacks 1 of the words .*, which 1 of 4 rows hold"):
        with_classes(table, "load", ("sleep", "eat"))


def test_a_class_without_an_output_is_refused() -> None:
    home = examples(_table([0, 1, 2] * 20), _data(), [], "multi-class")
    home.check_classes(3)
    with pytest.raises(DataError, match="only 2 classes"):
        home.check_classes(2)


def test_a_value_that_no_reading_has_leaves_its_home_out_with_what_to_do() -> None:
    with pytest.raises(DataError, match=r"home 'oak': 1 value of 'load' beyond 1e\+30") as error:
        check_sizes("oak", {"temp": np.array([1.0, np.nan]), "load": np.array([1e29, -1e308])})
    assert "leave it empty" in error.value.hint
    check_sizes("oak", {"load": np.array([1e30, np.nan])})
    loads = [float(hour % 7) for hour in range(60)]
    with pytest.raises(DataError, match=r"1 value of 'load' beyond 1e\+30"):
        examples(_table([*loads[:9], 1e31, *loads[10:]]), _data(), [], "continuous")
