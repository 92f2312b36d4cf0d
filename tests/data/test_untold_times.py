"""Tables whose times are not in every row, or in several columns, or say less than they seem to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedhome.data.home_files import HomeFilesRead, read_home
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

FIRST = datetime(2024, 3, 1, tzinfo=UTC)
HOURS = [FIRST + timedelta(hours=place) for place in range(48)]


def read(folder: Path, header: str, rows: list[str], **given: tuple[str, ...]) -> HomeFilesRead:
    path = folder / "home.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return read_home(path, settings=ReadingSettings.model_validate(given))


@pytest.mark.parametrize("header", ["Datum;Uhrzeit;kWh", "Datum;kWh"])
def test_dates_that_stand_only_where_they_change_are_refused(tmp_path: Path, header: str) -> None:
    """All rows but those with a date were left out, which a note told."""
    clock = "Uhrzeit" in header
    rows = [
        f"{at:%d.%m.%Y}{f';{at:%H:%M}' if clock else ''};1"
        if at.hour == 0
        else f"{f';{at:%H:%M}' if clock else ''};{place}"
        for place, at in enumerate(HOURS)
    ]
    with pytest.raises(SourceError, match=r"row 2: there is no time in .*, as in 46 of 48 rows"):
        read(tmp_path, header, rows)


def test_a_pivot_of_rows_mostly_without_dates_is_refused(tmp_path: Path) -> None:
    """The readings of all names but the first were left out."""
    rows = [f"{at:%d.%m.%Y};a;1\n;b;2\n;c;3" for at in HOURS[::24]]
    with pytest.raises(SourceError, match=r"row 2: there is no time in 'Datum', as in 4 of 6 rows"):
        read(tmp_path, "Datum;name;kWh", rows, pivot=("name", "kWh"))


@pytest.mark.parametrize("written", ["%-d %b %H:%M", "%-d %B %H:%M:%S"])
def test_an_hour_is_no_year(tmp_path: Path, written: str) -> None:
    """1 Mar 13:00 was read as the first of March 2013."""
    rows = [f"{at.strftime(written)},{place}" for place, at in enumerate(HOURS[:20])]
    with pytest.raises(SourceError, match="the cell in the time column 'time' is no time"):
        read(tmp_path, "time,kWh", rows)


def test_a_clock_behind_a_year_and_a_colon_is_one(tmp_path: Path) -> None:
    rows = [f"{at:%d/%b/%Y:%H:%M:%S},{at:%Y%m%d-%H:%M:%S},1" for at in HOURS]
    found = read(tmp_path, "time,fix,kWh", rows)
    assert found.table.time_s.tolist() == [int(at.timestamp()) for at in HOURS]
    assert "'fix' holds times, too, and was left out" in found.notes


@pytest.mark.parametrize(
    ("header", "rows", "days"),
    [
        (
            "Year,Month,kWh",
            ["2023,12,1", "2024,1,2", "2024,2,3"],
            ["2023-12-01", "2024-01-01", "2024-02-01"],
        ),
        ("Jahr,Monat,kWh", ["2023,Dezember,1", "2024,Januar,2"], ["2023-12-01", "2024-01-01"]),
        ("Jahr,KW,kWh", ["2023,52,1", "2024,1,2"], ["2023-12-25", "2024-01-01"]),
        ("Jahr,KW,kWh", ["2023,KW52,1", "2024,KW 1,2"], ["2023-12-25", "2024-01-01"]),
        ("Jahr,Monat,kWh", ["23,12,1", "24,1,2"], ["2023-12-01", "2024-01-01"]),
    ],
)
def test_years_and_their_months_or_weeks(
    tmp_path: Path, header: str, rows: list[str], days: list[str]
) -> None:
    """They were numbers of rows without times."""
    times = read(tmp_path, header, rows).table.time_s.tolist()
    assert [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}" for at in times] == days


def test_months_that_repeat_are_a_profile(tmp_path: Path) -> None:
    rows = [f"2024,{month},{hour},1" for month in (1, 2) for hour in range(24)]
    assert read(tmp_path, "year,month,hour,kWh", rows).table.timeless


def test_a_day_that_its_month_does_not_have_is_refused(tmp_path: Path) -> None:
    """It was the first days of the next month."""
    rows = [f"2024,2,{day},{day}" for day in range(1, 31)]
    with pytest.raises(SourceError, match="row 30: the month has no such day as in the column"):
        read(tmp_path, "year,month,day,kWh", rows)


def test_a_pivot_does_not_make_one_home_of_several(tmp_path: Path) -> None:
    """Of each time and name the last row was kept, which was that of the last home."""
    rows = [
        f"{at:%Y-%m-%d %H:%M},{home},{name},{place}"
        for place, at in enumerate(HOURS)
        for home in ("oak", "elm")
        for name in ("temp", "load")
    ]
    pivot = ("sensor", "value")
    with pytest.raises(SourceError, match=r"96 of 192 rows .*: the column 'house' tells") as caught:
        read(tmp_path, "time,house,sensor,value", rows, pivot=pivot)
    assert 'data.home_column = "house"' in caught.value.hint
    numbered = [f"{row},{number}" for number, row in enumerate([*rows[::4], *rows[::4]])]
    doubled = read(tmp_path, "time,house,sensor,value,id", numbered, pivot=pivot)
    assert any(note.startswith("48 rows with the time and the name") for note in doubled.notes)


def test_lengths_of_time_are_seconds(tmp_path: Path) -> None:
    """They were words, each a class of its own."""
    cells = ["PT30M", "PT1H", "P1DT2H", "PT0.5S", "-PT1M", "P1W", "", "unavailable"]
    rows = [f"{at:%Y-%m-%d %H:%M},{cell}" for at, cell in zip(HOURS, cells, strict=False)]
    found = read(tmp_path, "time,runtime", rows).table
    seconds = [1800, 3600, 93_600, 0.5, -60, 604_800]
    assert found.columns["runtime"][:6].tolist() == seconds
    assert str(found.columns["runtime"][6:].tolist()) == "[nan, nan]"
    assert found.units == {"runtime": "s"}


@pytest.mark.parametrize("cell", ["P1M", "PT", "P", "PT1X", "1H"])
def test_what_has_no_one_length_stays_a_word(tmp_path: Path, cell: str) -> None:
    rows = [f"{at:%Y-%m-%d %H:%M},{('PT1M', cell)[at.hour % 2]}" for at in HOURS]
    assert read(tmp_path, "time,runtime", rows).table.labels == {
        "runtime": tuple(sorted(("PT1M", cell)))
    }


def test_numbers_that_rise_as_times_do_are_named_where_no_column_is_the_time(
    tmp_path: Path,
) -> None:
    moments = [int(at.timestamp()) for at in HOURS]
    rows = [f"{moment},{place % 7}" for place, moment in enumerate(moments)]
    told = " ".join(read(tmp_path, "lu,load", rows).notes)
    assert "the numbers in 'lu' would be seconds since 1970" in told
    assert 'data.time = "lu" takes them for the time' in told
    assert read(tmp_path, "lu,load", rows, time=("lu",)).table.time_s.tolist() == moments
    for other in (
        rows[::2] + rows[1::2],
        [f"{place},1" for place in range(48)],
        [f"x{row}" for row in rows],
    ):
        assert "would be" not in " ".join(read(tmp_path, "lu,load", other).notes)


def test_dt_is_the_time_where_it_holds_times(tmp_path: Path) -> None:
    """OpenWeather calls its seconds since 1970 so; others call the length of a step so."""
    moments = [int(at.timestamp()) for at in HOURS]
    found = read(tmp_path, "dt,load", [f"{moment},1" for moment in moments])
    assert found.table.time_s.tolist() == moments
    steps = read(tmp_path, "dt,load", [f"{3600 + place % 2},1" for place in range(48)])
    assert steps.table.timeless
    assert "dt" in steps.table.columns
