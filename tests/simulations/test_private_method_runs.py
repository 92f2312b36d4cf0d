"""Whole runs by a method that keeps something at home: engines, sums, interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedhome
from fedhome.learning.cohort import Trained
from fedhome.learning.device import Device
from fedhome.learning.home_round import HomeRound, RoundEnd, ends_with, private_places, train_round
from fedhome.learning.methods import Ditto
from fedhome.learning.own_state import OwnState
from fedhome.plan.settings import Plan
from fedhome.run.events import Event
from helpers import tiny
from helpers.wired_fleet import WiredFleet, secure_plan

METHODS: dict[str, dict[str, Any]] = {
    "fedper": {"name": "fedper"},
    "ditto": {"name": "ditto"},
    "apfl": {"name": "apfl"},
}
CHOOSING: dict[str, Any] = {"name": "ifca"}  # it keeps a choice, which it makes anew


def plan_of(name: str, **sections: Any) -> Plan:
    settings: dict[str, Any] = {
        "data": {"homes": 5, "days": 10},
        "model": {"hidden": [8]},
        "rounds": {"count": 4, "checkpoint_every": 2},
        "personalise": {"opponents": ["seasonal"], "experts": ["tuned", "global", "naive"]},
        "engine": {"threads": 1},
        "aggregation": {"mode": "plain"},
        "method": METHODS[name],
    }
    return Plan.load(**settings).change(**sections)


def same(one: fedhome.Result, other: fedhome.Result) -> bool:
    """Whether two runs ended with the same model and the same scores of all homes."""
    weights = one.model.parameters, other.model.parameters
    return one.homes.equals(other.homes) and all(
        weights[0][name].tobytes() == weights[1][name].tobytes() for name in weights[0]
    )


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(name: str, tmp_path: Path) -> None:
    plan = plan_of(name)

    def stop(event: Event) -> None:
        if event.event == "round-closed" and event.data["round"] == 3:
            raise KeyboardInterrupt  # the third round is lost: the second is the last that is kept

    whole = fedhome.simulate(plan, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fedhome.simulate(plan, out=tmp_path / "cut", on_event=stop)
    resumed = fedhome.resume(tmp_path / "cut")
    assert same(resumed, whole)
    assert not same(fedhome.simulate(plan_of(name, method={"name": "fedavg"})), whole)


@pytest.mark.long
@pytest.mark.parametrize("name", [*METHODS, "ifca"])
def test_real_homes_in_secure_sums_learn_what_a_simulation_does(name: str, tmp_path: Path) -> None:
    method = METHODS.get(name, CHOOSING)
    plan = secure_plan(method=method, rounds={"count": 3})
    fleet = WiredFleet(tmp_path / "fleet", plan, count=5)
    with fleet.run() as rounds:
        found = rounds.run()
    names = sorted(fleet.homes)
    homes = [fleet.homes[name].device.examples for name in names]
    plain = tiny.plan(method=method, rounds={"count": 3})
    world = tiny.world(plain, homes)
    tiny.run(plain, homes, tmp_path / "plain", on=world)
    assert not np.allclose(found, world.learning.initial, atol=1e-2)
    places = private_places(world.learning.method, world.learning.layout)
    assert found[places].tobytes() == world.learning.initial[places].tobytes()  # a sum of zeros
    for home, data in zip(names, homes, strict=True):
        own = ends_with(fleet.homes[home].device, found)[0]
        simulated = ends_with(Device(world.learning, data, plain.seed, states=world.states), found)
        np.testing.assert_allclose(own, simulated[0], atol=1e-2)  # sums are rounded
        assert method == CHOOSING or not np.allclose(own, found, atol=1e-2)


SHIFTS = (0.0, 0.0, 0.25)


def masked(plan: Plan, folder: Path, shift: float) -> bytes:
    """Return the words that homes masked in a round, where all that they keep is other by this."""
    fleet = WiredFleet(folder, plan, count=5)
    device = next(iter(fleet.homes.values())).device
    start, before = device.learning.initial, bytes(32)
    for home in fleet.homes.values():
        train_round(
            home.device, start, number=0, epochs=1, steps=0, method=home.device.learning.method
        )
        for name in home.device.homes:
            state = fleet.states.read(name)
            assert state is not None
            moved = {key: values + np.float32(shift) for key, values in state.arrays.items()}
            fleet.states.write(name, OwnState(of=state.of, asked=before, arrays=moved))
    with fleet.run() as rounds:
        rounds.run()
    found = [fleet.parts[name].words for name in sorted(fleet.parts)]
    return b"".join(words.tobytes() for words in found if words is not None)


class Leaking(Ditto):
    """The control: what leaves is the model that should stay."""

    def round(self, homes: HomeRound) -> RoundEnd:
        """Take the own model for the trained one."""
        end = super().round(homes)
        (own,) = end.own.values()
        return RoundEnd(Trained(own, end.trained.losses), end.own)


@pytest.mark.long
def test_what_leaves_a_home_does_not_depend_on_the_model_that_stays(tmp_path: Path) -> None:
    rounds = {"count": 1, "evaluate_fraction": 0.0}
    for name, leaks in (("ditto", False), ("apfl", False), (f"{__name__}:Leaking", True)):
        plan = secure_plan(method={"name": name}, rounds=rounds)
        folder = tmp_path / name.rpartition(":")[2]
        words = [masked(plan, folder / f"{n}", shift) for n, shift in enumerate(SHIFTS)]
        assert words[0] == words[1]
        assert (words[0] != words[2]) is leaks
