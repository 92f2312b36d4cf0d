"""Meters that count up and sensors that are stuck are told; what only looks like one is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fedhome.data.home_files import read_home
from fedhome.data.odd_course import odd_course
from fedhome.plan.reading_settings import ReadingSettings

HOURS = 240
HOUR = np.arange(HOURS)
LOAD = np.random.default_rng(1).gamma(2.0, 0.2, HOURS)
WARMTH = 20 + 5 * np.sin(HOUR / 24 * 2 * np.pi) + np.random.default_rng(2).normal(0, 0.3, HOURS)


def told(
    values: NDArray[np.float64], *, step_s: int = 3600, zone: str = "UTC", source: str = "Zähler"
) -> list[str]:
    time_s = 1_717_200_000 + step_s * np.arange(len(values))  # 2024-06-01 00:00 UTC
    return list(odd_course(values, time_s, source=source, name="load", time_zone=zone))


def test_a_meter_that_counts_up_is_told_with_the_rule_that_helps() -> None:
    (note,) = told(1234 + np.cumsum(LOAD))
    assert note.startswith("column 'Zähler' never falls, like a meter that counts up")
    assert 'data.rules = {"load" = "difference"}' in note


def test_a_meter_is_known_by_its_few_falls() -> None:
    daily = np.concatenate([np.cumsum(day) - day[0] for day in LOAD.reshape(-1, 24)])
    (note,) = told(daily)
    assert "rises, and falls to zero 9 times, like a meter" in note
    exchanged = 1234 + np.cumsum(LOAD)
    exchanged[230:] -= 3
    (note,) = told(exchanged)
    assert "falls no more than 1 time, like a meter" in note


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(LOAD, id="what is used in each hour"),
        pytest.param(WARMTH, id="a temperature"),
        pytest.param(HOUR.astype(float), id="row numbers"),
        pytest.param((HOUR // 24 + 1).astype(float), id="days"),
        pytest.param(np.where(HOUR % 7 < 3, 0.0, 1150.0), id="a heater that is on or off"),
        pytest.param(np.maximum(0, np.sin(HOUR / 24 * 2 * np.pi)) * LOAD, id="the sun"),
        pytest.param(np.cumsum(LOAD)[:99], id="few readings"),
        pytest.param(np.full(HOURS, np.nan), id="none"),
    ],
)
def test_what_is_neither_is_not_told(values: NDArray[np.float64]) -> None:
    assert told(values) == []


@pytest.mark.parametrize("source", ["index", " Year"])
def test_rows_and_years_that_are_numbered_are_no_meter(source: str) -> None:
    rises = np.cumsum(np.random.default_rng(3).integers(1, 9, HOURS)).astype(float)
    assert told(rises, source=source) == []
    assert len(told(rises, source="index (kWh)")) == 1


def test_what_rises_for_some_hours_is_no_meter() -> None:
    assert told(np.cumsum(LOAD), step_s=60) == []


def test_a_sensor_that_stands_still_is_told_with_when_and_how_long() -> None:
    stuck = WARMTH.copy()
    stuck[48:100] = stuck[48]
    (note,) = told(stuck, zone="Europe/Berlin")
    assert note.startswith(
        "column 'Zähler' stands still for 52 readings (2.1 d) from 2024-06-03 02:00 on, and "
        "elsewhere seldom for more than 1"
    )
    stuck[150:180] = stuck[150]
    (note,) = told(stuck)
    assert "stands still 2 times, longest for 52 readings (2.1 d) from 2024-06-03 00:00" in note


def test_readings_that_are_missing_make_a_stretch_no_shorter() -> None:
    stuck = WARMTH.copy()
    stuck[48:100] = stuck[48]
    stuck[60] = np.nan
    (note,) = told(stuck)
    assert "for 51 readings (2.1 d)" in note


def test_what_stands_at_its_end_or_often_is_not_stuck() -> None:
    away = LOAD.copy()
    away[48:100] = 0
    assert told(away) == []
    coarse = np.round(WARMTH)
    coarse[48:72] = np.sort(coarse)[HOURS // 2]  # a day of one value, where hours of it are usual
    assert told(np.repeat(coarse, 5)) == []


def test_counts_of_few_things_and_wet_air_may_stand_still() -> None:
    devices = np.random.default_rng(4).poisson(3, HOURS).astype(float)
    devices[48:100] = 2  # a weekend
    assert told(devices) == []
    assert len(told(devices / 3)) == 1
    wet = 70 + 25 * np.sin(HOUR / 24 * 2 * np.pi) + np.random.default_rng(5).normal(0, 1, HOURS)
    wet[10], wet[48:100] = 100, 99.9
    assert told(wet) == []
    wet[48:100] = 95
    assert len(told(wet)) == 1


def test_a_file_is_read_with_it_and_rows_without_times_have_no_course(tmp_path: Path) -> None:
    rows = [f"2024-06-{1 + hour // 24:02d} {hour % 24:02d}:00,{x:.3f}" for hour, x in
            enumerate(np.cumsum(LOAD))]  # fmt: skip
    path = tmp_path / "oak.csv"
    path.write_text("\n".join(["time,kwh", *rows]), encoding="utf-8")
    settings = ReadingSettings.model_validate({"rename": {"kwh": "load"}})
    assert any(
        "column 'kwh' never falls" in note and '{"load" = "difference"}' in note
        for note in read_home(path, settings=settings).notes
    )
    path.write_text("\n".join(["kwh", *(row.split(",")[1] for row in rows)]), encoding="utf-8")
    assert not any("never falls" in note for note in read_home(path).notes)


def test_the_index_of_pandas_is_no_reading(tmp_path: Path) -> None:
    time = pa.array(np.datetime64("2024-06-01T00:00", "s") + HOUR.astype("timedelta64[h]"))
    table = pa.table({"time": time, "kwh": LOAD, "__index_level_0__": HOUR})
    pq.write_table(table, tmp_path / "oak.parquet")
    read = read_home(tmp_path / "oak.parquet")
    assert list(read.table.columns) == ["kwh"]
    assert "a column without a name was left out" in read.notes
    pq.write_table(pa.table({"kwh": LOAD, "__index_level_0__": time}), tmp_path / "oak.parquet")
    read = read_home(tmp_path / "oak.parquet")
    assert list(read.table.columns) == ["kwh"]
    assert not read.table.timeless
