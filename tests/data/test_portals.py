"""Exports of utilities' portals and smart-home hubs: what names of columns say, and what not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedhome.data.columns.units import unit_of_name
from fedhome.data.files.table_file import units_named
from fedhome.data.home_files import HomeFilesRead, read_home
from fedhome.data.times.named_zones import NamedClock, named_clock
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

COPENHAGEN = ReadingSettings(time_zone="Europe/Copenhagen")


def read(
    tmp_path: Path, lines: list[str], settings: ReadingSettings | None = None
) -> HomeFilesRead:
    file = tmp_path / "home.csv"
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return read_home(file, settings=settings or ReadingSettings())


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]


def hours(count: int, *, minutes: int = 60) -> list[datetime]:
    return [
        datetime(2024, 5, 1, tzinfo=UTC) + timedelta(minutes=minutes * step)
        for step in range(count)
    ]


# --- clocks that a column's name tells


@pytest.mark.parametrize(
    ("name", "zone", "hint"),
    [
        ("HourUTC", "UTC", ""),
        ("timestamp (UTC)", "UTC", ""),
        ("Date/time UTC", "UTC", ""),
        ("utc_timestamp", "UTC", ""),
        ("startTimeUtc", "UTC", ""),
        ("Start [GMT]", "UTC", ""),
        ("MTU (CET/CEST)", "Europe/Berlin", ""),
        ("Time Bucket (America/New_York)", "America/New_York", ""),
        ("Timezone : Europe/Zurich", "Europe/Zurich", ""),
        ("Local time (CET)", "", "CET"),
        ("Zeit (UTC+1)", "", "UTC+1"),
        ("local time, not UTC", "", ""),
        ("Date/Time", "", ""),
        ("Minutcount", "", ""),
        ("DATE", "", ""),
    ],
)
def test_names_tell_the_clock(name: str, zone: str, hint: str) -> None:
    assert named_clock([name]) == NamedClock(zone=zone, hint=hint)


@pytest.mark.parametrize("settings", [ReadingSettings(), COPENHAGEN])
def test_hours_that_are_called_utc_stay_so_in_every_home(
    tmp_path: Path, settings: ReadingSettings
) -> None:
    # Over the end of summer time: read as Danish hours they would be two hours early, then one.
    start = datetime(2024, 10, 26, tzinfo=UTC)
    moments = [start + timedelta(hours=hour) for hour in range(48)]
    lines = [f"{one:%Y-%m-%d %H:%M:%S};{50 - place}" for place, one in enumerate(moments)]
    home = read(tmp_path, ["HourUTC;SpotPriceDKK", *lines], settings)
    assert home.table.time_s[0] == utc(2024, 10, 26)
    assert set(np.diff(home.table.time_s).tolist()) == {3600}
    assert home.table.time_zone == (settings.time_zone or "UTC")
    assert "the times in 'HourUTC' were read as those of UTC, as its name says" in home.notes


def test_a_zone_in_the_name_is_the_zone_of_its_times(tmp_path: Path) -> None:
    begin = datetime(2024, 10, 26, 22, tzinfo=UTC)
    local = [(begin + timedelta(hours=h)).astimezone(ZoneInfo("Europe/Berlin")) for h in range(48)]
    lines = [
        f'"{one:%d.%m.%Y %H:%M} - {one:%d.%m.%Y %H:%M}",{place}' for place, one in enumerate(local)
    ]
    home = read(tmp_path, ["MTU (CET/CEST),Price [EUR/MWh]", *lines])
    assert home.table.time_zone == "Europe/Berlin"
    assert home.table.time_s.tolist() == [
        int(begin.timestamp()) + 3600 * hour for hour in range(48)
    ]


def test_an_offset_in_a_name_may_or_may_not_follow_summer_time(tmp_path: Path) -> None:
    lines = [f"{one:%d.%m.%Y %H:%M};{place}" for place, one in enumerate(hours(24))]
    home = read(tmp_path, ["Zeit (UTC+1);kWh", *lines], COPENHAGEN)
    assert home.table.time_s[0] == utc(2024, 4, 30, 22)  # the home's zone
    assert any("the name of 'Zeit (UTC+1)' says UTC+1" in note for note in home.notes)


# --- refused for what is the matter


def test_clocks_set_back_ask_for_the_zone(tmp_path: Path) -> None:
    begin = datetime(2024, 10, 26, 12, tzinfo=UTC)
    local = [
        (begin + timedelta(minutes=15 * step)).astimezone(ZoneInfo("Europe/Vienna"))
        for step in range(96)
    ]
    lines = [f"{one:%d.%m.%Y;%H:%M};{place / 7:.3f}" for place, one in enumerate(local)]
    header = "Datum;Zeit von;Verbrauch (kWh)"
    with pytest.raises(SourceError, match="clocks may be set back") as error:
        read(tmp_path, [header, *lines])
    assert "data.time_zone" in error.value.hint
    home = read(tmp_path, [header, *lines], ReadingSettings(time_zone="Europe/Vienna"))
    assert home.table.rows == 96
    assert set(np.diff(home.table.time_s).tolist()) == {900}


def test_clock_times_that_cannot_be_read_are_no_names_of_series(tmp_path: Path) -> None:
    lines = [
        f"{one:%d.%m.%Y};{one:%H}{'B' if one.hour == 2 else 'A'}:00;{place}"
        for place, one in enumerate(hours(72))
    ]
    with pytest.raises(SourceError, match="'Uhrzeit' is called one of clock times") as error:
        read(tmp_path, ["Datum;Uhrzeit;kWh", *lines])
    assert "pivot" not in error.value.hint


def test_times_side_by_side_are_told(tmp_path: Path) -> None:
    dates = [f"{one:%Y-%m-%dT%H:%M:%S.000Z}" for one in hours(24)]
    lines = [f"sensor.{name},kWh,{','.join(str(h / 7) for h in range(24))}" for name in ("a", "b")]
    with pytest.raises(SourceError, match="its times stand side by side in the header: 24 col"):
        read(tmp_path, [f"entity_id,unit,{','.join(dates)}", *lines])
    clocks = [f"{one:%H:%M}" for one in hours(48, minutes=30)]
    lines = [
        f"{day:02d}.05.2024;{';'.join(str(day + q) for q in range(48))}" for day in range(1, 9)
    ]
    home = read(tmp_path, [f"Datum;{';'.join(clocks)}", *lines])
    assert home.table.columns["00:30"].tolist() == [day + 1 for day in range(1, 9)]
    assert any("48 columns are called by clock times, '00:00' to" in note for note in home.notes)


def test_a_nem12_file_is_called_one(tmp_path: Path) -> None:
    days = [f"300,202405{day:02d},{','.join(['0.5'] * 48)},A,,,20240602000000," for day in (1, 2)]
    lines = ["100,NEM12,202405010600,MDP,RET", "200,6305,E1,1,E1,N1,01,KWH,30,20240601", *days]
    with pytest.raises(SourceError, match="it is a NEM12 file"):
        read(tmp_path, [*lines, "900"])


# --- intervals


@pytest.mark.parametrize("until", ["{0:%Y-%m-%dT%H:%M:%SZ}", "PT1H", "P1DT12H30M"])
def test_iso_intervals_count_from_their_begin(tmp_path: Path, until: str) -> None:
    lines = [
        f"{one:%Y-%m-%dT%H:%M:%SZ}/{until.format(one + timedelta(hours=1))},{place / 7:.3f}"
        for place, one in enumerate(hours(30))
    ]
    home = read(tmp_path, ["interval,kwh", *lines])
    assert home.table.time_s.tolist() == [utc(2024, 5, 1) + 3600 * hour for hour in range(30)]
    assert list(home.table.columns) == ["kwh"]


@pytest.mark.parametrize("written", ["{0:02d}-{1:02d}", "{0:02d} - {1:02d}", "{0}-{1}"])
def test_hours_from_and_to_beside_a_date(tmp_path: Path, written: str) -> None:
    lines = [
        f"{one:%Y-%m-%d};{written.format(one.hour, one.hour + 1)};{place}"
        for place, one in enumerate(hours(72))
    ]
    home = read(tmp_path, ["Datum;Timme;kWh", *lines])
    assert home.table.time_s.tolist() == [utc(2024, 5, 1) + 3600 * hour for hour in range(72)]


# --- units


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Active energy Wh (A)", "Wh"),
        ("Returned energy kWh (C)", "kWh"),
        ("Power W (A)", ""),  # watts of phase A, or the current of a device W
        ("current (A)", "A"),
        ("Phase A (V)", "V"),
        ("Phase A (A)", "A"),
        ("room temp (C)", "°C"),
    ],
)
def test_a_letter_in_brackets_may_name_a_phase(name: str, unit: str) -> None:
    assert unit_of_name(name) == unit


def test_rows_of_different_units_are_converted(tmp_path: Path) -> None:
    lines = [
        f"{one:%Y-%m-%dT%H:%M:%SZ},{place},{'kWh' if place % 3 else 'Wh'}"
        for place, one in enumerate(hours(40))
    ]
    home = read(tmp_path, ["time,value,unit", *lines])
    assert "the column 'unit' says in which unit each row of 'value' is" in home.notes
    assert home.table.units == {"value": "kWh"}
    expected = [place / (1 if place % 3 else 1000) for place in range(40)]
    assert home.table.columns["value"].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reading", ["state", "value"])
def test_a_series_whose_unit_changes_is_converted(tmp_path: Path, reading: str) -> None:
    """It was told: no reading was converted."""
    lines = []
    for place, one in enumerate(hours(40)):
        for name, unit in (("power", "kW" if place < 15 else "W"), ("temp", "°C")):
            lines.append(f"{name},{place},{unit},{one:%Y-%m-%dT%H:%M:%SZ}")
    settings = ReadingSettings(pivot=("entity_id", reading))
    home = read(
        tmp_path, [f"entity_id,{reading},unit_of_measurement,last_changed", *lines], settings
    )
    assert home.table.units == {"power": "W", "temp": "°C"}
    power = [place * (1000 if place < 15 else 1) for place in range(40)]
    assert home.table.columns["power"].tolist() == power
    assert home.table.columns["temp"].tolist() == list(range(40))


def read_typed(tmp_path: Path, values: pa.Array, settings: ReadingSettings) -> HomeFilesRead:
    names, units = ["a"] * len(values), ["Wh", "kWh"] * (len(values) // 2)
    columns = {"time": hours(len(values)), "name": names, "load": values, "unit": units}
    pq.write_table(pa.table(columns), tmp_path / "home.parquet")
    return read_home(tmp_path / "home.parquet", settings=settings)


def test_columns_of_units_that_are_called_alike_are_of_the_column_before(tmp_path: Path) -> None:
    """As a Fritz!Box exports a plug's readings."""
    lines = [
        f"{one:%d.%m.%Y %H:%M};{number},250;Wh;0,0{number};Euro"
        for number, one in enumerate(hours(9))
    ]
    head = "Datum/Uhrzeit;Energie;Einheit;Energie in Euro;Einheit"
    home = read(tmp_path, ["sep=;", head, *lines], ReadingSettings(decimal=","))
    assert home.table.units == {"Energie": "Wh", "Energie in Euro": "€"}
    assert home.table.columns["Energie"].tolist() == [number + 0.25 for number in range(9)]
    told = "the column 'Energie Einheit' says in which unit each row of 'Energie' is"
    assert told in home.notes
    first = units_named(["Einheit", "Energie", "Einheit", "Wert", "Wert"])
    assert first == ["Einheit", "Energie", "Energie Einheit", "Wert", "Wert"]
    twice = [line.replace("Einheit", "Wert") for line in (head, *lines)]
    with pytest.raises(SourceError, match="several columns of the name 'Wert'"):
        read(tmp_path, twice)


@pytest.mark.parametrize("nameless", ["", "Unnamed: 0"])
def test_numbers_of_rows_are_no_readings_of_a_unit(tmp_path: Path, nameless: str) -> None:
    """A first column without a name, as pandas writes it, made it open what a unit is of."""
    lines = [
        f"{place},{one:%Y-%m-%dT%H:%M:%SZ},{'2,kWh' if place % 3 else '500,Wh'}"
        for place, one in enumerate(hours(9))
    ]
    home = read(tmp_path, [f"{nameless},time,value,unit", *lines])
    assert home.table.columns["value"].tolist() == [0.5, 2, 2] * 3


PIVOT = ReadingSettings(pivot=("name", "load"))


@pytest.mark.parametrize("settings", [ReadingSettings(), PIVOT])
def test_decimals_by_type_are_converted_by_their_units(
    tmp_path: Path, settings: ReadingSettings
) -> None:
    """In a pivot all of them were lost; elsewhere none was converted."""
    values = pa.array([Decimal("1250.00"), Decimal("0.50")] * 5)
    home = read_typed(tmp_path, values, settings)
    (found,) = (home.table.columns[name] for name in home.table.units)
    assert found.tolist() == pytest.approx([1250, 500] * 5)


def test_flags_have_no_unit(tmp_path: Path) -> None:
    """All of them were lost."""
    home = read_typed(tmp_path, pa.array([True, False] * 5), PIVOT)
    assert home.table.columns["a"].tolist() == [1, 0] * 5
    assert "left out by the pivot: unit" in home.notes


@pytest.mark.parametrize("sign", [{"decimal": ","}, {"thousands": "."}])
def test_numbers_by_type_have_no_sign_to_be_mistaken(
    tmp_path: Path, sign: dict[str, object]
) -> None:
    """1.125 by type is no text in which a point groups thousands."""
    settings = ReadingSettings.model_validate(sign)
    home = read_typed(tmp_path, pa.array([1.125, 2.375] * 5), settings)
    assert home.table.units == {"load": "Wh"}
    assert home.table.columns["load"].tolist() == pytest.approx([1.125, 2375] * 5)


def test_a_unit_of_which_it_is_open_what_it_is_of_is_told(tmp_path: Path) -> None:
    lines = [
        f"{one:%Y-%m-%dT%H:%M:%SZ},{place},{place},{'kWh' if place % 3 else 'Wh'}"
        for place, one in enumerate(hours(40))
    ]
    told = "column '{}' gives some rows in Wh and kWh: no reading was converted by it"
    for name in ("unit", "quality"):
        assert told.format(name) in read(tmp_path, [f"time,a,b,{name}", *lines]).notes
    home = read(tmp_path, ["time,a,b,b_unit", *lines])
    assert home.table.units == {"b": "kWh"}
    assert home.table.columns["a"].tolist() == list(range(40))


def test_quantities_of_several_kinds_in_one_column_are_refused(tmp_path: Path) -> None:
    lines = [
        f"{one:%Y-%m-%dT%H:%M:%SZ},{place},{'W' if place % 3 else '°C'}"
        for place, one in enumerate(hours(40))
    ]
    with pytest.raises(SourceError, match="row 1: the cell in column 'value' is in a unit that"):
        read(tmp_path, ["time,value,unit", *lines])
    twice = [f"{line},{name}" for line in lines for name in ("a", "b")]
    with pytest.raises(SourceError, match="column 'sensor' tells rows apart") as caught:
        read(tmp_path, ["time,value,unit,sensor", *twice])
    assert 'data.pivot = ["sensor", "value"]' in caught.value.hint
