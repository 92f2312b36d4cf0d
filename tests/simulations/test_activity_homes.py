"""The set of homes with labelled activities: what a minute says, worked out by hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from fedhome.errors import SourceError
from fedhome.simulations.benchmarks.activity_homes import ACTIVITIES, read

_BEGIN = 1_200_000_000 // 60 * 60


def _write(folder: Path, activities: list[str], events: list[str]) -> None:
    for name, kind, rows in (
        ("activities", "activity", activities),
        ("sensor_events", "sensor", events),
    ):
        lines = [f"home,start_unix,duration_s,{kind}", *rows]
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def test_minutes_have_what_people_did_and_how_long_ago_a_sensor_was_on(tmp_path: Path) -> None:
    _write(
        tmp_path,
        [
            f"a,{_BEGIN},599,Sleeping",
            f"a,{_BEGIN + 180},30,use-toilet",  # within the night
            f"a,{_BEGIN + 1200},{60 - 86_400},Lunch",  # its end is a day early
            f"a,{_BEGIN + 1500},60,Other",
        ],
        [f"a,{_BEGIN + 185},10,Hall-Toilet door", f"a,{_BEGIN + 60},130,press bed left"],
    )
    (home,) = read(tmp_path)
    assert (home.time_s[[0, 9, 10]] - _BEGIN).tolist() == [0, 540, 1200]
    did = [ACTIVITIES[int(number)] for number in home.columns["activity"]]
    assert did == ["sleep"] * 3 + ["toilet"] + ["sleep"] * 6 + ["meal"] * 2
    assert home.columns["toilet_on"].tolist() == [0, 0, 0, 1] + [0] * 8
    assert home.columns["bed_on"].tolist()[:5] == [0, 1, 1, 1, 0]
    assert home.columns["bed_lately"][5] == pytest.approx(3 / 15)
    assert home.columns["bed_hour"][5] == pytest.approx(3 / 60)
    newest = np.array([home.columns[f"{place}_newest"] for place in ("bed", "toilet")])
    assert newest[:, :6].tolist() == [[1] * 6, [1, 0, 0, 1, 1, 1]]  # none yet; both at once
    assert home.columns["toilet_ago"][5] == pytest.approx(np.log1p(2))
    assert home.columns["toilet_ago"][0] == pytest.approx(np.log1p(24 * 60)), "never yet"


@pytest.mark.parametrize(
    ("sensor", "place"),
    [
        ("bathroom,toilet flush", "flush"),
        ("Hall-Toilet door", "toilet"),
        ("kitchen,washing machine", "washing"),
        ("bathroom,medicine cabinet a", "bathroom"),
        ("kitchen,cabinet e", "cupboard"),
        ("bedroom,tv", "screen"),
        ("id20", "elsewhere"),
    ],
)
def test_sensors_are_told_apart_by_what_they_are_at(
    sensor: str, place: str, tmp_path: Path
) -> None:
    _write(tmp_path, [f"a,{_BEGIN},60,Sleeping"], [f'a,{_BEGIN},60,"{sensor}"'])
    (home,) = read(tmp_path)
    on = [name for name, values in home.columns.items() if name.endswith("_on") and values[0]]
    assert on == [f"{place}_on"]


def test_a_word_that_is_none_of_the_sets_is_told(tmp_path: Path) -> None:
    _write(tmp_path, [f"a,{_BEGIN},60,juggling"], [f"a,{_BEGIN},60,Fridge"])
    with pytest.raises(SourceError, match="'juggling'"):
        read(tmp_path)
