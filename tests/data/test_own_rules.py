"""A home whose meter counts up among others' loads: rules that hold for it alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fedhome
from fedhome.cli import app
from fedhome.clients.own_readings import read_files
from fedhome.clients.recorded.reading_store import ReadingStore
from fedhome.data.home_files import read_home
from fedhome.data.homes_folder import read_folder
from fedhome.data.homes_side_by_side import noticed
from fedhome.data.homes_store import ABOUT, HomesStore
from fedhome.data.input_schema import schema_of
from fedhome.data.inputs import matched
from fedhome.data.pack_homes import pack
from fedhome.data.series.time_grid import grid_of
from fedhome.data.series.windows import windows
from fedhome.data.table import HomeTable
from fedhome.errors import (
    DataError,
    InputsError,
    ModelFormatError,
    PlanError,
    RunError,
    SourceError,
)
from fedhome.fleet.state_file import KEY
from fedhome.personal import stored_models
from fedhome.personal.models_file import ModelsFile, to_bytes
from fedhome.plan.own_reading import own_of, parse_reading
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.plan.settings import Plan
from fedhome.simulations import local_fleet
from fedhome.store import disk
from helpers import tiny

HOURS = 240
USED = np.random.default_rng(7).random(HOURS) + 0.5
METER = 100 + np.concatenate([[0.0], np.cumsum(USED)[:-1]])  # at the beginning of each hour
RULE = 'rules = { load = "difference" }'
PLAN = Plan.load(data={"target": "load", "step": "1h", "horizon": 1, "lags": [1], "gap": 0})


def write(folder: Path, own: str = f"[meter]\n{RULE}\n") -> Path:
    folder.mkdir(exist_ok=True)
    for home, values in (("ash", USED), ("elm", USED + 0.25), ("meter", METER)):
        rows = (
            f"2024-01-{1 + hour // 24:02} {hour % 24:02}:00Z,{value:.9f}"
            for hour, value in enumerate(values)
        )
        (folder / f"{home}.csv").write_text("\n".join(["time,load", *rows, ""]), encoding="utf-8")
    (folder / "homes.toml").write_text(own, encoding="utf-8")
    return folder


def test_one_homes_meter_is_what_it_used_and_other_homes_are_as_they_were(tmp_path: Path) -> None:
    read = read_folder(write(tmp_path), PLAN.data)
    ash, _, meter = read.homes
    assert (dict(ash.rules), dict(meter.rules)) == ({}, {"load": "difference"})
    plain, own = (grid_of(home, PLAN.data, []).table.columns["load"] for home in (ash, meter))
    np.testing.assert_allclose(plain, USED)
    np.testing.assert_allclose(own, USED[:-1])
    assert not [note for note in read.notes if "like a meter" in note]


def test_without_a_rule_the_note_says_where_it_is_set(tmp_path: Path) -> None:
    (note,) = [one for one in read_folder(write(tmp_path, "")).notes if "does not in" in one]
    assert 'below [meter] in homes.toml, rules = {load = "difference"}, and data.step' in note


@pytest.mark.parametrize("name", ["oak 1", "oak.1", 'the "old" oak', "Eiche-ö"])
def test_what_the_note_says_of_any_name_is_what_homes_toml_takes(name: str, tmp_path: Path) -> None:
    write(tmp_path, "")
    (tmp_path / "meter.csv").rename(tmp_path / f"{name}.csv")
    (note,) = [one for one in read_folder(tmp_path).notes if "does not in" in one]
    head, rule = re.findall(r"below (\[.*\]) in homes.toml, (.*), and data.step", note)[0]
    (tmp_path / "homes.toml").write_text(f"{head}\n{rule}\n", encoding="utf-8")
    rules = {home.home: dict(home.rules) for home in read_folder(tmp_path).homes}
    assert rules == {"ash": {}, "elm": {}, name: {"load": "difference"}}


def test_what_a_meter_counts_is_no_load_of_another_unit() -> None:
    times = 1_704_067_200 + 3600 * np.arange(HOURS)
    ash, elm, meter = (
        HomeTable(home=name, time_s=times, columns={"load": values})
        for name, values in (("ash", USED), ("elm", USED + 0.25), ("meter", METER + 50_000))
    )
    assert any("hundreds of times larger" in one for one in noticed([ash, elm, meter]))
    assert noticed([ash, elm, replace(meter, rules={"load": "difference"})]) == []


def test_a_homes_own_rule_goes_before_the_plans(tmp_path: Path) -> None:
    own = '[ash]\nrules = { load = "mean" }\n'
    ash, _, meter = read_folder(write(tmp_path, own)).homes
    data = PLAN.change(data={"rules": {"load": "difference"}}).data
    assert len(grid_of(ash, data, []).table.columns["load"]) == HOURS
    np.testing.assert_allclose(grid_of(meter, data, []).table.columns["load"], USED[:-1])


def test_a_wrong_rule_is_refused(tmp_path: Path) -> None:
    unknown = read_folder(write(tmp_path, '[meter]\nrules = { laod = "difference" }\n'))
    (left_out,) = unknown.excluded  # it cannot be read, and the others run
    assert "'meter' has a rule of its own for 'laod', and no such column" in left_out.reason
    with pytest.raises(SourceError, match=r"of 'meter', rules.load: .* did you mean 'difference'"):
        read_folder(write(tmp_path, '[meter]\nrules = { load = "differ" }\n'))


def test_rules_are_refused_where_they_could_not_be_kept() -> None:
    table = HomeTable(home="oak", time_s=3600 * np.arange(HOURS), columns={"load": METER})
    rows = PLAN.change(data={"horizon": 0, "lags": None, "step": ""}).data
    with pytest.raises(DataError, match="takes each row by itself"):
        windows(replace(table, rules={"load": "difference"}), rows, [])
    with pytest.raises(DataError, match="the rule 'differ', which there is not"):
        replace(table, rules={"load": "differ"})  # type: ignore[dict-item]
    with pytest.raises(DataError, match=r"the rule \['sum'\], which there is not"):
        replace(table, rules={"load": ["sum"]})  # type: ignore[dict-item]
    strange = replace(table, rules={"laod": "sum"})
    schema = schema_of(PLAN, "continuous", [table])
    with pytest.raises(InputsError, match="a rule of its own for 'laod', and no such column"):
        matched(strange, schema, "continuous")


def test_rules_outlive_a_store_of_homes(tmp_path: Path) -> None:
    homes = read_folder(write(tmp_path / "homes")).homes
    pack(homes, tmp_path / "packed.homes")
    stored = HomesStore(tmp_path / "packed.homes").tables(np.arange(3))
    assert [dict(one.rules) for one in stored] == [{}, {}, {"load": "difference"}]


def test_a_store_says_how_files_were_read_so_that_a_model_reads_them_too(tmp_path: Path) -> None:
    renamed = 'rename = { load = "kWh" }\nrules = { kWh = "difference" }'
    source = write(tmp_path / "homes", f'[meter]\n{renamed}\n[ash]\ndecimal = "."\n')
    for home in ("ash", "elm"):
        file = source / f"{home}.csv"
        file.write_text(file.read_text(encoding="utf-8").replace("time,load", "time,kWh"))
    for plan in ([], ["--set", "data.dates=day-first"]):
        named = ["--set", "data.target=kWh", *plan]
        done = CliRunner().invoke(app, ["data", "pack", str(source), *named])
        assert done.exit_code == 0, done.output
        read = read_folder(tmp_path / "homes.homes")
        dates = {"dates": "day-first"} if plan else {}
        meter = {"rename": {"load": "kWh"}}
        assert {home: dict(own) for home, own in read.own.items() if own} == {
            "ash": {"decimal": ".", **dates},
            "meter": {**meter, **dates},
            **({"elm": dates} if plan else {}),
        }
        # What the plan of a run says as well is not the home's own.
        same = PLAN.change(data={"dates": "day-first"}).data
        assert read_folder(tmp_path / "homes.homes", same).own["meter"] == meter


@pytest.mark.parametrize("reading", ['{"decimal": 3}', '{"unheard": 1}', "[1]"])
def test_a_store_that_says_nonsense_of_how_files_were_read_is_refused(
    tmp_path: Path, reading: str
) -> None:
    store = tmp_path / "packed.homes"
    homes = read_folder(write(tmp_path / "homes")).homes
    pack(homes, store, reading={"meter": {"decimal": ","}})
    about = (store / ABOUT).read_text(encoding="utf-8")
    changed = json.loads(about)
    assert changed["kinds"][1]["reading"] == {"decimal": ","}
    changed["kinds"][1]["reading"] = json.loads(reading)
    (store / ABOUT).write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(SourceError, match="how files are read"):
        HomesStore(store)


def test_convert_writes_rules_beside_what_was_understood(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["data", "convert", str(write(tmp_path / "homes")), str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.exception
    again = read_folder(tmp_path / "out").homes
    assert [dict(one.rules) for one in again] == [{}, {}, {"load": "difference"}]


def test_a_real_home_says_its_rules_when_it_joins(tmp_path: Path) -> None:
    reading = parse_reading(['rules={"load"="difference"}'])
    plan = PLAN.change(data={"inputs": [], "calendar": False})
    read = read_files(plan, write(tmp_path) / "meter.csv", name="meter", reading=reading)
    assert dict(read.table.rules) == {"load": "difference"}
    with pytest.raises(PlanError, match="rules"):
        parse_reading(['rules={"load"="differ"}'])


def test_a_rule_for_what_a_store_lacks_is_refused_as_of_a_file(tmp_path: Path) -> None:
    disk.put(tmp_path / KEY, bytes(32))
    store = ReadingStore.of(tmp_path, "oak")
    plan = PLAN.change(data={"inputs": [], "calendar": False})
    strange = {"rules": {"laod": "difference"}}
    nothing = HomeTable(home="oak", time_s=np.empty(0, np.int64), columns={})
    store.create(nothing)
    assert not read_files(plan, store, reading=strange).table.rows  # no column is known yet
    times = 1_704_067_200 + 3600 * np.arange(HOURS)
    store.append(HomeTable(home="oak", time_s=times, columns={"load": METER}), now_s=times[-1])
    right = read_files(plan, store, reading={"rules": {"load": "difference"}})
    assert dict(right.table.rules) == {"load": "difference"}
    with pytest.raises(SourceError, match="a rule of its own for 'laod', and no such column"):
        read_files(plan, store, reading=strange)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:readings of")
def test_what_is_learnt_and_predicted_of_a_meter_is_what_it_used(tmp_path: Path) -> None:
    """The home's model remembers its rules: whoever predicts gives the meter as it stands."""
    folder = write(tmp_path / "homes")
    plan = Plan.load(**tiny.SETTINGS).change(
        data={"source": str(folder), "step": "1h"}, rounds={"count": 1}
    )
    result = fedhome.simulate(plan, out=tmp_path / "run")
    model = fedhome.load(result.path, "meter")
    assert dict(model.rules) == {"load": "difference"}
    said = model.predict(folder / "meter.csv")["value"].to_numpy()
    assert 0 < said.min() < said.max() < 3
    table = read_folder(folder).homes[2]
    np.testing.assert_allclose(model.predict(table)["value"].to_numpy(), said)
    bare = replace(table, rules={})
    np.testing.assert_allclose(model.predict(bare)["value"].to_numpy(), said)


def test_one_name_may_stand_for_what_homes_call_each_in_their_way(tmp_path: Path) -> None:
    """Meters of one maker name a column with its unit, so that no two homes had it in common."""
    for home, column, values in (
        ("ash", "load (Wh)", 1000 * USED),
        ("elm", "load (kWh)", USED),
        ("oak", "load", USED),
    ):
        rows = (
            f"2024-01-{1 + hour // 24:02} {hour % 24:02}:00Z,{value:.9f}"
            for hour, value in enumerate(values)
        )
        text = "\n".join([f"time,{column}", *rows, ""])
        (tmp_path / f"{home}.csv").write_text(text, encoding="utf-8")
    names = {"load (Wh)": "load", "load (kWh)": "load"}
    read = read_folder(tmp_path, PLAN.change(data={"rename": names}).data)
    assert [list(home.columns) for home in read.homes] == [["load"]] * 3
    assert [home.units.get("load") for home in read.homes[:2]] == ["Wh", "kWh"]
    with pytest.raises(SourceError, match="no column 'laod'"):
        read_home(tmp_path / "elm.csv", settings=ReadingSettings(rename={"laod": "use"}))
    # A name that is itself changed is not there under it.
    chain = ReadingSettings(rename={"use": "load (kWh)", "load (kWh)": "total"})
    with pytest.raises(SourceError, match="no column 'use'"):
        read_home(tmp_path / "elm.csv", settings=chain)
    # What is never used may be missing.
    elm = read_home(tmp_path / "elm.csv", settings=chain, wanted={"total"})
    assert [*elm.table.columns] == ["total"]
    (tmp_path / "elm.csv").write_text("time,load (Wh),load (kWh)\n2024-01-01 00:00Z,1,2\n")
    with pytest.raises(SourceError, match="two columns are called 'load'"):
        read_home(tmp_path / "elm.csv", settings=ReadingSettings(rename=names))


def test_a_model_keeps_no_more_than_the_plan_does_not_say() -> None:
    """A home's file of settings has lists, and the plan's are tuples: all were kept."""
    sets = ['data.na_values=["-9"]', 'data.time="Zeit"', 'data.rename={"x"="y"}']
    common = Plan.load(sets=sets).data
    alike = {"na_values": ["-9"], "time": "Zeit", "rename": {"x": "y"}, "time_zone": "UTC"}
    assert own_of(alike, common) == {}
    assert own_of(alike | {"na_values": ["-8"]}, common) == {"na_values": ["-8"]}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:readings of")
def test_a_model_reads_its_homes_files_as_these_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An own name and an own decimal sign were forgotten, and 1,234 kWh could be 1234."""
    reading = 'rename = { Verbrauch = "load" }\ndecimal = ","\n'
    folder = write(tmp_path / "homes", f"[oak]\n{reading}")
    (folder / "meter.csv").unlink()
    rows = (line.split(",") for line in (folder / "elm.csv").read_text().splitlines()[1:])
    foreign = [f"{time};{float(value):.3f}".replace(".", ",") for time, value in rows]
    (folder / "oak.csv").write_text("\n".join(["time;Verbrauch", *foreign, ""]))
    plan = Plan.load(**tiny.SETTINGS).change(data={"source": str(folder)}, rounds={"count": 1})
    result = fedhome.simulate(plan, out=tmp_path / "run")
    model, plain = (fedhome.load(result.path, home) for home in ("oak", "elm"))
    assert dict(model.reading) == {"rename": {"Verbrauch": "load"}, "decimal": ","}
    assert dict(plain.reading) == {}
    said = model.predict(folder / "oak.csv")["value"].to_numpy()
    assert 0 < said.min() < said.max() < 3
    # Other files may call the column as the plan does, and a table in memory has numbers already.
    (tmp_path / "other.csv").write_text("\n".join(["time;load", *foreign, ""]))
    np.testing.assert_allclose(model.predict(tmp_path / "other.csv")["value"].to_numpy(), said)
    bare = read_folder(folder, plan.data).homes[-1]
    cells = {"time": bare.time_s.tolist(), "load": bare.columns["load"].tolist()}
    np.testing.assert_allclose(model.predict(cells)["value"].to_numpy(), said)
    # What an earlier fedhome would read otherwise has a later format, and all else has not.
    path = result.path / "models.safetensors"
    formats = [
        json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["format"]
        for data in (path.read_bytes(), to_bytes([model]), to_bytes([plain]))
    ]
    assert formats == ["3", "3", "2"]
    for wrong in ({"colour": "red"}, {"decimal": 1}, {"rename": ["load"]}):
        with pytest.raises(RunError, match="cannot be read as homes' models"):
            ModelsFile(to_bytes([replace(model, reading=wrong)]))["oak"]
    monkeypatch.setattr(stored_models, "FORMAT", 2)
    with pytest.raises(ModelFormatError, match="is of format 3"):
        fedhome.load(result.path, "elm")


@pytest.mark.long
def test_up_tells_a_home_its_own_rules(tmp_path: Path) -> None:
    plan = Plan.load(**tiny.SETTINGS).change(
        data={"source": str(write(tmp_path / "homes")), "step": "1h"}
    )
    resolved, found = local_fleet._resolve(plan, lambda _: None, count_given=False)
    _, places = local_fleet.prepare(tmp_path / "fleet", resolved, found.tables)
    assert [dict(place.settings.reading) for place in places] == [
        {},
        {},
        {"rules": {"load": "difference"}},
    ]
