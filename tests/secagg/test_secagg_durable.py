"""What a home has promised outlives a crash, and what is not durable is not sent."""

from __future__ import annotations

import numpy as np
import pytest

from fedhome.errors import ManifestError, StateError
from fedhome.secagg import HomeState, MemoryStore
from fedhome.secagg.share_keys import PERIOD_S
from helpers.secagg_sums import ready, refused
from helpers.secagg_world import NOW, World


def test_a_bundle_outlives_a_restart_and_is_then_good_for_its_sum() -> None:
    world = World.of(5, bundles=2)
    for home in list(world.homes):
        world.restart(home)
    sum_ = world.run()
    assert sum_.opened is not None
    assert np.array_equal(sum_.opened.words, sum_.expected)


def test_after_a_crash_a_home_that_joined_can_only_be_absent() -> None:
    world = World.of(8)
    sum_ = world.draw_up()
    for home in sum_.bundles:
        sum_.join(home)
    del sum_.joined["h03"]  # all that was in memory
    world.restart("h03")
    refused(ManifestError, "replayed", lambda: sum_.join("h03"))
    assert not world.homes["h03"].state.live
    for home in list(sum_.joined):
        sum_.upload(home)
    sum_.answer()
    assert sum_.open().homes == tuple(home for home in world.homes if home != "h03")
    assert np.array_equal(sum_.opened.words, sum_.expected)  # type: ignore[union-attr]


class _Full(MemoryStore):
    """A store on a full disk."""

    def save(self, state: HomeState) -> None:
        raise StateError(f"no room for version {state.version}", reason="disk")


def test_what_is_not_durable_is_not_sent() -> None:
    sum_ = ready(8, drop=("h00",), vote=False)
    world = sum_.world
    member = world.homes["h00"]
    poll = sum_.aggregator.polls()["h00"]
    sum_.vote([name for name in world.homes if name != "h00"])
    request = sum_.aggregator.requests()["h00"]
    later = NOW + PERIOD_S
    ring = world.ring(now=later).to_bytes()
    member._store = _Full()
    before = member.state
    for _ in range(2):  # nor the second time, when it might be taken for done
        refused(StateError, "disk", lambda: member.bundle(now=NOW))
        refused(StateError, "disk", lambda: member.bundle(ring, now=later))
        refused(StateError, "disk", lambda: member.share_key(now=later + PERIOD_S))
        refused(StateError, "disk", lambda: member.forget(later + PERIOD_S))
        refused(StateError, "disk", lambda: member.answer(poll, now=NOW))
        refused(StateError, "disk", lambda: member.answer(request, now=NOW))
    assert member.state == before
    member._store = world.stores["h00"]
    sum_.answer(["h00"])

    world = World.of(5)
    sum_ = world.draw_up()
    world.homes["h00"]._store = _Full()
    refused(StateError, "disk", lambda: sum_.join("h00"))
    world.homes["h00"]._store = world.stores["h00"]
    sum_.join("h00")


def test_bundles_that_nobody_uses_do_not_pile_up() -> None:
    world = World.of(5, bundles=0)
    home = world.homes["h00"]
    for _ in range(20):
        world.refill(["h00"])
    assert sorted(home.state.live) == list(range(5, 21))
    assert world.pool.count("h00") == 16
    assert world.pool.take(["h00"])["h00"].serial == 5


@pytest.mark.parametrize("cut", [0, 1, 10])
def test_a_damaged_state_is_refused(cut: int) -> None:
    data = World.of(5).stores["h00"].data
    for damaged in (data[:cut], data[: len(data) - cut - 1], data + b"\0"):
        refused(StateError, "damaged", lambda: HomeState.from_bytes(damaged))  # noqa: B023
