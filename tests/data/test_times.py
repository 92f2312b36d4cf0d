"""Times of rows: which columns hold them, how they are written, and what clocks do to them."""

from __future__ import annotations

import csv
import os
import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.data.files.data_files import Raw
from fedhome.data.files.table_file import UNNAMED
from fedhome.data.times import time_formats
from fedhome.data.times.axis import Axis, read_axis
from fedhome.data.times.time_columns import find_times
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings
from helpers.examples import share_of

_ROOT = Path(__file__).resolve().parents[2]
CASES = Path(os.environ.get("FEDHOME_SHARED", _ROOT.parent / "shared")) / "cases" / "readings"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="no shared cases on this machine")
NONE = ReadingSettings()
BERLIN = ReadingSettings(time_zone="Europe/Berlin")


def where(row: int) -> str:
    return f"home.csv, row {row + 1}"


def axis_of(cells: Any, given: ReadingSettings = NONE) -> Axis:
    column = cells if isinstance(cells, pa.Array | pa.ChunkedArray) else pa.array(cells)
    rows = pa.table({"time": column, "place": np.arange(len(column))})
    return read_axis(rows, ("time",), given, location_of=where)


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]


def found(columns: dict[str, Any], given: ReadingSettings = NONE) -> tuple[str, ...]:
    return find_times(pa.table(columns), given, file="home.csv").names


def notes_of(columns: dict[str, Any]) -> str:
    return "\n".join(find_times(pa.table(columns), NONE, file="home.csv").notes)


def test_what_texts_may_look_like_is_compiled_for_texts_alone() -> None:
    compiled = time_formats._patterns
    compiled.cache_clear()
    time_formats.layout_of.cache_clear()
    typed = pa.array([0, 3600], pa.timestamp("s", "UTC"))
    assert axis_of(typed).time_s.tolist() == [0, 3600]
    assert compiled.cache_info().currsize == 0
    axis_of(["1970-01-01 00:00", "1970-01-01 01:00"])
    assert compiled.cache_info().currsize == 1


# --- formats


EVENING = utc(2023, 12, 31, 23, 45)


@pytest.mark.parametrize(
    ("cell", "expected", "written"),
    [
        ("31.12.2023 23:45", EVENING, "DD.MM.YYYY hh:mm"),
        ("31. 12. 2023 23:45", EVENING, "DD. MM. YYYY hh:mm"),
        ("31/12/2023 23:45:00", EVENING, "DD/MM/YYYY hh:mm:ss"),
        ("12/31/2023 11:45 PM", EVENING, "MM/DD/YYYY hh:mm PM"),
        ("12/31/2023 11:45 p.m.", EVENING, "MM/DD/YYYY hh:mm P.M."),
        ("12/31/2023, 11:45:00\u202fPM", EVENING, "MM/DD/YYYY, hh:mm:ss PM"),
        ("2023/12/31 23:45", EVENING, "YYYY/MM/DD hh:mm"),
        ("20231231 2345", EVENING, "YYYYMMDD hhmm"),
        ("20231231T234500Z", EVENING, "YYYYMMDDThhmmssZ"),
        ("202312312345", EVENING, "YYYYMMDDhhmm"),
        ("31-Dec-2023 23:45", EVENING, "DD-Mon-YYYY hh:mm"),
        ("Dec 31, 2023 11:45 pm", EVENING, "Mon DD, YYYY hh:mm PM"),
        ("31 December 2023 23:45", EVENING, "DD Month YYYY hh:mm"),
        ("31. Dezember 2023 23:45", EVENING, "DD. Month YYYY hh:mm"),
        ("So., 31. Dez. 2023, 23:45 Uhr", EVENING, ""),
        ("31 déc. 2023 à 23h45", EVENING, ""),
        ("dimanche 31 décembre 2023 23:45", EVENING, ""),
        ("31 december 2023 om 23:45", EVENING, ""),
        ("31 de diciembre de 2023 23:45", EVENING, ""),
        ("domenica 31 dicembre 2023, 23:45", EVENING, ""),
        ("31 de dezembro de 2023 23:45", EVENING, ""),
        ("søndag 31. desember 2023 kl. 23:45", EVENING, ""),
        ("Sun Dec 31 23:45:00 CET 2023", EVENING - 3600, ""),
        ("2023年12月31日 23時45分", EVENING, "YYYY-MM-DD hh:mm"),
        ("Sun, 31 Dec 2023 23:45:00 GMT", EVENING, "SUN, DD Mon YYYY hh:mm:ss GMT"),
        ("31.12.2023 23:45 Uhr", EVENING, "DD.MM.YYYY hh:mm UHR"),
        ("31/12/23 23:45", EVENING, "DD/MM/YY hh:mm"),
        ("2023-12-31 23:45 UTC", EVENING, ""),
        ("2023-12-31 23:45 Europe/Berlin", EVENING - 3600, ""),
        ("2023-12-31T23:45+01:00[Europe/Berlin]", EVENING - 3600, ""),
        ("2023-12-31T23:45:00.1234567-0530", EVENING + 5 * 3600 + 1800, ""),
        ("2023-12-31 23:45:00-06", EVENING + 6 * 3600, ""),
        ("2023-12-31 23:45 CET", EVENING - 3600, ""),
        ("31.12.2023 23:45 - 01.01.2024 00:00 (CET/CEST)", EVENING - 3600, ""),
        ("31.12.2023 23:45 - 24:00", EVENING, ""),
        ("31.12.2023 24:00", EVENING + 900, "DD.MM.YYYY hh:mm"),
        ("45291.98958333333", EVENING, "days of a spreadsheet"),
        ("2023123123", EVENING - 2700, "YYYYMMDDhh"),
    ],
)
def test_a_cell_of_every_format(cell: str, expected: int, written: str) -> None:
    axis = axis_of([cell])
    assert axis.time_s.tolist() == [expected]
    if written:
        assert axis.format == written


@pytest.mark.parametrize(
    "cell",
    [
        *("31.12.2023 24:15", "2023-02-29", "2023-12-31 23:60", "13:00 PM", "2023-12-31 13:00 PM"),
        *("2023-12-31 23:45 noon", "31 de diciembrre de 2023", "2023-W53", "2023-12-31T23:45:61"),
        *("00.00.2023", "x" * 5000, "\x00", "12/31/2023 0:75", "0000-01-01"),
    ],
)
def test_what_is_no_time_is_refused_and_not_quoted(cell: str) -> None:
    with pytest.raises(SourceError, match="no time") as error:
        axis_of([cell])
    assert cell not in str(error.value)
    assert error.value.hint


def test_the_whole_column_tells_whether_the_day_or_the_month_comes_first() -> None:
    days = ["03/04/2024", "04/04/2024", "13/04/2024"]
    assert axis_of(days).time_s.tolist() == [utc(2024, 4, 3), utc(2024, 4, 4), utc(2024, 4, 13)]
    months = ["03/04/2024", "03/05/2024", "03/13/2024"]
    assert axis_of(months).time_s.tolist() == [utc(2024, 3, 4), utc(2024, 3, 5), utc(2024, 3, 13)]


def test_days_that_could_be_months_are_asked_for() -> None:
    cells = ["01/02/2024", "02/02/2024", "03/02/2024"]
    with pytest.raises(SourceError, match="in several ways, with day and month first") as error:
        axis_of(cells)
    assert 'data.dates = "day-first"' in error.value.hint
    day_first = axis_of(cells, ReadingSettings(dates="day-first"))
    assert day_first.time_s.tolist() == [utc(2024, 2, day) for day in (1, 2, 3)]
    month_first = axis_of(cells, ReadingSettings(dates="month-first"))
    assert month_first.time_s.tolist() == [utc(2024, month, 2) for month in (1, 2, 3)]


def test_the_order_of_rows_can_tell_the_order_of_dates() -> None:
    # With the month first the rows would go back in time.
    axis = axis_of(["11/01/2024", "12/01/2024", "01/02/2024", "02/02/2024"])
    assert axis.time_s.tolist() == [
        utc(2024, 1, 11),
        utc(2024, 1, 12),
        *(utc(2024, 2, day) for day in (1, 2)),
    ]
    assert any("with the day first" in note for note in axis.notes)


def test_rows_without_gaps_can_tell_the_order_of_dates() -> None:
    start = datetime(2024, 5, 1, tzinfo=UTC)
    moments = [start + timedelta(hours=hour) for hour in range(5 * 24)]
    axis = axis_of([f"{moment:%d/%m/%Y %H:%M}" for moment in moments])
    assert axis.time_s.tolist() == [int(moment.timestamp()) for moment in moments]
    assert any("follow one another" in note for note in axis.notes)


def test_two_digits_of_a_year_may_come_first() -> None:
    axis = axis_of(["23-12-30", "23-12-31", "24-01-01"])
    assert axis.time_s.tolist() == [utc(2023, 12, 30), utc(2023, 12, 31), utc(2024, 1, 1)]


def test_dots_mean_that_the_day_comes_first() -> None:
    axis = axis_of(["01.02.2024 00:00", "01.02.2024 00:15"])
    assert axis.time_s.tolist() == [utc(2024, 2, 1), utc(2024, 2, 1, 0, 15)]
    assert any("between dots" in note for note in axis.notes)


def test_short_names_of_zones_need_to_be_clear() -> None:
    winter = ["2024-01-01 07:00 EST"]
    with pytest.raises(SourceError, match="short name of a zone") as error:
        axis_of(winter)
    assert "data.time_zone" in error.value.hint
    assert axis_of([*winter, "2024-07-01 08:00 EDT"]).time_s.tolist() == [
        utc(2024, 1, 1, 12),
        utc(2024, 7, 1, 12),
    ]
    york = axis_of(winter, ReadingSettings(time_zone="America/New_York"))
    assert york.time_s.tolist() == [utc(2024, 1, 1, 12)]


def test_a_few_cells_that_are_no_times_are_left_out_and_told() -> None:
    cells = [f"2024-01-01 {hour:02}:00" for hour in range(24)]
    axis = axis_of([*cells, "Total"])
    assert len(axis.time_s) == 24
    assert any("home.csv, row 25" in note and "no times" in note for note in axis.notes)
    assert not any("Total" in note for note in axis.notes)


def test_numbers_since_1970_in_every_unit() -> None:
    seconds = np.arange(1_700_000_000, 1_700_000_100)
    for unit in (1, 1_000, 10**6, 10**9):
        for cells in (pa.array(seconds * unit), [str(second * unit) for second in seconds]):
            axis = axis_of(cells)
            assert axis.time_s.tolist() == seconds.tolist()
            assert axis.format.endswith("since 1970")


# --- date and clock in two columns, or one column for each part


def joined(columns: dict[str, Any], names: tuple[str, ...], given: ReadingSettings) -> Axis:
    return read_axis(pa.table(columns), names, given, location_of=where)


@pytest.mark.parametrize(
    "clock",
    [
        ["00:00", "00:15", "23:45", "24:00"],
        ["12:00 AM", "12:15 a.m.", "11:45 PM", "11:60 PM"][:3],
        ["00:00 - 00:15", "00:15-00:30", "23:45 - 24:00", "24:00"],
        [time(0), time(0, 15), time(23, 45)],
        ["0000", "0015", "2345", "2400"],
        [0, 15, 2345, 2400],
        [0, 1 / 96, 95 / 96],
    ],
)
def test_date_and_clock_are_joined(clock: list[Any]) -> None:
    count = len(clock)
    columns = {"Fecha": ["31/12/2023"] * count, "Hora": clock, "kWh": [1.0] * count}
    names = found(columns)
    assert names == ("Fecha", "Hora")
    expected = [utc(2023, 12, 31), utc(2023, 12, 31, 0, 15), EVENING, utc(2024, 1, 1)][:count]
    assert joined(columns, names, NONE).time_s.tolist() == expected
    assert joined(columns, names[::-1], NONE).time_s.tolist() == expected


def test_a_clock_beside_dates_can_tell_the_order_of_day_and_month() -> None:
    start = datetime(2024, 1, 2, tzinfo=UTC)
    moments = [start + timedelta(minutes=15 * step) for step in range(480)]
    columns = {
        "Date": [f"{moment.month}/{moment.day}/{moment.year}" for moment in moments],
        "Start Time": [f"{moment:%I:%M %p}" for moment in moments],
    }
    axis = joined(columns, ("Date", "Start Time"), NONE)
    assert axis.time_s.tolist() == [int(moment.timestamp()) for moment in moments]


def test_hours_counted_from_one_follow_days_of_23_and_25_hours() -> None:
    madrid = ReadingSettings(time_zone="Europe/Madrid", dates="day-first")
    for day, hours in ((date(2023, 3, 26), 23), (date(2023, 10, 29), 25), (date(2023, 6, 1), 24)):
        columns = {"Fecha": [f"{day:%d/%m/%Y}"] * hours, "Hora": list(range(1, hours + 1))}
        axis = joined(columns, ("Fecha", "Hora"), madrid)
        begin = datetime.combine(day, time(), ZoneInfo("Europe/Madrid")).timestamp()
        assert axis.time_s.tolist() == [int(begin) + 3600 * hour for hour in range(1, hours + 1)]
        assert any("counted from 1" in note for note in axis.notes)
    columns = {"Fecha": ["29/10/2023"] * 25, "Hora": list(range(1, 26))}
    with pytest.raises(SourceError, match="25 hours"):
        joined(columns, ("Fecha", "Hora"), NONE)


def test_year_month_day_and_hour_in_a_column_each() -> None:
    columns = {
        "No": ["1", "2"],
        "year": ["2010", "2010"],
        "month": ["1", "1"],
        "day": ["2", "2"],
        "hour": ["0", "1"],
        "pm2.5": ["129", "148"],
    }
    names = found(columns)
    assert names == ("year", "month", "day", "hour")
    axis = joined(columns, names, NONE)
    assert axis.time_s.tolist() == [utc(2010, 1, 2), utc(2010, 1, 2, 1)]


# --- which column


ISO = ["2024-01-01T00:00:00", "2024-01-01T01:00:00"]
WITH_ZONE = [f"{cell}Z" for cell in ISO]
KWH = ["0.5", "0.6"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"load": KWH, "Timestamp": ISO}, "Timestamp"),
        ({UNNAMED: ISO, "load": KWH}, UNNAMED),
        ({"whatever": ISO, "load": KWH}, "whatever"),
        ({"End": WITH_ZONE, "Start": WITH_ZONE, "load": KWH}, "Start"),
        ({"last_updated": WITH_ZONE, "last_changed": WITH_ZONE, "state": KWH}, "last_changed"),
        ({"cet_cest_timestamp": WITH_ZONE, "utc_timestamp": WITH_ZONE}, "utc_timestamp"),
        ({"local": ISO, "measured": WITH_ZONE}, "measured"),
        ({"created_at": WITH_ZONE, "time": ISO}, "time"),
        ({"date": ["2024-01-01"] * 2, "datetime": ISO}, "datetime"),
        ({"start": [1_700_000_000.5, 1_700_003_600.5], "mean": [1.0, 2.0]}, "start"),
        ({"last_updated_ts": ["1700000000.5", "1700000060.5"], "state": KWH}, "last_updated_ts"),
        ({"x": pa.array([0, 3600], pa.timestamp("s", "UTC")), "load": [1, 2]}, "x"),
        ({"Datum": ["01.01.2024", "02.01.2024"], "kWh": KWH}, "Datum"),
        ({"time": ["noon", "late"], "load": KWH}, "time"),
        ({"installed": ["2020-01-01 10:00"] * 2, "load": KWH}, ""),
        ({"Ab-Datum": ["01.01.24", "02.01.24"], "kWh": KWH}, "Ab-Datum"),
        ({"power": ["1700000000", "1700000060"], "load": KWH}, ""),
        ({"Data": KWH, "load": KWH}, ""),
        ({"firmware": ["1.2.23", "1.2.24"], "load": KWH}, ""),
        ({"time": [0, 1], "load": KWH}, ""),
        ({"load": KWH, "mode": ["heat", "off"]}, ""),
        ({"Monat": ["Mai 2023", "Juni 2023"], "kWh": KWH}, "Monat"),
        ({"month": ["2023-05", "2023-06"], "kWh": KWH}, "month"),
        ({"batch": ["2023-05", "2023-06"], "kWh": KWH}, ""),
        ({"month": ["2023-05", "2023-06"], "date": ["2023-05-01", "2023-06-01"]}, "date"),
        ({"month": ["2023-05"] * 4, "hour": [0, 1, 2, 3]}, ""),  # a profile, no times
        ({"model": ["Mar-24", "Apr-25"], "kWh": KWH}, "model"),  # no row stays without its time
    ],
)
def test_the_column_of_times(columns: dict[str, Any], expected: str) -> None:
    assert found(columns) == ((expected,) if expected else ())


def test_what_was_taken_and_what_was_left_out_is_told() -> None:
    assert notes_of({"time": ISO, "load": KWH}) == ""
    assert "'Horodate' was taken for the time" in notes_of({"Horodate": ISO, "load": KWH})
    assert "has no name, was taken for the time" in notes_of({UNNAMED: ISO, "load": KWH})
    told = find_times(pa.table({"start": ISO, "end": ISO, "x": KWH}), NONE, file="home.csv")
    assert told.others == ("end",)
    assert any("'end' holds times, too, and was left out" in note for note in told.notes)
    assert "together are the time" in notes_of(
        {"DATE": ["2024-01-01"] * 2, "TIME": ["0:00", "1:00"]}
    )
    counted = notes_of({"time": ["0", "1"], "load": KWH})
    assert "count steps and is no time" in counted
    assert "no column of times was found" in counted


def test_named_columns_are_obeyed() -> None:
    columns = {"a": ISO, "time": ISO, "load": KWH}
    assert found(columns, ReadingSettings(time=("a",))) == ("a",)
    with pytest.raises(SourceError, match=r"no column 'tiem' .* did you mean 'time'") as error:
        found(columns, ReadingSettings(time=("tiem",)))
    assert "a, time, load" in error.value.hint


# --- clocks


def quarters(first: datetime, count: int) -> list[datetime]:
    return [first + timedelta(minutes=15 * step) for step in range(count)]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("minutes", [15, 30, 60])
def test_an_hour_that_comes_twice_is_read_in_both_directions(
    minutes: int, newest_first: bool
) -> None:
    start = datetime(2023, 10, 28, 20, tzinfo=UTC)
    moments = [start + timedelta(minutes=minutes * step) for step in range(24 * 60 // minutes)]
    cells = [f"{moment.astimezone(ZoneInfo('Europe/Berlin')):%Y-%m-%d %H:%M}" for moment in moments]
    axis = axis_of(cells[::-1] if newest_first else cells, BERLIN)
    assert axis.time_s.tolist() == [int(moment.timestamp()) for moment in moments]
    places = range(len(moments))
    assert axis.rows.tolist() == list(places[::-1] if newest_first else places)
    assert any("comes twice" in note and "told apart" in note for note in axis.notes)


def test_an_irregular_clock_that_goes_back_is_in_its_second_pass() -> None:
    cells = ["01:50:00", "02:10:00", "02:40:00", "02:05:00", "02:50:00", "03:10:00"]
    axis = axis_of([f"2023-10-29 {cell}" for cell in cells], BERLIN)
    assert np.diff(axis.time_s).tolist() == [1200, 1800, 1500, 2700, 1200]


def test_an_hour_that_should_come_twice_but_comes_once_is_told() -> None:
    cells = [f"2023-10-29 0{hour}:00" for hour in range(6)]
    axis = axis_of(cells, BERLIN)
    assert np.diff(axis.time_s).tolist() == [3600, 3600, 7200, 3600, 3600]
    assert any("the first pass was taken" in note for note in axis.notes)


def test_a_clock_that_never_changes_is_told_what_to_do() -> None:
    start = datetime(2023, 3, 1)  # noqa: DTZ001  (naive on purpose)
    cells = [f"{start + timedelta(hours=hour):%Y-%m-%d %H:%M}" for hour in range(24 * 270)]
    axis = axis_of(cells, BERLIN)
    assert any("Etc/GMT-1" in note for note in axis.notes)


@pytest.mark.parametrize(
    "odd", ["1970-01-01T00:01:00Z", "2099-01-01T00:00:00Z", "2000-01-01T00:00:07Z"]
)
def test_a_clock_that_was_not_set_is_left_out_and_told(odd: str) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    cells = [f"{start + timedelta(minutes=step):%Y-%m-%dT%H:%M:%SZ}" for step in range(300)]
    axis = axis_of([*cells[:7], odd, *cells[7:]])
    assert len(axis.time_s) == 300
    assert any("home.csv, row 8" in note and "clock" in note for note in axis.notes)


def test_a_long_gap_is_no_wrong_clock() -> None:
    days = [*range(5), *range(200, 400)]
    start = datetime(2015, 1, 1, tzinfo=UTC)
    axis = axis_of([f"{start + timedelta(days=day):%Y-%m-%d}" for day in days])
    assert len(axis.time_s) == len(days)


def test_copies_and_rows_of_one_time_are_counted_apart() -> None:
    rows = pa.table({"time": ["2024-01-01"] * 3 + ["2024-01-02"] * 2, "x": [1, 2, 1, 5, 5]})
    axis = read_axis(rows, ("time",), NONE, location_of=where)
    assert axis.rows.tolist() == [2, 4]
    assert axis.twin_rows.tolist() == [1]
    assert any(note.startswith("2 rows are exact copies") for note in axis.notes)
    assert any(note.startswith("1 row with the time of a later row") for note in axis.notes)


# --- properties


zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
NAIVE = (
    *("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.000", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S"),
    *("%m/%d/%Y %I:%M:%S %p", "%Y/%m/%d %H:%M:%S", "%Y%m%d %H%M%S", "%d-%b-%Y %H:%M:%S"),
    *("%d %B %Y %H:%M:%S", "%b %d, %Y %I:%M:%S %p", "%Y%m%d%H%M%S", "%a %b %d %H:%M:%S %Y"),
    *("%m-%d-%y %H:%M:%S", "%d.%m.%y %H:%M:%S"),
)
AWARE = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S %z", "%d %b %Y %H:%M:%S UTC%z", "%s")
# Months in which clocks change somewhere, and one without a change.
starts = st.builds(
    datetime,
    st.integers(2001, 2030),
    st.sampled_from([3, 4, 7, 10, 11]),
    st.integers(1, 28),
    st.integers(0, 23),
    tzinfo=st.just(UTC),
)


@given(
    start=starts,
    step=st.sampled_from([60, 900, 1800, 3600, 86_400]),
    count=st.integers(1, 400),
    zone=zones,
    written=st.sampled_from([*NAIVE, *AWARE]),
    newest_first=st.booleans(),
)
@settings(max_examples=share_of(150), deadline=None)
def test_regular_times_are_read_back_or_refused_but_never_changed(
    *, start: datetime, step: int, count: int, zone: str, written: str, newest_first: bool
) -> None:
    moments = [start + timedelta(seconds=step * place) for place in range(count)]
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    if written == "%s":
        cells = [str(int(moment.timestamp())) for moment in moments]
    else:
        cells = [moment.strftime(written) for moment in local]
    # A series that ends within the hour, or is too slow to show both passes, tells no pass.
    naive = written in NAIVE
    if naive and any(moment.fold for moment in local) and not shows_both_passes(local):
        return
    expected = [int(moment.timestamp()) for moment in moments]
    try:
        axis = axis_of(cells[::-1] if newest_first else cells, ReadingSettings(time_zone=zone))
    except SourceError as error:
        assert "in several ways" in error.message  # noqa: PT017  (any other exception fails the test)
        assert "%m" in written
        return
    assert axis.time_s.tolist() == expected
    assert axis.rows.tolist() == list(range(count))[:: -1 if newest_first else 1]


def shows_both_passes(local: list[datetime]) -> bool:
    clock = [moment.replace(tzinfo=None) for moment in local]
    second = [place for place, moment in enumerate(local) if moment.fold]
    return all(
        place > 0 and any(clock[before] >= clock[place] for before in range(place))
        for place in second
    )


@pytest.mark.long
@given(cells=st.lists(st.text(max_size=30), min_size=1, max_size=5))
@settings(max_examples=share_of(300), deadline=None)
def test_any_text_is_read_or_refused_without_a_word_of_it(cells: list[str]) -> None:
    try:
        axis_of(cells)
    except SourceError as error:
        assert error.hint  # noqa: PT017
        shown = re.sub(r"home\.csv, row \d+|'time'", "", error.message)
        words = {word for cell in cells for word in re.findall(r"\w{8,}", cell)}
        assert not any(word in shown for word in words)


pieces = st.tuples(
    st.sampled_from(["2024-02-29", "1999-12-31", "20240229", "2024-02-30", "0001-01-01"]),
    st.sampled_from(["T", " ", "_"]),
    st.sampled_from(["23:59:59", "00:00", "07", "2359", "235959", "24:00", "23:59:59.123456"]),
    st.sampled_from(["", "Z", "+02:00", "-0330", "+14", "-00:00", "+25:00"]),
)


@given(cells=st.lists(pieces.map("".join), min_size=1, max_size=2))
@settings(max_examples=share_of(200), deadline=None)
def test_what_the_standard_library_reads_is_read_alike(cells: list[str]) -> None:
    stamps = []
    for cell in cells:
        try:
            stamp = datetime.fromisoformat(cell)
        except ValueError:
            return
        stamps.append(stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC))
    try:
        axis = axis_of(cells)
    except SourceError:
        return
    assert set(axis.time_s.tolist()) == {int(s.timestamp() // 1) for s in stamps}


@given(minutes=st.integers(-14 * 60, 14 * 60), start=starts)
@settings(max_examples=share_of(50), deadline=None)
def test_offsets_are_taken_off(minutes: int, start: datetime) -> None:
    moment = start.astimezone(timezone(timedelta(minutes=minutes)))
    assert axis_of([moment.isoformat()]).time_s.tolist() == [int(start.timestamp())]


# --- files as they occur


def rows_of(case: str, name: str = "home0.csv") -> Raw:
    path = CASES / case / name
    text = path.read_text(encoding="utf-8-sig").splitlines()
    lines = list(csv.reader(text, delimiter=";" if ";" in text[0] else ","))
    header = [cell.strip() or UNNAMED for cell in lines[0]]
    columns = {one: [line[place] for line in lines[1:]] for place, one in enumerate(header)}
    return Raw(rows=pa.table(columns), files=((name, len(lines) - 1),))


@needs_cases
@pytest.mark.parametrize(
    ("case", "name", "names", "first", "steps"),
    [
        ("04-lcl-null", "MAC000000.csv", ("DateTime",), "2012-12-10T00:00:00", None),
        ("07b-pge-no-preamble", "home0.csv", ("DATE", "START TIME"), "2024-01-01T00:00:00", {3600}),
        ("08b-enedis-plain", "home0.csv", ("Horodate",), "2023-12-31T23:30:00", {1800}),
        ("09-netznoe", "home0.csv", ("Messzeitpunkt",), "2024-01-01T00:00:00", {900}),
        (
            "21-pandas-unnamed-index",
            "home0.csv",
            (UNNAMED,),
            "2024-01-01T00:00:00",
            {3600, 363_600},
        ),
        ("29-clock-1970", "home0.csv", ("time",), "2024-01-01T00:00:00", {60}),
        ("01-ha-history-one", "home0.csv", ("last_changed",), "2024-01-01T00:06:37", None),
    ],
)
def test_files_as_they_occur(
    case: str, name: str, names: tuple[str, ...], first: str, steps: set[int] | None
) -> None:
    raw = rows_of(case, name)
    times = find_times(raw.rows, NONE, file=name)
    assert times.names == names
    axis = read_axis(raw.rows, times.names, NONE, location_of=raw.location)
    assert str(axis.time_s[:1].astype("datetime64[s]")[0]) == first
    if steps:
        assert set(np.diff(axis.time_s).tolist()) == steps


@needs_cases
def test_a_file_with_the_newest_row_first_keeps_its_order_over_the_change_of_clocks() -> None:
    raw = rows_of("30-dst-newest-first")
    axis = read_axis(raw.rows, ("time",), BERLIN, location_of=raw.location)
    assert axis.rows.tolist() == list(range(479, -1, -1))
    assert set(np.diff(axis.time_s).tolist()) == {3600}
