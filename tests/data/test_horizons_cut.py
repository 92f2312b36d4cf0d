"""Rows of several horizons: what each is to learn, and what no later part may show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedhome.data.series.splits import split
from fedhome.data.series.windows import examples, rows_to_predict, windows
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, PlanError
from fedhome.learning.plan_check import check_plan
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.settings import Plan

HOUR = 3600


def _data(**changes: Any) -> DataSettings:
    table = {"target": "load", "horizon": [1, 3, 24], "lags": [1, 2], "gap": 2, "calendar": False}
    return DataSettings.model_validate({**table, **changes})


def _home(rows: int, missing: tuple[int, ...] = ()) -> HomeTable:
    load = np.arange(rows, dtype=np.float64) + 1000
    load[list(missing)] = np.nan
    return HomeTable(
        home="h", time_s=HOUR * np.arange(480_000, 480_000 + rows), columns={"load": load}
    )


def test_each_row_has_what_comes_at_each_horizon_and_what_was_known_before_the_nearest() -> None:
    cut = windows(_home(60), _data(), [])
    assert cut.y.shape == (len(cut.time_s), 3)
    hours = cut.time_s / HOUR - 480_000  # the moment of the nearest
    np.testing.assert_array_equal(cut.y, 1000 + hours[:, None] + [0, 2, 23])
    np.testing.assert_array_equal(cut.x, 1000 + hours[:, None] - [1, 2])
    np.testing.assert_array_equal(cut.naive, 1000 + hours - 1)
    # The last row is the last of which the furthest horizon has come.
    assert hours[-1] == 59 - 23
    assert cut.later == (0, 2, 23)


def test_a_season_before_each_horizon_is_taken_only_where_it_was_known() -> None:
    cut = windows(_home(300), _data(horizon=[1, 24, 25], lags=[1]), [])
    hours = cut.time_s / HOUR - 480_000
    day_before = cut.seasonal[:, 0]  # [rows, horizons]
    some = hours >= 24
    np.testing.assert_array_equal(day_before[some, 0], 1000 + hours[some] - 24)
    np.testing.assert_array_equal(day_before[some, 1], 1000 + hours[some] + 23 - 24)
    assert np.isnan(day_before[:, 2]).all()  # 25 hours ahead yesterday has not come yet


def test_a_row_counts_only_with_every_horizon_and_it_is_told_how_many_do_not() -> None:
    cut = windows(_home(60, missing=(40,)), _data(horizon=[1, 3], lags=[1]), [])
    hours = (cut.time_s // HOUR - 480_000).tolist()
    assert 40 not in hours
    assert 38 not in hours
    assert {37, 39, 41, 42} <= set(hours)
    assert cut.tally.without_target == 1 + 2  # and the last two, whose furthest has not come
    (note,) = windows(_home(60), _data(lags=[1]), []).notes
    assert note == (
        "the target 'load' is missing, at one of the horizons or more, in 23 of 60 rows, which "
        "were left out"
    )


def test_no_target_of_a_part_is_among_those_of_the_part_before() -> None:
    home = examples(_home(240), _data(gap=0), [], "continuous")
    ends = {
        part: (home.y + home.anchors[:, None])[home.rows(part)]  # type: ignore[arg-type]
        for part in ("train", "validation", "test")
    }
    assert min(map(len, ends.values())) > 0
    assert ends["train"].max() < ends["validation"].min()
    assert ends["validation"].max() < ends["test"].min()
    assert home.reach_s == 23 * HOUR


def test_what_horizons_reach_over_is_left_out_of_small_groups_too() -> None:
    rows = np.arange(100)
    train, validation, test = split(
        np.zeros((100, 2)), rows * HOUR, DataSettings(horizon=[1, 8]), gap=0, reach=7
    )
    assert (validation[0] - train[-1], test[0] - validation[-1]) == (8, 8)


def test_one_horizon_alone_is_predicted_from_the_inputs_of_the_nearest() -> None:
    data = _data(horizon=1)
    cut = rows_to_predict(_home(60), data, [], ahead=24)
    assert cut.later == (23,)
    np.testing.assert_array_equal(cut.time_s, rows_to_predict(_home(60), data, []).time_s)
    assert np.isnan(cut.y[-24:]).all()
    assert cut.y[-25] == 1000 + 59


def test_a_list_of_one_horizon_is_that_horizon() -> None:
    one, listed = Plan.load(data={"horizon": "2h"}), Plan.load(data={"horizon": ["2h"]})
    assert one == listed
    assert one.to_toml() == listed.to_toml()
    assert one.data.several == ()


@pytest.mark.parametrize(
    ("horizon", "fault"),
    [
        ([], "empty list"),
        ([0, 1], "holds 0"),
        ([3, 1], "1 comes after 3"),
        (["1h", "60min"], "60min comes after 1h"),
        ([-1, 2], "holds -1"),
        (["1h", "soon"], "'soon'"),
    ],
)
def test_horizons_that_make_no_sense_are_refused(horizon: list[Any], fault: str) -> None:
    with pytest.raises(PlanError) as refused:
        Plan.load(data={"horizon": horizon})
    assert fault in str(refused.value)


def test_lags_are_reckoned_from_the_nearest_horizon() -> None:
    with pytest.raises(PlanError, match="lie after the moment"):
        Plan.load(data={"horizon": [2, 6], "lags": [1]})
    assert Plan.load(data={"horizon": [2, 6], "lags": [2]}).data.nearest == 2


def test_steps_and_lengths_that_do_not_rise_in_a_home_are_refused_there() -> None:
    with pytest.raises(DataError, match="2, 1 of its steps"):
        windows(_home(60), _data(horizon=[2, "1h"], lags=[2]), [])


def test_several_horizons_are_of_numbers_alone() -> None:
    plan = Plan.load(data={"horizon": [1, 2]}, task={"kind": "binary"})
    with pytest.raises(PlanError, match="several are predicted of a number alone"):
        check_plan(plan)


def test_several_horizons_of_a_sliced_model_are_refused_at_once() -> None:
    tiers = [
        {"name": "hub", "width": 1.0, "depth": 2, "share": 0.5},
        {"name": "sensor", "width": 0.5, "depth": 1, "share": 0.5},
    ]
    changes: dict[str, Any] = {
        "slicing": {"tiers": tiers},
        "aggregation": {"mode": "plain"},
        "data": {"homes": 4},
    }
    Plan.load(**changes)  # the control: of one horizon it holds
    changes["data"] = {"homes": 4, "horizon": [1, 2]}
    with pytest.raises(PlanError, match=r"slicing\.tiers are set, but data\.horizon = "):
        Plan.load(**changes)
