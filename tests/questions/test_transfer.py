"""Stages of transfer: by hand, over both engines, and in sums with and without masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedhome.clients.outgoing.lanes import lanes_of
from fedhome.errors import EngineError, PlanError, UpdateError
from fedhome.learning.own_state import OwnState, StatesInMemory
from fedhome.plan.protocol import terms_hash
from fedhome.plan.settings import Plan
from fedhome.questions.stages import stages_of
from fedhome.questions.stages.random_k import RandomK, parts_of
from fedhome.questions.transfer import check_feedback, count_of, decoded, encoded
from fedhome.run.events import EventLog, read_events
from fedhome.run.folder import RunFolder
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.strategies import strategy_of
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.secure.secure_fleet import SecureFleet, secure_grid
from fedhome.wire.layout import Layout
from helpers import tiny

ROWS = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 5, 5), (12, 6, 4))
SUMS = {"mode": "ideal", "min_cohort": 3, "corrupt": 0.0, "dropped": 0.4}
LAYOUT = Layout(("w",), ((10,),))


def _plan(*stages: str, **changes: Any) -> Plan:
    table: dict[str, Any] = {
        "transfer": {"stages": list(stages)},
        "aggregation": SUMS,
        "rounds": {"count": 4, "evaluate_fraction": 0.0},
        "engine": {"kernel": "eager"},
    }
    for name, section in changes.items():
        table[name] = {**table.get(name, {}), **section}
    return tiny.plan(**table)


def _run(plan: Plan, folder: Path) -> NDArray[np.float32]:
    """Run a plan's rounds over six homes, added up as the plan says."""
    world = replace(tiny.world(plan, tiny.homes(ROWS)), mode=plan.aggregation.mode)
    if world.mode == "secure":
        world = replace(world, secure=SecureFleet(world.names, plan, workers=0))
    layout, place = world.learning.layout, RunFolder.create(folder)
    with ENGINES[plan.engine.name](world) as grid, EventLog(place.events_path) as log:
        over = secure_grid(grid, plan=plan, layout=layout, log=log, fleet=world.secure)
        loop = RoundLoop(
            plan=plan,
            strategy=strategy_of(plan, len(ROWS)),
            grid=over,
            layout=layout,
            initial=world.learning.initial,
            folder=place,
            log=log,
            states=world.states,
        )
        return loop.run()


def _bytes_up(folder: Path) -> int:
    closed = [event.data for event in read_events(folder / "events.jsonl")]
    return sum(data["bytes_up"] for data in closed if "bytes_up" in data)


@given(
    size=st.integers(1, 60),
    share=st.floats(0.02, 1.0),
    seed=st.integers(0, 99),
    deal=st.integers(0, 3),
)
def test_each_number_travels_once_in_a_deal(size: int, share: float, seed: int, deal: int) -> None:
    stage = RandomK.of(_plan("random-k", transfer={"share": share}).change(seed=seed), size)
    rounds = range(deal * stage.parts + 1, (deal + 1) * stage.parts + 1)
    sent = [stage.places(number) for number in rounds]
    assert sorted(np.concatenate(sent).tolist()) == list(range(size))
    assert all(0 < len(places) <= np.ceil(share * size + 1) for places in sent)


def test_a_share_is_one_part_of_as_few_as_do_not_exceed_it() -> None:
    assert [parts_of(share) for share in (1.0, 0.5, 0.25, 0.1, 0.3, 0.7)] == [1, 2, 4, 10, 4, 2]


def test_what_is_not_sent_is_zero_or_kept_and_added_next_time() -> None:
    plan = _plan("random-k", transfer={"share": 0.5, "feedback": 1})
    (stage,) = stages_of(plan, 10)
    assert isinstance(stage, RandomK)
    change = np.arange(1, 21, dtype=np.float32).reshape(2, 10)
    states, start = StatesInMemory(), np.zeros(10, np.float32)

    def send(number: int) -> NDArray[np.float32]:
        settings = {"server-round": number}
        return encoded(
            plan, change, start=start, settings=settings, homes=["a", "b"], states=states
        )

    first, second = stage.places(1), stage.places(2)
    assert send(1).tolist() == change[:, first].tolist()
    assert send(2).tolist() == (2 * change[:, second]).tolist()
    assert send(2).tolist() == (2 * change[:, second]).tolist()  # the same question again
    third, waiting = stage.places(3), np.ones(10)
    waiting[first] = 2  # of round 2 and of this one
    np.testing.assert_array_equal(send(3), (waiting * change)[:, third])
    mean = decoded(plan, np.array([1.0, 2, 3, 4, 5]), LAYOUT, {"server-round": 1})
    assert mean[first].tolist() == [1, 2, 3, 4, 5]
    assert not mean[second].any()


def test_a_share_of_what_waits_is_added_each_time() -> None:
    """Three rounds until a number goes again: 1, then .5 of it and 1, then .5 of that and 1."""
    plan = _plan("random-k", transfer={"share": 0.34, "feedback": 0.5})
    (stage,) = stages_of(plan, 10)
    assert isinstance(stage, RandomK)
    change, states = np.ones((1, 10), np.float32), StatesInMemory()
    asked: dict[str, Any] = {"start": np.zeros(10, np.float32), "homes": ["a"], "states": states}
    sent = np.zeros((3, 10), np.float32)
    for number in (1, 2, 3):
        settings = {"server-round": number}
        sent[number - 1, stage.places(number)] = encoded(plan, change, settings=settings, **asked)
    assert stage.places(1).size + stage.places(2).size + stage.places(3).size == 10
    assert sorted(set(sent[sent > 0].tolist())) == [1, 1.5, 1.75]
    assert (sent[0, stage.places(1)] == 1).all()
    assert (sent[2, stage.places(3)] == 1.75).all()


def test_what_another_plan_left_is_not_added() -> None:
    plan = _plan("random-k", transfer={"share": 0.5, "feedback": 1})
    states, change = StatesInMemory(), np.ones((1, 10), np.float32)
    kept = {"not-sent": np.full(10, 9, np.float32)}
    states.write("a", OwnState(of=bytes(32), asked=bytes(32), arrays=kept))
    sent = encoded(
        plan,
        change,
        start=np.zeros(10, np.float32),
        settings={"server-round": 1},
        homes=["a"],
        states=states,
    )
    assert (sent == 1).all()


def test_an_update_that_is_not_finite_sends_nothing_and_leaves_what_was_kept() -> None:
    plan = _plan("random-k", transfer={"share": 0.5, "feedback": 1})
    (stage,) = stages_of(plan, 10)
    assert isinstance(stage, RandomK)
    change, states = np.ones((2, 10), np.float32), StatesInMemory()
    change[0, stage.places(2)[0]] = np.nan  # not among what travels
    asked: dict[str, Any] = {"start": np.zeros(10, np.float32), "homes": ["a", "b"]}
    sent = encoded(plan, change, settings={"server-round": 1}, states=states, **asked)
    assert np.isnan(sent[0]).all()
    assert (sent[1] == 1).all()
    assert states.read("a") is None
    assert states.read("b") is not None


def test_a_training_has_to_name_its_round() -> None:
    with pytest.raises(UpdateError, match="which numbers of the model travel"):
        count_of(_plan("random-k"), LAYOUT, {})
    assert count_of(_plan("int4"), LAYOUT, {}) == 10


def test_what_is_kept_needs_a_place_and_no_method_there() -> None:
    plan = _plan("random-k", transfer={"feedback": 1}, method={"name": "fedper"})
    learning = tiny.learning(plan)
    with pytest.raises(PlanError, match="the method keeps something in each home as well"):
        check_feedback(plan, learning.method, learning.layout)
    own = _plan("random-k", transfer={"feedback": 0})
    check_feedback(own, learning.method, learning.layout)
    with pytest.raises(EngineError, match="nowhere to keep"):
        encoded(
            plan,
            np.ones((1, 10), np.float32),
            start=np.zeros(10, np.float32),
            settings={"server-round": 1},
            homes=["a"],
            states=None,
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transfer": {"stages": ["randomk"]}}, "did you mean 'random-k'"),
        ({"transfer": {"stages": ["int8", "int4"]}}, "one stage says how fine numbers are"),
        ({"transfer": {"stages": ["int8", "random-k"]}}, "first what leaves numbers out"),
        ({"transfer": {"stages": [], "share": 0.5}}, "transfer.share = 0.5 belongs to random-k"),
        ({"aggregation": {"mode": "plain"}}, "stages are for what is added up"),
        ({"aggregation": {"mode": "ideal", "bits": 12}}, "the stage says how many bits"),
        ({"engine": {"name": "ray"}}, "Ray's workers send whole updates"),
        ({"strategy": {"wrap": "x"}}, "it promises something of whole updates"),
        (
            {"slicing": {"tiers": [{"name": "a", "width": 1.0, "depth": 1, "share": 1.0}]}},
            "random-k is of whole models (int8, int4 go); set slicing.tiers = []",
        ),
        (
            {"privacy": {"mechanism": "discrete-gaussian", "epsilon": 8.0}},
            "noise is computed for whole updates",
        ),
    ],
)
def test_what_does_not_go_with_stages_is_told(changes: dict[str, Any], words: str) -> None:
    table: dict[str, Any] = {"transfer": {"stages": ["random-k", "int4"]}, **changes}
    with pytest.raises(PlanError) as caught:
        Plan.parse(table)
    assert any(words in fault for fault in caught.value.faults)


def test_stages_bind_homes_and_plans_without_them_are_what_they_were() -> None:
    whole, fewer = _plan(), _plan("random-k")
    assert terms_hash(whole) != terms_hash(fewer)
    assert terms_hash(fewer) != terms_hash(_plan("random-k", transfer={"share": 0.5}))


@pytest.mark.long
@pytest.mark.parametrize(
    ("stages", "feedback"),
    [(("random-k",), False), (("random-k", "int8"), True), (("int4",), True)],
)
def test_engines_and_masks_give_the_same_model(
    stages: tuple[str, ...], feedback: bool, tmp_path: Path
) -> None:
    transfer = {} if feedback else {"feedback": 0}
    plan = _plan(*stages, transfer=transfer)
    ideal = _run(plan, tmp_path / "ideal")
    masked = _run(plan.change(aggregation={"mode": "secure"}), tmp_path / "masked")
    assert np.array_equal(ideal, masked)
    alone = _run(plan.change(engine={"name": "sequential"}), tmp_path / "alone")
    np.testing.assert_allclose(alone, ideal, atol=2e-2 if "int4" in stages else 2e-3)
    assert np.abs(ideal - tiny.learning(plan).initial).max() > 0.01


@pytest.mark.long
def test_a_round_moves_the_numbers_that_travelled_and_no_other(tmp_path: Path) -> None:
    plan = _plan("random-k", rounds={"count": 1})
    start = tiny.learning(plan).initial
    moved = _run(plan, tmp_path / "run") != start
    (stage,) = stages_of(plan, len(start))
    assert isinstance(stage, RandomK)
    places = stage.places(1)
    assert not np.delete(moved, places).any()
    assert moved[places].mean() > 0.8


@pytest.mark.long
def test_fewer_and_coarser_numbers_take_fewer_bytes(tmp_path: Path) -> None:
    wide = {"model": {"hidden": [64, 64]}, "rounds": {"count": 1, "evaluate_fraction": 0.0}}
    sizes = {
        stages: _bytes_up(_made(_plan(*stages, **wide), tmp_path / "-".join(("run", *stages))))
        for stages in ((), ("int8",), ("int4",), ("random-k",), ("random-k", "int4"))
    }
    # Six homes: 16 bits lie in lanes of 21, 8 bits in lanes of 12, 4 bits in lanes of 8.
    assert sizes["int8",] < 0.65 * sizes[()]
    assert sizes["int4",] < 0.45 * sizes[()]
    assert sizes["random-k",] < 0.4 * sizes[()]
    assert sizes["random-k", "int4"] < 0.2 * sizes[()]


def _made(plan: Plan, folder: Path) -> Path:
    _run(plan, folder)
    return folder


@pytest.mark.long
def test_a_home_refuses_a_sum_over_other_numbers_than_the_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _plan("random-k", engine={"name": "sequential"}, rounds={"count": 1})
    monkeypatch.setattr(
        "fedhome.server.rounds.secure_grid.count_of", lambda _, layout, __: layout.size
    )
    _run(plan, tmp_path / "run")
    events = read_events(tmp_path / "run" / "events.jsonl")
    assert "over other numbers than this home adds up" in str([event.data for event in events])


def test_people_are_told_that_some_of_the_numbers_leave() -> None:
    plan = Plan.parse({"transfer": {"stages": ["random-k"]}})
    lanes = {one.name: one for asked in lanes_of(plan, 30) for one in asked.lanes}
    assert "some parameters of the model" in lanes["update"].meaning
    whole = {one.name: one for asked in lanes_of(Plan(), 30) for one in asked.lanes}
    assert "each parameter of the model" in whole["update"].meaning
    coarse = Plan.parse({"transfer": {"stages": ["int4"]}})
    assert {one.name: one for asked in lanes_of(coarse, 30) for one in asked.lanes}[
        "update"
    ].steps == 14
