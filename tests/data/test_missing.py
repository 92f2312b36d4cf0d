"""What is missing in inputs is filled in from the past, and told; rows are not dropped for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedhome.data.fleet_examples import FleetExamples, fleet_examples
from fedhome.data.input_schema import schema_of
from fedhome.data.inputs import matched
from fedhome.data.series.examples import HomeExamples
from fedhome.data.series.windows import examples, windows, with_indicators
from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.settings import Plan
from helpers.examples import share_of

NAN = float("nan")
HOUR = 3600
MONDAY = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())


def data(**changes: Any) -> DataSettings:
    plain = {
        "target": "load",
        "lags": [1],
        "horizon": 1,
        "calendar": False,
        "gap": 0,
        "scale": "none",
        "min_rows": 1,
    }
    return Plan.load(data=plain | changes).data


def table(home: str = "oak", **columns: list[float] | NDArray[np.float64]) -> HomeTable:
    rows = len(next(iter(columns.values())))
    return HomeTable(
        home=home,
        time_s=MONDAY + HOUR * np.arange(rows),
        columns={name: np.asarray(values, np.float64) for name, values in columns.items()},
    )


def fleet(*tables: HomeTable, **changes: Any) -> FleetExamples:
    plan = Plan.load(data=data(**changes).model_dump())
    schema = schema_of(plan, "continuous", tables)
    return fleet_examples(tables, schema, plan.data, "continuous")


def test_the_last_reading_stands_in_and_no_row_is_lost() -> None:
    cut = windows(table(load=[1, 2, NAN, 4, 5, 6], wind=[7, NAN, 9, 0, NAN, 0]), data(), ["wind"])
    assert cut.features == ("wind", "load 1 before")
    # The first row has no past, the third no target; 4 is predicted from wind and load of before.
    assert cut.y.tolist() == [2, 4, 5, 6]
    assert cut.x.tolist() == [[7, 1], [9, 2], [0, 4], [0, 5]]
    assert cut.naive.tolist() == [1, 2, 4, 5]
    assert {name: rows.tolist() for name, rows in cut.filled.items()} == {
        "load 1 before": [False, True, False, False],
        "wind": [False, False, False, True],
    }
    assert (cut.tally.rows, cut.tally.without_target, cut.tally.without_past) == (6, 1, 1)


def test_a_reading_stands_in_for_a_day_and_then_the_median_of_training_does() -> None:
    rows = 100
    wind = np.where(np.arange(rows) < 40, np.arange(rows), NAN)
    cut = windows(table(load=np.arange(rows), wind=wind), data(), ["wind"])
    # Row 0 has no past; row r is predicted from the wind of r - 1.
    assert cut.x[:40, 0].tolist() == list(range(40))
    assert cut.x[40:64, 0].tolist() == [39.0] * 24
    assert np.isnan(cut.x[64:, 0]).all()
    home = examples(table(load=np.arange(rows), wind=wind), data(), ["wind"], "continuous")
    assert home.x[64:, 0].tolist() == [19.5] * 35  # of 0 to 39, which training rows have


def test_rows_without_times_know_nothing_of_each_other() -> None:
    plain = HomeTable(
        home="oak",
        time_s=np.arange(10),
        columns={
            "load": np.arange(10.0),
            "wind": np.array([5, NAN, 1, 3, NAN, 2, 2, 2, NAN, 2]),
        },
    )
    home = examples(plain, data(horizon=0, lags=[]), ["wind"], "continuous")
    assert home.counts == (6, 2, 2)
    assert home.x[:, 0].tolist() == [5, 2.5, 1, 3, 2.5, 2, 2, 2, 2.5, 2]  # the median of 5, 1, 3, 2


def test_nothing_is_known_of_a_column_in_training() -> None:
    home = examples(table(load=np.arange(20), wind=[NAN] * 20), data(), ["wind"], "continuous")
    assert home.x[:, 0].tolist() == [0.0] * 19
    assert home.filled["wind"].all()


def test_a_series_of_a_few_days_keeps_its_rows_and_a_long_one_its_whole_past() -> None:
    long = windows(table(load=np.arange(2000)), data(lags=[1, 25]), [])
    assert (long.y[0], len(long.filled)) == (25, 0)
    assert long.tally.without_past == 25
    short = windows(table(load=np.arange(30)), data(lags=[1, 2, 25]), [])
    assert short.y[0] == 2  # the lag of 2 costs a tenth or less, that of 25 would cost nearly all
    assert np.count_nonzero(short.filled["load 25 before"]) == 23


def test_after_a_day_without_a_reading_nothing_can_be_predicted() -> None:
    hours = np.array([*range(30), *range(70, 100)])
    home = replace(table(load=hours), time_s=MONDAY + HOUR * hours)
    cut = windows(home, data(), [])
    assert cut.y.tolist() == [*range(1, 30), *range(71, 100)]


def test_all_homes_say_the_same_of_what_is_missing() -> None:
    whole = table("ash", load=np.sin(np.arange(60)), wind=np.arange(60), sun=np.arange(60))
    holes = table(
        "elm",
        load=np.cos(np.arange(60)),
        wind=np.where(np.arange(60) % 3, np.arange(60), NAN),
        sun=np.arange(60),
    )
    found = fleet(whole, holes)
    assert found.schema.indicators == ("wind",)
    ash, elm = found.homes
    assert ash.x.shape[1] == elm.x.shape[1] == 4
    assert not ash.x[:, 3].any()
    # Row r, from 1 on, is predicted from the wind of the hour before: it is missing in 0, 3, …
    assert elm.x[:, 3].tolist() == [float(row % 3 == 0) for row in range(59)]
    told = " ".join(note for _, note in found.told)
    assert "20 of 118 rows, of elm, lack one input or more, and count all the same" in told
    assert "missing are wind (16.9%)" in told
    assert "a column of its own marks the rows that lack wind" in told
    # What the plan of a real fleet says counts, whatever a home lacks itself.
    named = fleet(whole, indicators=["sun", "wind"])
    assert named.homes[0].x.shape[1] == 5
    (wrong,) = fleet(whole, indicators=["wnd"]).excluded
    assert "data.indicators names 'wnd', which no model gets: did you mean 'wind'?" in wrong.reason


def test_an_input_that_hardly_ever_is_missing_gets_no_column() -> None:
    wind = np.arange(400.0)
    wind[100] = NAN
    found = fleet(table(load=np.sin(np.arange(400)), wind=wind))
    assert found.schema.indicators == ()
    told = [note for _, note in found.told]
    assert "no column marks those rows: they are too few, or the plan" in told[-1]
    assert "1 of 399 rows, of oak, lack one input or more" in told[-2]


def test_a_sparse_column_is_named() -> None:
    sun = np.where(np.arange(100) % 50, NAN, 1.0)
    found = fleet(table(load=np.sin(np.arange(100)), sun=sun, wind=np.arange(100)))
    assert found.told[-1] == ("", "sparse, missing in more than half of all rows: sun")


def test_rows_are_left_out_where_the_plan_says_so() -> None:
    found = fleet(
        table(load=np.sin(np.arange(60)), wind=np.where(np.arange(60) % 3, 1.0, NAN)),
        missing="drop",
    )
    assert sum(found.homes[0].counts) == 39
    assert found.schema.indicators == ()
    assert ("", "21 of 60 rows lack an input: they do not count") in found.told


def test_words_are_a_column_each_and_unknown_ones_none() -> None:
    words = ("cool", "heat")
    home = replace(
        table(load=[1, 2, 3, 4, 5, 6], mode=[0, 1, 2, NAN, 1, 0]),
        labels={"mode": ("cool", "dry", "heat")},
    )
    plan = Plan.load(
        data={
            **data(horizon=0, lags=[]).model_dump(),
            "inputs": [{"name": "mode", "kind": "words", "words": words}],
        }
    )
    own = matched(home, schema_of(plan, "continuous"), "continuous")
    assert own.notes == (
        "1 of the words of mode are none of the plan's: in 2 of 6 rows it holds none of them",
    )
    cut = windows(own.table, plan.data, ["mode"])
    assert cut.features == ("mode is cool", "mode is heat")
    assert cut.x.tolist() == [[1, 0], [0, 0], [0, 1], [0, 0], [0, 0], [1, 0]]
    assert cut.filled == {}
    scaled = examples(own.table, data(horizon=0, lags=[], scale="home"), ["mode"], "continuous")
    assert set(scaled.x.ravel().tolist()) == {0.0, 1.0}


def test_a_column_of_names_is_left_out_or_refused() -> None:
    names = tuple(f"person {number}" for number in range(70))
    home = replace(
        table(load=np.arange(140.0), who=np.arange(140) % 70, wind=np.arange(140)),
        labels={"who": names},
    )
    plan = Plan.load(data=data().model_dump())
    found = schema_of(plan, "continuous", [home])
    assert found.columns == ("wind",)
    assert found.notes == (
        "left out: who holds 70 different words, and each would become an input: at most 64 can",
    )
    with pytest.raises(DataError, match=r"data\.features: who holds 70 different words"):
        schema_of(plan.change(data={"features": ["who"]}), "continuous", [home])


def test_an_input_far_from_all_of_training_is_held_at_a_bound() -> None:
    wind = np.concatenate([np.tile([0.0, 2.0], 25), [1e6, -1e6, 2.0]])
    home = examples(table(load=np.arange(53.0), wind=wind), data(scale="home"), [], "continuous")
    assert home.x[:, 0].max() < 5  # the load's own values
    both = examples(
        table(load=np.arange(53.0), wind=wind), data(scale="home"), ["wind"], "continuous"
    )
    assert both.x[-2:, 0].tolist() == [5.0, -5.0]
    assert np.abs(both.x[:40, 0]).max() < 1.1
    raw = examples(table(load=np.arange(53.0), wind=wind), data(), ["wind"], "continuous")
    assert raw.x[-2, 0] == 1e6


@pytest.mark.parametrize("targets", ["continuous", "binary", "multi-class"])
def test_a_home_whose_target_stands_still_takes_part(targets: Any) -> None:
    load = np.ones(50) if targets != "continuous" else np.full(50, 7.0)
    home = examples(table(load=load), data(scale="home"), [], targets)
    assert np.isfinite(home.x).all()
    assert np.isfinite(home.y).all()
    assert "never changes in training" in home.notes[-1]
    assert "7" not in home.notes[-1], "a home's log shows no readings"
    ends = "ends with that value" if targets == "continuous" else "mixes what the fleet knows"
    assert ends in home.notes[-1]


def test_the_unit_of_a_target_that_stood_still_is_that_of_validation() -> None:
    load = np.concatenate([np.zeros(31), np.tile([0.0, 2.0], 10)])
    home = examples(table(load=load), data(scale="home", learns="level"), [], "continuous")
    raw = load[1:]
    known = raw[: home.counts[0] + home.counts[1]]
    assert np.ptp(raw[: home.counts[0]]) == 0
    assert home.unit == pytest.approx(known.std())
    home = examples(table(load=load), data(scale="home"), [], "continuous")
    assert home.unit == pytest.approx(np.diff(load)[: len(known)].std())


def test_changes_that_rounding_alone_tells_apart_are_no_unit() -> None:
    """A meter of 1e9 that counts a tenth each step has changes of 0.1, to seven digits."""
    load = 1e9 + 0.1 * np.arange(60)
    assert 0 < np.diff(load).std() < 1e-6
    home = examples(table(load=load), data(scale="home"), [], "continuous")
    assert home.unit == 1.0
    assert home.middle == pytest.approx(0.1, abs=1e-6)
    load[40:] += np.cumsum(np.tile([1.0, -2.0], 10))
    later = examples(table(load=load), data(scale="home"), [], "continuous")
    known = later.y[: later.counts[0] + later.counts[1]]
    assert known.std() == pytest.approx(1.0, rel=1e-3)
    assert np.ptp(known[: later.counts[0]]) < 1e-5


def cut_home(load: list[float], wind: list[float], **changes: Any) -> HomeExamples | None:
    try:
        return examples(table(load=load, wind=wind), data(**changes), ["wind"], "continuous")
    except DataError:
        return None


_SOME = st.lists(st.one_of(st.floats(-100, 100), st.just(NAN)), min_size=50, max_size=50)


@pytest.mark.long
@settings(max_examples=share_of(60))
@given(_SOME, _SOME, st.randoms(use_true_random=False))
def test_what_is_filled_in_knows_nothing_of_what_comes_later(
    load: list[float], wind: list[float], random: Any
) -> None:
    before = cut_home(load, wind, scale="home", lags=[1, 3])
    if before is None:
        return
    assert np.isfinite(before.x).all()
    last = sum(before.counts) - before.counts[2]
    cut = windows(table(load=load, wind=wind), data(lags=[1, 3]), ["wind"])
    first = int((cut.time_s[len(cut.y) - before.counts[2]] - MONDAY) // HOUR)
    other = [
        [random.uniform(-1e3, 1e3) if row >= first and np.isfinite(v) else v for row, v in rows]
        for rows in (enumerate(load), enumerate(wind))
    ]
    after = cut_home(*other, scale="home", lags=[1, 3])
    assert after is not None
    names = ("load 1 before", "wind")
    before, after = (with_indicators(home, names) for home in (before, after))
    assert before.x.shape[1] == 5
    np.testing.assert_array_equal(after.x[:last], before.x[:last])
    np.testing.assert_array_equal(after.naive[:last], before.naive[:last])


def test_an_input_that_leaves_its_range_is_told_and_the_clock_is_not() -> None:
    """A home of four days knows no weekend: there is nothing wrong with its readings."""
    drawn = np.random.default_rng(5)
    hours = 4 * 24
    load, wind = drawn.normal(size=hours), drawn.normal(size=hours)
    settled = {"calendar": True, "scale": "home", "split": (0.2, 0.2, 0.6)}
    assert not fleet(table(load=load), **settled).homes[0].x[:, -3:].any()
    assert not [said for _, said in fleet(table(load=load), **settled).told if "spreads" in said]
    wind[30:] += 40
    told = [said for _, said in fleet(table(load=load, wind=wind), **settled).told]
    assert any("more than 5 spreads from the mean of training" in said for said in told)
    assert any("(wind)" in said for said in told)
