"""Tables of open data sets, of R, of weather services: read as they are meant, or refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fedhome.data.home_files import HomeFilesRead, read_home
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

Row = Callable[[int], str]
JANUARY = int(datetime(2024, 1, 15, tzinfo=UTC).timestamp())
HOUR = 3600


def table(folder: Path, header: str, row: Row, rows: int = 48, name: str = "home.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *map(row, range(rows))]) + "\n", encoding="utf-8")
    return path


def read(path: Path, **settings: object) -> HomeFilesRead:
    return read_home(path, settings=ReadingSettings.model_validate(settings))


def hour(place: int) -> str:
    return f"2024-01-{15 + place // 24:02d} {place % 24:02d}:00"


@pytest.mark.parametrize("word", ["-999", "-999.0", "9999", "-99.9", "65535"])
def test_numbers_that_stand_for_nothing_are_told(tmp_path: Path, word: str) -> None:
    path = table(
        tmp_path, "time,temp", lambda i: f"{hour(i)},{word if i in (3, 9) else 1 + i / 10}"
    )
    setting = f"{float(word):g}"
    note = (
        f"column 'temp': 2 cells hold {setting}, which many files write where nothing was "
        "measured, the first in home.csv, row 4; they were kept as readings "
        f'(data.na_values = ["{setting}"] takes them for missing ones)'
    )
    assert note in read(path).notes
    told = read(path, na_values=(setting,))
    assert not any("nothing was measured" in note for note in told.notes)
    assert np.flatnonzero(np.isnan(told.table.columns["temp"])).tolist() == [3, 9]


@pytest.mark.parametrize(
    ("far", "told"),
    [((5,), "1 value lies {0}, and was kept"), ((5, 9), "2 values lie {0}, and were kept")],
)
def test_values_far_beyond_the_rest_are_told_in_a_sentence(
    tmp_path: Path, far: tuple[int, ...], told: str
) -> None:
    rows = 300  # of which two are fewer than one in a hundred
    path = table(
        tmp_path,
        "time,load",
        lambda i: f"{hour(i)},{54321.5 if i in far else 1 + i % 7 / 10}",
        rows=rows,
    )
    where = "more than a thousand times beyond the rest, the first in home.csv, row 6"
    assert f"column 'load': {told.format(where)}" in read(path).notes


def test_a_column_of_nothing_but_minus_999_is_told(tmp_path: Path) -> None:
    path = table(tmp_path, "time;pressure;temp", lambda i: f"{hour(i)};   -999;{i}")
    assert any("'pressure': 48 cells hold -999," in note for note in read(path).notes)


def test_numbers_among_others_of_their_size_are_readings(tmp_path: Path) -> None:
    path = table(tmp_path, "time,a,b", lambda i: f"{hour(i)},{-999 + i},{9980 + i}")
    (note,) = read(path).notes
    assert note.startswith("the times in 'time' carry no offset and were read as UTC; ")


def test_a_value_and_its_mark_is_no_decimal_number(tmp_path: Path) -> None:
    cells = ("+0072,1", "-0011,1", "+9999,9")
    path = table(tmp_path, '"DATE","TMP","x"', lambda i: f'"{hour(i)}","{cells[i % 3]}","{i}"')
    home = read(path)
    assert list(home.table.columns) == ["x"]
    assert any("'TMP' was left out: it holds digits filled up" in note for note in home.notes)
    with pytest.raises(SourceError, match="'TMP' must hold numbers"):
        read_home(path, numbers=["TMP"])
    meant = read(path, decimal=",").table.columns["TMP"]
    assert meant[:3].tolist() == [72.1, -11.1, 9999.9]


@pytest.mark.parametrize("cells", [("0,5", "0,7"), ("00,50", "01,25"), ("12,5", "7,1")])
def test_decimal_commas_stay_numbers(tmp_path: Path, cells: tuple[str, str]) -> None:
    path = table(tmp_path, "time;x", lambda i: f"{hour(i)};{cells[i % 2]}")
    expected = [float(cell.replace(",", ".")) for cell in cells]
    assert read(path).table.columns["x"][:2].tolist() == expected


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (
            "Date,Time,AM/PM,kwh",
            lambda i: f"01/{15 + i // 24}/2024,{i % 12 or 12}:00,{half(i)},{i}",
        ),
        ("Date,Hour,Period,kwh", lambda i: f"01/{15 + i // 24}/2024,{i % 12 or 12},{half(i)},{i}"),
        ("kwh,ampm,time", lambda i: f"{i},{half(i)},2024-01-{15 + i // 24} {i % 12 or 12:02d}:00"),
    ],
)
def test_am_and_pm_in_a_column_of_their_own(tmp_path: Path, header: str, row: Row) -> None:
    home = read(table(tmp_path, header, row))
    assert home.table.time_s.tolist() == [JANUARY + HOUR * i for i in range(48)]
    assert home.table.columns["kwh"].tolist() == list(range(48))
    assert list(home.table.columns) == ["kwh"]
    assert any("says in which half of the day" in note for note in home.notes)


def half(place: int) -> str:
    return "a.m." if place % 24 < 12 else "p.m."


def test_one_reading_every_evening(tmp_path: Path) -> None:
    path = table(tmp_path, "Date,Time,AM/PM,kwh", lambda i: f"01/{15 + i}/2024,6:30,PM,{i}", 10)
    assert read(path).table.time_s[0] == JANUARY + 18 * HOUR + 1800


def test_am_and_pm_beside_a_clock_of_24_hours_are_words(tmp_path: Path) -> None:
    path = table(
        tmp_path, "time,shift,x", lambda i: f"{hour(i)},{'AM' if i % 24 < 12 else 'PM'},{i}"
    )
    home = read(path)
    assert home.table.time_s.tolist() == [JANUARY + HOUR * i for i in range(48)]
    assert home.table.labels["shift"] == ("AM", "PM")


@pytest.mark.parametrize("mark", ["'{}", '="{}"'])
def test_times_marked_as_text_for_a_spreadsheet(tmp_path: Path, mark: str) -> None:
    path = table(tmp_path, "time,x", lambda i: f"{mark.format(hour(i))},{mark.format(i)}")
    home = read(path)
    assert home.table.time_s.tolist() == [JANUARY + HOUR * i for i in range(48)]
    assert home.table.columns["x"].tolist() == list(range(48))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("1352500095 100", lambda i: f"{1352500101 + 6 * i} {101 + i}"),  # UK-DALE, REDD
        ("1392 19501 0.14", lambda i: f"1392 195{i + 2:02d} {0.14 + i}"),  # CER
        ("0 1 0 0 12 17", lambda i: f"0 1 {i % 2} 0 12 17"),  # ARAS
        ("timestamp power", lambda i: f"{1352500101 + 6 * i} {101 + i}"),
        ("date time power", lambda i: f"{hour(i)} {101 + i}"),
        ("time      load   temp", lambda i: f"{hour(i)}  {i:6.1f}  {i:5.2f}"),
        ('"time" "kwh" "on"', lambda i: f'"{i + 1}" "{hour(i)}" {i / 10} TRUE'),  # R
    ],
)
def test_blanks_between_cells_are_refused_as_what_they_are(
    tmp_path: Path, header: str, row: Row
) -> None:
    with pytest.raises(SourceError, match="its cells are separated by blanks"):
        read(table(tmp_path, header, row))


@pytest.mark.parametrize(
    ("header", "row", "first"),
    [
        ("load kWh", lambda i: f"1 {100 + i}.5", 1100.5),
        ("the load", lambda i: f"{i + 7} kWh", 7.0),
        ("my room", lambda i: ("living room", "bed room")[i % 2], 1.0),
    ],
)
def test_blanks_in_the_cells_of_one_column(
    tmp_path: Path, header: str, row: Row, first: float
) -> None:
    home = read(table(tmp_path, header, row))
    assert home.table.columns[header][0] == first


@pytest.mark.parametrize("between", [",", "\t"])
def test_names_of_rows_without_a_name_are_refused_with_what_r_offers(
    tmp_path: Path, between: str
) -> None:
    path = table(
        tmp_path, f"time{between}kwh", lambda i: between.join((f"{i + 1}", hour(i), f"{i}"))
    )
    with pytest.raises(SourceError, match="row 1 has 3 cells, but the header has 2") as error:
        read(path)
    assert "row.names = FALSE" in str(error.value.hint)


def test_the_number_of_rows_that_pandas_adds_is_no_reading(tmp_path: Path) -> None:
    path = table(
        tmp_path, "Unnamed: 0.1,Unnamed: 0,time,kwh", lambda i: f"{i},{i},{hour(i)},{i / 10}"
    )
    home = read(path)
    assert list(home.table.columns) == ["kwh"]
    assert "a column without a name was left out" in home.notes


def test_a_time_that_pandas_left_without_a_name_is_the_time(tmp_path: Path) -> None:
    home = read(table(tmp_path, "Unnamed: 0,kwh", lambda i: f"{hour(i)},{i}"))
    assert home.table.time_s[:2].tolist() == [JANUARY, JANUARY + HOUR]


@pytest.mark.parametrize(
    ("year", "odd"), [(1950, True), (2000, False), (2099, False), (2390, True)]
)
def test_years_from_which_no_reading_comes_are_told(tmp_path: Path, year: int, odd: bool) -> None:
    path = table(tmp_path, "time,load", lambda i: f"{year}{hour(i)[4:]},{i}")
    read_now = read(path)
    assert read_now.table.time_s[0] == int(datetime(year, 1, 15, tzinfo=UTC).timestamp())
    told = [note for note in read_now.notes if "years before 2000 or from 2100 on" in note]
    assert bool(told) is odd
    if odd:
        assert "48 rows were read as of years" in told[0]
        assert f"(the first, of {year}: home.csv, row 1)" in told[0]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["house_1", "house_2"], "2 columns are called as of a home each, 'house_1' to 'house_2'"),
        (["Home 7 load", "Home 7 temp", "Home 9 load"], "2 columns are called as of a home each"),
        (
            [f"MT_{n:03d}" for n in range(1, 13)],
            "12 columns are called as of a home each, 'MT_001'",
        ),
        (["Oak (kWh)", "Elm (kWh)"], "2 columns are called as of a home each, 'Oak (kWh)' to"),
        (["Smith [W]", "Van Dyk [W]", "Li [W]"], "3 columns are called as of a home each"),
        ([f"{n}" for n in range(1002, 1014)], "12 columns are called as of a home each, '1002'"),
        (["home_1_load", "home_1_temp"], ""),  # of one home
        (["T1", "T2", "RH_1", "RH_2"], ""),  # rooms
        ([*(f"circuit_{n}" for n in range(12)), "load"], ""),  # circuits, and what they come to
        (["homework", "house", "household"], ""),
        (["Import (kWh)", "Export (kWh)"], ""),  # of one home's meter
        (["Kitchen (W)", "Boiler (W)", "Elm (W)"], ""),
        (["Oak (kWh)", "Temperature (°C)"], ""),
    ],
)
def test_a_column_for_each_home_is_noticed(tmp_path: Path, names: list[str], told: str) -> None:
    header = ",".join(["time", *names])
    cells = ",".join("1.5" for _ in names)
    path = table(tmp_path, header, lambda i: f"{hour(i)},{cells}")
    notes = [note for note in read(path).notes if "of a home each" in note]
    assert len(notes) == bool(told)
    if told:
        assert notes[0].startswith(told)
        assert "pandas.melt(table, id_vars=['time'], var_name='home')" in notes[0]
        assert 'data.home_column = "home"' in notes[0]


@pytest.mark.parametrize("count", [24, 25, 48, 96])
@pytest.mark.parametrize("called", ["H{}", "Hour {}", "Q{:02d}", "{}"])
def test_hours_of_a_day_side_by_side_are_not_taken_for_homes(
    tmp_path: Path, called: str, count: int
) -> None:
    names = [called.format(number) for number in range(1, count + 1)]
    cells = ",".join("1.5" for _ in names)
    path = table(tmp_path, ",".join(["date", *names]), lambda i: f"2024-01-{i + 1:02d},{cells}", 20)
    notes = read(path).notes
    told = f"{count} columns are called by parts of a day, {names[0]!r} to {names[-1]!r}"
    assert [note for note in notes if note.startswith(told)]
    assert not [note for note in notes if "of a home each" in note]


@pytest.mark.parametrize(
    ("week", "day"),
    [
        ("2024-W01", "2024-01-01"),
        ("2024W012", "2024-01-02"),
        ("2020-W53-7", "2021-01-03"),
        ("2021-W01", "2021-01-04"),
        ("2009-W01-1", "2008-12-29"),  # of ISO 8601's own examples
        ("2009-W53-7", "2010-01-03"),
    ],
)
def test_weeks_of_iso_8601_are_times(tmp_path: Path, week: str, day: str) -> None:
    named = "-1" if len(week.replace("-", "")) > len("2024W01") else ""
    path = table(
        tmp_path,
        "Woche,kWh",
        lambda i: f"{(week, f'2024-W40{named}', f'2024-W41{named}')[i]},{i}",
        3,
    )
    first = int(datetime.fromisoformat(f"{day}T00:00Z").timestamp())
    assert read(path).table.time_s[0] == first


@pytest.mark.parametrize(
    "week", ["2021-W53-1", "2024-W00-1", "2024-W54-1", "2024-W01-8", "2024-W01-0"]
)
def test_weeks_that_no_year_has_are_none(tmp_path: Path, week: str) -> None:
    path = table(tmp_path, "time,kWh", lambda i: f"{week if i == 1 else f'2024-W1{i}-1'},{i}", 5)
    with pytest.raises(SourceError, match=r"row 2: the cell in the time column 'time' is no time"):
        read(path)


@pytest.mark.parametrize("cell", ["{} DST", "{} Uhr früh", "1. Siječanj 2024 {}"])
@pytest.mark.parametrize("name", ["Start Time", "Datum", "Zeitstempel", "timestamp_utc"])
def test_times_that_cannot_be_read_are_no_rows_without_times(
    tmp_path: Path, name: str, cell: str
) -> None:
    """They were left out as words, and the series was read as rows that have no time."""
    path = table(tmp_path, f"{name},load", lambda i: f"{cell.format(hour(i)[5:])},{i}")
    with pytest.raises(SourceError, match=f"the cell in the time column '{name}' is no time"):
        read(path)
    renamed = read(path, rename={name: "label"}).table  # whoever says that it is none
    assert renamed.timeless
    words = table(tmp_path, f"{name},load", lambda i: f"{('early', 'late')[i % 2]},{i}")
    assert read(words).table.timeless  # readings under a name of times


LINES = (
    "# DDL\n\npower,home=a,room=back\\ yard value=0.5,volt=230i 1714521600000000000\n"
    'power,home=a,room=back\\ yard value=0.6,note="a b, c" 1714521660000000000\n'
)


@pytest.mark.parametrize("text", [LINES, LINES.partition("\n\n")[2], "cpu value=1 1714521600\n"])
def test_a_line_protocol_is_named_and_not_read_as_a_table(tmp_path: Path, text: str) -> None:
    """Its first line was taken for a header, and what stood below for words."""
    (tmp_path / "influx.txt").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match="it is InfluxDB's line protocol") as caught:
        read(tmp_path / "influx.txt")
    assert 'data.pivot = ["_field", "_value"]' in caught.value.hint


def annotated(rows: int) -> str:
    """Return a query's answer as InfluxDB writes it: two series, one below the other."""
    head = ",result,table,_start,_stop,_time,_value,_field"
    begin = [
        "#group,false,false,true,true,false,false,true",
        "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string",
        "#default,_result,,,,,,",
        head,
    ]
    span = "2024-05-01T00:00:00Z,2024-05-02T00:00:00Z"
    first, second = (
        [f",,{n},{span},2024-05-01T00:{i:02d}:00Z,{i + 100 * n},{field}" for i in range(rows)]
        for n, field in enumerate(("value", "volt"))
    )
    return "\r\n".join([*begin, *first, "", head, *second, ""])


def test_an_answer_of_influx_is_read_by_the_setting_that_its_error_names(tmp_path: Path) -> None:
    path = tmp_path / "influx.csv"
    path.write_text(annotated(30), encoding="utf-8")
    with pytest.raises(SourceError, match="the column '_field' tells rows apart") as caught:
        read(path)
    assert 'data.pivot = ["_field", "_value"]' in caught.value.hint
    made = read(path, pivot=["_field", "_value"], time="_time").table
    assert made.columns["value"].tolist() == list(range(30))
    assert made.columns["volt"].tolist() == list(range(100, 130))
    assert made.time_s[0] == int(datetime(2024, 5, 1, tzinfo=UTC).timestamp())


def test_statistics_of_which_each_row_fills_some_columns_are_pivoted(tmp_path: Path) -> None:
    begin = int(datetime(2024, 5, 1, tzinfo=UTC).timestamp())

    def row(i: int) -> str:
        start = f"{begin + i // 2 * HOUR}.0"
        return f"sensor.grid,{start},,{100 + i}" if i % 2 else f"sensor.temp,{start},{20 + i},"

    path = table(tmp_path, "statistic_id,start,mean,state", row)
    with pytest.raises(SourceError, match="'statistic_id' tells rows apart") as caught:
        read(path)
    hint = 'data.pivot = ["statistic_id", "mean"] makes a column of each of its names (or \'state\''
    assert caught.value.hint.startswith(hint)
    made = read(path, pivot=["statistic_id", "state"]).table
    assert made.columns["sensor.grid"].tolist() == list(range(101, 149, 2))


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Active energy Wh", "Wh"),
        ("Verbrauch kWh", "kWh"),
        ("kWh", "kWh"),
        ("Total MW", "MW"),
        ("KW", ""),  # a week
        ("W", ""),
        ("Temp min", ""),
        ("temp_min", ""),  # the least, no minutes
        ("runtime_min", "min"),
        ("Phase A", ""),
    ],
)
def test_units_as_a_last_word(tmp_path: Path, name: str, unit: str) -> None:
    path = table(tmp_path, f"time,{name}", lambda i: f"{hour(i)},{i}")
    assert read(path).table.units.get(name, "") == unit
