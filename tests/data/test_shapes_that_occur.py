"""Files in shapes that devices and portals really write: each home's readings come out right."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from fedhome.data.homes_folder import FolderRead, read_folder
from fedhome.data.series.windows import windows
from fedhome.errors import DataError, EmptyFleetError
from fedhome.plan.data_settings import DataSettings
from helpers.shared_cases import readings

FIRST, WATTS = [0.474, 0.515, 0.564], [1896.0, 2060.0, 2256.0]
NEW_YEAR = "2024-01-01T00:00"


class Expected(NamedTuple):
    """What must come out: homes, rows of each, first time, step in s, first values."""

    homes: int
    rows: int
    begin: str
    step_s: int
    first: list[float]


def read(case: str, target: str, **settings: object) -> FolderRead:
    data = DataSettings.model_validate({"target": target, **settings})
    return read_folder(readings(case), data, target=target, numbers=(target,))


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("case", "target", "expected"),
    [
        ("07b-pge-no-preamble", "USAGE (kWh)", Expected(2, 240, NEW_YEAR, 3600, FIRST)),
        ("08b-enedis-plain", "Valeur", Expected(2, 200, "2023-12-31T23:30", 1800, [474, 515, 564])),
        ("09-netznoe", "Verbrauch (kWh)", Expected(2, 200, NEW_YEAR, 900, FIRST)),
        (
            "17-quoted-decimal-comma",
            "Consommation (kWh)",
            Expected(2, 150, NEW_YEAR, 3600, FIRST),
        ),
        (
            "19-german-thousands",
            "power_w",
            Expected(2, 150, NEW_YEAR, 3600, WATTS),
        ),
        ("29-clock-1970", "load_kwh", Expected(1, 299, NEW_YEAR, 60, FIRST)),
        ("37-none-cells", "load_kwh", Expected(2, 100, NEW_YEAR, 3600, FIRST)),
    ],
)
def test_times_and_values_come_out_right(case: str, target: str, expected: Expected) -> None:
    found = read(case, target)
    assert (len(found.homes), found.excluded) == (expected.homes, [])
    home = found.homes[0]
    assert home.rows == expected.rows
    assert home.time_s[0] == moment(expected.begin)
    assert set(np.diff(home.time_s).tolist()) == {expected.step_s}
    assert home.columns[target][:3].tolist() == expected.first
    assert target not in home.labels


def test_changes_of_a_sensor_are_held_until_the_next() -> None:
    found = read("01-ha-history-one", "state", step="5min", rules={"state": "hold"})
    assert "last_changed" not in found.homes[0].columns
    held = DataSettings(target="state", step="5min", rules={"state": "hold"}, lags=(1,))
    cut = windows(found.homes[0], held, ())
    assert len(cut.y) > 100
    assert set((cut.time_s % 300).tolist()) == {0}
    with pytest.raises(DataError, match="no regular clock") as error:
        windows(found.homes[0], DataSettings(target="state", lags=(1,)), ())
    assert "data.step" in error.value.hint


def test_a_row_without_a_reading_shuts_no_home_out() -> None:
    target = "KWH/hh (per half hour)"
    found = read("04-lcl-null", target)
    assert [home.home for home in found.homes] == ["MAC000000", "MAC000001"]
    home = found.homes[0]
    assert home.time_s[0] == moment("2012-12-10T00:00")
    cut = windows(home, DataSettings(target=target, lags=(1,)), ())
    assert set((cut.time_s % 1800).tolist()) == {0}
    assert any("without a reading" in note or "no reading" in note for note in cut.notes)


def test_a_file_of_four_homes_is_refused_or_split() -> None:
    target = "energy(kWh/hh)"
    with pytest.raises(EmptyFleetError, match="several homes in one file, column LCLid") as error:
        read("05-lcl-blocks", target)
    assert 'data.home_column = "LCLid"' in error.value.hint
    found = read("05-lcl-blocks", target, home_column="LCLid")
    assert len(found.homes) == 8
    assert {home.rows for home in found.homes} == {480}


def test_a_gap_stays_a_gap_under_an_index_without_a_name() -> None:
    home = read("21-pandas-unnamed-index", "load_kwh").homes[0]
    assert home.columns["load_kwh"][:3].tolist() == FIRST
    gaps = np.diff(home.time_s)
    assert (gaps.min(), gaps.max()) == (3600, 101 * 3600)  # 100 h are missing


def test_newest_first_or_not_is_the_same_over_the_end_of_summer_time(tmp_path: Path) -> None:
    source = readings("30-dst-newest-first") / "home0.csv"
    header, *rows = source.read_text().splitlines()
    (tmp_path / "home0.csv").write_text("\n".join([header, *reversed(rows)]), encoding="utf-8")
    settings = DataSettings(time_zone="Europe/Berlin")
    newest, oldest = (
        read_folder(folder, settings).homes[0] for folder in (source.parent, tmp_path)
    )
    assert newest.rows == 480
    assert set(np.diff(newest.time_s).tolist()) == {3600}
    np.testing.assert_array_equal(newest.time_s, oldest.time_s)
    np.testing.assert_array_equal(newest.columns["load_kwh"], oldest.columns["load_kwh"])
