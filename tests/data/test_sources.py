"""One home's files: what is read, what is reported, what is refused."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedhome.data.home_files import read_home
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, SourceError
from fedhome.plan.reading_settings import ReadingSettings
from helpers.examples import share_of

NOON = int(datetime(2024, 1, 1, 12, tzinfo=UTC).timestamp())


def csv_file(folder: Path, text: str | bytes, name: str = "home.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def parquet_file(folder: Path, columns: dict[str, Any], name: str = "home.parquet") -> Path:
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


# --- times


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2024-01-01T12:00:00+00:00", NOON),
        ("2024-01-01T12:00:00Z", NOON),
        ("2024-01-01 14:00:00+02:00", NOON),
        ("2024-01-01 14:00 +02:00", NOON),
        ("2024-01-01T12:00:00.999Z", NOON),
        ("2024-01-01 12:00", NOON),
        ("2024-01-01", NOON - 12 * 3600),
        ("20240101", NOON - 12 * 3600),
        ("202401011200", NOON),
        ("20240101120000", NOON),
        (str(NOON), NOON),
        (f"{NOON}.25", NOON),
        (str(NOON * 1000 + 7), NOON),
        (str(NOON * 10**9), NOON),
    ],
)
def test_a_time_is_read_as_utc_seconds(tmp_path: Path, cell: str, expected: int) -> None:
    path = csv_file(tmp_path, f"time,load\n{cell},1\n")
    assert read_home(path).table.time_s.tolist() == [expected]


@pytest.mark.parametrize("name", ["time", "Timestamp", "DATETIME", "Date", "ts"])
def test_the_time_column_is_found_by_its_name(tmp_path: Path, name: str) -> None:
    table = read_home(csv_file(tmp_path, f"load,{name}\n1,2024-01-01T12:00Z\n")).table
    assert table.time_s.tolist() == [NOON]
    assert list(table.columns) == ["load"]


def test_the_time_column_can_be_given(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "when,load\n2024-01-01T12:00Z,1\n")
    assert read_home(path, settings=ReadingSettings(time="when")).table.time_s.tolist() == [NOON]
    with pytest.raises(SourceError, match="no column 'wann'") as error:
        read_home(path, settings=ReadingSettings(time="wann"))
    assert "when, load" in error.value.hint


def test_naive_times_take_the_given_zone(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "time,load\n2024-01-01 13:00,1\n2024-07-01 14:00,2\n")
    table = read_home(path, settings=ReadingSettings(time_zone="Europe/Berlin")).table
    july = int(datetime(2024, 7, 1, 12, tzinfo=UTC).timestamp())
    assert table.time_s.tolist() == [NOON, july]
    assert table.time_zone == "Europe/Berlin"


def test_naive_times_without_a_zone_are_utc_and_reported(tmp_path: Path) -> None:
    read = read_home(csv_file(tmp_path, "time,load\n2024-01-01 12:00,1\n"))
    assert read.table.time_s.tolist() == [NOON]
    assert any("read as UTC" in note for note in read.notes)


def test_the_hour_that_comes_twice_in_autumn_keeps_both_of_its_rows(tmp_path: Path) -> None:
    clock = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    rows = "".join(f"2024-10-27 {time},{load}\n" for load, time in enumerate(clock))
    table = read_home(
        csv_file(tmp_path, f"time,load\n{rows}"),
        settings=ReadingSettings(time_zone="Europe/Berlin"),
    ).table
    assert table.columns["load"].tolist() == [0, 1, 2, 3, 4, 5]
    assert np.diff(table.time_s).tolist() == [1800] * 5


def test_times_that_the_clock_skips_in_spring_are_reported(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "time,load\n2024-03-31 01:30,1\n2024-03-31 02:30,2\n")
    read = read_home(path, settings=ReadingSettings(time_zone="Europe/Berlin"))
    assert any(note.startswith("1 time does not exist in Europe/Berlin") for note in read.notes)


def test_mixed_offsets_are_converted_row_by_row_and_reported(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "time,load\n2024-01-01T13:00+01:00,1\n2024-01-01T08:00-05:00,2\n")
    read = read_home(path)
    assert read.table.time_s.tolist() == [NOON, NOON + 3600]
    assert any("2 different offsets" in note for note in read.notes)
    assert any("time zone is not given" in note for note in read.notes)


def test_times_with_and_without_offset_are_refused(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "time,load\n2024-01-01T12:00Z,1\n2024-01-01T13:00,2\n")
    with pytest.raises(SourceError, match=r"home\.csv, row 2: .* with and times without"):
        read_home(path)


def test_rows_are_sorted_and_the_last_of_equal_times_is_kept(tmp_path: Path) -> None:
    text = "time,load\n2024-01-01T13:00Z,1\n2024-01-01T12:00Z,2\n2024-01-01T13:00Z,3\n"
    read = read_home(csv_file(tmp_path, text))
    assert read.table.time_s.tolist() == [NOON, NOON + 3600]
    assert read.table.columns["load"].tolist() == [2, 3]
    assert any(note.startswith("1 row with the time of a later row") for note in read.notes)


def test_rows_without_a_time_are_left_out_and_reported(tmp_path: Path) -> None:
    read = read_home(csv_file(tmp_path, "time,load\n,1\n2024-01-01T12:00Z,2\n"))
    assert read.table.columns["load"].tolist() == [2]
    assert any("1 row without a time" in note for note in read.notes)


def test_without_a_time_column_rows_are_numbered_and_it_is_reported(tmp_path: Path) -> None:
    read = read_home(csv_file(tmp_path, "load,temp\n3,1\n1,2\n"))
    assert read.table.time_s.tolist() == [0, 1]
    assert read.table.columns["load"].tolist() == [3, 1]
    assert any("no column of times" in note for note in read.notes)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["noon"], "is no time"),
        (["2024-02-30"], "is no time"),
        (["12:00:00"], "is no time"),
        (["20241301"], "no times since 1970"),
        (["202401012500"], "no times since 1970"),
        (["20240101126000"], "no times since 1970"),
        (["0.5", "1"], "no times since 1970"),
        ([str(NOON), str(NOON * 1000)], "several units: seconds and milliseconds since 1970"),
        ([str(NOON), "7"], "no times since 1970"),
        ([""], "is empty"),
    ],
)
def test_what_is_no_time_is_refused(tmp_path: Path, cells: list[str], message: str) -> None:
    rows = "".join(f"{cell},1\n" for cell in cells)
    with pytest.raises(SourceError, match=message):
        read_home(csv_file(tmp_path, f"time,load\n{rows}"))


def test_an_unknown_zone_is_refused(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "load\n1\n")
    with pytest.raises(SourceError, match="'Mars/Olympus' is not a time zone"):
        read_home(path, settings=ReadingSettings(time_zone="Mars/Olympus"))


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"])
def test_naive_times_agree_with_the_standard_library(tmp_path: Path, zone: str) -> None:
    stream = np.random.default_rng(7)
    start = datetime(1995, 1, 1)  # noqa: DTZ001  (naive on purpose)
    seconds = np.unique(stream.integers(0, 30 * 365 * 86_400, 500))
    clock = [start + timedelta(seconds=int(second)) for second in seconds]
    rows = "".join(f"{moment},1\n" for moment in clock)
    table = read_home(
        csv_file(tmp_path, f"time,load\n{rows}"), settings=ReadingSettings(time_zone=zone)
    ).table
    expected = {int(moment.replace(tzinfo=ZoneInfo(zone)).timestamp()) for moment in clock}
    assert table.time_s.tolist() == sorted(expected)


# --- cells


def cells_of(folder: Path, *cells: str) -> Any:
    rows = "".join(f"{place},{cell}\n" for place, cell in enumerate(cells))
    return read_home(csv_file(folder, f"row,x\n{rows}"))


def test_numbers_in_every_notation(tmp_path: Path) -> None:
    table = cells_of(tmp_path, "1", " 2.5 ", "-3e2", "+4", ".5", "6.", '"7"').table
    assert table.columns["x"].tolist() == [1, 2.5, -300, 4, 0.5, 6, 7]


def test_true_and_false_are_one_and_zero_also_among_numbers(tmp_path: Path) -> None:
    table = cells_of(tmp_path, "true", "False", "0", "1").table
    assert table.columns["x"].tolist() == [1, 0, 0, 1]
    assert table.labels == {}


def test_text_becomes_indices_into_its_sorted_classes(tmp_path: Path) -> None:
    table = cells_of(tmp_path, "on", "off", "", "on").table
    np.testing.assert_array_equal(table.columns["x"], [1, 0, np.nan, 1])
    assert table.labels == {"x": ("off", "on")}


def test_what_home_assistant_says_of_a_silent_sensor_is_missing(tmp_path: Path) -> None:
    table = cells_of(tmp_path, "1", "unavailable", "unknown", "NaN", "null").table
    np.testing.assert_array_equal(table.columns["x"], [1] + [np.nan] * 4)


def test_a_slip_in_a_column_of_numbers_is_named_but_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"home\.csv, row 3: .* column 'x'") as error:
        cells_of(tmp_path, "1", "2", "secret", "3")
    assert "secret" not in str(error.value)


def test_empty_columns_are_dropped_and_reported(tmp_path: Path) -> None:
    read = read_home(csv_file(tmp_path, "load,gone\n1,\n2,nan\n"))
    assert list(read.table.columns) == ["load"]
    assert read.empty == ("gone",)
    assert any("gone" in note for note in read.notes)


def test_infinite_cells_are_missing_and_reported(tmp_path: Path) -> None:
    read = cells_of(tmp_path, "1", "inf", "1e999")
    np.testing.assert_array_equal(read.table.columns["x"], [1, np.nan, np.nan])
    assert any("2 infinite cells of x" in note for note in read.notes)


def test_semicolons_with_decimal_commas(tmp_path: Path) -> None:
    table = read_home(csv_file(tmp_path, "load;mode\n1,5;a,b\n-2;c\n")).table
    assert table.columns["load"].tolist() == [1.5, -2]
    assert table.labels == {"mode": ("a,b", "c")}


def test_a_column_without_a_name_is_left_out_and_reported(tmp_path: Path) -> None:
    read = read_home(csv_file(tmp_path, ",load\n0,5\n1,6\n"))
    assert list(read.table.columns) == ["load"]
    assert any("without a name" in note for note in read.notes)


def test_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    table = read_home(csv_file(tmp_path, b"\xef\xbb\xbfload,temp\r\n1,2\r\n")).table
    assert {name: column.tolist() for name, column in table.columns.items()} == {
        "load": [1],
        "temp": [2],
    }


# --- files


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("h.csv", b"", "is empty"),
        ("h.csv", b"1,2\n3,4\n", "no header row"),
        ("h.csv", b"load,load\n1,2\n", "several columns of the name 'load'"),
        ("h.csv", b"load,temp\n1,2\nsecret\n", "row 2 has 1 cells, but the header has 2"),
        ("h.csv", b"load\n\xff\xfe\n", "not text in UTF-8"),
        ("h.csv.gz", b"load\n1\n", "not a whole gzip"),
        ("h.csv.gz", gzip.compress(b"load\n1\n", mtime=0)[:-9], "not a whole gzip"),
        ("h.parquet", b"PAR1 nonsense PAR1", "not a whole Parquet"),
    ],
)
def test_damaged_files_are_refused_without_quoting_them(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(SourceError, match=message) as error:
        read_home(csv_file(tmp_path, content, name))
    assert error.value.hint
    assert "secret" not in str(error.value)


def test_the_files_of_a_sub_folder_are_one_home(tmp_path: Path) -> None:
    home = tmp_path / "maple-3"
    home.mkdir()
    csv_file(home, "time,load,mode\n2024-01-01T13:00Z,2,heat\n", "b.csv")
    text = b"time,load,temp\n2024-01-01T12:00Z,1,20\n"
    (home / "a.csv.gz").write_bytes(gzip.compress(text))
    table = read_home(home).table
    assert table.home == "maple-3"
    assert table.time_s.tolist() == [NOON, NOON + 3600]
    assert table.columns["load"].tolist() == [1, 2]
    np.testing.assert_array_equal(table.columns["temp"], [20, np.nan])
    np.testing.assert_array_equal(table.columns["mode"], [np.nan, 0])


def test_a_faulty_row_of_a_sub_folder_is_named_with_its_file(tmp_path: Path) -> None:
    csv_file(tmp_path, "load\n1\n2\n", "a.csv")
    csv_file(tmp_path, "load\n3\nx\n", "b.csv")
    with pytest.raises(SourceError, match=r"b\.csv, row 2"):
        read_home(tmp_path)


def test_files_of_one_home_that_disagree_are_refused(tmp_path: Path) -> None:
    csv_file(tmp_path, "load\n1\n", "a.csv")
    parquet_file(tmp_path, {"load": [2.0]}, "b.parquet")
    with pytest.raises(SourceError, match="disagree about what their columns hold"):
        read_home(tmp_path)


def test_parquet_columns_of_every_kind(tmp_path: Path) -> None:
    columns = {
        "time": pa.array([NOON * 1000, (NOON + 60) * 1000], pa.timestamp("ms", "Europe/Oslo")),
        "whole": pa.array([1, None]),
        "flag": pa.array([True, False]),
        "money": pa.array([Decimal("1.25"), Decimal("2.50")]),
        "mode": pa.array(["heat", None]).dictionary_encode(),
        "big": pa.array(["b", "a"], pa.large_string()),
        "also": pa.array([date(2024, 1, 1)] * 2),
        "many": pa.array([[1], [2]]),
    }
    read = read_home(parquet_file(tmp_path, columns))
    table = read.table
    assert table.time_zone == "Europe/Oslo"
    assert table.time_s.tolist() == [NOON, NOON + 60]
    np.testing.assert_array_equal(table.columns["whole"], [1, np.nan])
    assert table.columns["flag"].tolist() == [1, 0]
    assert table.columns["money"].tolist() == [1.25, 2.5]
    np.testing.assert_array_equal(table.columns["mode"], [0, np.nan])
    assert table.columns["big"].tolist() == [1, 0]
    assert table.labels == {"mode": ("heat",), "big": ("a", "b")}
    assert any("neither numbers nor text: many" in note for note in read.notes)
    assert any("'also' holds times, too, and was left out" in note for note in read.notes)


@pytest.mark.parametrize(
    "times",
    [
        pa.array([datetime(2024, 1, 1, 13)], pa.timestamp("ns")),  # noqa: DTZ001  (naive on purpose)
        pa.array([NOON]),
        pa.array([float(NOON)]),
        pa.array([NOON * 10**6], pa.timestamp("us", "+01:00")),
    ],
)
def test_parquet_times_of_every_kind(tmp_path: Path, times: pa.Array) -> None:
    path = parquet_file(tmp_path, {"time": times, "load": [1.0]})
    assert read_home(
        path, settings=ReadingSettings(time_zone="Europe/Berlin")
    ).table.time_s.tolist() == [NOON]


def test_an_index_without_a_name_is_the_time_if_nothing_else_is(tmp_path: Path) -> None:
    index = pa.array([NOON], pa.timestamp("s", "UTC"))
    path = parquet_file(tmp_path, {"load": [1.0], "__index_level_0__": index})
    assert read_home(path).table.time_s.tolist() == [NOON]


def test_clock_times_without_a_date_are_refused(tmp_path: Path) -> None:
    path = parquet_file(tmp_path, {"time": pa.array([3600], pa.time32("s")), "load": [1.0]})
    with pytest.raises(SourceError, match="without a date"):
        read_home(path)


# --- properties

finite = st.floats(allow_nan=False, allow_infinity=False)
readings = st.one_of(st.none(), finite)
words = st.one_of(st.none(), st.sampled_from(["heat", "cool", "off", "auto mode"]))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    count = draw(st.integers(2, 20))
    moments = st.integers(700_000_000, 4_000_000_000)
    times = st.lists(moments, min_size=count, max_size=count, unique=True)
    return {
        "time": draw(times),
        "a": draw(st.lists(readings, min_size=count, max_size=count)),
        "b": draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        "c": draw(st.lists(words, min_size=count, max_size=count)),
    }


def expected_of(columns: dict[str, list[Any]]) -> dict[int, tuple[Any, ...]]:
    rows = zip(*columns.values(), strict=True)
    return {time: (a, float(b), c) for time, a, b, c in sorted(rows, key=lambda row: row[0])}


def rows_of(table: HomeTable) -> dict[int, tuple[Any, ...]]:
    nothing = np.full(table.rows, np.nan)
    a, b, c = (table.columns.get(name, nothing) for name in "abc")
    labels = table.labels.get("c", ())
    return {
        int(time): (
            None if np.isnan(a[row]) else float(a[row]),
            float(b[row]),
            None if np.isnan(c[row]) else labels[int(c[row])],
        )
        for row, time in enumerate(table.time_s)
    }


@pytest.mark.long
@given(columns=tables(), form=st.sampled_from(["csv", "csv.gz", "parquet"]))
@settings(max_examples=share_of(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_survives_the_way_through_a_file(
    tmp_path: Path, columns: dict[str, list[Any]], form: str
) -> None:
    table = pa.table(columns)
    table = table.set_column(0, "time", table["time"].cast(pa.timestamp("s", "UTC")))
    path = tmp_path / f"home.{form}"
    if form == "parquet":
        pq.write_table(table, path)
    else:
        with pa.output_stream(path, compression="gzip" if form == "csv.gz" else None) as stream:
            pyarrow.csv.write_csv(table, stream)
    assert rows_of(read_home(path).table) == expected_of(columns)


def read_or_refuse(path: Path) -> None:
    try:
        table = read_home(path).table
    except DataError as error:
        assert error.hint  # noqa: PT017  (any other exception fails the test)
    else:
        assert all(len(column) == table.rows for column in table.columns.values())


rough_cells = st.text(st.sampled_from("01.,;\"'-+e\t\n\r :TZ\x00\u00e9naif"), max_size=60)


@pytest.mark.long
@given(
    content=st.one_of(
        st.binary(max_size=200),
        rough_cells.map(str.encode),
        rough_cells.map(lambda text: b"time,x\n" + text.encode()),
    ),
    name=st.sampled_from(["h.csv", "h.csv.gz", "h.parquet"]),
)
@settings(max_examples=share_of(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_bytes_are_read_or_refused(tmp_path: Path, content: bytes, name: str) -> None:
    read_or_refuse(csv_file(tmp_path, content, name))


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@settings(max_examples=share_of(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_parquet_file_with_a_flipped_byte_is_read_or_refused(
    tmp_path: Path, place: float, flip: int
) -> None:
    path = parquet_file(tmp_path, {"time": [NOON, NOON + 60], "x": [1.5, 2.5], "m": ["a", "b"]})
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= flip
    read_or_refuse(csv_file(tmp_path, bytes(content), "flipped.parquet"))
