"""``fedhome data check`` and ``convert``: how files are read, told before anything learns."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedhome.cli.console import Console
from fedhome.cli.data_words import print_alike, print_homes
from fedhome.data.home_files import read_home
from fedhome.data.homes_folder import read_folder
from fedhome.data.table import HomeTable
from helpers.command import Said, fedhome

HOURS = [f"2024-01-{1 + hour // 24:02d} {hour % 24:02d}:00" for hour in range(72)]


def home(folder: Path, name: str, values: Sequence[str]) -> None:
    rows = (
        f"{time};{value};{'heat' if place % 3 else 'off'}"
        for place, (time, value) in enumerate(zip(HOURS, values, strict=False))
    )
    text = "\n".join(["Zeit;load (kWh);mode", *rows, ""])
    (folder / f"{name}.csv").write_text(text, encoding="utf-8")


def numbers(count: int = 72) -> list[str]:
    return [f"{place % 7},{place % 10}" for place in range(count)]


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    folder = tmp_path / "homes"
    folder.mkdir()
    for name in ("elm", "oak"):
        home(folder, name, numbers())
    return folder


def check(folder: Path, *words: str) -> Said:
    return fedhome("data", "check", "homes", *words, folder=folder.parent)


def test_it_says_how_each_file_and_column_is_read(homes: Path) -> None:
    said = check(homes)
    assert (said.returncode, said.stderr) == (0, "")
    for words in (
        "2 homes read alike: elm, oak",
        "files: CSV, ';' between cells, UTF-8",
        "times: Zeit, YYYY-MM-DD hh:mm; zone UTC",
        "load (kWh)  kWh; decimal comma",
        "heat, off",
        "2024-01-03 23:00   1 h     0",
        "carry no offset and were read as UTC",
    ):
        assert words in said.stdout
    assert "a run would learn" not in said.stdout


def test_numbers_that_are_typed_as_such_are_told_by_their_unit_alone(homes: Path) -> None:
    (homes / "elm.csv").unlink()
    (homes / "oak.csv").unlink()
    times = pa.array(np.datetime64("2024-01-01T00", "s") + np.arange(72).astype("timedelta64[h]"))
    pq.write_table(
        pa.table({"time": times, "load_kwh": np.arange(72) % 7.5}), homes / "fir.parquet"
    )
    assert "load_kwh  kWh     " in check(homes).stdout


def test_with_a_target_it_says_what_a_run_would_learn_from(homes: Path) -> None:
    said = check(homes, "--set", "data.target=load (kWh)", "--set", "data.lags=[1]")
    assert said.returncode == 0
    assert "a run would learn load (kWh) from mode, and earlier values: 10 inputs" in said.stdout
    assert "load (kWh) holds numbers; one step ahead (data.horizon = 1)" in said.stdout
    said = check(homes, "--set", "data.target=laod")
    assert said.returncode == 1
    assert "it lacks column laod" in said.stderr


def test_it_says_that_so_few_homes_would_be_refused_as_the_simulation_does(homes: Path) -> None:
    settings = ("--set", "data.target=load (kWh)", "--set", "data.lags=[1]")
    told = "2 homes are asked, but no sum is opened over fewer than 5"
    assert told in " ".join(check(homes, *settings).stdout.split())
    said = fedhome("simulate", "--data", "homes", *settings, folder=homes.parent)
    assert told in said.stderr
    plain = check(homes, *settings, "--set", "aggregation.mode=plain").stdout
    assert "refused" not in plain
    assert "2 homes, " in plain


def test_a_home_that_is_left_out_is_told_once(homes: Path) -> None:
    (homes / "fir.csv").write_text("Zeit;other\n2024-01-01 00:00;1\n2024-01-01 01:00;2\n")
    said = check(homes, "--set", "data.target=load (kWh)", "--set", "data.lags=[1]").stdout
    assert said.count("left out: fir: it lacks column load (kWh)") == 1
    assert "it has 'other': set data.target" in said


def test_a_column_that_holds_nothing_in_a_home_is_not_said_to_be_in_all(homes: Path) -> None:
    home(homes, "fir", [""] * 72)
    assert "all homes have: mode\n" in check(homes).stdout
    (homes / "fir.csv").write_text("Zeit;other\n2024-01-01 00:00;1\n2024-01-01 01:00;2\n")
    assert "no column is in all homes: where some call" in check(homes).stdout


def test_a_home_that_cannot_be_used_is_named_with_what_to_do(homes: Path) -> None:
    home(
        homes, "fir", [f"{number}" if place else "1,896" for place, number in enumerate(numbers())]
    )
    home(homes, "ash", ["1,896", *["896"] * 71])
    said = check(homes)
    assert said.returncode == 0
    assert "left out: ash: ash.csv" in said.stdout
    assert "data.decimal" in said.stdout
    assert "896" not in said.stdout.partition("left out")[2]  # no cell is shown


def test_its_json_holds_every_number(homes: Path) -> None:
    home(homes, "gap", [*numbers(10), "", *numbers(20)])
    said = check(homes, "--json", "--set", "data.target=load (kWh)", "--set", "data.lags=[1]")
    told = json.loads(said.stdout)
    by_name = {report["home"]: report for report in told["homes"]}
    assert set(by_name) == {"elm", "gap", "oak"}
    elm = by_name["elm"]
    assert (elm["rows_read"], elm["rows_kept"]) == (72, 72)
    assert elm["time"]["step_s"] == 3600
    load, mode = elm["columns"]
    assert (load["first"], load["last"], load["least"], load["greatest"]) == (0.0, 1.1, 0.0, 6.9)
    assert (load["unit"], load["kind"], load["missing"]) == ("kWh", "number", 0)
    assert mode["words"] == ["heat", "off"]
    assert by_name["gap"]["columns"][0]["missing"] == 1
    assert told["plan"]["inputs"] == ["mode"]
    assert sum(told["plan"]["examples"]["elm"]) > 0


def test_it_draws_the_target_with_its_gaps(homes: Path) -> None:
    said = check(homes, "--set", "data.target=load (kWh)", "--plot", "drawn.html")
    assert "drawn in drawn.html" in said.stdout
    page = (homes.parent / "drawn.html").read_text("utf-8")
    assert "elm" in page
    assert "default-src 'none'" in page  # it fetches nothing


def test_what_was_understood_is_written_and_read_back_the_same(homes: Path) -> None:
    said = fedhome("data", "convert", "homes", "out", folder=homes.parent)
    assert (said.returncode, said.stderr) == (0, "")
    assert (homes.parent / "out").stat().st_mode & 0o777 == 0o700
    before, after = (read_folder(folder).homes for folder in (homes, homes.parent / "out"))
    for first, second in zip(before, after, strict=True):
        assert (first.home, first.units, first.labels) == (second.home, second.units, second.labels)
        np.testing.assert_array_equal(first.time_s, second.time_s)
        for name, values in first.columns.items():
            np.testing.assert_array_equal(values, second.columns[name])
    again = fedhome("data", "convert", "homes", "out", folder=homes.parent)
    assert again.returncode == 1
    assert "out is there already" in again.stderr
    assert "name a folder that is not there yet" in again.stderr


def test_units_flags_and_zones_survive_in_a_file_of_our_own(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text(
        "time,room [°C],door\n2024-01-01T00:00,20.5,true\n2024-01-01T01:00,,false\n"
        "2024-01-01T02:00,21,\n",
        encoding="utf-8",
    )
    (tmp_path / "homes.toml").write_text('[a]\ntime_zone = "Europe/Oslo"\n', encoding="utf-8")
    said = fedhome("data", "convert", ".", "out", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    table = read_home(tmp_path / "out" / "a.parquet").table
    assert table.time_zone == "Europe/Oslo"
    assert table.units == {"room [°C]": "°C"}
    assert table.flags == {"door"}
    np.testing.assert_array_equal(table.columns["door"], [1, 0, np.nan])


@pytest.mark.parametrize("columns", [80, 45])
def test_it_can_be_read_in_narrow_terminals(homes: Path, columns: int) -> None:
    console = Console(width=columns, record=True)
    print_homes(console, read_folder(homes))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= columns
    assert any("load (kWh)" in line for line in lines)


def test_a_name_that_a_table_has_no_room_for_is_not_broken(homes: Path) -> None:
    (report, *_) = read_folder(homes).reports
    long = "sensor.living_room_temperature_and_humidity"
    columns = (replace(report.columns[0], name=long), *report.columns[1:])
    console = Console(width=80, record=True)
    print_alike(console, [replace(report, columns=columns)])
    said = console.export_text()
    assert f"{long}: " in said
    assert "first " in said


def test_one_jump_is_one(homes: Path) -> None:
    read = read_folder(homes)
    for count, told in ((1, ", 1 jump"), (2, ", 2 jumps")):
        (oak,) = (report for report in read.reports if report.home == "oak")
        load = next(column for column in oak.columns if column.kind == "number")
        columns = (replace(load, jumps=count),)
        console = Console(width=60, record=True)
        print_alike(console, [replace(oak, columns=columns)])
        assert told + "\n" in console.export_text()


def test_what_to_do_about_an_irregular_clock_reaches_the_one_who_simulates(tmp_path: Path) -> None:
    folder = tmp_path / "homes"
    folder.mkdir()
    for name in ("elm", "oak"):
        rows = (
            f"2024-01-01T{9 + (place * place) // 60:02d}:{place * place % 60:02d}:00Z,{place}"
            for place in range(24)
        )
        (folder / f"{name}.csv").write_text("\n".join(["time,load", *rows]), encoding="utf-8")
    settings = ("--set", "data.target=load", "--set", "data.lags=[1]")
    said = fedhome("data", "check", "homes", *settings, folder=tmp_path)
    assert said.returncode == 1
    assert "a run with this plan would fail" in said.stdout
    assert "set data.step = " in said.stdout
    plain = ("--set", "aggregation.mode=plain")  # two homes are too few for sums
    said = fedhome("simulate", "--data", "homes", *settings, *plain, folder=tmp_path)
    assert said.returncode == 1
    assert "keep no regular clock" in said.stderr
    assert "data.step=" in said.stderr


def test_a_conversion_that_fails_leaves_nothing_that_passes_for_all_homes(
    homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = list[str]()

    def write_home(table: HomeTable, path: Path) -> None:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(table.home)
        path.write_bytes(b"a home")

    monkeypatch.setattr("fedhome.data.files.home_parquet.write_home", write_home)
    before = sorted(homes.parent.iterdir())
    said = fedhome("data", "convert", "homes", "out", folder=homes.parent)
    assert (said.returncode, len(written)) == (1, 1)
    assert "out: No space left on device" in said.stderr
    assert "make room, then try again" in said.stderr
    assert sorted(homes.parent.iterdir()) == before


def test_readings_that_are_yet_to_come_are_told(
    homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dates read in the wrong order lie ahead, as those of a clock that is ahead do."""
    newest = datetime(2024, 1, 3, 23, tzinfo=UTC).timestamp()
    monkeypatch.setattr("fedhome.cli.ages.now", lambda: newest - 48 * 3600)
    note = (
        "elm, oak: its newest reading is 2 days ahead of this device's clock: check that, and the "
        "readings' time zone, or the order of its dates"
    )
    assert note in " ".join(check(homes).stdout.split())
    assert note in json.loads(check(homes, "--json").stdout)["notes"]
    monkeypatch.setattr("fedhome.cli.ages.now", lambda: newest)
    assert "ahead of" not in check(homes).stdout
