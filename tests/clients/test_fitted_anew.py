"""Where other readings count than before, a home's own model is fitted anew, by the rule."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedhome.clients import fitted_anew
from fedhome.clients.agent.kept_releases import MODEL, RELEASE_FILE
from fedhome.clients.agent.own_model import EndedRuns
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.own_models import OwnModels
from fedhome.clients.own_readings import source_of
from fedhome.learning import mixture
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Constant, Seasonal
from fedhome.learning.home_round import ends_with
from fedhome.learning.mixture import FleetsBlend
from fedhome.learning.one_home import OneHome
from fedhome.learning.personalise import choose, personaliser
from fedhome.learning.personalise.ending import HomeErrors, home_errors
from fedhome.learning.personalise.experts import Adaptation, Experts
from fedhome.learning.personalise.home_end import HomeEnd
from fedhome.learning.personalise.refit import refit
from fedhome.personal.model import PersonalModel
from fedhome.personal.models_file import ModelsFile
from helpers.client_world import fedhome
from helpers.fetched_release import fetched, release_like
from helpers.json_guide import checked
from helpers.kept_home import HOME, home_in, kept_home, write_readings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")

BROKEN = ("--from", "2023-11-17", "--to", "2023-11-19")
WEIGHTS = {"tuned": 0.25, "linear": 0.75}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HomeFolder:
    """A home with a store of readings, among them three days of a sensor that was broken."""
    monkeypatch.setenv("COLUMNS", "200")
    place = kept_home(tmp_path)
    path = Path(place.settings.data)
    write_readings(path)
    table = pq.read_table(path)
    load = table["load"].to_numpy().copy()
    load[24 * 2 : 24 * 5] = 40.0
    pq.write_table(table.set_column(1, "load", pa.array(load)), path)
    assert fedhome("record", place.path).exit_code == 0
    fetched(place, release_like(place))
    return place


def kept(place: HomeFolder) -> PersonalModel:
    data = OwnModels(place.path, HOME).read()
    assert data is not None
    return ModelsFile(data)[HOME]


def keep_fitted(
    place: HomeFolder, *, constant: float | None = None, fleet: FleetsBlend | None = None
) -> bytes:
    """Let a home keep a model that was fitted to all that counts, or one that is a constant."""
    home = home_in(place)
    if constant is None:
        start = release_like(place).flat
        settings = home.plan.personalise
        refit(
            home.device,
            start,
            how=home.personaliser,
            settings=settings,
            weights=WEIGHTS,
            fleet=fleet,
        )
    else:
        home.device.memory["ended"] = {
            HOME: HomeEnd(
                weights={"linear": 1.0},
                models={"linear": Constant(np.array([constant]))},
                naive=Seasonal(),
                by=Reach(np.full(4, -1.0), np.full(4, 1.0)),
            )
        }
    runs = EndedRuns(home, place, source_of(place))
    assert runs.ended()
    made = runs.verdict(b"", run=1).model
    OwnModels(place.path, HOME).replace(made)
    return made


def excluded(place: HomeFolder, *words: object) -> str:
    done = fedhome("exclude", place.path, *words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


@pytest.mark.long
def test_a_model_that_learnt_from_a_broken_sensor_goes_when_that_is_left_out(
    place: HomeFolder,
) -> None:
    keep_fitted(place)
    before = kept(place)
    shown = excluded(place, *BROKEN, "--why", "broken")
    told = re.search(
        r"keeps the model of release 1 of tiny, fitted anew: on its newest \d+ rows the new one "
        r"has a mean error of ([\d.]+) kWh, the one before of ([\d.]+) kWh",
        shown,
    )
    assert told, shown
    assert float(told[1]) < float(told[2]) / 2
    after = kept(place)
    assert after.run == "release 1 of tiny, fitted anew"
    assert after.weights == pytest.approx(WEIGHTS)
    assert after.rows < before.rows
    assert after.unit < before.unit / 2, "its scale is no more that of the broken sensor"
    OwnModels(place.path, HOME).roll_back()
    assert kept(place).run == before.run


@pytest.mark.long
def test_what_the_fleet_chose_is_kept_and_weights_follow_from_the_rows_that_count(
    place: HomeFolder,
) -> None:
    names = list(home_in(place).plan.personalise.experts)
    fleet = FleetsBlend(
        matrix=mixture.knowing_nothing(len(names)), strength=1.0, alone=(0.5, 1, 4), fewest_blocks=1
    )
    keep_fitted(place, fleet=fleet)
    before = kept(place)
    assert before.blend is not None
    np.testing.assert_array_equal(before.blend.matrix, fleet.matrix)
    assert replace(before.blend, matrix=fleet.matrix) == fleet
    excluded(place, *BROKEN)
    after = kept(place)
    assert after.run == "release 1 of tiny, fitted anew"
    device = home_in(place).device
    (own,) = home_errors_of(device, place, names)
    expected = fleet.weights_of(own.matrix, own.blocks)
    found = [after.weights.get(name, 0.0) for name in names]
    assert found == pytest.approx(expected.tolist(), abs=1e-6)
    assert found != pytest.approx([before.weights.get(name, 0.0) for name in names], abs=1e-3)


def home_errors_of(device: OneHome, place: HomeFolder, names: list[str]) -> list[HomeErrors]:
    """Return the errors of a home's experts on the rows that count, reckoned by themselves."""
    settings = home_in(place).plan.personalise
    how, start = personaliser(settings.name), release_like(place).flat
    changes = how.trial(device, ends_with(device, start), settings)
    chosen = Adaptation(*choose(np.mean(changes, axis=0), settings.rates))
    experts = Experts(device, settings, start=start, how=how, adaptation=chosen)
    return home_errors(experts, names)


@pytest.mark.long
def test_with_json_the_list_alone_is_on_standard_output(place: HomeFolder) -> None:
    keep_fitted(place)
    done = fedhome("exclude", place.path, *BROKEN, "--json")
    (one,) = checked("client exclude", done.stdout)
    assert one["number"] == 1
    assert "fitted anew: on its newest" in done.stderr


@pytest.mark.long
def test_one_that_is_better_stays(place: HomeFolder) -> None:
    excluded(place, *BROKEN)
    data = keep_fitted(place, constant=0.0)  # the mean of the home, of which readings are noise
    shown = excluded(place, "--from", "2023-11-20", "--to", "2023-11-20")
    assert "keeps the model that it had, not that of release 1 of tiny, fitted anew" in shown
    assert OwnModels(place.path, HOME).read() == data


def test_without_a_row_that_is_new_to_both_nothing_changes(place: HomeFolder) -> None:
    data = keep_fitted(place, constant=0.0)
    until = kept(place).fitted_until
    day = np.datetime_as_string(np.datetime64(until, "s"), unit="s")
    shown = excluded(place, "--from", f"{day}Z", "--to", "2024-01-01")
    assert "there is no row yet to which neither of the two was fitted" in shown
    assert OwnModels(place.path, HOME).read() == data


def test_what_stands_against_it_is_said(place: HomeFolder) -> None:
    later = "the home's next run learns by what counts now"
    assert f"the home has no model of its own yet; {later}" in excluded(place, *BROKEN)
    keep_fitted(place, constant=0.0)
    shown = excluded(place, "--from", "2023-11-01", "--to", "2023-12-01")
    assert "no model was fitted anew: " in shown
    assert later in shown
    assert "counts again" in excluded(place, "--undo", 2)
    (place.path / MODEL / RELEASE_FILE).unlink()
    shown = excluded(place, "--undo", 1)
    assert "no release of the fleet's model in the home's folder" in shown
    assert kept(place).run == "run 1 of tiny"


def test_a_release_that_states_changes_is_no_beginning_for_levels(place: HomeFolder) -> None:
    keep_fitted(place, constant=0.0)
    shutil.rmtree(place.path.parent / "registry")
    fetched(place, release_like(place), learnt="change")
    shown = excluded(place, *BROKEN)
    assert "no model was fitted anew: release 1 is no model of this home's plan" in shown
    assert kept(place).run == "run 1 of tiny"


def test_a_model_that_a_run_brought_meanwhile_is_not_replaced(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_fitted(place, constant=0.0)
    real = fitted_anew._fitted

    def slow(*arguments: object) -> object:
        verdict = real(*arguments)  # type: ignore[arg-type]
        OwnModels(place.path, HOME).replace(b"of a run that ended")
        return verdict._replace(model=b"anew")

    monkeypatch.setattr(fitted_anew, "_fitted", slow)
    shown = excluded(place, *BROKEN)
    assert "has another model of its own by now" in shown
    assert OwnModels(place.path, HOME).read() == b"of a run that ended"
