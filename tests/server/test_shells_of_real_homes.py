"""Real homes that carry slices, and a server's run over them: also one that lies about tiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.clients import client_app
from fedhome.learning.cohort import Training
from fedhome.models.slicing import SlicedShape, slices_of
from fedhome.plan.settings import Plan
from fedhome.questions.shells import shell_places
from fedhome.secagg import Policy
from fedhome.server.rounds.masked_sums import ProtocolChannel
from fedhome.server.rounds.shell_sums import ShellSums
from helpers import tiny
from helpers.secagg_world import names_of
from helpers.wired_fleet import WiredFleet, secure_plan

pytestmark = pytest.mark.long

LEAST = 3
TIERS = dict(zip(names_of(7), ["sensor"] * 3 + ["plug"] * 3 + ["hub"], strict=True))
SLICED = {
    "tiers": [
        {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.4},
        {"name": "plug", "width": 0.5, "depth": 2, "share": 0.4},
        {"name": "hub", "width": 1.0, "depth": 2, "share": 0.2},
    ]
}


def _plan(**aggregation: Any) -> Plan:
    sums = {"weights": "equal", "weight_cap": None, "min_cohort": LEAST, "corrupt": 0.0}
    return secure_plan(
        aggregation=sums | aggregation,
        slicing=SLICED,
        model={"hidden": [8, 8]},
        rounds={"count": 1, "evaluate_fraction": 0.0, "quorum": 0.1},
    )


PLAN = _plan()
SHAPE: SlicedShape = slices_of(PLAN, tiny.FEATURES, 1)


class _Opened(list[tuple[int, int, NDArray[np.float64]]]):
    """Shell, homes and mean of every sum of updates that is opened."""

    @property
    def counts(self) -> list[tuple[int, int]]:
        return [(shell, homes) for shell, homes, _ in self]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> _Opened:
    found, keep = _Opened(), ProtocolChannel.keep

    def noted(self: ProtocolChannel, group: Any, request: Any) -> None:
        if request.kind == "train":
            found.append((request.shell, group.homes, group.total.mean))
        keep(self, group, request)

    monkeypatch.setattr(ProtocolChannel, "keep", noted)
    return found


def _run(fleet: WiredFleet) -> NDArray[np.float32]:
    with fleet.run() as rounds:
        return rounds.run()


def _lying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a server that asks all homes for every shell, as if all carried all."""
    made = ShellSums.__init__

    def cheating(self: ShellSums, *given: Any) -> None:
        made(self, *given)
        self._tiers = dict.fromkeys(self._tiers, 2)

    monkeypatch.setattr(ShellSums, "__init__", cheating)


def test_each_home_adds_to_the_shells_that_it_carries(tmp_path: Path, opened: _Opened) -> None:
    many = dict(zip(names_of(7), ["sensor"] * 2 + ["plug"] * 2 + ["hub"] * 3, strict=True))
    fleet = WiredFleet(tmp_path, PLAN, tiers=many)
    model = _run(fleet)
    assert opened.counts == [(0, 7), (1, 5), (2, 3)]
    assert not fleet.wire.refusals
    assert all(np.abs(model - fleet.learning.initial)[SHAPE.shell(n)].max() > 0.001 for n in (0, 2))


def test_what_a_single_home_carries_is_asked_of_nobody(tmp_path: Path, opened: _Opened) -> None:
    fleet = WiredFleet(tmp_path, PLAN, tiers=TIERS)
    model = _run(fleet)
    assert opened.counts == [(0, 7), (1, 4)]
    hubs = SHAPE.shell(2)
    assert np.array_equal(model[hubs], fleet.learning.initial[hubs])
    assert "1 homes were asked that carry what tier hub has" in fleet.events


def test_a_roster_with_a_home_that_does_not_carry_it_is_refused(
    tmp_path: Path, opened: _Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lying(monkeypatch)
    fleet = WiredFleet(tmp_path, PLAN, tiers=TIERS)
    _run(fleet)
    assert [shell for shell, _ in opened.counts] == [0]
    refused = {name for name, reason in fleet.wire.refusals if reason == "shell"}
    assert refused == {name for name, tier in TIERS.items() if tier != "sensor"}
    by_itself = {name for name, reason in fleet.wire.refusals if reason == "form"}
    assert by_itself == set(TIERS) - {name for name, tier in TIERS.items() if tier == "hub"}


def test_a_device_refuses_what_it_does_not_carry_whatever_the_directory_says(
    tmp_path: Path, opened: _Opened
) -> None:
    """Its owner has signed more than it carries, as before a device is replaced by a smaller."""
    signed = dict.fromkeys(names_of(7), "hub")
    fleet = WiredFleet(tmp_path, PLAN, tiers=signed)
    small = WiredFleet(tmp_path / "small", PLAN, tiers=dict.fromkeys(signed, "sensor"))
    for name in names_of(7)[:5]:
        fleet.homes[name] = client_home = small.homes[name]
        object.__setattr__(client_home, "participant", fleet.parts[name])
    _run(fleet)
    assert opened.counts == [(0, 7)]  # of two that carry the rest no sum is opened
    assert {reason for _, reason in fleet.wire.refusals} == {"form"}


def test_the_attack_works_where_neither_homes_nor_devices_look(
    tmp_path: Path, opened: _Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what the lying server would have had, is what the one hub has learnt."""
    _lying(monkeypatch)
    monkeypatch.setattr(Policy, "_shell_faults", lambda *_: iter(()))
    monkeypatch.setattr(
        client_app,
        "_places_of_shell",
        lambda home, asked: shell_places(home.plan, home.device.fleets_layout, asked.settings),
    )
    fleet = WiredFleet(tmp_path, _plan(bits=24), tiers=TIERS)
    _run(fleet)
    (mean,) = [mean for shell, _, mean in opened if shell == 2]
    (hub,) = [name for name, tier in TIERS.items() if tier == "hub"]
    device, start = fleet.homes[hub].device.rounds, fleet.learning.initial
    assert device is not None
    trained = device.train(device.own_part(start), Training(stream=1, epochs=2)).params
    learnt = (device.in_whole(start, trained, 1)[0] - start)[SHAPE.shell(2)]
    assert np.abs(learnt).max() > 0.01
    np.testing.assert_allclose(mean * len(TIERS), learnt, atol=1e-3)
