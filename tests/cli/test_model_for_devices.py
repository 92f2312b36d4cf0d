"""`fedhome model export --format`: a home's own model, written where and as its people ask."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.clients.agent.own_model import OwnModelKeeper, keep_ended
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import FedHomeError, PluginError, RegistryError, RunError, StateError
from fedhome.learning.fitted import Constant
from fedhome.personal.models_file import to_bytes
from fedhome.personal.own_module import OwnModule
from helpers.kept_home import HOME, kept_home, runs_of, write_readings
from helpers.random_own_models import COMPILER, Shape, own_model, self_tested

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")


def export(*words: object) -> str:
    done = CliRunner().invoke(app, ["model", "export", *map(str, words)])
    assert done.exit_code == 0, done.exception
    return re.sub(r"\s+", " ", done.output)


def refused(kind: type[FedHomeError], said: str, *words: object) -> str:
    done = CliRunner().invoke(app, ["model", "export", *map(str, words)])
    assert isinstance(done.exception, kind), done.exception
    assert said in str(done.exception)
    return done.exception.hint


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HomeFolder:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    found = kept_home(tmp_path)
    keep_ended(runs_of(found, 0.0), OwnModelKeeper(found), run=1)
    return found


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "homes.safetensors"
    shape = Shape(experts=("tuned", "ridge", "trees"))
    path.write_bytes(to_bytes([own_model(shape, n, home=f"home-{n}") for n in (1, 2)]))
    return path


@pytest.mark.long
@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler, cc, here")
def test_a_homes_folder_is_written_under_the_homes_name(place: HomeFolder) -> None:
    said = export(place.path, "--format", "c")
    assert said.startswith(f"{HOME}.c: the own model of {HOME}; ")
    assert "experts: ridge 100%" in said
    assert "not encrypted: whoever has the file has the model" in said
    assert self_tested(Path(f"{HOME}.c")) == f"{HOME}: 16 of 16 rows as expected\n"
    refused(
        RunError,
        "is the folder of home 'kitchen', not of 'oak'",
        place.path,
        "--format",
        "c",
        "--home",
        "oak",
    )


@pytest.mark.parametrize("kind", ["c", "onnx", "npz"])
def test_one_home_of_a_run_is_written_where_it_is_said(models: Path, kind: str) -> None:
    said = export(models, "their.model", "--home", "home-2", "--format", kind)
    assert said.startswith("their.model: the own model of home-2; ")
    assert "left out" not in said
    assert f"{Path('their.model').stat().st_size:,} bytes" in said
    hint = refused(RunError, "holds the models of 2 homes", models, "--format", kind)
    assert hint == "say whose: --home home-1"


def test_what_is_left_out_is_named_with_its_say(models: Path) -> None:
    weights = own_model(Shape(experts=("tuned", "ridge", "trees")), 1).weights
    said = export(models, "--home", "home-1", "--format", "npz", "--experts", "tuned, ridge")
    assert f"left out: trees, {weights['trees']:.0%} of its say" in said
    assert "was not measured: name the home's readings with --from" in said
    refused(
        RunError,
        "has no expert 'tree': did you mean 'trees'",
        models,
        "--home",
        "home-1",
        "--format",
        "c",
        "--experts",
        "tree",
    )


@pytest.mark.long
def test_the_loss_is_measured_on_the_homes_newest_rows(place: HomeFolder) -> None:
    """The home's newest load is about its mean; a constant that is far from it is left out."""
    home = HomeFolder(place.path)
    model = _kept(home, {"ridge": 0.75, "far": 0.25}, far=4.0)
    said = export(model, "--format", "npz", "--experts", "ridge", "--from", home.settings.data)
    found = re.search(r"mean absolute error ([\d.]+) kWh; of the whole model ([\d.]+) kWh", said)
    assert found is not None, said
    less, whole = (float(number) for number in found.groups())
    assert less < whole
    said = export(place.path, "--format", "npz", "--precision", "int8")
    found = re.search(r"mean absolute error ([\d.]+) kWh; of the whole model ([\d.]+) kWh", said)
    assert found is not None, said
    assert found[1] == found[2], "there is no network in it"


def _kept(home: HomeFolder, weights: dict[str, float], far: float) -> Path:
    from fedhome.clients.kept_model import own_model as kept  # noqa: PLC0415

    model = kept(home)
    experts: dict[str, Any] = {**model.experts, "far": Constant(np.array([far]))}
    path = home.path.parent / "models.safetensors"
    path.write_bytes(to_bytes([replace(model, weights=weights, experts=experts)]))
    return path


@pytest.mark.long
def test_readings_that_it_was_fitted_to_measure_nothing(place: HomeFolder, tmp_path: Path) -> None:
    write_readings(tmp_path / "old.parquet", hours=24 * 5)
    said = export(
        place.path, "--format", "npz", "--precision", "int8", "--from", tmp_path / "old.parquet"
    )
    assert "was not measured: no reading is newer than those it was fitted to" in said


def test_what_belongs_to_the_other_kind_of_export_is_refused(models: Path) -> None:
    hint = refused(RegistryError, "--home is for a home's own model", "3", "m.npz", "--home", "oak")
    assert "--format" in hint
    refused(RegistryError, "was not said where the release's model goes", "3")
    refused(PluginError, "format 'cc' is unknown", models, "--format", "cc")
    said = refused(
        PluginError,
        "precision 'int4' is unknown",
        *(models, "--format", "c", "--precision", "int4"),
    )
    assert said == "known are: float, int8"
    refused(RunError, "is not there", "nowhere", "--format", "c")
    where = ("no/such/folder/m.c", "--home", "home-1", "--format", "c")
    refused(StateError, "no/such/folder/m.c: No such file", models, *where)


def test_a_module_of_somebodys_own_is_left_out_and_nothing_of_it_is_run(models: Path) -> None:
    """Its readings are at hand, and still it is not tried: what it names may be anybody's."""
    model = own_model(Shape(experts=("tuned", "ridge")), 1)
    plan = model.plan.change(model={"name": "nowhere.at_all:Net", "hidden": []})
    module = OwnModule(plan.to_toml(), np.zeros(3, np.float32))
    models.write_bytes(to_bytes([replace(model, experts={**model.experts, "tuned": module})]))
    said = export(models, "--format", "npz", "--from", "readings.parquet")
    assert "experts: ridge 100%" in said
    assert "left out: tuned, " in said
    assert "was not measured: to predict, the whole would run 'nowhere.at_all:Net'" in said
