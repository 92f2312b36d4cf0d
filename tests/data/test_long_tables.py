"""Files with several rows for one time: refused with the way out, split into homes, or pivoted."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.data.files.data_files import Raw
from fedhome.data.times.axis import read_axis
from fedhome.data.times.complements import completed
from fedhome.data.times.long_tables import homes_of, pivoted
from fedhome.data.times.time_columns import find_times
from fedhome.data.times.twin_causes import check_twins
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings
from helpers.examples import share_of
from helpers.shared_cases import readings

NONE = ReadingSettings()
HOURS = [f"2024-01-01T{hour:02}:00:00Z" for hour in range(24)]
PIVOT = ReadingSettings(pivot=("entity_id", "state"))


def raw_of(columns: dict[str, Any], notes: tuple[str, ...] = ()) -> Raw:
    rows = pa.table(columns)
    return Raw(rows=rows, files=(("home.csv", rows.num_rows),), notes=notes)


def check(raw: Raw, given_times: tuple[str, ...] = ()) -> None:
    times = given_times or find_times(raw.rows, NONE, file="home.csv").names
    axis = read_axis(raw.rows, times, NONE, location_of=raw.location)
    check_twins(raw, axis, times=times)


# --- rows of one time


def test_several_homes_in_one_file_are_named_with_the_way_out() -> None:
    columns = {
        "LCLid": ["MAC1"] * 24 + ["MAC2"] * 24,
        "stdorToU": ["Std"] * 48,
        "tstp": HOURS * 2,
        "kwh": [f"{place / 100}" for place in range(48)],
    }
    with pytest.raises(SourceError, match="several homes in one file, column LCLid") as error:
        check(raw_of(columns))
    assert 'data.home_column = "LCLid"' in error.value.hint
    assert "24 of 48 rows" in error.value.message
    assert "MAC" not in str(error.value)


@pytest.mark.parametrize("name", ["entity_id", "Register", "sensor", "what"])
def test_a_row_for_each_reading_is_named_with_the_way_out(name: str) -> None:
    columns = {
        name: ["temperature", "humidity"] * 24,
        "state": [f"{place / 7:.2f}" for place in range(48)],
        "unit": ["x"] * 48,
        "last_changed": [hour for hour in HOURS for _ in range(2)],
    }
    with pytest.raises(SourceError, match=f"the column '{name}' tells rows apart") as error:
        check(raw_of(columns))
    assert f'data.pivot = ["{name}", "state"]' in error.value.hint


def test_numbers_name_meters_only_under_a_name_that_says_so() -> None:
    columns = {
        "localminute": HOURS * 3,
        "dataid": np.repeat([661, 1642, 2335], 24),
        "use": np.arange(72) / 3,
    }
    with pytest.raises(SourceError, match="several homes in one file, column dataid"):
        check(raw_of(columns))
    columns["count"] = columns.pop("dataid")
    with pytest.raises(SourceError, match="no column tells them apart"):
        check(raw_of(columns))


def test_hours_in_a_column_of_their_own_are_named() -> None:
    columns = {"DATE": ["2024-01-01"] * 24, "HOUR": list(range(24)), "kwh": np.arange(24) / 7}
    with pytest.raises(SourceError, match="time of day is in another column, 'HOUR'") as error:
        check(raw_of(columns), ("DATE",))
    assert error.value.hint == 'name both columns: data.time = ["DATE", "HOUR"]'


def test_a_few_rows_of_one_time_are_no_fault() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    hours = [f"{start + timedelta(hours=hour):%Y-%m-%d %H:%M}" for hour in range(300)]
    check(raw_of({"time": [*hours, *hours[:3]], "kwh": np.arange(303) / 7}))
    check(raw_of({"time": hours[:2] + hours[:1], "kwh": [1.0, 2.0, 3.0]}))
    with pytest.raises(SourceError, match="no column tells them apart"):
        check(raw_of({"time": [*hours, *hours[:4]], "kwh": np.arange(304) / 7}))


def test_copies_of_rows_are_no_fault() -> None:
    check(raw_of({"time": HOURS * 2, "kwh": list(range(24)) * 2}))


def test_rows_that_complete_one_another_are_joined() -> None:
    columns = {
        "time": [*HOURS[:3], *HOURS[:3], HOURS[0]],
        "load": ["1", "2", "3", "", None, "4", "5"],
        "temp": pa.array([None, None, None, 20.5, 21.5, 22.5, None]),
    }
    raw = raw_of(columns)
    axis = read_axis(raw.rows, ("time",), NONE, location_of=raw.location)
    assert axis.twins == 4
    raw, axis = completed(raw, axis, times=("time",), settings=NONE)
    rows = raw.rows.take(pa.array(axis.rows))
    # The first hour's rows disagree about the load, the third's about it as well.
    assert rows["load"].to_pylist() == ["5", "2", "4"]
    assert rows["temp"].to_pylist() == [None, 21.5, 22.5]
    assert axis.twins == 3
    assert "1 row completes another row of its time and was joined" in axis.notes
    assert any(note.startswith("3 rows with the time of a later row") for note in axis.notes)


# --- many homes


def test_homes_of_a_file() -> None:
    columns = {
        "home": ["b 1", "a", None, "b 1", " a ", ""],
        "time": HOURS[:6],
        "kwh": [1, 2, 3, 4, 5, 6],
    }
    homes = homes_of(raw_of(columns, notes=("a note",)), "home")
    assert {name: raw.rows["kwh"].to_pylist() for name, raw in homes.items()} == {
        "a": [2, 5],
        "b-1": [1, 4],
    }
    assert homes["b-1"].rows.column_names == ["time", "kwh"]
    assert homes["b-1"].location(1) == "home.csv, row 4"
    assert "2 rows without a home in column 'home' were left out" in homes["a"].notes
    assert homes["b-1"].notes == ("a note",)


def test_homes_that_are_numbers() -> None:
    assert list(homes_of(raw_of({"dataid": [12, 7, 12], "x": [1, 2, 3]}), "dataid")) == ["12", "7"]
    assert list(homes_of(raw_of({"dataid": [12.0, 7.0, None], "x": [1, 2, 3]}), "dataid")) == [
        "12",
        "7",
    ]


def test_homes_need_names() -> None:
    raw = raw_of({"home": ["", None], "x": [1, 2]})
    with pytest.raises(SourceError, match="names no home"):
        homes_of(raw, "home")
    with pytest.raises(SourceError, match="no column 'hom': did you mean 'home'"):
        homes_of(raw, "hom")
    with pytest.raises(SourceError, match="become the same") as error:
        homes_of(raw_of({"home": ["a b", "a-b"], "x": [1, 2]}), "home")
    assert "a b" not in str(error.value)
    assert "those in home.csv, row 1 and in home.csv, row 2" in str(error.value)
    emoji = ["fir", "\N{HOUSE BUILDING}", "fir", "\N{EVERGREEN TREE}"]
    with pytest.raises(SourceError, match=r"row \d and in home.csv, row \d"):
        homes_of(raw_of({"home": emoji, "x": [1, 2, 3, 4]}), "home")


@pytest.mark.long
def test_five_thousand_homes_take_time_by_their_rows() -> None:
    count, each = 5_000, 100
    names = np.tile([f"home{place:04}" for place in range(count)], each)
    raw = raw_of({"home": names, "x": np.arange(count * each)})
    began = time.process_time()
    homes = homes_of(raw, "home")
    assert time.process_time() - began < 10
    assert len(homes) == count
    assert homes["home0007"].rows["x"].to_pylist() == list(range(7, count * each, count))


# --- a row for each reading


def test_readings_of_different_moments_get_a_column_each() -> None:
    columns = {
        "entity_id": ["sensor.t", "sensor.h", "sensor.t", "sensor.t", ""],
        "state": ["20.1", "55", "unavailable", "20.3", "9"],
        "last_changed": [HOURS[0], HOURS[0], HOURS[1], HOURS[2], HOURS[3]],
        "last_updated": HOURS[:5],
    }
    wide = pivoted(raw_of(columns), PIVOT)
    assert wide.rows.column_names == ["last_changed", "sensor.h", "sensor.t"]
    assert wide.rows["sensor.t"].to_pylist() == ["20.1", "unavailable", "20.3"]
    assert wide.rows["sensor.h"].to_pylist() == ["55", None, None]
    assert wide.location(2) == "home.csv, row 4"
    assert any("1 row without a name" in note for note in wide.notes)
    assert any("left out by the pivot: last_updated" in note for note in wide.notes)
    axis = read_axis(wide.rows, ("last_changed",), NONE, location_of=wide.location)
    assert np.diff(axis.time_s).tolist() == [3600, 3600]


def test_of_readings_with_one_time_and_name_the_last_is_kept_and_told() -> None:
    columns = {"entity_id": ["t", "t", "h"], "state": [1, 2, 3], "time": HOURS[:1] * 3}
    wide = pivoted(raw_of(columns), PIVOT)
    assert wide.rows["t"].to_pylist() == [2]
    assert any(note.startswith("1 row with the time and the name") for note in wide.notes)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("by_name", [False, True])
def test_an_hour_that_comes_twice_does_so_for_each_name(newest_first: bool, by_name: bool) -> None:
    berlin = ReadingSettings(pivot=("entity_id", "state"), time_zone="Europe/Berlin")
    start = datetime(2023, 10, 28, 22, tzinfo=UTC)
    moments = [start + timedelta(minutes=30 * step) for step in range(12)]
    rows = [
        (f"{moment.astimezone(ZoneInfo('Europe/Berlin')):%Y-%m-%d %H:%M}", name, place)
        for place, moment in enumerate(moments)
        for name in ("t", "h")
    ]
    rows = rows[::-1] if newest_first else rows
    rows = sorted(rows, key=lambda row: row[1]) if by_name else rows
    clock, names, states = zip(*rows, strict=True)
    wide = pivoted(raw_of({"time": clock, "entity_id": names, "state": states}), berlin)
    assert wide.rows["time"].cast(pa.int64()).to_pylist() == [int(m.timestamp()) for m in moments]
    assert wide.rows["t"].to_pylist() == wide.rows["h"].to_pylist() == list(range(12))


def test_rows_that_a_pivot_puts_into_one_are_told_unless_they_arrive() -> None:
    columns = {
        "time": ["2024-01-01T00:00:00.2Z", "2024-01-01T00:00:00.9Z", "2024-01-01T01:00:00Z"],
        "entity_id": ["t", "h", "t"],
        "state": [1, 2, 3],
    }
    told = [note for note in pivoted(raw_of(columns), PIVOT).notes if "in one row" in note]
    (only,) = told
    assert only.startswith("1 row stands in one row with others of the same second")
    assert not any("in one row" in n for n in pivoted(raw_of(columns), PIVOT, arriving=True).notes)
    single = {name: values[1:] for name, values in columns.items()}
    assert not any("in one row" in note for note in pivoted(raw_of(single), PIVOT).notes)


def test_what_cannot_be_pivoted_is_refused() -> None:
    columns = {"entity_id": ["t", "h"], "state": [1, 2], "place": [1, 2]}
    with pytest.raises(SourceError, match="only where its rows have a time"):
        pivoted(raw_of(columns), PIVOT)
    with pytest.raises(SourceError, match="names 1 columns instead of two"):
        pivoted(raw_of(columns), ReadingSettings(pivot=("entity_id",)))
    with pytest.raises(SourceError, match="no column 'stat': did you mean 'state'"):
        pivoted(raw_of(columns), ReadingSettings(pivot=("entity_id", "stat")))
    many = {
        "entity_id": [f"{place}" for place in range(3000)],
        "state": list(range(3000)),
        "time": HOURS[:1] * 3000,
    }
    with pytest.raises(SourceError, match="3000 different names"):
        pivoted(raw_of(many), PIVOT)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.integers(0, 9)), min_size=1
    )
)
@settings(max_examples=share_of(100), deadline=None)
def test_a_pivot_keeps_every_reading_at_its_time(rows: list[tuple[int, str, int]]) -> None:
    begin = 1_700_000_000
    places, names, states = zip(*rows, strict=True)
    columns = {"time": [begin + place for place in places], "entity_id": names, "state": states}
    wide = pivoted(raw_of(columns), PIVOT).rows
    seconds = wide["time"].cast(pa.int64()).to_pylist()
    read = {
        (second - begin, name): value
        for name in wide.column_names[1:]
        for second, value in zip(seconds, wide[name].to_pylist(), strict=True)
        if value is not None
    }
    assert read == {(place, name): state for place, name, state in rows}


def test_blocks_of_homes_as_they_occur() -> None:
    path = readings("05-lcl-blocks") / "block_0.csv"
    rows = pyarrow.csv.read_csv(path)
    raw = Raw(rows=rows, files=((path.name, rows.num_rows),))
    with pytest.raises(SourceError, match="several homes in one file, column LCLid"):
        check(raw)
    homes = homes_of(raw, "LCLid")
    assert list(homes) == [f"MAC00000{place}" for place in range(4)]
    for home in homes.values():
        axis = read_axis(home.rows, ("tstp",), NONE, location_of=home.location)
        assert len(axis.time_s) == 480
        assert set(np.diff(axis.time_s).tolist()) == {1800}
