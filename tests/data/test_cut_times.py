"""Times as numbers that a spreadsheet or 32 bits cut short, and days that it counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedhome.data.home_files import HomeFilesRead, read_home
from fedhome.errors import SourceError

BEGIN = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp())
HOURS = [BEGIN + 3600 * place for place in range(30)]
FIRST_DAY = 45_352  # 1 March 2024, by a spreadsheet's count


def read(folder: Path, name: str, cells: list[str]) -> HomeFilesRead:
    path = folder / "home.csv"
    rows = "".join(f"{cell};{place}\n" for place, cell in enumerate(cells))
    path.write_text(f"{name};kWh\n{rows}", encoding="utf-8")
    return read_home(path)


@pytest.mark.parametrize(
    ("cells", "cut"),
    [
        ([f"{at * 1000:.6E}" for at in HOURS], "16.7 min"),  # 1.709251E+12
        ([f"{at * 1000:.5E}" for at in HOURS], "2.8 h"),
        ([f"{at:.6E}" for at in HOURS], "16.7 min"),
        ([f"{FIRST_DAY + place / 24:.2f}" for place in range(30)], "14.4 min"),
        ([f"{FIRST_DAY + place / 24:.4f}".replace(".", ",") for place in range(30)], "9 s"),
    ],
)
def test_times_that_lost_digits_are_refused(tmp_path: Path, cells: list[str], cut: str) -> None:
    """They were read as times that lie up to an hour beside those that were meant."""
    with pytest.raises(SourceError, match=f"column 'time' were cut to {cut}: digits") as caught:
        read(tmp_path, "time", cells)
    assert "with all digits" in caught.value.hint


def test_times_of_32_bits_are_refused(tmp_path: Path) -> None:
    times = pa.array(np.array(HOURS, dtype=np.float32))
    pq.write_table(pa.table({"time": times, "kWh": np.arange(30.0)}), tmp_path / "home.parquet")
    with pytest.raises(SourceError, match=r"column 'time' were cut to 2\.1 min: digits"):
        read_home(tmp_path / "home.parquet")


@pytest.mark.parametrize(
    ("cells", "step_s"),
    [
        ([f"{at * 1000:.9E}" for at in HOURS], 3600),
        ([f"{at:.7E}" for at in HOURS], 3600),  # hours are whole hundreds of seconds
        ([f"{BEGIN + 30 * place:.8E}" for place in range(30)], 30),  # whole tens of seconds
        ([f"{at * 1000}" for at in HOURS], 3600),
        ([f"{FIRST_DAY + place / 24:.5f}" for place in range(30)], 3600),
        ([f"{FIRST_DAY + place / 4:.2f}" for place in range(30)], 21_600),  # nothing was cut
        ([f"{FIRST_DAY + place}" for place in range(30)], 86_400),
    ],
)
def test_times_with_all_their_digits_are_read(
    tmp_path: Path, cells: list[str], step_s: int
) -> None:
    expected = [BEGIN + step_s * place for place in range(30)]
    assert read(tmp_path, "time", cells).table.time_s.tolist() == expected


@pytest.mark.parametrize("name", ["Datum", "Zeit", "Timestamp local", "fecha_hora"])
def test_days_of_a_spreadsheet_under_other_names(tmp_path: Path, name: str) -> None:
    """Only under names such as "date" were they times; else the rows were numbered."""
    cells = [f"{FIRST_DAY + place / 24:.5f}" for place in range(30)]
    assert read(tmp_path, name, cells).table.time_s.tolist() == HOURS


@pytest.mark.parametrize("name", ["operating_time", "von", "end", "load"])
def test_counters_of_such_a_size_stay_readings(tmp_path: Path, name: str) -> None:
    cells = [f"{FIRST_DAY + place * 0.5}" for place in range(30)]
    found = read(tmp_path, name, cells).table
    assert found.timeless
    assert found.columns[name].tolist() == [float(cell) for cell in cells]


def test_ticks_of_dotnet_are_no_nanoseconds(tmp_path: Path) -> None:
    """They were read as of the year 1990."""
    ticks = [str((at + 62_135_596_800) * 10**7) for at in HOURS]
    with pytest.raises(SourceError, match="column 'time' holds numbers that are no times since"):
        read(tmp_path, "time", ticks)
    assert read(tmp_path, "time", [f"{at}000000000" for at in HOURS]).table.time_s.tolist() == HOURS
