"""Plans that hold and are hardly meant: what is noted, where, and that it is true."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fedhome
from fedhome.cli import app
from fedhome.learning.plan_notes import notes_on
from fedhome.plan.settings import Plan
from fedhome.run.events import Event
from fedhome.server.strategies import strategy_of
from fedhome.simulations import local_fleet
from helpers import tiny

NOTE = (
    "strategy fedprox with strategy.args.proximal_mu = 0 is fedavg: "
    "set strategy.args.proximal_mu above 0, or name fedavg"
)


def _prox(sent: float | None = None, name: str = "fedprox") -> dict[str, Any]:
    return {"strategy": {"name": name, "args": {} if sent is None else {"proximal_mu": sent}}}


def test_fedprox_without_a_pull_is_noted() -> None:
    assert notes_on(Plan()) == []
    assert notes_on(Plan.load(**_prox())) == [NOTE]
    assert notes_on(Plan.load(**_prox(0.0, name="FedProx"))) == [NOTE]
    assert notes_on(Plan.load(**_prox(0.3))) == []
    own = {"name": "fedprox", "args": {"proximal_mu": 0.0}}
    assert notes_on(Plan.load(method=own)) == [NOTE.replace("strategy", "method")]


@pytest.mark.long
def test_what_the_note_says_is_so(tmp_path: Path) -> None:
    def weights(name: str, **changed: Any) -> bytes:
        plan = tiny.plan(**changed)
        return tiny.run(plan, tiny.homes(), tmp_path / name).state.flat.astype("<f4").tobytes()

    plain = weights("fedavg")
    assert weights("none", **_prox()) == plain
    own = {"name": "fedprox", "args": {"proximal_mu": 0.0}}
    assert weights("method", method=own) == plain
    assert weights("pulled", **_prox(0.5)) != plain


@pytest.mark.long
@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            {"personalise": {"name": "none", "refit": False, "experts": ["tuned"]}},
            'personalise.experts, personalise.refit have no effect: personalise.name is "none"',
        ),
        (
            {"personalise": {"opponents": ["seasonal"], "patience": 2}},
            "personalise.patience has no effect: personalise.opponents names no network alone",
        ),
        (
            {"evaluation": {"days": [2.0]}},
            "evaluation.days has no effect: no home is new (evaluation.unseen = 0)",
        ),
        ({"evaluation": {"days": [2.0], "unseen": 0.2}}, ""),
        ({"personalise": {"name": "none", "local_batches": [32]}}, ""),
    ],
)
def test_settings_without_effect_are_noted(sections: dict[str, Any], told: str) -> None:
    assert notes_on(Plan.load(**sections)) == ([told] if told else [])


def test_up_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):  # noqa: N818 - before any process is started
        pass

    def stop(*_: Any, **__: Any) -> None:
        raise Stopped

    monkeypatch.setattr(local_fleet, "prepare", stop)
    heard: list[str] = []
    with pytest.raises(Stopped):
        local_fleet.up(Plan.load(**_prox()), out=tmp_path / "run", note=heard.append)
    assert heard.count(f"note: {NOTE}") == 1


def test_flower_does_not_say_it_again() -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("flwr")
    logger.addHandler(handler)
    try:
        strategy_of(Plan.load(**_prox()), 5)
        logger.warning("news")
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in records] == ["news"]


@pytest.mark.long
@pytest.mark.parametrize("columns", [200, 45])
def test_plan_explain_tells_it(tmp_path: Path, columns: int) -> None:
    file = tmp_path / "prox.toml"
    file.write_text('[strategy]\nname = "fedprox"\n')
    told = CliRunner().invoke(app, ["plan", "explain", str(file)], env={"COLUMNS": str(columns)})
    assert " ".join(told.output.split()).count(f"note: {NOTE}") == 1
    assert "note:" not in CliRunner().invoke(app, ["plan", "explain"]).output


@pytest.mark.long
def test_a_run_tells_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    plan = Plan.load(**tiny.SETTINGS).change(
        data={"source": tiny.write_source(tmp_path)},
        strategy={"name": "fedprox"},
        personalise={"name": "none"},
    )

    class Stopped(Exception):  # noqa: N818 - as a process that is killed
        pass

    def stop(event: Event) -> None:
        if event.event == "round-closed":
            raise Stopped

    with pytest.raises(Stopped):
        fedhome.simulate(plan, out=tmp_path / "run", on_event=stop)
    folder = fedhome.resume(tmp_path / "run").folder
    told = [event.data["text"] for event in folder.read_events() if event.event == "note"]
    assert told.count(NOTE) == 1
    assert np.isfinite(folder.read_model().parameters["0.weight"]).all()
