"""Keys to seal shares for change twice a day, members come and go: a run goes on all the same."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from fedhome.secagg import Bundle, KeyRing, ShareChecks
from fedhome.secagg.share_keys import PERIOD_S, period_of
from helpers.wired_fleet import WiredFleet, secure_plan, shares_asked

HOMES, QUORUM = 7, 5


def _fleet(folder: Path, **sections: Any) -> WiredFleet:
    rounds = {"deadline_s": 3600, "evaluate_fraction": 0.0} | sections.pop("rounds", {})
    return WiredFleet(folder, secure_plan(rounds=rounds, **sections), HOMES)


def _answered(fleet: WiredFleet, rounds: int) -> list[int]:
    with fleet.run(rounds={"count": rounds}) as loop:
        loop.run()
        return [row["homes_answered"] for row in loop.state.rows]


def _half_a_day_after_each_sum(fleet: WiredFleet) -> None:
    """Let half a day pass as the last member that is needed is asked for its shares."""
    asked: list[str] = []

    def passing(home: str, message: Message) -> bool:
        if shares_asked(message):
            asked.append(home)
            if len(asked) % QUORUM == 0:
                fleet.now += PERIOD_S
        return False

    fleet.wire.deaf = passing


@pytest.mark.long
def test_new_keys_between_rounds_cost_no_round(tmp_path: Path) -> None:
    """What homes sent along with their last answers was sealed for keys of the half day before."""
    fleet = _fleet(tmp_path, rounds={"count": 4})
    _half_a_day_after_each_sum(fleet)
    assert _answered(fleet, 4) == [7, 7, 7, 7]
    for part in fleet.parts.values():
        part.machine.forget(fleet.now)  # as agents do while they wait
        assert set(part.machine.state.periods) <= {period_of(fleet.now) - n for n in (0, 1)}


@pytest.mark.long
def test_as_it_was_old_keys_would_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 4})
    with fleet.run(rounds={"count": 4}) as loop:
        stock = loop.grid.channel.stock
        begin = stock._begin_period

        def once() -> None:
            monkeypatch.setattr(stock, "_begin_period", lambda: None)
            begin()

        monkeypatch.setattr(stock, "_begin_period", once)
        _half_a_day_after_each_sum(fleet)
        loop.run()
        assert 0 in [row["homes_answered"] for row in loop.state.rows]


@pytest.mark.long
def test_a_sum_that_begins_before_new_keys_is_opened_after_them(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 2})
    fleet.now += PERIOD_S - fleet.now % PERIOD_S - 1.0  # a second before the keys change

    def passing(home: str, message: Message) -> bool:
        if message.metadata.message_type == "train" and home == "h06":
            fleet.now += 60.0
        return False

    fleet.wire.deaf = passing
    assert _answered(fleet, 2) == [7, 7]


@pytest.mark.long
def test_a_member_that_comes_later_gets_shares_too(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 3})
    late = fleet.world.directory.members[0]
    fleet.wire.away.add(late)
    assert _answered(fleet, 1) == [6]
    ring = KeyRing.from_bytes(fleet.parts["h01"].machine.state.ring)
    assert late not in ring.by_member
    fleet.wire.away.clear()
    fleet.now += 61.0
    assert _answered(fleet, 3) == [6, 7, 7]
    ring = KeyRing.from_bytes(fleet.parts["h01"].machine.state.ring)
    assert len(ring.keys) == HOMES


def test_without_a_quorum_of_members_no_home_makes_keys(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 1})
    away = fleet.world.directory.members[:3]

    def without_keys(home: str, message: Message) -> bool:
        return home in away and message.metadata.message_type == "query.help"

    fleet.wire.deaf = without_keys
    assert _answered(fleet, 1) == [0]
    assert "too few members of the committee gave keys to seal shares for" in fleet.events


def test_bundles_that_wait_are_checked_also_where_members_give_no_more_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One home has none waiting, and too few members are there to seal for."""
    fleet = _fleet(tmp_path, rounds={"count": 1})
    with fleet.run(rounds={"count": 1}) as loop:
        stock = loop.grid.channel.stock
        names = sorted(fleet.parts)
        ready, why = stock.ready(names[1:], None, [])
        assert (ready, why) == (set(names[1:]), {})
        stock.checks = ShareChecks(fleet.world.directory)  # nobody has checked anything
        monkeypatch.setattr(stock, "_ring_of_now", lambda *_: None)
        members = fleet.world.directory.members[:3]
        fleet.wire.deaf = lambda home, _: home in members
        forgotten: list[int] = []
        forget = stock.checks.forget

        def forgetting(bundles: Iterable[Bundle]) -> None:
            some = [*bundles]
            forgotten.append(len(some))
            forget(some)

        monkeypatch.setattr(stock.checks, "forget", forgetting)
        ready, why = stock.ready(names, None, [])
        assert ready == set()
        assert set(why) == set(names)
        # All at once: each time the server goes through what it knows of all that are left.
        assert forgotten == [0, len(names) - 1]
