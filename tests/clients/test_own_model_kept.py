"""What a home ends a run with is kept, if it is as good as what it had."""

from __future__ import annotations

import re
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import msgpack
import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict

from fedhome.clients import client_app, supernode
from fedhome.clients.agent import worker
from fedhome.clients.agent.own_model import OwnModelKeeper, keep_ended
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.own_models import OwnModels
from fedhome.flower.fleet_connection import message_bytes
from fedhome.flower.messages import config_content, take_identity
from fedhome.personal.model import PersonalModel
from fedhome.personal.models_file import ModelsFile
from fedhome.personal.newest_rows import moments, newest_rows, tried
from fedhome.plan.settings import Plan
from helpers.kept_home import (
    CLASSES,
    HOME,
    MEAN,
    NUMBERS,
    end_with,
    home_in,
    kept_home,
    runs_of,
    write_readings,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")

GOOD, POOR = 0.0, 3.0  # spreads from the mean


@pytest.fixture
def place(tmp_path: Path) -> HomeFolder:
    return kept_home(tmp_path)


def kept(place: HomeFolder) -> PersonalModel | None:
    data = OwnModels(place.path, HOME).read()
    return None if data is None else ModelsFile(data)[HOME]


def end(place: HomeFolder, *statement: float, run: int = 1) -> None:
    keep_ended(runs_of(place, *statement), OwnModelKeeper(place), run=run)


def run_in_use(place: HomeFolder) -> str:
    model = kept(place)
    assert model is not None
    return model.run


@pytest.fixture(autouse=True)
def _good_news_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


def test_the_first_model_is_kept_with_its_scores(
    place: HomeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    assert kept(place) is None
    end(place, GOOD)
    model = kept(place)
    assert model is not None
    assert "the home keeps the model of run 1 of tiny: it is its first" in caplog.text
    assert (model.home, model.run, model.score) == (HOME, "run 1 of tiny", "skill")
    # A reading forecasts the next one with twice the variance of the mean, of independent ones.
    assert model.scores["baseline"] == pytest.approx(0.0, abs=1e-6)
    assert model.scores["personalised"] == pytest.approx(0.5, abs=0.15)
    assert model.predict(place.settings.data)["value"].to_pylist()[-1] == pytest.approx(
        MEAN, abs=0.3
    )


def test_a_kept_model_knows_how_its_homes_files_are_read(place: HomeFolder) -> None:
    own = {"decimal": ".", "rename": {"use": "load"}, "time_zone": "Europe/Vienna"}
    place.change_settings(replace(place.settings, reading=own))
    end(place, GOOD)
    model = kept(place)
    assert model is not None
    assert dict(model.reading) == {"decimal": ".", "rename": {"use": "load"}}
    assert model.time_zone == "Europe/Vienna"


class Case(NamedTuple):
    """A plan, statements of a good and of a poor model, and how they are told apart."""

    plan: Plan
    good: tuple[float, ...]
    poor: tuple[float, ...]
    measure: str


@pytest.mark.parametrize(
    "case",
    [
        Case(NUMBERS, (GOOD,), (POOR,), "a mean error of .* kWh"),
        Case(CLASSES, (0.2, 0.1, 0.7), (0.9, 0.05, 0.05), "a Brier score of"),
    ],
    ids=["numbers", "classes"],
)
def test_a_model_goes_only_for_one_that_is_as_good_on_the_newest_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    place = kept_home(tmp_path, case.plan)
    end(place, *case.poor, run=1)
    end(place, *case.good, run=2)
    assert run_in_use(place) == "run 2 of tiny"
    caplog.clear()
    end(place, *case.poor, run=3)
    assert run_in_use(place) == "run 2 of tiny"
    (record,) = [record for record in caplog.records if "run 3" in record.message]
    assert record.levelname == "WARNING"
    told = record.message
    assert "the home keeps the model that it had, not that of run 3 of tiny" in told
    assert re.search(f"the new one has {case.measure}", told), told
    end(place, *case.good, run=4)  # as good is enough: it is of newer rows
    assert run_in_use(place) == "run 4 of tiny"
    assert caplog.records[-1].levelname == "INFO"


def test_a_run_is_kept_once(place: HomeFolder) -> None:
    runs = runs_of(place, GOOD)
    assert runs.ended()
    assert not runs.ended()


def test_a_run_that_is_told_twice_changes_nothing(
    place: HomeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    end(place, GOOD)
    before = OwnModels(place.path, HOME).path.read_bytes()
    caplog.clear()
    end(place, GOOD)
    assert OwnModels(place.path, HOME).path.read_bytes() == before
    assert caplog.text == ""


def test_another_plan_brings_another_model_whatever_it_is_worth(
    place: HomeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    end(place, GOOD, run=1)
    other = NUMBERS.change(data={"lags": [2], "horizon": 2, "gap": 2})
    place.plan_path.write_text(other.to_toml())
    end(place, POOR, run=2)
    assert run_in_use(place) == "run 2 of tiny"
    assert "the plan changed since the one before, which has another horizon" in caplog.text


def test_a_kept_model_that_is_none_is_replaced(
    place: HomeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    OwnModels(place.path, HOME).replace(b"of a release to come")
    end(place, GOOD)
    assert run_in_use(place) == "run 1 of tiny"
    assert "the one before is of no use here" in caplog.text


def test_a_damaged_file_is_told_and_left(
    place: HomeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    end(place, GOOD)
    path = OwnModels(place.path, HOME).path
    damaged = path.read_bytes()[:-1]
    path.write_bytes(damaged)
    caplog.clear()
    end(place, GOOD, run=2)
    assert path.read_bytes() == damaged
    assert "the home's own model cannot be read" in caplog.text
    assert "a model of the home's own was not kept" in caplog.text


def test_readings_that_are_gone_leave_the_kept_model(
    place: HomeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    end(place, GOOD, run=1)
    runs = runs_of(place, GOOD)
    Path(place.settings.data).unlink()
    keep_ended(runs, OwnModelKeeper(place), run=2)
    assert run_in_use(place) == "run 1 of tiny"
    assert "no model of its own is kept of run 2 of tiny" in caplog.text


def test_a_worker_hands_its_model_to_the_agent_and_has_no_keys(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_in(place)
    runs = runs_of(place, GOOD)
    reply = SimpleNamespace()
    monkeypatch.setattr(worker, "app_of", lambda *_, **__: worker.HomeApp(SimpleNamespace(), runs))
    monkeypatch.setattr(worker, "answer_with", lambda *_: reply)
    monkeypatch.setattr(
        worker, "message_bytes", lambda answer: b"reply" if answer is reply else b""
    )
    for key in place.path.glob("*.key"):
        key.unlink()
    ours, theirs = Pipe()
    serving = threading.Thread(target=_served, args=(theirs, place))
    serving.start()
    take_identity(1)
    message = Message(RecordDict(), dst_node_id=5, message_type="evaluate.outcome")
    with ours:
        for frames in (("ended", "own", "reply"), ("reply",)):
            worker.send(ours, message=message_bytes(message))
            for name in frames:
                frame = msgpack.unpackb(ours.recv_bytes())
                assert name in frame
                if name == "ended":
                    worker.send(ours, kept=b"")
                if name == "own":
                    assert ModelsFile(frame["own"])[HOME].rows == sum(
                        home.device.examples.counts[:2]
                    )
                    assert "it is its first" in frame["told"]
    serving.join()


def _served(pipe: object, place: HomeFolder) -> None:
    with pytest.raises(EOFError):
        worker.serve(pipe, place)  # type: ignore[arg-type]


def test_a_model_is_checked_on_rows_that_it_was_not_fitted_to(place: HomeFolder) -> None:
    end(place, GOOD)
    model = kept(place)
    assert model is not None
    home = home_in(place)
    test = home.device.examples.rows("test")
    predicted = model.predictions(place.settings.data)
    rows = newest_rows(model, predicted)
    times = home.device.examples.time_s
    chosen = set(moments(predicted)[rows].tolist())
    assert chosen >= set(times[test].tolist())
    assert not chosen & set(times[: test.start].tolist())
    trial = tried(model, predicted, rows)
    errors = predicted.table["value"].to_numpy()[rows] - predicted.known[rows]
    assert trial.error == pytest.approx(np.abs(errors).mean())
    assert trial.wrong == pytest.approx(np.sqrt((errors**2).mean()))
    assert not trial.worse
    # A month later there are more: the last week of them counts.
    write_readings(Path(place.settings.data), hours=24 * 40)
    later = model.predictions(place.settings.data)
    assert newest_rows(model, later).sum() == 24 * 7
    # As if it were fitted to all that came: nothing is left to check it on.
    fitted = replace(model, fitted_until=2_000_000_000)
    assert not newest_rows(fitted, later).any()
    assert not tried(fitted, later, newest_rows(fitted, later)).worse


def test_a_home_behind_a_stock_supernode_keeps_its_model_too(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_in(place)
    end_with(home, GOOD)
    monkeypatch.setattr(supernode, "home_at", lambda _: nullcontext(home))
    take_identity(1)
    context = Context(
        run_id=1,
        node_id=7,
        node_config={"home": str(place.path)},
        state=RecordDict(),
        run_config={"plan": "", "out": ""},
    )
    assert client_app.app(Message(config_content({}), 7, "query"), context).has_content()
    model = kept(place)
    assert model is not None
    assert model.run.endswith(" of tiny")
