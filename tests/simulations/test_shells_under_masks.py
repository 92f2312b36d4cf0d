"""Slices under real masks: the ideal sum, bit for bit; what a single device has stays closed."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.clients import client_app
from fedhome.clients.outgoing.lanes import lanes_of
from fedhome.models.slicing import slices_of
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.run.events import EventLog, read_events
from fedhome.run.folder import RunFolder
from fedhome.secagg import Policy
from fedhome.server.rounds.masked_sums import ProtocolChannel
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.rounds.shell_sums import ShellSums
from fedhome.server.rounds.sums import Channel, IdealChannel
from fedhome.server.strategies import strategy_of
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.engines.sliced_homes import SlicedHomes
from fedhome.simulations.secure.secure_fleet import SecureFleet, secure_grid
from helpers import tiny

pytestmark = pytest.mark.long

ROWS = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 5, 5), (12, 6, 4)) * 2
NAMES = [f"home-{number}" for number in range(len(ROWS))]
LEAST = 3


def _plan(hub: float = 0.34, **changes: Any) -> Plan:
    tiers = [
        {"name": "hub", "width": 1.0, "depth": 2, "share": hub},
        {"name": "plug", "width": 0.5, "depth": 2, "share": 0.67 - hub},
        {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.33},
    ]
    sums = {"mode": "secure", "weights": "equal", "min_cohort": LEAST, "corrupt": 0.0}
    return tiny.plan(
        slicing={"tiers": tiers},
        model={"hidden": [8, 8]},
        aggregation=sums | {"dropped": 0.4},
        rounds={"count": 1, "evaluate_fraction": 0.0, "quorum": 0.1},
        engine={"kernel": "eager"},
    ).change(**changes)


def _run(plan: Plan, folder: Path) -> NDArray[np.float32]:
    mode = plan.aggregation.mode
    secure = SecureFleet(NAMES, plan, workers=0) if mode == "secure" else None
    world = replace(tiny.world(plan, tiny.homes(ROWS)), mode=mode, secure=secure)
    layout = world.learning.layout
    place = RunFolder.create(folder)
    with (
        closing(world),
        ENGINES[plan.engine.name](world) as grid,
        EventLog(place.events_path) as log,
    ):
        return RoundLoop(
            plan=plan,
            strategy=strategy_of(plan, len(ROWS)),
            grid=secure_grid(grid, plan=plan, layout=layout, log=log, fleet=secure),
            layout=layout,
            initial=world.learning.initial,
            folder=place,
            log=log,
        ).run()


class _Opened(list[tuple[int, int, int, NDArray[np.float64]]]):
    """Round, shell, homes and mean of every sum of updates that is opened."""

    @property
    def counts(self) -> list[tuple[int, int, int]]:
        return [(number, shell, homes) for number, shell, homes, _ in self]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> _Opened:
    found = _Opened()
    keep = Channel.keep

    def noted(self: Channel, group: Any, request: Any) -> None:
        if request.kind == "train":
            found.append((request.round, request.shell, group.homes, group.total.mean))
        keep(self, group, request)

    assert ProtocolChannel.keep is IdealChannel.keep
    monkeypatch.setattr(Channel, "keep", noted)
    return found


def _told(folder: Path) -> str:
    return "\n".join(str(event.data) for event in read_events(folder / "events.jsonl"))


@pytest.mark.parametrize(
    ("engine", "stages"), [("vector", []), ("sequential", []), ("vector", ["int8"])]
)
def test_slices_under_masks_with_homes_that_vanish_give_the_ideal_sum_bit_for_bit(
    engine: str, stages: list[str], tmp_path: Path, opened: _Opened
) -> None:
    plan = _plan(
        engine={"name": engine},
        faults={"dropout": 0.25},
        rounds={"count": 4},
        transfer={"stages": stages},
        **tiny.fedprox(0.5),
    )
    masked = _run(plan, tmp_path / "masked")
    counts = opened.counts
    opened.clear()
    ideal = _run(plan.change(aggregation={"mode": "ideal"}), tmp_path / "ideal")
    assert np.array_equal(masked, ideal)
    assert counts == opened.counts
    assert {shell for _, shell, _ in counts} == {0, 1, 2}
    assert all(homes >= LEAST for _, _, homes in counts)
    # In some round hubs were too few, and in another they were not.
    assert 0 < sum(shell == 2 for _, shell, _ in counts) < 4
    assert np.abs(masked - tiny.learning(plan).initial).max() > 0.01


@pytest.mark.parametrize("module", ["Convolution", "Gates"])
def test_shells_of_a_module_that_declares_its_slices_are_the_ideal_sums_under_masks(
    module: str, tmp_path: Path, opened: _Opened
) -> None:
    plan = _plan(model={"name": f"helpers.sliced_modules:{module}"})
    masked = _run(plan, tmp_path / "masked")
    assert opened.counts == [(1, 0, 12), (1, 1, 8), (1, 2, 4)]
    ideal = _run(plan.change(aggregation={"mode": "ideal"}), tmp_path / "ideal")
    assert np.array_equal(masked, ideal)
    layout, start = tiny.learning(plan).layout, tiny.learning(plan).initial
    assert [len(mean) for *_, mean in opened[:3]] == [len(shell) for shell in layout.shells]
    assert all((masked[shell] != start[shell]).mean() > 0.5 for shell in layout.shells)


def test_a_part_of_a_declared_module_that_too_few_carry_is_not_opened(
    tmp_path: Path, opened: _Opened
) -> None:
    plan = _plan(hub=0.17, model={"name": "helpers.sliced_modules:Convolution"})  # two homes
    found = _run(plan, tmp_path / "run")
    learning = tiny.learning(plan)
    last = learning.layout.shells[2]
    assert np.array_equal(found[last], learning.initial[last])
    assert [shell for _, shell, _ in opened.counts] == [0, 1]
    assert "2 homes were asked that carry what tier hub has" in _told(tmp_path / "run")


def _one_hub(**changes: Any) -> Plan:
    plan = _plan(hub=0.09, **changes)
    assert np.bincount(tiers_of(plan, NAMES)).tolist() == [4, 7, 1]
    return plan


def _lying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a server that asks all homes for every shell, as if all carried all."""
    made = ShellSums.__init__

    def cheating(self: ShellSums, *given: Any) -> None:
        made(self, *given)
        self._tiers = dict.fromkeys(self._tiers, 2)

    monkeypatch.setattr(ShellSums, "__init__", cheating)


def test_what_a_single_device_has_is_never_asked_for(tmp_path: Path, opened: _Opened) -> None:
    plan = _one_hub()
    found = _run(plan, tmp_path / "run")
    shell = slices_of(plan, tiny.FEATURES, 1).shell(2)
    assert np.array_equal(found[shell], tiny.learning(plan).initial[shell])
    assert [shell for _, shell, _ in opened.counts] == [0, 1]
    assert "1 homes were asked that carry what tier hub has" in _told(tmp_path / "run")


@pytest.mark.parametrize("engine", ["vector", "sequential"])
def test_a_server_that_lies_about_tiers_learns_nothing_of_a_single_device(
    engine: str, tmp_path: Path, opened: _Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lying(monkeypatch)
    plan = _one_hub(engine={"name": engine})
    found = _run(plan, tmp_path / "run")
    assert [shell for _, shell, _ in opened.counts] == [0]  # of twelve asked for a part of eight
    later = np.setdiff1d(np.arange(len(found)), slices_of(plan, tiny.FEATURES, 1).shell(0))
    assert np.array_equal(found[later], tiny.learning(plan).initial[later])


def test_the_attack_works_where_homes_do_not_look_into_the_directory(
    tmp_path: Path, opened: _Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what the lying server would have had, is what the one hub has learnt."""
    _lying(monkeypatch)
    monkeypatch.setattr(Policy, "_shell_faults", lambda *_: iter(()))
    plan = _one_hub(engine={"name": "vector"}, aggregation={"bits": 24})
    _run(plan, tmp_path / "run")
    (sums,) = [mean for _, shell, _, mean in opened if shell == 2]
    hub = int(np.argmax(tiers_of(plan, NAMES)))
    own = tiny.world(plan.change(aggregation={"mode": "ideal"}), tiny.homes(ROWS))
    start = own.learning.initial
    with ExitStack() as open_:
        homes = SlicedHomes(own, open_)
        trained = homes.respond("train", np.array([hub]), start, {"server-round": 1}).params
    assert trained is not None
    learnt = (trained[0] - start)[slices_of(plan, tiny.FEATURES, 1).shell(2)]
    assert np.abs(learnt).max() > 0.01
    np.testing.assert_allclose(sums * len(ROWS), learnt, atol=1e-3)


def test_each_device_refuses_by_itself_what_it_does_not_carry(
    tmp_path: Path, opened: _Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the directory itself were wrong: only the hub would add to its part."""
    _lying(monkeypatch)
    monkeypatch.setattr(Policy, "_shell_faults", lambda *_: iter(()))
    joined: list[int] = []
    ask = client_app.requested_sum_of

    def noted(*given: Any, **rest: Any) -> Any:
        found = ask(*given, **rest)
        joined.append(found.form.elements)
        return found

    monkeypatch.setattr(client_app, "requested_sum_of", noted)
    plan = _one_hub(engine={"name": "sequential"})
    _run(plan, tmp_path / "run")
    shape = slices_of(plan, tiny.FEATURES, 1)
    sizes = [len(shape.shell(number)) for number in range(3)]
    assert [joined.count(size) for size in sizes] == [12, 8, 1]  # who masks anything at all
    assert [shell for _, shell, _ in opened.counts] == [0, 1]
    assert "a part of the model that its device does not carry" in _told(tmp_path / "run")


def test_people_are_told_that_a_device_sends_what_it_carries_in_sums_of_their_own() -> None:
    def told(plan: Plan) -> str:
        (train,) = [one for one in lanes_of(plan, len(ROWS)) if one.question.name == "train"]
        return train.lanes[-1].meaning

    assert "each parameter that its device carries" in told(_plan())
    whole = _plan(slicing={"tiers": []})
    assert told(whole) == "how the home would change each parameter of the model"


def test_no_place_of_the_model_is_in_two_sums(tmp_path: Path, opened: _Opened) -> None:
    """So no difference of sums is over single homes, whoever vanishes between them."""
    plan = _plan()
    _run(plan, tmp_path / "run")
    shape = slices_of(plan, tiny.FEATURES, 1)
    places = np.concatenate([shape.shell(shell) for _, shell, _ in opened.counts])
    assert len(opened) == 3
    assert np.array_equal(np.sort(places), np.arange(shape.layout.size))
