"""Named sets: their readers on files of our own in the publishers' form, and on real copies."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from fedhome.data.table import HomeTable
from fedhome.errors import PluginError, SourceError
from fedhome.plan.settings import Plan
from fedhome.simulations.datasets import CATALOGUE, DataSet, download, get, load, named
from fedhome.simulations.datasets.robod import READINGS
from fedhome.simulations.datasets.wisdm import ACTIVITIES, FEATURES

_ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("FEDHOME_SHARED", _ROOT.parent / "shared")) / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no real copies on this machine")


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


def archive(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as target:
        for name, content in files.items():
            target.writestr(name, content)
    return path


def shared_table(name: str) -> pa.Table:
    return pyarrow.csv.read_csv(SHARED / name)


def csv_bytes(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pyarrow.csv.write_csv(table, stream)
    return stream.getvalue()


# --- the catalogue


def test_every_set_is_described_completely() -> None:
    assert list(CATALOGUE) == [
        "energy-homes17",
        "wisdm51",
        "comfort-people",
        "ashrae-db2",
        "robod",
        "occupancy-uci",
        "appliances-uci",
    ]
    for name, dataset in CATALOGUE.items():
        assert dataset.name == name
        assert dataset.citation
        assert dataset.licence
        assert dataset.page.startswith("https://")
        assert all(remote.url.startswith("https://") for remote in dataset.remotes)
        assert f"fedhome data get {name} --from" in dataset.manual


@pytest.mark.parametrize("dataset", CATALOGUE.values(), ids=lambda item: item.name)
def test_the_suggested_settings_make_a_plan(dataset: DataSet) -> None:
    plan = Plan.load(sets=[f"data.source={dataset.name}", *dataset.train])
    assert plan.data.target in dataset.columns
    assert plan.data.calendar <= dataset.timed


def test_an_unknown_set_is_refused_with_the_names() -> None:
    with pytest.raises(PluginError, match="no data set 'mnist'") as error:
        named("mnist")
    assert "energy-homes17" in error.value.hint


# --- parsers, on small files in the publishers' form

CITYLEARN = "citylearn/data/citylearn_challenge_2022_phase_all/"
BUILDING = "Month,Hour,Day Type,Equipment Electric Power [kWh],Solar Generation [W/kW]\n"
WEATHER = (
    "Outdoor Drybulb Temperature [C],Relative Humidity [%],"
    "Diffuse Solar Radiation [W/m2],Direct Solar Radiation [W/m2]\n"
)


def wheel(path: Path, homes: dict[int, str], weather: str) -> Path:
    files: dict[str, str | bytes] = {
        f"{CITYLEARN}Building_{home}.csv": BUILDING + rows for home, rows in homes.items()
    }
    other = "citylearn/data/citylearn_challenge_2021/Building_1.csv"
    return archive(path, files | {f"{CITYLEARN}weather.csv": WEATHER + weather, other: "x\n"})


def test_energy_rows_are_hours_of_pacific_standard_time(tmp_path: Path) -> None:
    homes = {10: "7.0,24.0,7,1.5,0\n8.0,1.0,1,2.5,300\n", 2: "7,24,7,3,0\n8,1,1,4,310.5\n"}
    path = wheel(tmp_path / "w.whl", homes, "20,84,1,2\n21,80,3,4\n")
    second, tenth = CATALOGUE["energy-homes17"].read(path)
    assert (second.home, tenth.home) == ("home-02", "home-10")
    # 31 July 2016, 23:00 at eight hours behind UTC
    assert tenth.time_s.tolist() == [utc(2016, 8, 1, 7), utc(2016, 8, 1, 8)]
    assert tenth.columns["load_kwh"].tolist() == [1.5, 2.5]
    assert second.columns["solar_w_per_kw"].tolist() == [0, 310.5]
    assert second.columns["direct_w_m2"].tolist() == [2, 4]


def test_energy_rows_that_are_not_hourly_are_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path / "w.whl", {1: "7,24,7,1,0\n8,2,1,2,0\n"}, "20,84,1,2\n21,80,3,4\n")
    with pytest.raises(SourceError, match="not hourly"):
        list(CATALOGUE["energy-homes17"].read(path))


def arff(person: int, rows: list[tuple[str, list[float]]]) -> str:
    names = "".join(f'@attribute "{name}" numeric\n' for name in FEATURES)
    codes = "{ " + ", ".join(ACTIVITIES) + " }"
    lines = "".join(f"{code},{','.join(map(str, row))},{person}\n" for code, row in rows)
    head = f'@relation person\n\n@attribute "ACTIVITY" {codes}\n{names}@attribute "class" numeric'
    return f"{head}\n\n@data\n\n{lines}"


def test_wisdm_is_read_from_the_archive_inside_the_archive(tmp_path: Path) -> None:
    folder = "wisdm-dataset/arff_files/watch/"
    rows = [("A", [float(place) for place in range(91)]), ("S", [0.5] * 91)]
    inner = archive(
        tmp_path / "inner.zip",
        {
            f"{folder}accel/data_1600_accel_watch.arff": arff(1600, rows),
            f"{folder}gyro/data_1600_gyro_watch.arff": "not read",
            f"__MACOSX/{folder}accel/._data_1600_accel_watch.arff": "not read",
        },
    )
    outer = archive(tmp_path / "outer.zip", {"wisdm-dataset.zip": inner.read_bytes()})
    (person,) = CATALOGUE["wisdm51"].read(outer)
    assert person.home == "1600"
    assert person.columns["X0"].tolist() == [0, 0.5]
    assert person.columns["RESULTANT"].tolist() == [90, 0.5]
    classes = person.labels["activity"]
    assert len(classes) == 18
    assert [classes[int(code)] for code in person.columns["activity"]] == ["walking", "folding"]


def test_an_unknown_activity_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data_1600_accel_watch.arff"
    path.write_text(arff(1600, [("N", [0.0] * 91)]))
    with pytest.raises(SourceError, match="other than A to S"):
        list(CATALOGUE["wisdm51"].read(path))


def test_comfort_votes_become_classes_and_faulty_readings_missing(tmp_path: Path) -> None:
    dataset = CATALOGUE["comfort-people"]
    names = [*list(dataset.columns)[:-1], "thermal_cozie", "time", "user_id"]
    lines = [",".join(names)]
    for minute in range(90):
        values = {"thermal_cozie": "9.0", "user_id": "ann " if minute else "ann"}
        values["time"] = f"2019-10-01 {minute // 60:02d}:{minute % 60:02d}:30.250000+00:00"
        values["co2_sensing"] = "-99.0" if minute == 1 else "500"
        lines.append(",".join(values.get(name, "") for name in names))
    lines.append(lines[1].replace("9.0", "").replace("00:00:30", "05:00:00"))
    lines.append(lines[1].replace("ann", "bob"))
    path = tmp_path / dataset.remotes[0].name
    path.write_text("\n".join(lines))
    (ann,) = dataset.read(path)
    assert (ann.home, ann.rows) == ("ann", 90)
    assert ann.time_s[0] == utc(2019, 10, 1, 0, 0, 30)
    assert {ann.labels["preference"][int(vote)] for vote in ann.columns["preference"]} == {"warmer"}
    np.testing.assert_array_equal(ann.columns["co2_sensing"][:3], [500, np.nan, 500])


def test_ashrae_buildings_are_ordered_by_day_and_named_by_kind(tmp_path: Path) -> None:
    dataset = CATALOGUE["ashrae-db2"]
    names = ["building_id", "timestamp", "thermal_preference", *list(dataset.columns)[:-1]]
    lines = [",".join(names)]
    days = ["1995-05-19T00:00:00Z", "1995-05-18T00:00:00Z"] * 50
    lines += [f"7,{day},cooler,{place},,,,,,20" for place, day in enumerate(days)]
    lines += ["7,1995-05-18T00:00:00Z,,99,,,,,,", "8,,warmer,1,,,,,,"]
    packed = gzip.compress("\n".join(lines).encode())
    (tmp_path / "db_measurements_v2.1.0.csv.gz").write_bytes(packed)
    (tmp_path / "db_metadata.csv").write_text("building_id,building_type\n7,senior center\n8,\n")
    (home,) = dataset.read(tmp_path)
    assert (home.home, home.rows) == ("senior-center-007", 100)
    assert home.columns["ta"].tolist() == [*range(1, 100, 2), *range(0, 100, 2)]
    assert home.labels["thermal_preference"] == ("cooler", "no change", "warmer")


def robod_csv(times: list[str]) -> str:
    names = ["timestamp", *READINGS.values(), "occupant_presence [binary]"]
    rows = [f"{time}{',1.5' * len(READINGS)},1" for time in times]
    return "\n".join([",".join(names), *rows])


def test_robod_times_are_those_of_singapore(tmp_path: Path) -> None:
    dataset = CATALOGUE["robod"]
    (tmp_path / "combined_Room4.csv").write_text(robod_csv(["2021-09-07 00:05 +08:00"]))
    (room,) = dataset.read(tmp_path)
    assert room.home == "room-4"
    assert room.time_s.tolist() == [utc(2021, 9, 6, 16, 5)]
    assert room.columns["occupied"].tolist() == [1]
    assert set(room.columns) == set(dataset.columns)
    (tmp_path / "combined_Room4.csv").write_text(robod_csv(["2021-09-07 00:05"]))
    with pytest.raises(SourceError, match="Singapore"):
        list(dataset.read(tmp_path))


OCCUPANCY_HEADER = '"date","Temperature","Humidity","Light","CO2","HumidityRatio","Occupancy"\n'


def test_occupancy_files_are_joined_in_time(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "datatraining.txt": '"1","2015-02-04 17:51:00",23.18,27.272,426,721.25,0.0048,1\n',
        "datatest.txt": '"140","2015-02-02 14:19:00",23.7,26.272,585.2,749.2,0.00476,1\n',
        "datatest2.txt": '"1","2015-02-11 14:48:00",21.76,31.13,437.33,1029.67,0.005,0\n',
    }
    path = archive(
        tmp_path / "o.zip", {name: OCCUPANCY_HEADER + str(row) for name, row in files.items()}
    )
    (room,) = CATALOGUE["occupancy-uci"].read(path)
    assert room.time_s.tolist() == [
        utc(2015, 2, 2, 13, 19),
        utc(2015, 2, 4, 16, 51),
        utc(2015, 2, 11, 13, 48),
    ]
    assert room.columns["Light"].tolist() == [585.2, 426, 437.33]
    assert room.columns["Occupancy"].tolist() == [1, 1, 0]


def test_appliances_with_every_cell_in_quotes(tmp_path: Path) -> None:
    dataset = CATALOGUE["appliances-uci"]
    names = ["date", *dataset.columns, "rv1", "rv2"]
    cells = ["2016-01-11 17:00:00", *map(str, range(len(names) - 1))]
    text = "\n".join(",".join(f'"{cell}"' for cell in row) for row in (names, cells))
    path = archive(tmp_path / "a.zip", {"energydata_complete.csv": text})
    (house,) = dataset.read(path)
    assert house.time_s.tolist() == [utc(2016, 1, 11, 16)]
    assert house.columns["Appliances"].tolist() == [0]
    assert house.columns["Tdewpoint"].tolist() == [len(dataset.columns) - 1]


@pytest.mark.parametrize("dataset", CATALOGUE.values(), ids=lambda item: item.name)
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"a,b\n1,2\n"])
def test_another_file_is_refused(tmp_path: Path, dataset: DataSet, content: bytes) -> None:
    file = tmp_path / "other.zip"
    file.write_bytes(content)
    with pytest.raises(SourceError) as error:
        list(dataset.read(file))
    assert error.value.hint


@pytest.mark.parametrize("header", ["time,user_id\n2019,x\n", "\x00"])
def test_the_right_name_with_other_columns_is_refused(tmp_path: Path, header: str) -> None:
    dataset = CATALOGUE["comfort-people"]
    file = tmp_path / dataset.remotes[0].name
    file.write_text(header)
    with pytest.raises(SourceError, match="not the file of this data set"):
        list(dataset.read(file))


# --- real copies, put back into the publishers' form


def same(table: HomeTable, name: str, expected: Any) -> None:
    # The copies keep six significant digits.
    np.testing.assert_allclose(table.columns[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.long
@needs_shared
def test_energy_homes_are_those_of_the_real_copy(tmp_path: Path) -> None:
    homes, weather = (
        shared_table(f"energy_homes17/{name}.csv.gz") for name in ("homes", "weather")
    )
    names = ["Hour", "Equipment Electric Power [kWh]", "Solar Generation [W/kW]"]
    theirs = homes.select(["hour", "load_kwh", "solar_w_per_kw"]).rename_columns(names)
    number = homes["home"].to_numpy()
    files: dict[str, str | bytes] = {
        f"{CITYLEARN}Building_{home}.csv": csv_bytes(theirs.filter(pa.array(number == home)))
        for home in range(1, 18)
    }
    columns = WEATHER.strip().split(",")
    sky = weather.select(["temp_c", "rh", "diffuse_w_m2", "direct_w_m2"]).rename_columns(columns)
    path = archive(tmp_path / "w.whl", files | {f"{CITYLEARN}weather.csv": csv_bytes(sky)})
    get("energy-homes17", cache=tmp_path, file=path)
    check_energy(load("energy-homes17", cache=tmp_path))


def check_energy(tables: list[HomeTable]) -> None:
    homes, weather = (
        shared_table(f"energy_homes17/{name}.csv.gz") for name in ("homes", "weather")
    )
    assert [table.home for table in tables] == [f"home-{home:02d}" for home in range(1, 18)]
    for number, table in enumerate(tables, 1):
        own = homes.filter(pa.array(homes["home"].to_numpy() == number))
        same(table, "load_kwh", own["load_kwh"].to_numpy())
        same(table, "solar_w_per_kw", own["solar_w_per_kw"].to_numpy())
        for name in ("temp_c", "rh", "diffuse_w_m2", "direct_w_m2"):
            same(table, name, weather[name].to_numpy())
        # The table's own clock says what the file calls the hour before its end.
        local = (table.time_s // 3600 - 8) % 24
        np.testing.assert_array_equal((local + 1) % 24, own["hour"].to_numpy() % 24)
        weekday = ((table.time_s - 8 * 3600) // 86_400 + 3) % 7 + 1
        np.testing.assert_array_equal(weekday, own["day_type"].to_numpy())


@pytest.mark.slow
@needs_shared
def test_energy_homes_from_the_real_wheel(tmp_path: Path) -> None:
    try:
        get("energy-homes17", cache=tmp_path)
    except SourceError as error:
        if "could not be downloaded" in error.message:
            pytest.skip(error.message)
        raise
    check_energy(load("energy-homes17", cache=tmp_path))


@pytest.mark.long
@needs_shared
def test_wisdm_people_are_those_of_the_real_copy(tmp_path: Path) -> None:
    copy = pq.read_table(SHARED / "wisdm51/watch_accel.parquet")
    subjects = copy["subject"].to_numpy()
    names = ["ACTIVITY", *FEATURES]
    head = "\n".join(f'@attribute "{name}" x' for name in names)
    for person in np.unique(subjects):
        own = copy.filter(pa.array(subjects == person)).select(["activity_code", *FEATURES])
        rows = csv_bytes(own).partition(b"\n")[2]
        path = tmp_path / f"data_{person}_accel_watch.arff"
        path.write_bytes(f"@relation x\n{head}\n@data\n".encode() + rows)
    tables = {table.home: table for table in CATALOGUE["wisdm51"].read(tmp_path)}
    assert len(tables) == CATALOGUE["wisdm51"].homes
    assert sum(table.rows for table in tables.values()) == CATALOGUE["wisdm51"].rows
    own = copy.filter(pa.array(subjects == 1650))
    table = tables["1650"]
    same(table, "ZMFCC12", own["ZMFCC12"].to_numpy())
    classes = table.labels["activity"]
    assert [classes[int(code)] for code in table.columns["activity"]] == own["activity"].to_pylist()


@pytest.mark.long
@needs_shared
def test_comfort_people_are_those_of_the_real_copy(tmp_path: Path) -> None:
    dataset = CATALOGUE["comfort-people"]
    path = tmp_path / dataset.remotes[0].name
    path.write_bytes(gzip.decompress((SHARED / "comfort_people/cozie30.csv.gz").read_bytes()))
    get(dataset.name, cache=tmp_path, file=path)
    tables = load(dataset.name, cache=tmp_path)
    votes = np.concatenate([table.columns["preference"] for table in tables])
    assert tables[0].labels["preference"][1] == "no change"
    assert len(tables) == 31
    assert np.mean(votes == 1) == pytest.approx(0.64, abs=0.05)


@pytest.mark.long
@needs_shared
def test_ashrae_buildings_are_those_of_the_real_copy(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("db_measurements_v2.1.0.csv.gz", "db_metadata.csv.gz"):
        (source / name).symlink_to(SHARED / "ashrae_db2" / name)
    get("ashrae-db2", cache=tmp_path, file=source)
    tables = load("ashrae-db2", cache=tmp_path)
    assert len(tables) == 185
    assert sum(table.home.startswith("multifamily-housing-") for table in tables) == 19
    assert min(table.rows for table in tables) >= 100


@pytest.mark.long
@needs_shared
def test_robod_rooms_are_those_of_the_real_copy(tmp_path: Path) -> None:
    copy = shared_table("robod/rooms.csv.gz")
    rooms = copy["room"].to_numpy()
    # The fourth room of the copy lacks columns that the published file has.
    for room in (1, 2, 3):
        own = copy.filter(pa.array(rooms == room)).drop_columns("room")
        clock = [f"{time:%Y-%m-%d %H:%M} +08:00" for time in own["timestamp"].to_pylist()]
        own = own.set_column(own.column_names.index("timestamp"), "timestamp", pa.array(clock))
        (tmp_path / f"combined_Room{room}.csv").write_bytes(csv_bytes(own))
    tables = list(CATALOGUE["robod"].read(tmp_path))
    shares = [round(float(np.mean(table.columns["occupied"])), 2) for table in tables]
    assert [table.rows for table in tables] == [8352] * 3
    assert shares == [0.21, 0.28, 0.40]


@pytest.mark.long
@needs_shared
def test_the_office_is_that_of_the_real_copy(tmp_path: Path) -> None:
    copy = shared_table("occupancy_uci/occupancy.csv.gz")
    part = np.array(copy["part"].to_pylist())
    files: dict[str, str | bytes] = {}
    for name, own in (("datatraining", "train"), ("datatest", "test1"), ("datatest2", "test2")):
        rows = copy.filter(pa.array(part == own)).drop_columns("part")
        numbered = rows.add_column(0, "row", pa.array(range(rows.num_rows)))
        files[f"{name}.txt"] = OCCUPANCY_HEADER.encode() + csv_bytes(numbered).partition(b"\n")[2]
    get("occupancy-uci", cache=tmp_path, file=archive(tmp_path / "o.zip", files))
    (office,) = load("occupancy-uci", cache=tmp_path)
    order = np.argsort(copy["date"].to_numpy(), kind="stable")
    same(office, "CO2", copy["CO2"].to_numpy()[order])
    same(office, "Occupancy", copy["Occupancy"].to_numpy()[order])


@pytest.mark.long
@needs_shared
def test_the_house_is_that_of_the_real_copy(tmp_path: Path) -> None:
    content = gzip.decompress((SHARED / "appliances_uci/appliances.csv.gz").read_bytes())
    path = archive(tmp_path / "a.zip", {"energydata_complete.csv": content})
    get("appliances-uci", cache=tmp_path, file=path)
    (house,) = load("appliances-uci", cache=tmp_path)
    copy = shared_table("appliances_uci/appliances.csv.gz")
    for name in house.columns:
        same(house, name, copy[name].to_numpy())
    assert set(np.diff(house.time_s)) == {600}


def test_nothing_of_the_current_folder_runs_in_place_of_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another account may have put it there, as in /tmp; the control is Python without ``-P``."""
    here, ran = tmp_path / "here", tmp_path / "ran"
    here.mkdir()
    (here / "pip.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    monkeypatch.chdir(here)
    asked = replace(named("energy-homes17"), wheel="= no requirement =")
    with pytest.raises(SourceError):
        download._pip_download(asked, tmp_path)
    assert not ran.exists()
    subprocess.run([sys.executable, "-m", "pip"], check=True)
    assert ran.exists()
