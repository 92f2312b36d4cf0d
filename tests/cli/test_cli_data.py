"""``fedhome data``: list, get, describe."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedhome.cli.data import app
from fedhome.data.homes_store import HomesStore
from fedhome.errors import PluginError, SourceError
from fedhome.simulations.datasets import CATALOGUE, DataSet


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDHOME_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "datasets"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def energy_wheel(folder: Path) -> Path:
    """Write the 17 homes' year with made-up numbers, in the form of the wheel."""
    path = folder / "energy.whl"
    base = "citylearn/data/citylearn_challenge_2022_phase_all/"
    hours = [24, *(hour % 24 + 1 for hour in range(8759))]
    load = "Hour,Equipment Electric Power [kWh],Solar Generation [W/kW]\n"
    load += "".join(f"{hour},{hour / 10},0\n" for hour in hours)
    sky = (
        "Outdoor Drybulb Temperature [C],Relative Humidity [%],"
        "Diffuse Solar Radiation [W/m2],Direct Solar Radiation [W/m2]\n"
    )
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{base}weather.csv", sky + "20,50,0,0\n" * 8760)
        for home in range(1, 18):
            wheel.writestr(f"{base}Building_{home}.csv", load)
    return path


def test_list_names_every_set_and_whether_it_is_cached() -> None:
    lines = run("list").splitlines()
    for dataset in CATALOGUE.values():
        (line,) = [line for line in lines if line.startswith(f"{dataset.name} ")]
        assert str(dataset.homes) in line
        assert dataset.licence in line
        assert line.rstrip().endswith("no")


@pytest.mark.parametrize("dataset", CATALOGUE.values(), ids=lambda item: item.name)
def test_describe_says_everything(dataset: DataSet) -> None:
    output = run("describe", dataset.name)
    said = (dataset.title, dataset.about, dataset.citation, dataset.licence, dataset.page)
    for part in (*said, dataset.manual, *dataset.columns):
        assert part in output
    for setting in (f"data.source={dataset.name}", *dataset.train):
        assert setting in output


def test_get_reads_a_file_and_list_then_says_cached(tmp_path: Path, cache: Path) -> None:
    output = run("get", "energy-homes17", "--from", str(energy_wheel(tmp_path)))
    assert f"energy-homes17: 17 homes, 148,920 rows in {cache / 'energy-homes17'}" in output
    (line,) = [line for line in run("list").splitlines() if line.startswith("energy-homes17")]
    assert line.rstrip().endswith("yes")
    assert "17 homes" in run("get", "energy-homes17")


def test_faults_are_the_typed_errors_that_the_main_command_shows(tmp_path: Path) -> None:
    runner = CliRunner()
    assert isinstance(runner.invoke(app, ["get", "mnist"]).exception, PluginError)
    missing = runner.invoke(app, ["get", "robod", "--from", str(tmp_path / "no.zip")])
    assert isinstance(missing.exception, SourceError)


@pytest.mark.long
def test_the_command_is_light_to_import() -> None:
    code = (
        "import sys, fedhome.cli.data; "
        "print(sorted({'torch', 'flwr', 'simulations', 'clients'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pack_writes_a_store_beside_the_folder_that_a_plan_takes(tmp_path: Path) -> None:
    homes = tmp_path / "my-homes"
    homes.mkdir()
    for name in ("oak", "elm"):
        rows = "".join(f"2025-01-0{1 + h // 24} {h % 24:02}:00,{h}\n" for h in range(48))
        (homes / f"{name}.csv").write_text(f"time,load_kwh\n{rows}", encoding="utf-8")
    output = run("pack", str(homes))
    store = tmp_path / "my-homes.homes"
    assert f"2 homes, 96 rows, 0.0 MB in {store}" in output
    assert f"--set data.source={store}" in output
    assert list(HomesStore(store).names) == ["elm", "oak"]
    looked = " ".join(run("check", str(store)).split())
    assert f"{store} is a store of 2 homes, 96 rows: how their files are read was settled" in looked


def test_pack_says_what_reading_the_files_told(tmp_path: Path) -> None:
    homes = tmp_path / "my-homes"
    homes.mkdir()
    (homes / "oak.csv").write_text("time,load_kwh\n2025-01-01,1\n2025-01-02,2\n", encoding="utf-8")
    (homes / "elm.csv").write_text("nothing of use\n", encoding="utf-8")
    output = run("pack", str(homes), "--out", str(tmp_path / "packed"))
    assert "left out: elm" in output
    assert "1 home, 2 rows" in output


def test_pack_makes_the_synthetic_fleet_one_home_at_a_time(tmp_path: Path) -> None:
    store = tmp_path / "made.homes"
    output = run(
        "pack", "synthetic", "--set", "data.homes=3", "--set", "data.days=2", "--out", str(store)
    )
    assert "3 homes, 144 rows" in output
