"""Home Assistant's database as a home's readings: numbers by hand, and what must not be shown."""

from __future__ import annotations

import lzma
import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from fedhome.data.files.held_states import NOTHING, RowSpans, lasts_of, means_of, pieces_of
from fedhome.data.files.home_assistant_entities import facts_of, is_name, number_of
from fedhome.data.home_files import HomeFilesRead, read_home
from fedhome.data.homes_folder import read_folder
from fedhome.data.late_inputs import late_columns
from fedhome.data.table import HomeTable
from fedhome.errors import EmptyFleetError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.reading_settings import ReadingSettings
from helpers.assistant_database import BEGIN, HOUR, AssistantDatabase
from helpers.command import fedhome
from helpers.shared_cases import SHARED

MIN = 60
NAN = math.nan


def column(read: HomeFilesRead, name: str) -> list[float | str | None]:
    """Return a column as words or numbers, None where nothing is known."""
    values, words = read.table.columns[name], read.table.labels.get(name)
    cells = [None if math.isnan(value) else value for value in values.tolist()]
    return [words[int(one)] if words and one is not None else one for one in cells]


def hours(read: HomeFilesRead) -> list[int]:
    """Return each row's hour since the beginning."""
    return ((read.table.time_s - BEGIN) // HOUR).tolist()


@pytest.fixture
def database(tmp_path: Path) -> AssistantDatabase:
    return AssistantDatabase(tmp_path / "home" / "home-assistant_v2.db")


# --- hours


def test_a_row_is_an_hour_of_means_counted_energy_and_last_states(
    database: AssistantDatabase,
) -> None:
    database.statistics("sensor.power", {0: 100.0, 1: 200.0, 2: 300.0, 5: 50.0}, unit="W")
    sums = {0: 1000.0, 1: 1001.5, 2: 1001.5, 5: 1009.0, 6: 1009.25}
    database.statistics("sensor.energy", sums, unit="kWh", counts=True)
    power = [(5 * HOUR, "50"), (6 * HOUR, "70"), (6.5 * HOUR, "90")]
    database.states("sensor.power", power, unit_of_measurement="W")
    database.states("binary_sensor.door", [(5 * HOUR + 10, "off"), (6 * HOUR - 10, "on")])
    database.states("light.hall", [(5 * HOUR, "on"), (7 * HOUR + 1, "off")])
    database.close()
    read = read_home(database.path)
    assert hours(read) == [0, 1, 2, 5, 6]  # hour 7 has not ended
    assert column(read, "sensor.power") == [100, 200, 300, 50, 80]  # the last from its states
    # Hour 5 follows on hour 2: what it counted is not known.
    assert column(read, "sensor.energy") == [None, 1.5, 0, None, 0.25]
    assert column(read, "binary_sensor.door") == [None, None, None, "on", "on"]
    assert column(read, "light.hall") == [None, None, None, "on", "on"]
    assert read.table.units == {"sensor.power": "W", "sensor.energy": "kWh"}
    assert read.table.time_zone == "UTC"
    told = " | ".join(read.notes)
    assert "of what counts up (sensor.energy) what it counted" in told
    assert "states go back to 2026-03-02" in told
    assert "data.time_zone names the zone" in told
    assert read.report is not None
    assert read.report.files == ("home-assistant_v2.db: database of Home Assistant (schema 53)",)


def test_steps_shorter_than_an_hour_read_five_minutes(database: AssistantDatabase) -> None:
    database.statistics("sensor.power", {0: 100.0}, unit="W")
    short = {0: 10.0, 1: 20.0, 11: 30.0}
    database.statistics("sensor.power", short, unit="W", every_s=300)
    database.states("switch.pump", [(0, "off"), (10 * MIN, "on"), (14 * MIN, "off")])
    database.states("sun.sun", [(61 * MIN, "above_horizon")])
    database.close()
    read = read_home(database.path, step="15min")
    assert ((read.table.time_s - BEGIN) // 300).tolist() == list(range(12))
    assert column(read, "sensor.power")[:3] == [10, 20, None]
    assert column(read, "switch.pump")[:4] == ["off", "off", "off", "off"]
    settings = ReadingSettings(time_zone="Europe/Berlin")
    by_hour = read_home(database.path, step="1d", settings=settings)
    assert hours(by_hour) == [0]
    assert by_hour.table.time_zone == "Europe/Berlin"
    assert not [note for note in by_hour.notes if "zone" in note]


def test_a_value_holds_until_nothing_is_known(database: AssistantDatabase) -> None:
    states = [(0, "10"), (30 * MIN, "20"), (2 * HOUR, "unavailable"), (5 * HOUR, "40")]
    database.states("sensor.temp", states, unit_of_measurement="°C")
    database.states("lock.door", [(0, "locked"), (2.5 * HOUR, "unknown"), (5 * HOUR, None)])
    database.states("sensor.clock", [(6 * HOUR, "1")], unit_of_measurement="s")
    database.close()
    read = read_home(database.path)
    assert hours(read) == [0, 1, 2, 5]
    assert column(read, "sensor.temp") == [15, 20, None, 40]
    assert column(read, "lock.door") == ["locked", "locked", "locked", None]


@pytest.mark.parametrize("torn", [False, True])
def test_nothing_holds_while_home_assistant_did_not_run(
    database: AssistantDatabase, torn: bool
) -> None:
    """Of a run that was cut off, its last written state is its end."""
    database.states("sensor.temp", [(0, "10"), (5 * HOUR, "30")], unit_of_measurement="°C")
    database.states("sensor.other", [(HOUR, "1"), (6 * HOUR, "2")], unit_of_measurement="W")
    database.run(
        "2026-03-01 23:00:00.5", "2026-03-02 05:00:00" if torn else "2026-03-02 01:00:00", torn=torn
    )
    database.run("2026-03-02 05:00:00.000000", None)
    database.close()
    read = read_home(database.path)
    assert hours(read) == [0, 5]
    assert column(read, "sensor.temp") == [10, 30]


def test_a_day_without_any_row_is_one_in_which_nothing_ran(database: AssistantDatabase) -> None:
    """A clock that was not set yet wrote its rows years before."""
    early = -10 * 365 * 24 * HOUR
    states = [(early, "9"), (early + HOUR, "9"), (0, "10"), (2 * HOUR, "20"), (40 * HOUR, "30")]
    database.states("sensor.temp", [*states, (41 * HOUR, "30")], unit_of_measurement="°C")
    database.close()
    read = read_home(database.path)
    assert set(hours(read)) & set(range(-100_000, 40)) >= {0, 1, 2}
    assert not set(hours(read)) & set(range(4, 40))
    assert len(hours(read)) < 8


# --- units and kinds


def test_states_in_another_unit_are_converted_row_by_row(database: AssistantDatabase) -> None:
    """A unit that is changed in Home Assistant leaves the rows before as they were."""
    kwh = [(0, "1.5"), (30 * MIN, "2.5")]
    database.states("sensor.porch_f", [(0, "50")], unit_of_measurement="°F")
    database.states("sensor.porch_f", [(HOUR, "20"), (2 * HOUR, "21")], unit_of_measurement="°C")
    database.states("sensor.odd_w", kwh, unit_of_measurement="kWh")
    database.states("sensor.odd_w", [(HOUR, "7"), (2 * HOUR, "x")], unit_of_measurement="m³")
    database.states("sensor.count_c", [(0, "4"), (3 * HOUR, "4")])
    database.close()
    read = read_home(database.path)
    assert column(read, "sensor.porch_f") == pytest.approx([10, 20, 21])
    assert column(read, "sensor.odd_w") == [None, 7, None]
    # Names say nothing of units: this one would be in °F, in W, and in °C.
    assert read.table.units == {"sensor.porch_f": "°C", "sensor.odd_w": "m³"}
    told = " | ".join(read.notes)
    assert "sensor.porch_f: 1 state in °F was converted to °C" in told
    assert "sensor.odd_w: 2 states in kWh were left out: its readings are in m³" in told
    assert "sensor.odd_w: 1 state that was no number was taken for missing" in told


def test_statistics_keep_their_unit_and_states_go_on_in_it(database: AssistantDatabase) -> None:
    database.statistics("sensor.temp", {0: 20.0, 1: 21.0}, unit="°C")
    database.states("sensor.temp", [(HOUR, "68")], unit_of_measurement="°F")
    database.states("sensor.temp", [(2.5 * HOUR, "86"), (3 * HOUR, "86")], unit_of_measurement="°F")
    database.close()
    read = read_home(database.path)
    # Half an hour of 20 °C, which it was before, and half an hour of 30 °C.
    assert column(read, "sensor.temp") == pytest.approx([20, 21, 25])


def test_a_sum_that_falls_is_no_reading_of_what_only_rises(database: AssistantDatabase) -> None:
    sums = {0: 500.0, 1: 501.0, 2: 0.0, 3: 2.0}
    for name in ("sensor.meter", "sensor.balance"):
        database.statistics(name, sums, unit="kWh", counts=True)
    database.states("sensor.meter", [(4 * HOUR, "2")], state_class="total_increasing")
    database.states("sensor.balance", [(4 * HOUR, "2")], state_class="total")
    database.close()
    read = read_home(database.path)
    assert column(read, "sensor.meter") == [1, None, 2]
    assert column(read, "sensor.balance") == [1, -501, 2]


def test_what_is_no_reading_or_any_text_is_left_out_and_never_shown(
    database: AssistantDatabase,
) -> None:
    street = "12 Private Street"
    hour = [0, HOUR, 2 * HOUR]
    shown = {"friendly_name": street, "latitude": 52.1, "user_id": street}
    database.states("sensor.address", [(at, f"{street} {at}") for at in hour], **shown)
    database.states("sensor.next_alarm", [(0, "2026-01-01T00:00:00")], device_class="timestamp")
    database.states("sensor.meter", [(0, "1")], state_class="total_increasing", **shown)
    database.states("todo.shopping", [(0, "3")], **shown)
    database.states("notify.phone", [(0, street)])
    database.states("person.sam", [(0, "home"), (HOUR, street), (2 * HOUR, "not_home")], **shown)
    database.states("sensor.mode", [(0, "eco"), (HOUR, "boost")], device_class="enum", **shown)
    database.states("sensor.people", [(0, "2"), (HOUR, "unavailable"), (HOUR, "3")], **shown)
    database.states("sensor.\x1b[2J", [(0, "1")], **shown)
    database.close()
    read = read_home(database.path)
    assert list(read.table.columns) == ["person.sam", "sensor.mode", "sensor.people"]
    assert column(read, "person.sam") == ["home", "not_home"]
    assert column(read, "sensor.mode") == ["eco", "boost"]
    assert column(read, "sensor.people") == [2, 3]
    told = " | ".join(read.notes)
    for name in ("sensor.address", "sensor.next_alarm", "sensor.meter", "todo.shopping"):
        assert name in told
    assert "left out, for names that Home Assistant does not give: 1" in told
    done = fedhome(
        "data",
        "check",
        database.path,
        "--set",
        "data.target=sensor.people",
        folder=database.path.parent,
    )
    assert "sensor.people" in done.stdout
    assert street not in done.stdout
    assert "\x1b[2J" not in done.stdout


def test_of_attributes_three_facts_are_taken() -> None:
    assert facts_of('{"unit_of_measurement": "W", "x": {"state_class": "total"}}').unit == "W"
    assert facts_of('{"x": {"state_class": "total"}}') == ("", "", "")
    for torn in (None, "", "[1]", '"state_class"', '{"state_class": 1}', '{"device_class": ["a"'):
        assert facts_of(torn) == ("", "", "")
    assert all(map(is_name, ("sensor.a_1", "tibber:energy_2")))
    assert not any(map(is_name, ("", "sensor", "sensor.a b", "Sensor.a", "a.b.c", None, b"a.b")))
    assert number_of("-1.5e-3") == -0.0015
    assert all(math.isnan(number_of(one)) for one in ("1_0", "nan", "inf", "1e999", "0x1", " 1"))


def test_states_fill_spans_by_the_time_they_held() -> None:
    at = np.array([10.0, 100.0, 130.0])
    pieces = pieces_of(at, np.array([0, NOTHING, 2]), RowSpans(np.array([0, 1, 4]), 60))
    values = np.array([6.0, NAN, 3.0])
    assert means_of(values, pieces, 3).tolist()[:2] == [6, 6]
    assert means_of(values, pieces, 3)[2] == 3
    assert lasts_of(np.array([7, NOTHING, 9]), pieces, 3).tolist() == [7, 7, 9]
    none = pieces_of(at[:0], np.empty(0, np.int64), RowSpans(np.array([0]), 60))
    assert np.isnan(means_of(values[:0], none, 1)).all()


# --- beside other files, and in a run


def test_homes_with_databases_and_tables_lie_in_one_folder(tmp_path: Path) -> None:
    table = "time,sensor.power\n2026-03-02T00:00Z,1\n2026-03-02T01:00Z,2\n2026-03-02T02:00Z,2\n"
    (tmp_path / "elm.csv").write_text(table)
    oak = AssistantDatabase(tmp_path / "oak.db", journal="wal")
    ash = AssistantDatabase(tmp_path / "ash" / "home-assistant_v2.db")
    (tmp_path / "ash" / "known.csv").write_text(table)
    with sqlite3.connect(tmp_path / "ash" / "zigbee.db") as other:
        other.execute("CREATE TABLE devices (id)")
    other.close()
    for one in (oak, ash):
        one.statistics("sensor.power", {0: 1.0, 1: 2.0, 2: 3.0}, unit="W")
    ash.close()
    pivot = ReadingSettings(pivot=("entity_id", "state"), time=("time",))
    read = read_folder(tmp_path)
    assert [home.home for home in read.homes] == ["ash", "elm", "oak"]
    assert read.homes[2].columns["sensor.power"].tolist() == [1, 2, 3]
    told = " | ".join(read.notes)
    assert "in ash/, left out: known.csv, zigbee.db" in told
    assert "oak.db-" not in told  # they are parts of it
    alone = read_home(tmp_path / "oak.db", settings=pivot)
    assert "data.pivot says nothing of a database of Home Assistant" in " | ".join(alone.notes)
    oak.close()


def test_a_database_without_readings_says_what_home_assistant_needs(tmp_path: Path) -> None:
    new = AssistantDatabase(tmp_path / "oak" / "home-assistant_v2.db")
    new.states("automation.night", [(0, "on"), (3 * HOUR, "off")])
    new.close()
    (tmp_path / "elm.csv").write_text("time,load\n")
    with pytest.raises(EmptyFleetError) as error:
        read_folder(tmp_path)
    assert "it has no rows" in str(error.value)
    assert "sensors whose state is a number" in error.value.with_hint


def test_columns_that_begin_after_training_are_not_learnt_from_unasked() -> None:
    time_s = np.arange(10, dtype=np.int64) * 3600 + BEGIN
    load = np.arange(10.0)
    late, early = np.where(load < 6, NAN, 1.0), np.where(load > 2, NAN, 1.0)
    columns = {"load": load, "late": late, "early": early}
    home = HomeTable(home="oak", time_s=time_s, columns=columns)
    both, of_load = ["late", "early"], DataSettings(target="load")
    assert late_columns(both, [home], of_load) == ["late"]
    # Rows that have the target count: of one that is as late, nothing is.
    assert late_columns(["load", "early"], [home], DataSettings(target="late")) == []
    other = HomeTable(home="elm", time_s=time_s, columns={**columns, "late": load})
    assert late_columns(["late"], [home, other], of_load) == []
    assert late_columns([], [home], of_load) == []
    # Named, or where training rows are not the earlier ones, all are taken.
    assert late_columns(both, [home], DataSettings(target="load", features=("late",))) == []
    assert late_columns(both, [home], DataSettings(target="load", split_by="class")) == []


def test_a_home_learns_from_years_and_leaves_ten_days_alone(tmp_path: Path) -> None:
    for home in ("oak", "elm"):
        database = AssistantDatabase(tmp_path / f"{home}.db")
        wave = {hour: 10 + math.sin(hour / 4) for hour in range(400)}
        database.statistics("sensor.load", wave, unit="kW")
        database.statistics("sensor.warmth", {hour: hour % 24 for hour in range(400)}, unit="°C")
        door = [(hour * HOUR, "on" if hour % 2 else "off") for hour in range(300, 401)]
        database.states("binary_sensor.door", door)
        database.close()
    done = fedhome("data", "check", tmp_path, "--set", "data.target=sensor.load", folder=tmp_path)
    said = " ".join(done.stdout.split())
    assert "a run would learn sensor.load from sensor.warmth, and earlier values" in said
    assert "left out: binary_sensor.door, as nothing was read there" in said
    asked = ("--set", 'data.features=["binary_sensor.door"]')
    done = fedhome(
        "data", "check", tmp_path, "--set", "data.target=sensor.load", *asked, folder=tmp_path
    )
    assert "sensor.load from binary_sensor.door, and earlier" in " ".join(done.stdout.split())


def test_where_all_columns_begin_late_it_is_said_which(tmp_path: Path) -> None:
    for home in ("oak", "elm"):
        database = AssistantDatabase(tmp_path / f"{home}.db")
        database.statistics("sensor.load", {hour: hour % 24 for hour in range(400)}, unit="kW")
        door = [(hour * HOUR, "on" if hour % 2 else "off") for hour in range(300, 401)]
        database.states("binary_sensor.door", door)
        database.close()
    rows_alone = ("--set", "data.target=sensor.load", "--set", "data.horizon=0")
    settings = (*rows_alone, "--set", "data.calendar=false")
    done = fedhome("data", "check", tmp_path, *settings, folder=tmp_path)
    said = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert "nothing to predict 'sensor.load' from; left out: binary_sensor.door, as" in said
    assert "data.features" in said


def test_a_home_need_not_read_what_is_not_used(database: AssistantDatabase) -> None:
    """All is read for the message where something is not there under any of its names."""
    for name in ("sensor.power", "sensor.energy", "sensor.other"):
        database.statistics(name, {0: 1.0, 1: 2.0, 2: 4.0}, unit="kWh", counts="energy" in name)
    database.states("sensor.mode", [(0, "a"), (3 * HOUR, "b")], device_class="enum")
    database.states("light.hall", [(0, "on"), (3 * HOUR, "off")])
    database.close()
    all_of_it = read_home(database.path)
    settings = ReadingSettings(rename={"sensor.power": "load", "sensor.old": "mode"})
    few = read_home(
        database.path,
        settings=settings,
        wanted={"load", "sensor.energy", "light.hall"},
        whole=False,
    )
    assert list(few.table.columns) == ["light.hall", "sensor.energy", "load"]
    for name in ("light.hall", "sensor.energy"):
        assert column(few, name) == column(all_of_it, name)
    assert few.table.columns["load"].tolist() == [1, 2, 4]
    assert "of 5 entities and series those that are used were read" in " | ".join(few.notes)
    lacking = read_home(database.path, wanted={"sensor.powr"}, whole=False)
    assert list(lacking.table.columns) == list(all_of_it.table.columns)
    assert read_home(database.path, wanted={"sensor.mode"}).table.rows == all_of_it.table.rows


# --- what Home Assistant itself wrote


@pytest.fixture(params=["ha2025.4.4_schema50_purged10d", "ha2026.11.0_schema53_purged10d"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    packed = SHARED / "data" / "home_assistant" / f"{request.param}.db.xz"
    if not packed.is_file():
        pytest.skip("the databases that Home Assistant wrote are not on this machine")
    path = tmp_path / "home-assistant_v2.db"
    path.write_bytes(lzma.decompress(packed.read_bytes()))
    return path


def test_a_database_of_home_assistants_own_is_read(real: Path) -> None:
    before = real.read_bytes()
    read = read_home(real)
    with sqlite3.connect(f"file:{real}?mode=ro", uri=True) as asked:
        means = dict(
            asked.execute(
                "SELECT CAST(start_ts AS INTEGER), mean FROM statistics JOIN statistics_meta m "
                "ON metadata_id = m.id WHERE statistic_id = 'sensor.house_power'"
            ).fetchall()
        )
        first, last = asked.execute(
            "SELECT min(sum), max(sum) FROM statistics JOIN statistics_meta m ON "
            "metadata_id = m.id WHERE statistic_id = 'sensor.house_energy' AND sum > 0"
        ).fetchone()
    asked.close()
    own = dict(zip(read.table.time_s.tolist(), column(read, "sensor.house_power"), strict=True))
    assert len(own) == 961
    assert {at: own[at] for at in means} == means
    energy = read.table.columns["sensor.house_energy"]
    assert np.nansum(energy) == pytest.approx(last - first)
    assert np.nanmin(energy) > 0
    assert read.table.units["sensor.living_room_temperature"] == "°C"
    assert column(read, "binary_sensor.front_door").count("on") > 0
    assert set(read.table.labels["person.alex"]) == {"home", "not_home"}
    assert real.read_bytes() == before
    assert [path.name for path in real.parent.iterdir()] == [real.name]


def test_means_of_states_are_those_that_home_assistant_has(real: Path) -> None:
    """Its own statistics of the same hours are the reference."""
    with_statistics = read_home(real)
    with sqlite3.connect(real) as changed:
        changed.execute("DELETE FROM statistics")
        changed.execute("DELETE FROM statistics_meta")
    changed.close()
    from_states = read_home(real)
    names = ["sensor.house_power", "sensor.hall_temperature", "sensor.living_room_co2"]
    both, places, own = np.intersect1d(
        with_statistics.table.time_s, from_states.table.time_s, return_indices=True
    )
    inner = slice(2, -2)  # the first and last hours were cut, and one is read from states in both
    assert len(both) > 230
    for name in names:
        expected = with_statistics.table.columns[name][places][inner]
        found = from_states.table.columns[name][own][inner]
        assert np.nanmax(np.abs(found / expected - 1)) < 1e-9


def test_five_minutes_of_a_real_database_have_all_that_states_say(real: Path) -> None:
    read = read_home(real, step="5min")
    assert 2800 < read.table.rows < 2890
    assert set(np.diff(read.table.time_s).tolist()) == {300}
    motion = column(read, "binary_sensor.living_room_motion")
    assert 100 < motion.count("on") < 1500
