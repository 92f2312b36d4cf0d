"""What a home predicts by that has joined, and has ended no run yet: the fleet's model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.clients.agent.kept_releases import MODEL, RELEASE_FILE
from fedhome.clients.agent.own_model import OwnModelKeeper, keep_ended
from fedhome.clients.kept_model import load, own_or_fleets
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import DataError, ModelFormatError, ReleaseError, RunError
from fedhome.personal import stored_models
from fedhome.run.model_file import Learnt
from helpers.client_world import fedhome, refused
from helpers.fetched_release import fetched, release_like
from helpers.kept_home import CLASSES, HOME, NUMBERS, WORDS, home_in, kept_home, runs_of
from helpers.kept_home import write_readings as write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")


def spoken(place: HomeFolder) -> str:
    done = fedhome("predict", place.path)
    assert done.exit_code == 0, done.exception
    return " ".join(done.output.replace("│", " ").split())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HomeFolder:
    monkeypatch.setenv("COLUMNS", "200")
    return kept_home(tmp_path)


def test_a_home_that_has_just_joined_predicts_by_the_fleets_model(place: HomeFolder) -> None:
    fetched(place, release_like(place, bias=0.0))  # always the home's own mean
    shown = spoken(place)
    assert "expected 2." in shown or "expected 1.9" in shown
    assert "model the fleet's, release 1: this home has no model of its own" in shown
    assert "that it was not fitted to: root mean squared error" in shown
    assert "until then the fleet's stands in" in fedhome("status", place.path).output


def test_it_says_what_the_network_itself_says_of_the_homes_rows(place: HomeFolder) -> None:
    release = release_like(place)
    fetched(place, release)
    model, home = own_or_fleets(place), home_in(place)
    said = model.predict(place.settings.data)
    examples = home.device.examples
    raw = home.device.predict(release.flat, "test")[:, 0] * examples.unit + examples.middle
    moments = said["time"].cast("int64").to_numpy()
    ours = said["value"].to_numpy()[np.isin(moments, examples.time_s[examples.rows("test")])]
    np.testing.assert_allclose(ours, raw, rtol=1e-4, atol=1e-4)
    assert (model.rows, dict(model.scores)) == (0, {})


def test_the_fleets_model_reads_files_as_the_homes_are_read(place: HomeFolder) -> None:
    release = release_like(place)
    fetched(place, release)
    said = own_or_fleets(place).predict(place.settings.data)["value"].to_pylist()
    path = Path(place.settings.data)
    pq.write_table(pq.read_table(path).rename_columns({"load": "Verbrauch"}), path)
    own = {"rename": {"Verbrauch": "load"}}
    place.change_settings(replace(place.settings, reading=own))
    model = own_or_fleets(place)
    assert dict(model.reading) == own
    assert model.predict(path)["value"].to_pylist() == said


def test_its_band_holds_four_of_five_of_the_homes_rows(place: HomeFolder) -> None:
    fetched(place, release_like(place, bias=0.0))
    model = own_or_fleets(place)
    known = model.predictions(place.settings.data)
    low, high = known.table["low"].to_numpy(), known.table["high"].to_numpy()
    rows = np.isfinite(known.known)
    inside = (low <= known.known) & (known.known <= high)
    assert inside[rows].mean() == pytest.approx(0.8, abs=0.08)


def test_a_fleets_model_that_is_no_good_here_gives_way(place: HomeFolder) -> None:
    fetched(place, release_like(place, bias=9.0))
    shown = spoken(place)
    assert "on the newest rows the fleet's model was worse here than the forecast" in shown


def test_its_own_model_takes_over_when_a_run_has_ended(place: HomeFolder) -> None:
    fetched(place, release_like(place, bias=9.0))
    keep_ended(runs_of(place, 0.0), OwnModelKeeper(place), run=1)
    assert "model of run 1 of tiny" in spoken(place)


def test_where_a_later_fedhome_wrote_it_the_fleets_stands_in_until_the_next_run(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = stored_models.FORMAT
    with monkeypatch.context() as later:
        later.setattr(stored_models, "USUAL", newest + 1)
        keep_ended(runs_of(place, 0.0), OwnModelKeeper(place), run=1)
    told = f"format {newest + 1}, and this fedhome reads formats up to {newest}"
    with pytest.raises(ModelFormatError, match=told):
        own_or_fleets(place)  # where there is no release either
    fetched(place, release_like(place, bias=0.0))
    shown = spoken(place)
    assert f"model the fleet's, release 1 (a home's model is of {told}" in shown
    keep_ended(runs_of(place, 0.0), OwnModelKeeper(place), run=2)
    assert "model of run 2 of tiny" in spoken(place)


def test_the_fleets_model_is_exported_as_what_it_is(place: HomeFolder, tmp_path: Path) -> None:
    fetched(place, release_like(place))
    words = ["model", "export", str(place.path), str(tmp_path / "m.npz"), "--format", "npz"]
    said = CliRunner().invoke(app, words)
    assert "m.npz: the fleet's, release 1, with the scales of kitchen; " in said.output


def test_classes_have_probabilities_on_the_first_day(tmp_path: Path) -> None:
    place = kept_home(tmp_path, CLASSES)
    fetched(place, release_like(place, bias=2.0))
    shown = spoken(place)
    assert "expected out" in shown
    assert all(f"{word} " in shown for word in WORDS)


def test_a_damaged_release_is_told(place: HomeFolder) -> None:
    fetched(place, release_like(place))
    path = place.path / MODEL / RELEASE_FILE
    path.write_bytes(path.read_bytes()[:-40])
    error = refused(fedhome("predict", place.path), ReleaseError, "is damaged")
    assert "fetched again" in error.hint


def test_too_few_rows_are_told_with_how_many_are_needed(place: HomeFolder) -> None:
    fetched(place, release_like(place))
    write(Path(place.settings.data), hours=6)
    error = refused(fedhome("predict", place.path), DataError, "too few whole rows")
    assert "training rows are needed" in error.hint


def test_a_release_of_another_plan_is_told(place: HomeFolder, tmp_path: Path) -> None:
    other = kept_home(tmp_path / "other", NUMBERS.change(data={"lags": [1, 2, 3]}))
    fetched(place, release_like(other))
    error = refused(fedhome("predict", place.path), RunError, "is no model of this home's plan")
    assert "join again" in error.hint


@pytest.mark.parametrize("plans", ["level", "change"])
def test_a_release_is_read_as_what_it_learnt_whatever_the_plan_says(
    tmp_path: Path, plans: Learnt
) -> None:
    place = kept_home(tmp_path, NUMBERS.change(data={"learns": plans}))
    fetched(place, release_like(place, bias=0.0))  # the mean of training
    level = own_or_fleets(place)
    values = level.predict(place.settings.data)["value"].to_numpy()
    assert not level.changes
    np.testing.assert_allclose(values, level.level, rtol=1e-6)
    shutil.rmtree(tmp_path / "registry")
    fetched(place, release_like(place, bias=0.0), learnt="change")  # the mean change
    change = own_or_fleets(place)
    told = change.predict(place.settings.data)
    assert change.changes
    last = told["without_learning"].to_numpy()
    np.testing.assert_allclose(told["value"].to_numpy(), last + change.level, rtol=1e-6)


def test_where_a_method_keeps_layers_at_home_the_rest_predicts_nothing(tmp_path: Path) -> None:
    place = kept_home(tmp_path, NUMBERS.change(method={"name": "fedper"}))
    fetched(place, release_like(place))
    refused(fedhome("predict", place.path), RunError, "the method fedper keeps 2.bias, 2.weight")


def test_no_network_and_no_torch_are_needed(place: HomeFolder) -> None:
    fetched(place, release_like(place, bias=0.0))
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from fedhome.clients.kept_model import own_or_fleets\n"
        "from fedhome.clients.membership.home_folder import HomeFolder\n"
        f"from pathlib import Path\nplace = HomeFolder(Path({str(place.path)!r}))\n"
        "print(own_or_fleets(place).predict(place.settings.data).num_rows)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    )
    assert int(done.stdout) > 0


def test_python_opens_a_homes_folder_by_its_path(place: HomeFolder) -> None:
    fetched(place, release_like(place, bias=0.0))
    first = load(place.path)
    assert first.run == "release 1"
    keep_ended(runs_of(place, 0.0), OwnModelKeeper(place), run=1)
    assert load(str(place.path), HOME).run == "run 1 of tiny"
    with pytest.raises(RunError, match="is the folder of home 'kitchen', not of 'attic'"):
        load(place.path, "attic")
