"""Months, quarters and weeks: read where a column names them, refused where they may be others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fedhome.data.home_files import HomeFilesRead, read_home
from fedhome.data.series.time_grid import grid_of
from fedhome.data.series.windows import examples
from fedhome.data.table import HomeTable
from fedhome.errors import SourceError
from fedhome.learning.settled_plan import settled
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.plan.settings import Plan
from fedhome.plan.time_steps import step_seconds, step_text


def read(folder: Path, name: str, cells: list[str]) -> HomeFilesRead:
    path = folder / "home.csv"
    rows = "".join(f"{cell};{place}\n" for place, cell in enumerate(cells))
    path.write_text(f"{name};kWh\n{rows}", encoding="utf-8")
    return read_home(path)


def days(found: HomeFilesRead) -> list[str]:
    times = found.table.time_s.tolist()
    return [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") for at in times]


MONTHS = ["2023-12-01", "2024-01-01", "2024-02-01"]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("month", ["2023-12", "2024-01", "2024-02"]),
        ("Date", ["2023/12", "2024/01", "2024/02"]),
        ("Monat", ["12/2023", "1/2024", "2/2024"]),
        ("Monat", ["12.2023", "01.2024", "02.2024"]),
        ("Abrechnungsmonat", ["202312", "202401", "202402"]),
        ("Month", ["December 2023", "January 2024", "February 2024"]),
        ("Monat", ["Dezember 2023", "Jänner 2024", "Februar 2024"]),
        ("Monat", ["Dez. 2023", "Jän. 2024", "Feb. 2024"]),
        ("Mois", ["décembre 2023", "janvier 2024", "FÉVRIER 2024"]),
        ("maand", ["2023 december", "2024 januari", "2024 februari"]),
        ("Mes", ["diciembre de 2023", "enero de 2024", "febrero de 2024"]),
        ("x", ["dic-2023", "gen-2024", "feb-2024"]),
    ],
)
def test_months_are_their_first_days(tmp_path: Path, name: str, cells: list[str]) -> None:
    found = read(tmp_path, name, cells)
    assert days(found) == MONTHS
    assert f"the months or quarters in '{name}' were read as their first days" in found.notes


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("KW", ["KW 52/2023", "KW 1/2024", "KW 02/2024"]),
        ("Woche", ["52. KW 2023", "1. KW 2024", "2. KW 2024"]),
        ("Datum", ["2023 KW52", "2024 KW01", "2024 KW02"]),
        ("semaine", ["semaine 52 2023", "semaine 1 2024", "semaine 2 2024"]),
        ("x", ["Week 52, 2023", "Week 1, 2024", "Week 2, 2024"]),
    ],
)
def test_weeks_are_their_mondays(tmp_path: Path, name: str, cells: list[str]) -> None:
    found = read(tmp_path, name, cells)
    assert days(found) == ["2023-12-25", "2024-01-01", "2024-01-08"]
    told = f"the weeks, as ISO 8601 counts them, in '{name}' were read as their first days"
    assert told in found.notes


@pytest.mark.parametrize("cells", [["2023-Q4", "2024-Q1"], ["Q4 2023", "Q1 2024"]])
def test_quarters_are_their_first_days(tmp_path: Path, cells: list[str]) -> None:
    assert days(read(tmp_path, "Quarter", cells)) == ["2023-10-01", "2024-01-01"]


@pytest.mark.parametrize("cells", [["2024-05", "2024-06"], ["05/2024", "06/2024"]])
def test_numbers_of_weeks_are_not_taken_for_months(tmp_path: Path, cells: list[str]) -> None:
    with pytest.raises(SourceError, match="called one of weeks, but its cells could be months"):
        read(tmp_path, "KW", cells)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("KW", ["KW 01", "KW 02", "KW 03"]),  # of which year?
        ("week", ["2024-51", "2024-52", "2024-53"]),
        ("Month", ["Mar-24", "Apr-25", "May-26"]),  # days of a month, or years?
        ("Monat", ["13/2023", "01/2024", "02/2024"]),
        ("Datum", ["2024-Q5", "2024-Q1", "2024-Q2"]),
        ("Period", ["1 - 7 Jan", "8 - 14 Jan", "15 - 21 Jan"]),
    ],
)
def test_what_may_be_several_things_is_refused(tmp_path: Path, name: str, cells: list[str]) -> None:
    """Such rows were numbered in their order, as those of a table that has no times."""
    with pytest.raises(SourceError, match=f"row 1: the cell in the time column '{name}' is no"):
        read(tmp_path, name, cells)


def test_months_among_days_are_refused(tmp_path: Path) -> None:
    cells = ["2024-01-01", "2024-01-02", "2024-02", "2024-02-01"]
    with pytest.raises(SourceError, match="row 3: some cells in the time column 'Datum' are days"):
        read(tmp_path, "Datum", cells)


def test_a_sum_of_a_month_among_many_days_is_left_out_and_told(tmp_path: Path) -> None:
    cells = [f"2024-01-{day:02d}" for day in range(1, 32)]
    found = read(tmp_path, "Datum", [*cells, "2024-01"])
    assert days(found) == cells
    assert any("no times stand in 1 cell of the time column 'Datum'" in one for one in found.notes)


@pytest.mark.parametrize("sum_of_all", ["Gesamt", "Ø", "Gemiddelde", "Promedio"])
def test_a_sum_below_a_year_of_months_is_none_of_them(tmp_path: Path, sum_of_all: str) -> None:
    """One of seven rows is too many to be left out as a slip."""
    months = ["Dezember 2023", "Januar 2024", "Februar 2024", "März 2024", "April 2024", "Mai 2024"]
    found = read(tmp_path, "Monat", [*months, sum_of_all])
    assert days(found) == [*MONTHS, "2024-03-01", "2024-04-01", "2024-05-01"]
    assert found.table.columns["kWh"].tolist() == [0, 1, 2, 3, 4, 5]
    assert "home.csv: 1 line at the end, beginning as a sum, was left out" in found.notes


@pytest.mark.parametrize("name", ["Datum", "Monat", "x"])
def test_a_slip_in_a_short_column_of_times_is_named(tmp_path: Path, name: str) -> None:
    """The column was no time then, and its rows were numbered."""
    with pytest.raises(SourceError, match=f"row 3: the cell in the time column '{name}' is no"):
        read(tmp_path, name, ["1. März 2024", "2. März 2024", "bald", "4. März 2024"])


def test_months_of_a_year_side_by_side_are_told(tmp_path: Path) -> None:
    months = [
        "Jan",
        "Feb",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "Aug",
        "Sept",
        "Okt",
        "Nov",
        "Dez",
    ]
    path = tmp_path / "home.csv"
    rows = "".join(f"{year};{';'.join(map(str, range(12)))}\n" for year in (2022, 2023, 2024))
    path.write_text(f"Jahr;{';'.join(months)}\n{rows}", encoding="utf-8")
    told = "12 columns are called by months of a year, 'Jan' to 'Dez': each was read as a column"
    assert any(note.startswith(told) for note in read_home(path).notes)


def test_months_side_by_side_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "home.csv"
    path.write_text("house,Jan 2024,Feb 2024,Mar 2024\n1,5,6,7\n2,6,7,8\n", encoding="utf-8")
    with pytest.raises(SourceError, match="3 columns are called 'Jan 2024' to 'Mar 2024'"):
        read_home(path)


def test_years_and_months_with_a_point_are_read(tmp_path: Path) -> None:
    """Columns with a missing number are saved so: 2023.0."""
    path = tmp_path / "home.csv"
    path.write_text("year,month,kWh\n2023.0,12.0,1\n2024.0,1.0,2\n,,3\n2024.0,2.0,4\n")
    assert days(read_home(path)) == MONTHS


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (ReadingSettings(), "'Datum' holds months or weeks, and 'Uhrzeit' a time of day"),
        (ReadingSettings(time=("Datum", "Uhrzeit")), "'Datum' holds months or weeks, which with a"),
    ],
)
def test_a_month_and_a_clock_are_no_time(
    tmp_path: Path, settings: ReadingSettings, told: str
) -> None:
    """A profile of a month's hours was read as the hours of its first day."""
    rows = "".join(
        f"{month} 2024;{hour}:00;1.{hour}\n" for month in ("März", "April") for hour in range(24)
    )
    path = tmp_path / "home.csv"
    path.write_text(f"Datum;Uhrzeit;kWh\n{rows}", encoding="utf-8")
    with pytest.raises(SourceError, match=told) as caught:
        read_home(path, settings=settings)
    assert caught.value.hint.startswith("write the date of each row")


@pytest.mark.parametrize("written", ["2024-W{:02d}", "2024-{:02d}", "2024{:02d}"])
def test_months_and_weeks_beside_the_time_are_no_readings(tmp_path: Path, written: str) -> None:
    """Weeks were left out, and became words when they were told apart from days."""
    rows = "".join(f"2024-03-{day:02d};{written.format(3 + day // 20)};1\n" for day in range(1, 32))
    path = tmp_path / "home.csv"
    path.write_text(f"Datum;period;kWh\n{rows}", encoding="utf-8")
    found = read_home(path)
    assert list(found.table.columns) == ["kWh"]
    assert "'period' holds times, too, and was left out" in found.notes


@pytest.mark.parametrize(
    ("months", "gone", "step"),
    [
        (1, (7, 8, 30), "1mo"),
        (2, (7, 8, 29), "2mo"),
        (3, (11, 20, 21), "3mo"),
        (4, (11, 20, 31), "4mo"),
        (6, (10, 21, 33), "6mo"),
        (12, (9, 17, 33), "1y"),
    ],
)
def test_homes_that_lack_other_months_keep_one_step(
    months: int, gone: tuple[int, ...], step: str
) -> None:
    """By the mean of their own gaps their steps differed, and one home's lags were no steps."""
    count = 40
    grids = []
    for home, left_out in (("a", ()), ("b", gone), ("c", (0, 1, *gone))):
        at = [month * months for month in range(count) if month not in left_out]
        times = [datetime(1995 + month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in at]
        table = HomeTable(
            home=home,
            time_s=np.array([int(time.timestamp()) for time in times]),
            columns={"load": np.array(at, np.float64)},
            time_zone="UTC",
        )
        plan = settled(Plan.load(data={"target": "load"}), [table]).plan
        # Forty months are too few to look a year back.
        before = (1, 2, 3) if months == 1 else sorted({1, 2, 3, 12 // months})
        assert plan.data.lags == tuple(step_text(n * step_seconds(step)) for n in before)
        assert not plan.data.calendar  # a month has no hour and no weekday
        grid = grid_of(table, plan.data, ["load"])
        assert step_text(grid.step_s) == step
        assert np.diff(grid.steps).tolist() == [n // months for n in np.diff(at).tolist()]
        grids.append(grid)
        assert examples(table, plan.data, [], "continuous").home == home
    ends = {int(grid.steps[-1]) for grid in grids}
    assert len(ends) == 1  # also counted from 1970


def test_rows_of_years_have_no_hour_and_no_weekday_either() -> None:
    """Where rows are no series, weekdays of first days of January were inputs."""
    years = [datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in range(1980, 2020)]
    table = HomeTable(
        home="a",
        time_s=np.array(years, np.int64),
        columns={"x": np.arange(40.0), "label": np.arange(40.0) % 2},
        time_zone="UTC",
    )
    found = settled(Plan.load(data={"target": "label", "horizon": 0}), [table])
    assert not found.plan.data.calendar
    assert "steps of 1y have no hour or weekday: they are no inputs" in found.notes
    days = replace(table, time_s=np.arange(40) * 86_400)
    assert settled(Plan.load(data={"target": "label", "horizon": 0}), [days]).plan.data.calendar


@pytest.mark.parametrize(
    "cells",
    [["1998", "1999", "2001"], ["2001", "1999", "1998"], ["1998.0", "1999.0", "2001.0"]],
)
@pytest.mark.parametrize("name", ["Year", "Jahr", "année"])
def test_years_that_follow_each_other_are_the_time(
    tmp_path: Path, name: str, cells: list[str]
) -> None:
    found = read(tmp_path, name, cells)
    assert days(found) == ["1998-01-01", "1999-01-01", "2001-01-01"]
    assert list(found.table.columns) == ["kWh"]
    assert any("follow each other: they were taken for the time" in note for note in found.notes)


@pytest.mark.parametrize(
    "cells",
    [
        ["1998", "1999", "1999"],  # of several rows each
        ["1998", "2001", "1999"],  # to and fro, as of buildings
        ["1998", "1999", ""],
        ["1998.5", "1999", "2000"],
        ["98", "99", "100"],
        ["1998", "1999"],
    ],
)
def test_other_years_are_readings(tmp_path: Path, cells: list[str]) -> None:
    found = read(tmp_path, "year", cells)
    assert found.table.timeless
    assert list(found.table.columns) == ["year", "kWh"]


def test_years_that_are_named_as_the_time_are_read(tmp_path: Path) -> None:
    path = tmp_path / "home.csv"
    path.write_text("year;kWh\n1998;1\n2003.0;2\n;9\n2001;3\n")
    found = read_home(path, settings=ReadingSettings(time=("year",)))
    assert days(found) == ["1998-01-01", "2001-01-01", "2003-01-01"]
    assert "1 row without a time was left out" in found.notes


@pytest.mark.parametrize("name", ["day", "start_day"])
def test_a_column_of_days_is_no_clock_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "home.csv"
    rows = [f"2024-03-{1 + n // 2:02d};x{n % 2};{n}" for n in range(24)]
    path.write_text("\n".join([f"date;{name};kWh", *rows, ""]))
    with pytest.raises(SourceError, match=f"the column '{name}' tells rows apart"):
        read_home(path)


def test_a_column_called_day_is_no_clock_that_cannot_be_read(tmp_path: Path) -> None:
    """Times say the hour already: what rows of one time lack is no time of day."""
    path = tmp_path / "home.csv"
    rows = [
        f"2024-01-0{1 + n // 6}T{n // 2:02d}:00Z;{1 + n // 6};{'ab'[n % 2]};{n}" for n in range(24)
    ]
    path.write_text("\n".join(["time;day;part;kWh", *rows, ""]))
    with pytest.raises(SourceError, match="the column 'part' tells rows apart"):
        read_home(path)


@pytest.mark.parametrize("first", [1952, 1970, 1971])
@pytest.mark.parametrize("years", [1, 2, 5, 10])
def test_years_are_steps_of_whole_years_whenever_they_begin(first: int, years: int) -> None:
    """From 1970 to 1989 they were numbers of rows; and of five years a step was 157789964s."""
    begin = [datetime(first + years * n, 1, 1, tzinfo=UTC).timestamp() for n in range(12)]
    table = HomeTable(
        home="a", time_s=np.array(begin, np.int64), columns={"x": np.arange(12.0) ** 1.5}
    )
    assert not table.timeless
    plan = settled(Plan.load(data={"target": "x"}), [table]).plan
    assert plan.data.horizon == 1
    assert plan.data.lags == tuple(f"{years * lag}y" for lag in (1, 2, 3))


def test_rows_that_are_numbered_have_no_time_where_others_of_them_are_gone() -> None:
    numbers = np.arange(0, 3000, 1500)
    assert HomeTable(home="a", time_s=numbers, columns={"x": numbers * 0.1}).timeless
    assert HomeTable(home="a", time_s=numbers[:1], columns={"x": np.zeros(1)}).timeless
    minutes = 60 * np.arange(900)  # of a clock that nobody has set
    assert HomeTable(home="a", time_s=minutes, columns={"x": minutes * 0.1}).timeless
    hours = 3600 * np.arange(900)
    assert not HomeTable(home="a", time_s=hours, columns={"x": hours * 0.1}).timeless
