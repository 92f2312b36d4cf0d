"""Units: how they are spelt, what a column's name says, conversions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedhome.data.columns.units import conversion, converted, unit_named, unit_of_name
from fedhome.data.home_files import read_home
from fedhome.plan.reading_settings import ReadingSettings


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Verbrauch (kWh)", "kWh"),
        ("Mains_A (kWhs)", "kWh"),
        ("Consommation (KWH)", "kWh"),
        ("temp [°C]", "°C"),
        ("air_temperature [Celsius]", "°C"),
        ("global_horizontal_solar_radiation [W/m2]", "W/m²"),
        ("direct_w_m2", "W/m²"),
        ("supply_air_flow [CMH]", "m³/h"),
        ("pm2.5 [mu_g/m3]", "µg/m³"),
        ("sound_pressure_level [dba]", "dBA"),
        ("Energie in kWh", "kWh"),
        ("energy_in_wh", "Wh"),
        ("power_w", "W"),
        ("temp_c", "°C"),
        ("load_kwh", "kWh"),
        ("grid_MWh", "MWh"),
        ("share_pct", "%"),
        ("humidity (%)", "%"),
        ("Temp °C", "°C"),
        ("Outdoor temp Fahrenheit", "°F"),
        ("Humidity %", "%"),
        ("CO2 ppm", "ppm"),
        ("Wind km/h", "km/h"),
        ("Wasser m³", "m³"),
        ("Temp C", ""),
        ("Zone F", ""),
        ("Temp min", ""),
        ("Open/Close", ""),
        ("RH%", ""),
        ("power_mw", ""),  # milli or mega
        ("KWH/hh (per half hour) ", ""),
        ("occupant_presence [binary]", ""),
        ("room_a", ""),
        ("ta_h", ""),
        ("c", ""),
        ("w", ""),
        ("kwh", "kWh"),
        ("_w", ""),
        ("", ""),
    ],
)
def test_what_a_name_says(name: str, unit: str) -> None:
    assert unit_of_name(name) == unit


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("kwh", "kWh"),
        ("Kwh", "kWh"),
        ("mW", "mW"),
        ("MW", "MW"),
        ("mw", ""),
        ("℃", "°C"),
        ("º C", "°C"),
        ("deg C", "°C"),
        ("µg/m³", "µg/m³"),
        ("μg/m^3", "µg/m³"),
        ("EUR", "€"),
        ("eur/kWh", "€/kWh"),
        ("mb", ""),  # megabytes or millibars
        ("M", ""),
        ("k", ""),
        ("", ""),
    ],
)
def test_spellings(text: str, unit: str) -> None:
    assert unit_named(text) == unit


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("W", "kW", (0.001, 0.0)),
        ("kWh", "Wh", (1000.0, 0.0)),
        ("MJ", "kWh", (1 / 3.6, 0.0)),
        ("°C", "K", (1.0, 273.15)),
        ("K", "°C", (1.0, -273.15)),
        ("°C", "°F", (1.8, 32.0)),
        ("°F", "°C", (5 / 9, -160 / 9)),
        ("hPa", "mbar", (1.0, 0.0)),
        ("ct", "€", (0.01, 0.0)),
        ("", "", (1.0, 0.0)),
        ("furlong", "furlong", (1.0, 0.0)),
        ("W", "kWh", None),
        ("€", "$", None),
        ("W", "", None),
        ("", "W", None),
        ("furlong", "m", None),
    ],
)
def test_conversions(start: str, end: str, expected: tuple[float, float] | None) -> None:
    found = conversion(start, end)
    assert found is None if expected is None else found == pytest.approx(expected, rel=1e-15)


def test_values_are_converted_to_the_last_digit() -> None:
    values = np.array([500.0, 1.0, 123.0, 7.7])
    assert converted(values, "W", "kW").tolist() == [0.5, 0.001, 0.123, 0.0077]
    assert converted(np.array([68.0, 32.0]), "°F", "°C") == pytest.approx([20, 0], abs=1e-12)
    with pytest.raises(ValueError, match="no conversion"):
        converted(values, "W", "V")


@pytest.mark.parametrize(
    ("words", "told"),
    [("+02:00 +01:00", True), ("CEST CET", True), ("UTC+1 UTC+2", True), ("summer winter", False)],
)
def test_a_column_of_offsets_is_told_where_no_time_is_read_by_it(
    tmp_path: Path, words: str, told: bool
) -> None:
    first, second = words.split()
    rows = [f"2024-05-01 {h:02d}:00,{first if h < 12 else second},{h}" for h in range(24)]
    path = tmp_path / "home.csv"
    path.write_text("\n".join(["time,tz,load", *rows, ""]))
    note = "column 'tz' holds offsets or zones, and no time was read by it"
    assert any(one.startswith(note) for one in read_home(path).notes) is told
    in_zone = read_home(path, settings=ReadingSettings(time_zone="Europe/Oslo"))
    assert not any(one.startswith(note) for one in in_zone.notes)


@pytest.mark.parametrize(
    ("names", "both", "told"),
    [
        (("load (kWh)", "load (Wh)"), False, True),
        (("load_kwh", "load_wh"), False, True),
        (("load (kWh)", "load (Wh)"), True, False),  # two columns of each row
        (("load (kWh)", "load (kW)"), False, False),  # no scale of one another
        (("load (kWh)", "sun (Wh)"), False, False),
    ],
)
def test_one_reading_that_changes_its_unit_between_files_is_told(
    tmp_path: Path, names: tuple[str, str], both: bool, told: bool
) -> None:
    for number, name in enumerate(names):
        days = ("01", "02") if both else (f"0{number + 1}",)
        rows = [f"2024-05-{day} {h:02d}:00,{h}" for day in days for h in range(24)]
        (tmp_path / f"{number}.csv").write_text("\n".join([f"time,{name}", *rows, ""]))
    note = f"columns {names[0]!r} and {names[1]!r} have one name but for the unit, and no row has"
    assert any(one.startswith(note) for one in read_home(tmp_path).notes) is told
