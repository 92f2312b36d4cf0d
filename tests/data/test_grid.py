"""Readings on a grid: each rule by hand, clocks that are not exact, and gaps that cost nothing."""

from __future__ import annotations

import csv
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.clients.membership.plan_findings import read_findings
from fedhome.counted import counted
from fedhome.data.series.time_grid import grid_of
from fedhome.data.series.windows import examples, windows
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, PlanError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.settings import Plan
from fedhome.plan.time_steps import span_text, step_seconds, step_text
from fedhome.simulations.gather import gather
from helpers.examples import share_of
from helpers.shared_cases import readings

_NAN = float("nan")
_START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
_MINUTE, _QUARTER, _HOUR, _DAY = 60, 900, 3600, 86_400


def _data(**changes: Any) -> DataSettings:
    return Plan.load(
        data={"target": "a", "lags": [1], "calendar": False, "missing": "drop", **changes}
    ).data


def _home(offsets: Any, zone: str = "UTC", *, start: int = _START, **columns: Any) -> HomeTable:
    return HomeTable(
        home="h",
        time_s=start + np.asarray(offsets, np.int64),
        columns={name: np.asarray(values, np.float64) for name, values in columns.items()},
        time_zone=zone,
    )


def on_grid(table: HomeTable, data: DataSettings) -> tuple[HomeTable, tuple[str, ...]]:
    grid = grid_of(table, data, tuple(table.columns))
    return grid.table, grid.notes


def _read(table: HomeTable, *, start: int = _START, of: str = "a") -> dict[int, float]:
    """Return a column as offset of the step's beginning and value."""
    offsets = (table.time_s - start).tolist()
    return dict(zip(offsets, table.columns[of].tolist(), strict=True))


# What a plan says


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("30s", 30, "30s"),
        ("15min", 900, "15min"),
        ("1 h", 3600, "1h"),
        ("60min", 3600, "1h"),
        ("1d", 86_400, "1d"),
        ("2 Hours", 7200, "2h"),
        ("90 seconds", 90, "90s"),
        ("3 months", 7_889_238, "3mo"),
        ("12mo", 31_556_952, "1y"),
    ],
)
def test_a_step_is_a_number_and_a_unit(text: str, seconds: int, written: str) -> None:
    assert step_seconds(text) == seconds
    assert step_text(seconds) == written
    assert _data(step=text).step == text


@pytest.mark.parametrize(
    "text", ["5", 5, "min", "1.5h", "-1h", "15 T", "0s", "36600d", "1m", "ten s"]
)
def test_what_is_no_step_is_a_fault_of_the_plan(text: Any) -> None:
    with pytest.raises(PlanError, match=r"data\.step is '") as caught:
        _data(step=text)
    assert len(caught.value.faults) == 1


def test_lengths_are_said_in_two_units() -> None:
    assert [span_text(s) for s in (0, 59, 60, 592, 3600, 90_061)] == [
        "0 s",
        "59 s",
        "1 min",
        "9 min 52 s",
        "1 h",
        "1 d 1 h",
    ]


def test_rules_and_steps_need_a_series() -> None:
    for changes in ({"step": "1h"}, {"rules": {"a": "hold"}}):
        with pytest.raises(PlanError, match=r"make a series: set data\.horizon to 1"):
            _data(horizon=0, lags=[], **changes)
    with pytest.raises(PlanError, match=r"data\.rules\.a: .*did you mean 'hold'\?"):
        _data(rules={"a": "hodl"})


def test_a_rule_of_a_column_that_there_is_not_is_refused() -> None:
    table = _home(_HOUR * np.arange(5), a=np.arange(5), door=[0, 1, 0, 1, 0])
    with pytest.raises(DataError, match=r"no column 'dor': did you mean 'door'\?"):
        on_grid(table, _data(rules={"dor": "hold"}))


def test_words_have_no_mean() -> None:
    table = replace(_home(_HOUR * np.arange(5), a=[0, 1, 0, 1, 0]), labels={"a": ("off", "on")})
    for rule in ("mean", "sum", "difference"):
        with pytest.raises(DataError, match=f'no "{rule}" of words'):
            on_grid(table, _data(rules={"a": rule}))
    assert on_grid(table, _data(rules={"a": "last"}))[0].rows == 5


# Clocks


def test_a_table_on_a_grid_stays_as_it_is() -> None:
    table = _home(_HOUR * np.array([0, 1, 2, 5, 6]) + 7, a=[1, 2, _NAN, 4, 5], b=[1, 2, 3, 4, 5])
    for changes in ({}, {"step": "1h"}):
        gridded, notes = on_grid(table, _data(**changes))
        assert notes == ()
        np.testing.assert_array_equal(gridded.time_s, table.time_s)
        assert gridded.columns["a"] is table.columns["a"]


def test_the_step_is_the_commonest_gap_also_where_most_gaps_are_longer() -> None:
    # Half of the readings got lost: gaps of 1, 2, 3 hours; the median gap would be two.
    hours = np.cumsum([0, 1, 1, 2, 3, 1, 2, 1, 3, 2, 1, 2, 3])
    grid = grid_of(_home(_HOUR * hours, a=hours), _data(), ())
    assert (grid.steps - grid.steps[0]).tolist() == hours.tolist()


def test_jitter_snaps_to_the_full_minute_and_is_told_once() -> None:
    late = [2, -3, 0, 5, -6, 1, 4, 6, -2, 0]
    table = _home(_MINUTE * np.arange(10) + late, a=np.arange(10.0))
    gridded, notes = on_grid(table, _data())
    assert _read(gridded) == {_MINUTE * row: float(row) for row in range(10)}
    (note,) = notes
    assert note == (
        "readings of 'a' come every 1min, but lie beside the full steps by up to 6 s: each was put "
        "on its step"
    )


def test_a_poller_that_drifts_loses_a_minute_when_it_is_a_minute_late() -> None:
    rows = np.arange(1000)
    slow = grid_of(_home(np.floor(60.3 * rows), a=rows), _data(), ())
    # 300 s late in the end: five minutes have no reading, and all others have one.
    assert np.unique(np.diff(slow.steps), return_counts=True)[1].tolist() == [994, 5]
    assert "drifts" in slow.notes[0]
    fast = grid_of(_home(np.floor(59.7 * rows), a=rows), _data(), ())
    assert np.diff(fast.steps).tolist() == [1] * (fast.table.rows - 1)
    assert fast.table.rows == 995
    assert fast.notes[1] == "readings of one step of 1min were put together: mean of a"


def test_a_clock_of_an_odd_step_keeps_it() -> None:
    rows = np.arange(600)
    late = np.tile([0, 1, 0, -1, 0, 1], 100)
    grid = grid_of(_home(61 * rows + late, a=rows), _data(), ())
    assert np.diff(grid.steps).tolist() == [1] * 599


def test_a_reading_between_two_steps_is_left_out_and_told() -> None:
    offsets = sorted([*(_MINUTE * np.arange(60)), 10 * _MINUTE + 29])
    values = np.arange(61.0)
    gridded, notes = on_grid(_home(offsets, a=values), _data())
    assert gridded.rows == 60
    assert 11.0 not in gridded.columns["a"].tolist()
    assert "1 of 61 rows lie between the readings of 'a', which comes every 1min, and" in notes[-1]


def test_rows_without_a_reading_neither_count_nor_shut_a_home_out() -> None:
    half_hours = [1800 * row for row in range(20)]
    offsets = sorted([*half_hours, 15 * _MINUTE + 41])
    odd = offsets.index(15 * _MINUTE + 41)
    values = np.insert(np.arange(20.0), odd, _NAN)
    gridded, notes = on_grid(_home(offsets, a=values), _data())
    assert _read(gridded) == {1800 * row: float(row) for row in range(20)}
    assert notes == ("1 of 21 rows hold no reading and were left out",)
    # The same row with a word in another column, as some portals write it.
    with_word = _home(offsets, a=values, tariff=np.zeros(21))
    gridded, notes = on_grid(with_word, _data())
    assert gridded.rows == 20
    assert "1 of 21 rows lie between the readings of 'a', which comes every 30min" in notes[0]
    assert "(1 of them without a reading of it)" in notes[0]


def test_days_are_those_of_the_homes_own_clock() -> None:
    zone = ZoneInfo("Europe/Berlin")
    days = [datetime(2024, 3, 28, tzinfo=zone) + timedelta(days=day) for day in range(6)]
    moments = np.array([int(day.timestamp()) for day in days])
    grid = grid_of(_home(moments, zone.key, start=0, a=np.arange(6)), _data(), ())
    assert np.diff(grid.steps).tolist() == [1] * 5
    assert grid.table.time_s.tolist() == moments.tolist()
    assert grid.notes == ()
    # Hours of the same days, summed: the day on which summer time begins has 23 of them.
    hours = np.arange(moments[0], moments[-1], _HOUR)
    data = _data(step="1d", rules={"a": "sum"})
    gridded, _ = on_grid(_home(hours, zone.key, start=0, a=np.ones(len(hours))), data)
    assert gridded.columns["a"].tolist() == [24, 24, 24, 23, 24]
    assert gridded.time_s.tolist() == moments[:-1].tolist()
    autumn = int(datetime(2024, 10, 26, tzinfo=zone).timestamp())
    gridded, _ = on_grid(_home(_HOUR * np.arange(73), zone.key, start=autumn, a=np.ones(73)), data)
    assert gridded.columns["a"].tolist() == [24, 25, 24]


def test_steps_of_hours_begin_at_the_homes_full_hours() -> None:
    # 5 h 30 min ahead of UTC: the full hours are UTC's half hours.
    table = _home(_QUARTER * np.arange(-2, 6), "Asia/Kolkata", a=[1, 1, 2, 2, 3, 3, 4, 4])
    gridded, _ = on_grid(table, _data(step="1h"))
    assert _read(gridded) == {-1800: 1.5, 1800: 3.5}


def test_readings_that_keep_no_clock_say_what_to_set() -> None:
    offsets = np.cumsum([0, 7, 300, 41, 592, 212, 8, 450, 3, 260, 97, 333])
    with pytest.raises(DataError, match="keep no regular clock") as caught:
        on_grid(_home(offsets, a=[3, 1, 2] * 4), _data())
    assert "the shortest 3 s, the longest 9 min 52 s" in caught.value.message
    hint = caught.value.hint
    assert 'set data.step = "5min"' in hint
    # The hint's settings are what the command takes.
    rules = hint.partition("--set '")[2].partition("'")[0]
    data = Plan.load(data={"target": "a"}, sets=["data.step=5min", rules]).data
    assert (data.step, dict(data.rules)) == ("5min", {"a": "hold"})
    on_grid(_home(offsets, a=[3, 1, 2] * 4), data)
    with pytest.raises(DataError) as caught:
        on_grid(_home(offsets, a=np.arange(12)), _data())
    assert 'data.rules = {"a" = "difference"}' in caught.value.hint


def test_a_step_that_is_shorter_than_readings_are_apart_is_refused() -> None:
    table = _home(_HOUR * np.arange(10), a=[3, 1] * 5, b=[5.0] * 10)
    with pytest.raises(DataError, match=r"come every 1h, and data\.step is 15min") as caught:
        on_grid(table, _data(step="15min"))
    assert 'set data.step = "1h"' in caught.value.hint
    held, _ = on_grid(table, _data(step="15min", rules={"a": "hold", "b": "hold"}))
    assert held.columns["a"].tolist() == [3] * 4 + [1] * 4 + [3] * 4 + [1] * 4 + [3] * 4 + [
        *([1] * 4 + [3] * 4 + [1] * 4 + [3] * 4),
        1,
    ]


def test_rows_without_times_have_no_step_of_a_clock() -> None:
    table = HomeTable(home="h", time_s=np.arange(9), columns={"a": np.arange(9.0)})
    assert on_grid(table, _data())[0].rows == 9
    with pytest.raises(DataError, match="its rows have no times"):
        on_grid(table, _data(step="1h"))


# Rules


def test_readings_of_a_step_become_their_mean_and_words_the_last() -> None:
    table = replace(
        _home(
            _QUARTER * np.arange(8),
            a=[1, 2, 3, 6, 5, _NAN, 7, 9],
            door=[0, 0, 1, 0, 0, 1, 1, 1],
            mode=[0, 1, 2, 2, 1, 1, _NAN, _NAN],
        ),
        labels={"mode": ("eco", "heat", "off")},
    )
    gridded, notes = on_grid(table, _data(step="1h"))
    assert _read(gridded) == {0: 3.0, _HOUR: 7.0}
    assert gridded.columns["door"].tolist() == [0, 1]
    assert gridded.columns["mode"].tolist() == [2, 1]
    assert notes == ("readings of one step of 1h were put together: mean of a; last of door, mode",)
    assert gridded.labels == table.labels


def test_sums_lack_nothing_or_are_missing() -> None:
    # Quarter-hours; that of 01:30 is missing, and 02:00 alone is no hour.
    offsets = np.delete(_QUARTER * np.arange(9), 6)
    values = [0.25, 0.5, 0.25, 1, 1, 1, 1, 2]
    gridded, notes = on_grid(_home(offsets, a=values), _data(step="1h", rules={"a": "sum"}))
    assert _read(gridded) == {0: 2.0}
    assert "2 of 3 steps lack some of their readings, one every 15min" in notes[-1]
    # Tips of a rain gauge keep no clock: what there is adds up.
    offsets = np.array([100, 130, 3000, 3900, 10_000, 10_007])
    rain, _ = on_grid(_home(offsets, a=[0.5] * 6), _data(step="1h", rules={"a": "sum"}))
    assert _read(rain) == {0: 1.5, _HOUR: 0.5, 2 * _HOUR: 1.0}


def test_late_quarter_hours_are_summed_into_their_own_hour() -> None:
    late = [0, 3, -2, 4, -5, 1, 0, 2]
    table = _home(_QUARTER * np.arange(8) + late, a=[1, 1, 1, 1, 2, 2, 2, 2])
    gridded, _ = on_grid(table, _data(step="1h", rules={"a": "sum"}))
    assert _read(gridded) == {0: 4.0, _HOUR: 8.0}


def test_held_values_stay_until_the_next_reading_or_a_row_without_one() -> None:
    minutes = np.array([1, 3, 17, 31, 46])
    table = _home(_MINUTE * minutes, a=[20.0, 21.0, 22.0, _NAN, 23.0])
    gridded, notes = on_grid(table, _data(step="5min", rules={"a": "hold"}))
    assert _read(gridded) == {
        0: 21.0,  # the last of two
        300: 21.0,
        600: 21.0,
        900: 22.0,
        1200: 22.0,
        1500: 22.0,  # unavailable from 00:31
        2700: 23.0,
    }
    assert "(4 steps without a reading have a value so)" in notes[-1]


def test_a_value_is_held_for_a_day_at_most() -> None:
    table = _home([0, _HOUR, 3 * _DAY, 3 * _DAY + 1800], a=[1, 2, 3, 4])
    gridded, notes = on_grid(table, _data(step="1h", rules={"a": "hold"}))
    offsets = [0, *range(_HOUR, _DAY + 2 * _HOUR, _HOUR), 3 * _DAY]
    assert (gridded.time_s - _START).tolist() == offsets
    assert gridded.columns["a"].tolist() == [1, *[2] * 25, 4]
    assert "1 time the next came later" in notes[-1]


def test_rows_of_other_sensors_do_not_end_what_is_held() -> None:
    minutes = np.array([0, 4, 9, 13, 21])
    table = _home(_MINUTE * minutes, a=[1, _NAN, 2, _NAN, _NAN], door=[_NAN, 1, _NAN, 0, 1])
    data = _data(step="5min", rules={"a": "hold", "door": "hold"})
    gridded, notes = on_grid(table, data)
    assert gridded.columns["a"].tolist() == [1, 2, 2, 2, 2]
    assert gridded.columns["door"].tolist() == [1, 1, 0, 0, 1]
    assert "rows without it are other columns'" in notes[-1]


def test_a_grid_that_is_too_dense_is_refused_with_its_longest_gap() -> None:
    offsets = np.cumsum(np.tile([50_000, 60_011, 79_000, 70_123], 10))
    offsets[20:] += 1000
    with pytest.raises(DataError, match="more than 100 steps for a row") as caught:
        on_grid(_home(offsets, a=[1, 2] * 20), _data(step="1s", rules={"a": "hold"}))
    assert "its longest gap is 21 h 56 min, after row 2" in caught.value.message


def test_a_meter_is_what_it_counts_between_the_edges_of_a_step() -> None:
    offsets = _QUARTER * np.arange(9)
    table = _home(offsets, a=[100, 101, 103, 104, 104, 110, 111, 112, 115])
    data = _data(step="1h", rules={"a": "difference"})
    assert _read(on_grid(table, data)[0]) == {0: 4.0, _HOUR: 11.0}
    # Without a step it is that of the readings; the last hour has no end.
    hourly = _home(_HOUR * np.arange(4), a=[100, 104, 104, 111])
    gridded, notes = on_grid(hourly, _data(rules={"a": "difference"}))
    assert _read(gridded) == {0: 4.0, _HOUR: 0.0, 2 * _HOUR: 7.0}
    assert notes == ("a: what the meter counts from a step's beginning to its end",)


def test_a_meter_that_is_read_at_odd_times_stands_between_its_readings() -> None:
    # 30 min before and after 01:00 it shows 10 and 16: at 01:00 it stood at 13, at 02:00 at 19.
    table = _home([0, 1800, 5400, 9000, 10_800], a=[8, 10, 16, 22, 30])
    gridded, _ = on_grid(table, _data(step="1h", rules={"a": "difference"}))
    assert _read(gridded) == {0: 5.0, _HOUR: 6.0, 2 * _HOUR: 11.0}


def test_a_meter_that_begins_again_at_zero_is_seen_and_told() -> None:
    table = _home(_HOUR * np.arange(7), a=[100, 104, 107, 2, 5, 3, 4])
    gridded, notes = on_grid(table, _data(rules={"a": "difference"}))
    # 107 then 2: two were counted since. 5 then 3: three were.
    assert _read(gridded) == {
        0: 4.0,
        _HOUR: 3.0,
        2 * _HOUR: 2.0,
        3 * _HOUR: 3.0,
        4 * _HOUR: 3.0,
        5 * _HOUR: 1.0,
    }
    assert "2 times it began again at zero" in notes[0]


def test_another_meter_is_a_step_that_is_missing_and_no_use() -> None:
    table = _home(_HOUR * np.arange(6), a=[9100, 9104, 9107, 812, 815, 816])
    gridded, notes = on_grid(table, _data(rules={"a": "difference"}))
    assert _read(gridded) == {0: 4.0, _HOUR: 3.0, 3 * _HOUR: 3.0, 4 * _HOUR: 1.0}
    assert "1 time it fell, but not to zero" in notes[0]


@pytest.mark.parametrize("odd", [[0.0], [0.0, 0.0], [99_999.0]])
def test_a_meter_that_jumps_and_comes_back_makes_no_spike(odd: list[float]) -> None:
    values = [100, 101, 102, *odd, 105, 106, 107]
    table = _home(_HOUR * np.arange(len(values)), a=values)
    gridded, notes = on_grid(table, _data(rules={"a": "difference"}))
    end = 3 + len(odd)
    assert _read(gridded) == {0: 1.0, _HOUR: 1.0, end * _HOUR: 1.0, (end + 1) * _HOUR: 1.0}
    assert f"{counted(len(odd), 'reading')} at which it jumped" in notes[0]
    assert "began again" not in notes[0]


def test_what_is_used_in_a_gap_is_missing_and_no_spike() -> None:
    table = _home(_HOUR * np.array([0, 1, 2, 5, 6]), a=[100, 101, 102, 160, 161])
    gridded, notes = on_grid(table, _data(rules={"a": "difference"}))
    assert _read(gridded) == {0: 1.0, _HOUR: 1.0, 5 * _HOUR: 1.0}
    assert "1 gap of 2 steps or more" in notes[0]


# Series and rows that fall


@pytest.mark.parametrize("unset", [0, 7, 60])
def test_a_single_row_of_1970_costs_no_memory_for_the_years_between(unset: int) -> None:
    rows = 300
    times = np.concatenate([[unset], _START + _MINUTE * np.arange(rows)])
    table = _home(times, start=0, a=np.sin(np.arange(rows + 1)), b=np.cos(np.arange(rows + 1)))
    assert not table.timeless
    for changes in ({}, {"step": "1min"}, {"step": "5min", "rules": {"b": "hold"}}):
        tracemalloc.start()
        cut = windows(table, _data(**changes), ["b"])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(cut.y) > 50
        assert peak < 5_000_000


def test_a_column_that_costs_many_rows_is_named_with_what_it_costs() -> None:
    hours = np.arange(100)
    table = _home(
        _HOUR * hours, a=np.sin(hours), b=np.where(hours % 24 == 0, 1.0, _NAN), c=np.ones(100)
    )
    cut = windows(table, _data(), ["b", "c"])
    assert (cut.tally.rows, len(cut.y)) == (100, 5)
    # Of 100 rows the first has no past; of the others those at 01:00 know b.
    column, total = cut.missing
    assert column == (
        "'b' is missing in 94 of 100 rows, which were left out; without 'b' they count: name the "
        'other columns in data.features, or set data.rules = {"b" = "hold"} if its values stay '
        "until the next reading"
    )
    assert total == "5 of 100 rows are whole and are used"
    assert windows(table, _data(), ["c"]).notes == ()
    held = windows(table, _data(rules={"b": "hold"}), ["b", "c"])
    assert len(held.y) == 99
    assert examples(table, _data(gap=0, min_rows=1), ["b"], "continuous").notes == cut.missing


def test_lags_gaps_and_targets_that_cost_rows_are_named() -> None:
    hours = np.array([*range(20), *range(40, 60)])
    values = np.where(hours % 5 == 4, _NAN, hours)
    cut = windows(_home(_HOUR * hours, a=values), _data(lags=[1, 12], gap=0), [])
    gap, lag, total = cut.missing
    assert gap == "nothing was read 1 step earlier in 8 of 32 rows, which were left out"
    assert lag == (
        "'a' is missing 12 steps earlier in 22 of 32 rows, which were left out; without 12 in "
        "data.lags they count"
    )
    assert total == "8 of 32 rows are whole and are used"
    assert cut.notes[0] == "8 of 40 rows hold no reading and were left out"
    own = windows(_home(_HOUR * hours, a=values, b=hours), _data(horizon=0, lags=[]), ["b"]).missing
    assert own[0] == "the target 'a' is missing in 8 of 40 rows, which were left out"


def test_where_no_row_is_left_the_error_says_which_column_costs_them() -> None:
    table = _home(_HOUR * np.arange(30), a=np.arange(30), b=[_NAN] * 30)
    with pytest.raises(DataError, match="'b' is missing in 29 of 30 rows") as caught:
        examples(table, _data(), ["b"], "continuous")
    assert "0, 0, 0 for training, validation, test" in caught.value.message


def test_a_simulation_and_a_real_home_tell_what_became_of_their_rows(tmp_path: Path) -> None:
    for home in ("oak", "elm"):
        lines = [
            f"{datetime.fromtimestamp(_START + 60 * row + row % 3, UTC).isoformat()},{row % 7}"
            for row in range(200)
        ]
        (tmp_path / f"{home}.csv").write_text("\n".join(["time,a", *lines]), encoding="utf-8")
    plan = Plan.load(
        data={"source": str(tmp_path), "target": "a", "lags": [1], "inputs": []},
        aggregation={"mode": "plain"},
    )
    told = "readings of 'a' come every 1min, but lie beside the full steps by up to 2 s"
    notes = gather(plan).notes
    assert [note.partition(": ")[0] for note in notes if told in note] == ["elm, oak"]
    findings = read_findings(plan, tmp_path / "oak.csv", home="oak")
    assert sum(told in note for note in findings.notes) == 1


@pytest.mark.long
@settings(max_examples=share_of(80))
@given(
    st.sampled_from([10, 30, 60, 300, 900, 1800, 3600]),
    st.lists(st.integers(-100, 100), min_size=60, max_size=120),
    st.sets(st.integers(1, 118), max_size=12),
    st.lists(st.integers(0, 119 * 1000), max_size=20, unique=True),
)
def test_a_regular_series_comes_back_whatever_its_clock_did(
    step: int, late: list[int], lost: set[int], empty: list[int]
) -> None:
    # Late by a tenth of a step at most, some readings lost, rows without a reading strewn in.
    kept = [row for row in range(len(late)) if row not in lost or row == len(late) - 1]
    read = {row * step + late[row] * step // 1000: float(row) for row in kept}
    rows = read | {
        place * step // 1000: _NAN for place in empty if place * step // 1000 not in read
    }
    order = sorted(rows)
    table = _home(order, a=[rows[offset] for offset in order])
    grid = grid_of(table, _data(), ())
    assert (grid.steps - grid.steps[0]).tolist() == [row - kept[0] for row in kept]
    assert grid.table.columns["a"].tolist() == kept
    assert abs(int(grid.table.time_s[0]) - _START - kept[0] * step) <= step // 10


@settings(max_examples=share_of(60))
@given(
    st.lists(st.tuples(st.integers(1, 20_000), st.integers(-5, 50)), min_size=3, max_size=60),
    st.sampled_from(["mean", "last", "hold", "sum", "difference"]),
    st.sampled_from(["1min", "15min", "1h", "1d"]),
)
def test_no_rule_makes_a_value_beyond_what_was_read(
    gaps: list[tuple[int, int]], rule: str, step: str
) -> None:
    offsets = np.cumsum([gap for gap, _ in gaps])
    values = np.array([value for _, value in gaps], float)
    if rule == "difference":
        values = np.abs(np.cumsum(values))
    try:
        gridded, notes = on_grid(_home(offsets, a=values), _data(step=step, rules={"a": rule}))
    except DataError:
        return
    made = gridded.columns["a"]
    assert bool((np.diff(gridded.time_s) > 0).all())
    assert np.isfinite(made).all()
    if rule == "sum":
        assert "lack some" in notes[-1] or made.sum() == pytest.approx(values.sum())
    elif rule == "difference":
        assert made.min(initial=0) >= -1e-9
        assert made.sum() <= np.abs(np.diff(values)).sum() + values[0] + 1e-6
    else:
        assert values.min() - 1e-9 <= made.min()
        assert made.max() <= values.max() + 1e-9


def test_events_of_a_sensor_go_onto_a_grid_by_holding() -> None:
    with (readings("01-ha-history-one") / "home0.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    moments = [datetime.fromisoformat(row["last_changed"]) for row in rows]
    values = [_NAN if row["state"] == "unavailable" else float(row["state"]) for row in rows]
    table = _home([int(moment.timestamp()) for moment in moments], start=0, a=values)
    with pytest.raises(DataError, match="keep no regular clock"):
        on_grid(table, _data())
    gridded, _ = on_grid(table, _data(step="5min", rules={"a": "hold"}))
    # 00:06:37 20.42, then 00:15:23 20.98: from 00:05 to 00:10 the first, from 00:15 the second.
    assert gridded.columns["a"][:3].tolist() == [20.42, 20.42, 20.98]
    assert (gridded.time_s[0] % _HOUR) == 300
