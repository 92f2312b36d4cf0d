"""What was read of homes' files: numbers by hand, and homes that are read alike."""

from __future__ import annotations

import json

import numpy as np

from fedhome.data.read_report import (
    ColumnReport,
    HomeReport,
    TimeReport,
    aligned,
    alike,
    in_short,
    length,
)
from fedhome.data.told_once import told_once


def column(name: str, values: list[float], kind: str = "number", unit: str = "") -> ColumnReport:
    return ColumnReport.of(np.array(values), name=name, source=name, kind=kind, unit=unit)


def report(home: str, *columns: ColumnReport, step: int = 3600) -> HomeReport:
    time_s = np.array([0, step, 2 * step, 6 * step]) + 1_700_000_000
    time = TimeReport.of(time_s, columns=["time"], format="ISO", time_zone="UTC")
    return HomeReport(
        home=home,
        files=(f"{home}.csv: CSV",),
        rows_read=5,
        rows_kept=4,
        time=time,
        columns=columns,
    )


def test_an_axis_has_its_step_and_its_gaps() -> None:
    time = report("a").time
    assert time is not None
    assert (time.step_s, time.gaps, time.longest_gap_s) == (3600, 1, 4 * 3600)
    assert (time.begin, time.end) == (1_700_000_000, 1_700_000_000 + 6 * 3600)


def test_a_column_has_its_range_what_is_missing_and_its_jumps() -> None:
    values = [float(place % 5) for place in range(400)]
    values[200] = 1e6
    values[7] = float("nan")
    load = column("load", values)
    assert (load.first, load.last, load.least, load.greatest) == (0.0, 4.0, 0.0, 1e6)
    assert (load.missing, load.jumps) == (1, 2)  # there and back
    assert column("flat", [1.0] * 50).jumps == 0
    assert column("door", [0.0, 1.0] * 20, kind="flag").jumps == 0
    words = column("mode", [0.0, 1.0], kind="words")
    assert (words.first, words.least) == (None, None)
    nothing = column("none", [float("nan")] * 3, kind="empty")
    assert (nothing.first, nothing.missing) == (None, 3)


def test_homes_that_differ_in_the_order_of_columns_are_alike() -> None:
    one, two = column("load", [1.0, 2.0], unit="kWh"), column("temp", [3.0, 4.0])
    first, second, third = report("a", one, two), report("b", two, one), report("c", one)
    groups = alike([third, first, second])
    assert [[home.home for home in group] for group in groups] == [["a", "b"], ["c"]]
    assert [[c.name for c in same] for same in aligned(groups[0])] == [["load"] * 2, ["temp"] * 2]
    told = in_short(groups[0])
    assert told.startswith("a, b: 8 of 10 rows kept; times from time (ISO, zone UTC), every 1 h")
    assert told.endswith("load (kWh), temp (number)")


def test_a_unit_that_a_name_says_is_told_once_and_an_empty_column_not_at_all() -> None:
    read = report(
        "a",
        column("use (kWh)", [1.0, 2.0], unit="kWh"),
        column("power [kW]", [1.0], unit="W"),
        column("note", [], kind="empty"),
    )
    assert in_short([read]).endswith("; use (kWh), power [kW] (W)")


def test_a_report_comes_back_from_json() -> None:
    before = report("a", column("load", [1.0, float("nan")]))
    assert HomeReport.from_dict(json.loads(json.dumps(before.to_dict()))) == before


def test_lengths_are_told_in_their_greatest_whole_unit() -> None:
    told = [length(seconds) for seconds in (1, 60, 90, 900, 3600, 5400, 129_600, 172_800)]
    assert told == ["1 s", "1 min", "90 s", "15 min", "1 h", "90 min", "36 h", "2 d"]


def test_what_holds_for_many_homes_is_told_once() -> None:
    notes = [(home, "read as UTC") for home in "abcdef"] + [("", "a file"), ("b", "another")]
    assert told_once(notes) == ["a, b, c, d and 2 more: read as UTC", "a file", "b: another"]


def test_what_holds_for_many_homes_files_is_told_once_though_each_is_called_like_its_home() -> None:
    notes = [(home, f"{home}.csv.gz is not in UTF-8") for home in ("oak", "elm")]
    notes += [("ash", "ash.csv: 2 lines were left out"), ("oak", "elm.csv is empty"), ("", "x")]
    assert told_once(notes) == [
        "oak, elm: the file of each is not in UTF-8",
        "ash: ash.csv: 2 lines were left out",
        "oak: elm.csv is empty",
        "x",
    ]
