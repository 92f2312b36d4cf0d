"""Homes with slices as real processes: a simulation's weights, and each home's own model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedhome
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.own_models import OwnModels
from fedhome.learning.fitted import Perceptron
from fedhome.personal.models_file import ModelsFile
from fedhome.personal.own_module import OwnModule
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import dealt_tiers
from fedhome.run.folder import RunFolder
from fedhome.simulations import local_fleet
from helpers import sliced_modules
from helpers.living import assert_predicts_as, assert_same_weights, tiny_plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("forked"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]

HOMES = {"secure": 6, "plain": 3}
TIERS = [
    {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.34},
    {"name": "plug", "width": 0.5, "depth": 2, "share": 0.16},
    {"name": "hub", "width": 1.0, "depth": 2, "share": 0.5},
]
UNITS = {"sensor": [2], "plug": [4, 4], "hub": [8, 8]}
MODES: dict[str, dict[str, Any]] = {
    "secure": {"mode": "secure", "weights": "equal", "min_cohort": 2, "corrupt": 0.0},
    "plain": {"mode": "plain"},
}


def _plan(mode: str) -> Plan:
    plan = tiny_plan(HOMES[mode], 2, **MODES[mode])
    return plan.change(
        model={"hidden": [8, 8]},
        slicing={"tiers": TIERS},
        personalise={"experts": ["tuned"]},
        rounds={"judge_every": 0},
    )


@pytest.mark.parametrize("mode", MODES)
def test_processes_with_slices_give_what_a_simulation_gives(mode: str, tmp_path: Path) -> None:
    plan = _plan(mode)
    simulated = fedhome.simulate(plan, out=tmp_path / "simulated").folder
    run = local_fleet.up(plan, homes=HOMES[mode], out=tmp_path / "run")
    _assert_same_bits(run, simulated)
    events = run.read_events()
    told = [event.data["text"] for event in events if event.event == "tier-carried"]
    assert any(f"tier plug: 1 of {HOMES[mode]} homes carry 4-4 units" in text for text in told)
    notes = [event.data["text"] for event in events if event.event == "note"]
    assert not any("stays as it is" in note for note in notes)  # all shells were summed
    models = fedhome.Result(simulated).models
    tiers = dealt_tiers(plan, sorted(models))
    assert set(tiers.values()) == set(UNITS)
    for name, tier in tiers.items():
        place = HomeFolder(run.path / "deployment" / "homes" / name)
        assert place.settings.tier == tier
        assert_predicts_as(place, models[name])
        assert _units(place) == UNITS[tier]  # its own shape, and no larger one


def test_processes_send_coarse_numbers_of_slices_as_a_simulation_does(tmp_path: Path) -> None:
    """Homes draw their own rounding: within a step in a round, which changes the next one."""
    plan = _plan("secure").change(transfer={"stages": ["int8"]}, rounds={"count": 1})
    simulated = fedhome.simulate(plan, out=tmp_path / "simulated").folder
    run = local_fleet.up(plan, homes=HOMES["secure"], out=tmp_path / "run")
    assert_same_weights(run, simulated, rounding=1 / 127)
    fine_plan = _plan("secure").change(rounds={"count": 1})
    whole = fedhome.simulate(fine_plan, out=tmp_path / "whole").folder
    coarse, fine = (
        [row["bytes_up"] for row in one.read_rounds().to_pylist()] for one in (simulated, whole)
    )
    assert sum(coarse) < sum(fine)


def test_processes_train_slices_of_a_module_as_a_simulation_does(tmp_path: Path) -> None:
    module = f"{Path(sliced_modules.__file__).resolve()}:Convolution"
    plan = _plan("secure").change(model={"name": module})
    simulated = fedhome.simulate(plan, out=tmp_path / "simulated").folder
    run = local_fleet.up(plan, homes=HOMES["secure"], out=tmp_path / "run")
    _assert_same_bits(run, simulated)
    names = sorted(set(simulated.read_homes()["home"].to_pylist()))
    sizes = {"sensor": 11, "plug": 21, "hub": 41}
    for name, tier in dealt_tiers(plan, names).items():
        place = HomeFolder(run.path / "deployment" / "homes" / name)
        data = OwnModels(place.path, place.settings.home).read()
        assert data is not None
        network = ModelsFile(data, own_code=True)[place.settings.home].experts["tuned"]
        assert isinstance(network, OwnModule)
        assert len(network.params) == sizes[tier]


def _assert_same_bits(run: RunFolder, simulated: RunFolder) -> None:
    ours, theirs = run.read_model().parameters, simulated.read_model().parameters
    assert list(ours) == list(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def _units(place: HomeFolder) -> list[int]:
    data = OwnModels(place.path, place.settings.home).read()
    assert data is not None
    network = ModelsFile(data, own_code=True)[place.settings.home].experts["tuned"]
    assert isinstance(network, Perceptron)
    return [len(bias) for name, bias in network.layers.items() if name.endswith("bias")][:-1]
