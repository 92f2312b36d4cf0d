"""Homes that are made when they are asked: the run is that of homes that are all in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import fedhome
from fedhome.data.homes_store import HomesStore
from fedhome.data.pack_homes import pack
from fedhome.data.table import HomeTable
from fedhome.errors import EngineError, PlanError, SourceError
from fedhome.learning.build import learning_of
from fedhome.plan.settings import Plan
from fedhome.run.events import Event
from fedhome.simulations.datasets import CATALOGUE
from fedhome.simulations.homes import generate
from fedhome.simulations.homes.synthetic_fleet import generate_some
from fedhome.simulations.pools.pooled_fleet import HELD_HOMES, fitting, looked_at, open_pool
from fedhome.simulations.taken_fleet import take_fleet

pytestmark = pytest.mark.long

HOMES = 24
SMALL: dict[str, Any] = {
    "data": {"homes": HOMES, "days": 12},
    "model": {"hidden": (6,)},
    "rounds": {"count": 3, "judge_every": 0},
    "personalise": {"name": "none"},
}
ASKED: dict[str, Any] = {"engine": {"hold": "asked"}, "evaluation": {"homes": 7}}
EQUAL = {"aggregation": {"mode": "ideal", "weights": "equal"}}


def _plan(**sections: Any) -> Plan:
    return Plan.load(**SMALL).change(**sections)


def _all_held(plan: Plan) -> Plan:
    """Return the plan of a run whose homes were asked, with all of them in memory."""
    return plan.change(engine={"hold": "all"})


def _flat(result: fedhome.Result) -> np.ndarray[Any, Any]:
    return np.concatenate([value.ravel() for value in result.model.parameters.values()])


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"aggregation": {"mode": "ideal"}},
        {"aggregation": {"mode": "ideal"}, "rounds": {"evaluate_fraction": 0.999}},
        {"faults": {"dropout": 0.3}},
        {"strategy": {"name": "fedmedian"}, "aggregation": {"mode": "plain"}},
        {"method": {"name": "fedper"}},
        {"rounds": {"fraction": 0.5}},
    ],
    ids=lambda sections: " ".join(f"{name}={value}" for name, value in sections.items()) or "plain",
)
def test_homes_that_are_made_when_asked_give_the_model_of_homes_in_memory(
    sections: dict[str, Any], tmp_path: Path
) -> None:
    asked = fedhome.simulate(_plan(**sections, **ASKED), out=tmp_path / "asked")
    held = fedhome.simulate(_all_held(asked.plan), out=tmp_path / "held")
    assert asked.rounds["homes_asked"].to_pylist() == held.rounds["homes_asked"].to_pylist()
    if asked.plan.aggregation.mode == "ideal":
        assert np.array_equal(_flat(asked), _flat(held)), "exact sums do not know who was held"
    else:
        np.testing.assert_allclose(_flat(asked), _flat(held), rtol=1e-4, atol=1e-5)
    assert not np.allclose(_flat(asked), _initial(asked.plan), atol=1e-3)


def _initial(plan: Plan) -> np.ndarray[Any, Any]:
    return learning_of(plan, take_fleet(plan).gathered.homes[0].x.shape[1], ()).initial


def test_a_run_is_gone_on_with_and_ends_with_the_weights_it_would_have_had(tmp_path: Path) -> None:
    class CutError(Exception):
        """The run is cut off."""

    def cut(event: Event) -> None:
        if event.event == "round-closed" and event.data["round"] == 2:
            raise CutError

    plan = _plan(**ASKED, rounds={"fraction": 0.5})
    whole = fedhome.simulate(plan, out=tmp_path / "whole")
    with pytest.raises(CutError):
        fedhome.simulate(plan, out=tmp_path / "cut", on_event=cut)
    assert np.array_equal(_flat(fedhome.resume(tmp_path / "cut")), _flat(whole))


def test_homes_that_are_looked_at_judge_and_personalise_and_it_is_said_who(tmp_path: Path) -> None:
    events: list[Event] = []
    plan = _plan(
        **ASKED,
        rounds={"judge_every": 2},
        personalise={"name": "fine-tune", "experts": ["tuned", "naive"], "epochs": 2},
    )
    result = fedhome.simulate(plan, out=tmp_path / "run", on_event=events.append)
    names = {f"home-{home + 1:04d}" for home in looked_at(result.plan, HOMES)}
    assert set(result.homes["home"].to_pylist()) == names
    assert set(result.models) == names
    notes = [event.data["text"] for event in events if event.event == "note"]
    assert any("of 24 homes 7 are held in memory and looked at" in note for note in notes)
    ready = next(event.data for event in events if event.event == "fleet-ready")
    assert (ready["homes"], ready["held"]) == (HOMES, 7)
    assert any(event.event == "model-judged" for event in events)


def test_some_homes_of_the_synthetic_fleet_are_what_they_are_among_all() -> None:
    everyone = list(generate(homes=9, days=3, seed=4))
    some = list(generate_some([7, 2, 5], days=3, seed=4))
    assert [table.home for table in some] == ["home-0008", "home-0003", "home-0006"]
    for table, place in zip(some, (7, 2, 5), strict=True):
        assert np.array_equal(table.time_s, everyone[place].time_s)
        for name, values in table.columns.items():
            assert np.array_equal(values, everyone[place].columns[name], equal_nan=True)


def test_few_homes_are_held_and_many_are_not() -> None:
    few, many = _plan(), _plan(data={"homes": HELD_HOMES + 1})
    assert open_pool(few) is None
    pool = open_pool(many)
    assert pool is not None
    assert len(pool.names) == HELD_HOMES + 1
    assert open_pool(many.change(engine={"hold": "all"})) is None


def test_what_a_pool_leaves_open_is_settled_and_told_and_what_is_said_stays() -> None:
    plan, told = fitting(_plan(), 1000)
    assert plan.evaluation.homes == 200
    assert plan.rounds.evaluate_fraction == 0.2
    assert plan.aggregation.mode == "plain"
    for word in ("1,000 homes 200", "evaluate_fraction = 0.2", 'aggregation.mode = "plain"'):
        assert word in told
    said = _plan(rounds={"evaluate_fraction": 0.5}, aggregation={"mode": "ideal"}, **ASKED)
    plan, told = fitting(said, 1000)
    assert plan == said
    assert "evaluate_fraction" not in told


def test_all_that_does_not_go_with_a_pool_is_refused_at_once() -> None:
    plan = _plan(
        engine={"hold": "asked", "name": "sequential"},
        aggregation={"mode": "secure"},
        faults={"stragglers": 0.1},
    )
    with pytest.raises(PlanError) as error:
        open_pool(plan)
    assert len(error.value.faults) == 3
    for word in ("sequential", "secure", "stragglers", "hold"):
        assert word in str(error.value) + error.value.hint


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"evaluation": {"unseen": 0.2}, "personalise": {"name": "fine-tune"}},
            "evaluation.unseen sets homes apart",
        ),
        (
            {"slicing": {"tiers": [{"name": "small", "width": 0.5, "depth": 1, "share": 1.0}]}}
            | EQUAL,
            "slicing.tiers deal out devices to homes",
        ),
        ({"engine": {"device": "cuda"}}, "which 'cuda' has to wait for"),
        ({"engine": {"name": "ray"}}, "which engine 'ray' cannot"),
    ],
)
def test_what_needs_homes_in_memory_is_refused_by_a_pool(
    changes: dict[str, Any], fault: str
) -> None:
    held = {"hold": "asked", **changes.get("engine", {})}
    with pytest.raises(PlanError) as error:
        open_pool(_plan(**{**changes, "engine": held}))
    (only,) = error.value.faults
    assert fault in only


def test_a_source_that_gives_all_or_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,load_kwh\n2025-01-01,1\n", encoding="utf-8")
    plan = _plan(**ASKED).change(data={"source": str(tmp_path)})
    with pytest.raises(PlanError, match="gives no home without the rest") as error:
        open_pool(plan)
    assert "fedhome data pack" in error.value.hint
    for known in (next(iter(CATALOGUE)), f"{__name__}:homes"):
        with pytest.raises(PlanError, match="gives no home without the rest"):
            open_pool(_plan(**ASKED).change(data={"source": known}))
    with pytest.raises(SourceError, match=r"'hoems\.packed' is neither a data set nor a folder"):
        open_pool(_plan(**ASKED).change(data={"source": "hoems.packed"}))


def test_a_module_that_trains_home_after_home_needs_homes_in_memory(tmp_path: Path) -> None:
    plan = _plan(**ASKED)

    class Choosy(nn.Module):
        def __init__(self, features: int, outputs: int) -> None:
            super().__init__()
            self.head = nn.Linear(features, outputs)

        def forward(self, x: Any) -> Any:
            return self.head(x if float(x.sum()) > 0 else -x)

    with pytest.raises(EngineError, match="made when they are asked") as error:
        fedhome.simulate(plan, model=Choosy, out=tmp_path / "run")
    assert "engine.hold" in error.value.hint


def test_a_setting_without_effect_is_told(tmp_path: Path) -> None:
    events: list[Event] = []
    plan = _plan(evaluation={"homes": 7}, rounds={"count": 1})
    fedhome.simulate(plan, out=tmp_path / "run", on_event=events.append)
    notes = [event.data["text"] for event in events if event.event == "note"]
    assert sum("evaluation.homes has no effect" in note for note in notes) == 1


@pytest.mark.parametrize("mode", ["plain", "ideal"])
def test_a_home_of_a_store_that_cannot_take_part_is_named_once_and_costs_nothing_else(
    mode: str, tmp_path: Path
) -> None:
    tables = list(generate(homes=HOMES, days=12, seed=1))
    held = set(looked_at(_plan(**ASKED), HOMES).tolist())
    bad = next(place for place in range(HOMES) if place not in held)
    short = {name: values[:3] for name, values in tables[bad].columns.items()}
    tables[bad] = HomeTable(
        home=tables[bad].home, time_s=tables[bad].time_s[:3], columns=short, time_zone="UTC"
    )
    pack(tables, tmp_path / "all.homes")
    events: list[Event] = []
    plan = _plan(**ASKED, data={"source": str(tmp_path / "all.homes")}, aggregation={"mode": mode})
    result = fedhome.simulate(plan, out=tmp_path / "run", on_event=events.append)
    notes = [event.data["text"] for event in events if event.event == "note"]
    assert sum(tables[bad].home in note and "cannot take part" in note for note in notes) == 1
    without = [table for table in tables if table.home != tables[bad].home]
    pack(without, tmp_path / "fine.homes")
    assert result.rounds.num_rows == 3
    held_plan = _all_held(result.plan).change(data={"source": str(tmp_path / "fine.homes")})
    fine = fedhome.simulate(held_plan, out=tmp_path / "fine")
    np.testing.assert_allclose(_flat(result), _flat(fine), rtol=2e-2, atol=5e-3)


def test_a_packed_fleet_trains_as_the_same_fleet_in_memory(tmp_path: Path) -> None:
    pack(generate(homes=HOMES, days=12, seed=1), tmp_path / "fleet.homes")
    plan = _plan(**ASKED, data={"history_days": 5.0})
    made = fedhome.simulate(plan, out=tmp_path / "made")
    stored = plan.change(data={"source": str(tmp_path / "fleet.homes")})
    read = fedhome.simulate(stored, out=tmp_path / "read")
    assert np.array_equal(_flat(made), _flat(read))
    assert len(HomesStore(tmp_path / "fleet.homes", most=5).names) == 5
