"""`fedhome up` with data of any source: each home reads back what it is in a simulation."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fedhome
from fedhome.clients.home import real_home
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.data.table import HomeTable
from fedhome.errors import FedHomeError, PlanError
from fedhome.plan.protocol import terms_hash
from fedhome.plan.settings import Plan
from fedhome.run.absent import exclusion
from fedhome.run.folder import RunFolder
from fedhome.simulations import datasets, local_fleet
from fedhome.simulations.gather import gather
from fedhome.simulations.homes import generate
from helpers.living import assert_same_weights

pytestmark = pytest.mark.long

FEDHOME = Path(sys.executable).parent / "fedhome"
HOMES, HOURS = 5, 24 * 12
BEGIN = np.datetime64("2024-03-25T00:00")  # a clock in Berlin skips an hour on the 31st
WORDS = ["off", "heat", "cool", "auto", "away"]
REAL = pytest.mark.skipif(sys.platform != "linux", reason="starts processes that end with this one")


def write_home(path: Path, number: int, hours: int = HOURS) -> None:
    """Write a home that knows some words of the fleet, with cells and hours that are missing."""
    draw = np.random.default_rng(number)
    # Three of five: their own numbers are spaced otherwise than those of the whole fleet.
    words = [WORDS[number], WORDS[(number + 1) % len(WORDS)], WORDS[(number + 3) % len(WORDS)]]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        extra = ["garage"] if number == 4 else []
        rows.writerow(["time", "outdoor", "mode", "load", "activity", *extra])
        for hour in range(hours):
            outdoor = 8 + 6 * np.sin(2 * np.pi * hour / 24) + draw.normal()
            mode = words[int(outdoor > 5) + int(outdoor > 11)]
            load = 0.4 + 0.1 * (hour % 24 in range(17, 22)) + 0.02 * outdoor + 0.05 * draw.normal()
            activity = ["asleep", "cooking" if number else "out", "out"][(hour + number) % 24 // 8]
            if number == 3 and 100 <= hour < 107:
                continue
            told = f"{outdoor:.3f}" if hour % 41 else ""
            time = str(BEGIN + np.timedelta64(hour, "h"))
            rows.writerow([time, told, mode, f"{load:.4f}", activity, *extra])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five homes with words, gaps and a zone of their own, and one that is too short."""
    folder = tmp_path_factory.mktemp("data") / "village"
    folder.mkdir()
    for number in range(HOMES):
        write_home(folder / f"home-{number}.csv", number)
    write_home(folder / "home-new.csv", 2, hours=9)
    (folder / "homes.toml").write_text('[home-2]\ntime_zone = "America/New_York"\n')
    return folder


def plan_of(folder: Path, **sections: object) -> Plan:
    table = {
        "name": "village",
        "seed": 5,
        "data": {"source": str(folder), "target": "load", "time_zone": "Europe/Berlin", "gap": 2},
        "model": {"hidden": [6]},
        "rounds": {"count": 2, "deadline_s": 60},
        "personalise": {"epochs": 2, "local_epochs": 2},
        "engine": {"name": "sequential"},
    }
    return Plan.load(None, **table).change(**sections)  # type: ignore[arg-type]


ACTIVITY = {
    "data": {"target": "activity", "horizon": 0, "lags": [], "split_by": "class"},
    "task": {"kind": "multi-class"},
}


@pytest.fixture(params=["forecast", "activity", "activity, classes in another order"])
def plan(request: pytest.FixtureRequest, folder: Path) -> Plan:
    if request.param == "forecast":
        return plan_of(folder)
    plan = plan_of(folder, **ACTIVITY)
    if request.param == "activity":
        return plan
    return plan.change(task={"classes": ["out", "cooking", "asleep", "ill"]})


def assert_read_back(plan: Plan, tmp_path: Path, homes: int | None = None) -> list[HomeFolder]:
    """Let homes read what `fedhome up` gives them, and compare with a simulation's homes."""
    plan = plan.change(aggregation={"min_cohort": 2})
    simulated = gather(plan if homes is None else plan.change(data={"homes": homes}))
    notes: list[str] = []
    chosen = local_fleet._with_homes(plan, homes)
    resolved, found = local_fleet._resolve(chosen, notes.append, count_given=homes is not None)
    _, places = local_fleet.prepare(
        tmp_path / "deployment", resolved, found.tables, reading=found.gathered.own
    )
    assert [place.path.name for place in places] == [home.home for home in simulated.homes]
    assert [note for note in notes if note.startswith("left out")] == [
        exclusion(home, reason) for home, reason in simulated.excluded
    ]
    for place, expected in zip(places, simulated.homes, strict=True):
        settings = place.settings
        # Else a home refuses every sum of the run.
        assert terms_hash(Plan.load(place.plan_path)) == terms_hash(resolved)
        reading = settings.reading
        home = real_home(
            Plan.load(place.plan_path), settings.data, name=settings.home, reading=reading
        )
        examples = home.device.examples
        assert examples.counts == expected.counts
        assert examples.unit == expected.unit
        for name in ("x", "y", "naive"):
            np.testing.assert_array_equal(getattr(examples, name), getattr(expected, name))
            assert getattr(examples, name).dtype == getattr(expected, name).dtype
        assert home.device.learning.task.classes == (plan.task.classes or simulated.classes)
    return places


def test_homes_read_back_a_folder(plan: Plan, tmp_path: Path) -> None:
    assert_read_back(plan, tmp_path)


def test_the_first_homes_of_a_folder(folder: Path, tmp_path: Path) -> None:
    assert_read_back(plan_of(folder), tmp_path, homes=2)


def test_without_any_column_but_the_target(tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for number in range(2):
        write_home(folder / f"home-{number}.csv", number)
        lines = [line.split(",") for line in (folder / f"home-{number}.csv").read_text().split()]
        own = f"own{number}"
        text = "\n".join(
            f"{line[0]},{line[3]},{line[3] if at else own}" for at, line in enumerate(lines)
        )
        (folder / f"home-{number}.csv").write_text(text)
    assert_read_back(plan_of(folder), tmp_path, homes=2)


HEAD = "Datum;Verbrauch;temp"


def write_meter(path: Path, number: int, head: str = HEAD, *, each: str = "{};{};{}\n") -> None:
    """Write a home's hours as a meter in Germany would."""
    draw, lines = np.random.default_rng(number), [f"{head}\n"]
    for hour in range(HOURS):
        time = str(BEGIN + np.timedelta64(hour, "h")).replace("T", " ")
        used, outdoor = (f"{value:.4f}".replace(".", ",") for value in draw.random(2) + 1)
        lines.append(each.format(time, used, outdoor))
    path.write_text("".join(lines))


LONG = "{0};Verbrauch;{1}\n{0};temp;{2}\n"


@pytest.mark.parametrize(
    ("head", "each", "data"),
    [
        (HEAD, "{};{};{}\n", {"time": "Datum"}),
        ("Datum;name;value", LONG, {"pivot": ["name", "value"]}),
        (HEAD, "{};{};{}\n", {"rename": {"temp": "Verbrauch", "Verbrauch": "temp"}}),
    ],
    ids=["time", "pivot", "rename"],
)
def test_what_a_plan_says_of_files_does_not_hold_for_ours(
    head: str, each: str, data: dict[str, object], tmp_path: Path
) -> None:
    folder = tmp_path / "meters"
    folder.mkdir()
    for number in range(2):
        write_meter(folder / f"home-{number}.csv", number, head, each=each)
    plan = plan_of(folder, data={"target": "Verbrauch", **data})
    assert_read_back(plan, tmp_path, homes=2)


def test_rows_that_name_their_home_are_a_file_each(tmp_path: Path) -> None:
    rows = tmp_path / "all.csv"
    for number in range(2):
        write_meter(tmp_path / f"{number}.csv", number, each=f"{{}};{{}};{{}};home-{number}\n")
    bodies = [(tmp_path / f"{number}.csv").read_text().partition("\n")[2] for number in range(2)]
    rows.write_text(f"{HEAD};home\n{''.join(bodies)}")
    plan = plan_of(rows, data={"target": "Verbrauch", "home_column": "home"})
    assert_read_back(plan, tmp_path, homes=2)


def test_a_homes_model_reads_files_as_the_home_did(tmp_path: Path) -> None:
    """Its own files have plain numbers and names already, the next ones of its meter have not."""
    folder = tmp_path / "meters"
    folder.mkdir()
    write_meter(folder / "ash.csv", 0)
    write_meter(folder / "oak.csv", 1, "Zeitpunkt;load;Verbrauch")
    own = '[oak]\ntime = "Zeitpunkt"\ndecimal = ","\n'
    own += 'rename = { load = "Verbrauch", Verbrauch = "temp" }\n'
    (folder / "homes.toml").write_text(own)
    plan = plan_of(folder, data={"target": "Verbrauch"})
    ash, oak = assert_read_back(plan, tmp_path, homes=2)
    assert ash.settings.reading == {}
    # What is called temp in our file is not renamed; there is no column of the meter's times.
    assert oak.settings.reading == {"decimal": ",", "rename": {"load": "Verbrauch"}}


def test_synthetic_homes_in_a_plan_with_a_zone(tmp_path: Path) -> None:
    plan = Plan.load(data={"days": 6, "time_zone": "Asia/Tokyo"}, personalise={"name": "none"})
    assert_read_back(plan, tmp_path, homes=2)


def test_homes_of_a_callable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "village.py").write_text(
        "from fedhome.simulations.homes import generate\n"
        "def homes(plan):\n    yield from generate(homes=9, days=6, seed=4)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert_read_back(Plan.load(data={"source": "village:homes"}), tmp_path, homes=2)


@pytest.mark.skipif(not datasets.is_cached("energy-homes17"), reason="the set is not in the cache")
def test_homes_of_a_named_set(tmp_path: Path) -> None:
    train = datasets.CATALOGUE["energy-homes17"].train
    plan = Plan.load(data={"source": "energy-homes17"}, sets=train)
    assert_read_back(plan, tmp_path, homes=2)


def test_how_many_homes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_fleet._with_homes(Plan(), None).data.homes == 5
    assert local_fleet._with_homes(plan_of(folder), None).data.homes == 8
    assert local_fleet._with_homes(plan_of(folder, data={"homes": 6}), None).data.homes == 6
    assert local_fleet._with_homes(plan_of(folder, data={"homes": 6}), 7).data.homes == 7
    with pytest.raises(PlanError) as refused:
        local_fleet._with_homes(Plan.load(data={"homes": 12}), None)
    assert "12 homes, a process each, take 5,700 MB" in refused.value.message
    assert "--homes 12 says that you mean it" in refused.value.hint
    assert local_fleet._with_homes(Plan.load(data={"homes": 12}), 12).data.homes == 12
    monkeypatch.setattr(local_fleet, "_memory_mb", lambda: 4000)
    with pytest.raises(PlanError, match="this machine has 4,000, enough for 8"):
        local_fleet._with_homes(Plan(), 9)
    assert local_fleet._with_homes(Plan(), 8).data.homes == 8


def test_all_homes_of_a_source_up_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fedhome.simulations.gather.load", lambda *_: lambda _: generate(homes=9, days=6, seed=4)
    )
    plan, notes = Plan.load(data={"source": "my:homes"}), list[str]()
    _, found = local_fleet._resolve(
        local_fleet._with_homes(plan, None), notes.append, count_given=False
    )
    assert [table.home for table in found.tables] == [f"home-{number:04}" for number in range(1, 9)]
    (note,) = [one for one in notes if not one.startswith("note: ")]
    assert note.startswith("8 homes take part; --homes takes more: each is a process of 75 MB")
    _, found = local_fleet._resolve(
        local_fleet._with_homes(plan, 9), notes.append, count_given=True
    )
    assert len(found.tables) == 9
    assert [one for one in notes if not one.startswith("note: ")] == [note]


@pytest.mark.parametrize(
    ("homes", "sections", "told"),
    [
        (3, {}, "add --set aggregation.min_cohort=3"),
        (5, {"aggregation": {"mode": "ideal"}}, '"ideal" sums are for simulations alone'),
        (5, {"rounds": {"fraction": 0.5}}, "aggregation.min_cohort"),
    ],
)
def test_what_cannot_be(homes: int, sections: dict[str, object], told: str, tmp_path: Path) -> None:
    plan = Plan.load(data={"days": 6}, **sections)
    with pytest.raises(PlanError) as refused:
        local_fleet.up(plan, homes=homes, out=tmp_path / "run")
    assert told in refused.value.message
    assert not (tmp_path / "run").exists()


def test_too_few_homes_are_refused_before_one_of_them_is_read(tmp_path: Path) -> None:
    own = tmp_path / "homes"
    own.mkdir()
    for name in "abcd":  # not one can be read
        (own / f"{name}.csv").write_text("time,load\nnone,1\n")

    def refused(folder: str = str(own), **sections: object) -> str:
        plan = Plan.load(data={"source": folder, "target": "load"}, **sections)
        with pytest.raises(FedHomeError) as caught:
            local_fleet.up(plan, out=tmp_path / "run")
        return caught.value.message

    assert "4 homes are fewer than the 5" in refused()
    assert "add --set aggregation.min_cohort=4" in refused()
    halves = {"groups": 2, "min_cohort": 3}
    assert "2 homes are asked in each of 2 groups" in refused(aggregation=halves)
    assert "no home in" in refused(aggregation={"mode": "plain"})  # the control: they are read
    one = refused("appliances-uci")  # and is not downloaded
    assert "1 home is fewer than the 5" in one
    assert "min_cohort=" not in one  # of one home no number makes a sum
    assert not (tmp_path / "run").exists()


def test_homes_with_names_that_no_fleet_takes(tmp_path: Path, folder: Path) -> None:
    own = tmp_path / "names"
    own.mkdir()
    for number in range(HOMES):
        name = f"Haus {number}.csv" if number else "home.csv"
        (own / name).write_bytes((folder / f"home-{number}.csv").read_bytes())
    with pytest.raises(PlanError, match="'Haus 1', 'Haus 2', 'Haus 3', 'Haus 4' cannot be names"):
        local_fleet.up(plan_of(own), out=tmp_path / "run")


def test_a_column_that_a_home_would_read_as_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tables(_: Plan) -> Iterator[HomeTable]:
        for table in generate(homes=HOMES, days=6, seed=4):
            columns = {**table.columns, "time": table.columns["load_kwh"]}
            yield HomeTable(home=table.home, time_s=table.time_s, columns=columns)

    monkeypatch.setattr("fedhome.simulations.gather.load", lambda *_: tables)
    with pytest.raises(PlanError, match="a column 'time' cannot be learnt from here"):
        local_fleet.up(Plan.load(data={"source": "my:homes"}), out=tmp_path / "run")


def up(plan: Plan, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    file = out.with_suffix(".toml")
    file.write_text(plan.to_toml())
    command = [FEDHOME, "up", file, "--out", out, *words]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@REAL
@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--set", "aggregation.mode=plain")])
def test_a_folder_gives_what_a_simulation_gives(
    folder: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    plan = plan_of(folder, **ACTIVITY)
    mode = "plain" if words else "secure"
    changed = plan.change(aggregation={"mode": mode})
    simulated = fedhome.simulate(changed, out=tmp_path / "simulated").folder
    done = up(plan, tmp_path / "run", *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "reading the homes' data"
    assert lines[1].startswith("left out: home 'home-new' has too few whole rows")
    notes = lines[2 : lines.index("starting the server")]
    assert all(note.startswith("note: ") for note in notes)
    who = "note: home-0, home-1, home-3, home-4"
    assert notes[:2] == [
        f"{who}: 1 time does not exist in Europe/Berlin, where clocks skip an hour in spring",
        f"{who}: 1 row with the time of a later row was left out",
    ]
    assert "note: home-4: not used, as not in all homes or not in the plan: garage" in notes
    assert f"homes joined: {HOMES} of {HOMES}" in lines
    assert any(line.endswith(f"{mode} aggregation") for line in lines)
    run = RunFolder.open(tmp_path / "run")
    assert run.finished
    assert run.read_rounds().column("homes_answered").to_pylist() == [HOMES] * 2
    assert_same_weights(run, simulated)
    assert run.report_path.exists()
    if mode == "secure":
        assert not run.homes_path.exists()
        assert "no single home's score is shown" in done.stdout
        return
    ours, theirs = run.read_homes().to_pydict(), simulated.read_homes().to_pydict()
    for column in ("home", "model", "expert", "best", "verdict"):
        assert ours[column] == theirs[column]
    np.testing.assert_allclose(ours["score"], theirs["score"], rtol=0, atol=1e-6)
    assert "no single home's score is shown" not in done.stdout


@REAL
@pytest.mark.slow
def test_three_homes_in_the_clear_and_why_a_run_fails(tmp_path: Path) -> None:
    plan = Plan.load(data={"days": 6, "history_days": 3}, rounds={"count": 1})
    plan = plan.change(aggregation={"mode": "plain"}, strategy={"args": {"nonsense": 1}})
    done = up(plan, tmp_path / "run", "--homes", "3")
    assert done.returncode == 1
    assert "homes joined: 3 of 3" in done.stdout
    assert "error: the run failed: " in done.stderr
    assert "nonsense" in done.stderr
    assert "status 1" not in done.stderr
    with pytest.raises(FedHomeError):
        RunFolder.open(tmp_path / "run").read_model()
