"""A run goes on after whatever passes: members away, a killed server, a new directory, one cheat.

Members help to open one sum about a model, so what is half opened has to be finished, and a model
about which nothing can be opened any more has to be left. Seven homes; five members open a sum.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedhome.errors import RoundError
from fedhome.questions.responses import LOUDEST
from fedhome.run.events import read_events
from fedhome.secagg import HomeParty, member, sealing_party, seals
from fedhome.secagg.seals import Seals
from fedhome.secagg.share_checks import WRONG, CheckAnswer
from fedhome.secagg.sharing import Dealing
from fedhome.server.rounds.left_out import left_out_in, take_off
from fedhome.server.rounds.suspects import FOUND
from helpers.wired_fleet import WiredFleet, secure_plan, shares_asked

pytestmark = pytest.mark.slow

HOMES, HELPFUL = 7, 3
"""How many members give shares before the fault: four are left then, and five open a sum."""
LONGER_THAN_A_SUM_S = 4000.0  # a deadline of an hour, and the five minutes beyond it


class Killed(BaseException):
    """The server's process ends here, whatever it was doing."""


class Outage:
    """After the third share of a sum, members are not reached, or the server is killed.

    Args:
        purpose: Of which question's sum.
        times: For how many openings.
        killed: Whether it is the server that fails.
    """

    def __init__(self, purpose: str, *, times: int = 1, killed: bool = False) -> None:
        self.purpose, self.left, self.killed = purpose, times, killed
        self._asked, self._members = "", 0

    def __call__(self, _home: str, message: Message) -> bool:
        kind = message.metadata.message_type
        if kind not in {"query.help", "query.bundle"}:
            self._asked = kind
        if not (self.left and self._asked.endswith(self.purpose) and shares_asked(message)):
            return False
        self._members += 1
        if self._members <= HELPFUL:
            return False
        if self.killed:
            self.left -= 1
            raise Killed
        if self._members == HOMES:
            self.left, self._members = self.left - 1, 0
        return True


def _answered(fleet: WiredFleet, **sections: Any) -> list[int]:
    """Run, or go on with, the run; return how many homes answered in each round so far."""
    with fleet.run(**sections) as rounds:
        try:
            rounds.run()
        except RoundError:  # the fifth failure in a row, of which there is no row
            assert len(rounds.state.rows) >= 4
        return [row["homes_answered"] for row in rounds.state.rows]


def _fleet(folder: Path, **sections: Any) -> WiredFleet:
    rounds = {"count": 40, **sections.pop("rounds", {})}
    return WiredFleet(folder, secure_plan(rounds=rounds, **sections))


# --- some members are away while a sum is opened


@pytest.mark.long
def test_members_that_are_away_for_a_moment_while_a_sum_is_opened_cost_one_round(
    tmp_path: Path,
) -> None:
    """What is half opened is finished before anything else is asked: members open no older keys."""
    fleet = _fleet(tmp_path, rounds={"count": 3})
    fleet.wire.deaf = Outage("train")
    assert _answered(fleet) == [0, 7, 7]
    assert fleet.wire.refusals == []


@pytest.mark.long
def test_the_same_where_nothing_is_evaluated(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 3, "evaluate_fraction": 0.0})
    fleet.wire.deaf = Outage("train")
    assert _answered(fleet) == [0, 7, 7]


@pytest.mark.long
def test_members_that_are_away_for_an_hour_while_a_sum_is_opened(tmp_path: Path) -> None:
    """Who has voted for a sum helps to finish it also when its time is over."""
    fleet = _fleet(tmp_path, rounds={"count": 3, "evaluate_fraction": 0.0})
    fleet.wire.deaf = Outage("train")
    assert _answered(fleet, rounds={"count": 1}) == [0]
    fleet.now += LONGER_THAN_A_SUM_S
    assert _answered(fleet) == [0, 7, 7]


# --- the server is killed while members give their shares


def _killed(fleet: WiredFleet) -> None:
    fleet.wire.deaf = Outage("train", killed=True)
    with pytest.raises(Killed), fleet.run() as rounds:
        rounds.run()


@pytest.mark.long
@pytest.mark.parametrize("down_s", [0.0, LONGER_THAN_A_SUM_S])
def test_a_server_that_was_killed_goes_on(down_s: float, tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 3})
    _killed(fleet)
    fleet.now += down_s
    assert _answered(fleet) == [7, 7, 7]
    assert "last digits" not in fleet.events


@pytest.mark.long
def test_a_new_directory_after_a_kill_costs_last_digits(tmp_path: Path) -> None:
    """Nobody finishes a sum of the last epoch, and homes answer about its model no more."""
    fleet = _fleet(tmp_path, rounds={"count": 3})
    _killed(fleet)
    fleet.next_epoch()
    assert _answered(fleet) == [7, 7, 7]
    assert "last digits changed" in fleet.events


@pytest.mark.long
@pytest.mark.parametrize("checkpoint_every", [1, 40])
def test_members_that_are_away_while_examples_are_counted(
    checkpoint_every: int, tmp_path: Path
) -> None:
    fleet = _fleet(
        tmp_path,
        aggregation={"weight_cap": None},
        rounds={"count": 4, "checkpoint_every": checkpoint_every},
    )
    fleet.wire.deaf = Outage("census", times=2)  # a round asks twice: to train, and to evaluate
    assert _answered(fleet) == [0, 7, 7, 7]


# --- too few homes, some times


@pytest.mark.long
@pytest.mark.parametrize("misses", [4, 8, 12])
def test_a_home_that_is_away_in_many_rounds_in_a_row(misses: int, tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, rounds={"quorum": 1.0, "count": 16, "evaluate_fraction": 0.0})
    left = [misses]

    def away(home: str, message: Message) -> bool:
        gone = home == "h06" and message.metadata.message_type == "train" and left[0] > 0
        left[0] -= gone
        return gone

    fleet.wire.deaf = away
    for _ in range(3):  # the run gives up after five, and the owner resumes it
        rows = _answered(fleet)
    assert rows[-3:] == [7, 7, 7]
    assert ("h00", "asked-before") not in fleet.wire.refusals


# --- one home cheats once


def _garbage(words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    info = np.iinfo(words.dtype)
    drawn = np.random.default_rng(5)
    return drawn.integers(info.min, info.max, words.shape, words.dtype, endpoint=True)


@pytest.mark.long
def test_one_upload_beyond_all_bounds_costs_its_rounds_and_no_more(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 4, "evaluate_fraction": 0.0})
    fleet.parts["h03"].forge = _garbage
    assert _answered(fleet, rounds={"count": 2}) == [0, 0]
    assert "keep to the protocol" in fleet.events
    fleet.parts["h03"].forge = None
    assert _answered(fleet) == [0, 0, 7, 7]


@pytest.mark.long
def test_a_home_that_makes_wrong_shares_costs_no_round_and_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = Seals.seal

    def wrong(self: Seals, *sealed: Any) -> bytes:
        *others, shares = sealed
        noise = np.random.default_rng(5).integers(0, 1 << 30, shares.shape, np.uint32)
        return seal(self, *others, noise if "h03" in repr(self) else shares)

    monkeypatch.setattr(Seals, "seal", wrong)
    fleet = _fleet(tmp_path, rounds={"count": 3, "evaluate_fraction": 0.0})
    assert _answered(fleet) == [6, 6, 6]
    assert "h03 made a wrong share for " in fleet.events
    (entry,) = left_out_in(tmp_path / "left-out")
    assert (entry.home, entry.run, entry.directory) == ("h03", "run", "")


@pytest.mark.long
def test_a_home_that_shares_another_secret_costs_one_round_and_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shares fit each other, so that members find them right: it shows when they are opened."""
    deal = Dealing.of

    def wrong(key: bytes, blind: bytes, threshold: int) -> Dealing:
        return deal(key, bytes(32) if dealing == "h03" else blind, threshold)

    dealing = ""
    made = seals.make_bundle

    def make(keys: Any, *others: Any, **known: Any) -> Any:
        nonlocal dealing
        dealing = keys.home
        return made(keys, *others, **known)

    monkeypatch.setattr(Dealing, "of", wrong)
    monkeypatch.setattr(sealing_party, "make_bundle", make)
    fleet = _fleet(tmp_path, rounds={"count": 3, "evaluate_fraction": 0.0})
    assert _answered(fleet) == [0, 6, 6]
    assert "h03 made shares of another secret than it committed to: left out" in fleet.events
    left_out = [one for one in read_events(tmp_path / "run" / "events.jsonl") if one.event == FOUND]
    assert [one.data["homes"] for one in left_out] == [["h03"]], "named once, also to programs"
    fleet.name, fleet.learning.initial = "second", fleet.learning.initial + np.float32(0.01)
    assert _answered(fleet) == [6, 6, 6], "the next run knows"
    fleet.next_epoch()
    fleet.name, fleet.learning.initial = "third", fleet.learning.initial + np.float32(0.01)
    assert _answered(fleet, rounds={"count": 1}) == [6], "under another directory too"
    assert take_off(tmp_path / "left-out", ["h03"]) == ["h03"]
    fleet.name, fleet.learning.initial = "fourth", fleet.learning.initial + np.float32(0.01)
    assert _answered(fleet, rounds={"count": 1}) == [0], "it is asked again, and does it again"


@pytest.mark.long
def test_a_member_that_lies_about_shares_stops_nothing_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 3, "evaluate_fraction": 0.0})
    lying = fleet.parts["h02"].machine
    monkeypatch.setattr(lying, "check", _lie(lying))
    assert _answered(fleet) == [7, 7, 7]
    assert "h02 called a right share of h00 wrong" in fleet.events
    assert fleet.events.count("h02 called a right share") == 7, "it is asked no more"
    assert "h02 checks" not in fleet.events.replace("h02 called", "")


@pytest.mark.long
def test_a_member_that_gives_wrong_shares_stops_nothing_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 3, "evaluate_fraction": 0.0})
    give, first = member.shares, fleet.world.directory.members[0]

    def wrong(case: Any, sealed: bytes, own: Any, secrets: Any) -> bytes:
        given = bytearray(give(case, sealed, own, secrets))
        if first in repr(own):
            given[0] ^= 1
        return bytes(given)

    monkeypatch.setattr(member, "shares", wrong)
    assert _answered(fleet) == [7, 7, 7]
    assert f"{first} gave another share of " in fleet.events


def _lie(machine: Any) -> Any:
    """Return a member's check that calls every share wrong."""

    def check(data: bytes, *, now: float) -> bytes:
        honest = CheckAnswer.from_bytes(HomeParty.check(machine, data, now=now))
        values = WRONG * (len(honest.values) // len(WRONG))
        lie = replace(honest, values=values)
        return replace(lie, signature=machine._keys.sign(lie.statement)).to_bytes()

    return check


@pytest.mark.long
def test_a_moment_in_which_all_homes_fail_costs_one_round(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 3, "evaluate_fraction": 0.0})
    for home in fleet.homes.values():
        home.device.__dict__["train"] = _fails
    assert _answered(fleet, rounds={"count": 1}) == [0]
    for home in fleet.homes.values():
        del home.device.__dict__["train"]
    assert _answered(fleet) == [0, 7, 7]


def _fails(*_: Any, **__: Any) -> None:
    raise MemoryError


@pytest.mark.long
def test_where_few_homes_added_something_the_model_is_left_as_it_is(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 1, "evaluate_fraction": 0.0})
    for home in list(fleet.homes.values())[:6]:
        home.device.__dict__["train"] = _fails
    with fleet.run() as rounds:
        rounds.run()
        assert [row["homes_answered"] for row in rounds.state.rows] == [0]
        np.testing.assert_array_equal(rounds.state.flat, fleet.learning.initial)
    assert "6 of 7 homes had nothing to add" in fleet.events
    assert "a smaller train.learning_rate may help" in fleet.events
    assert "no round gave a model" in fleet.events


@pytest.mark.long
def test_a_server_with_another_plan_than_its_homes_hears_why_no_sum_comes(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, rounds={"count": 1})
    with fleet.run(data={"history_days": 3.0}) as rounds:
        rounds.run()
        assert [row["homes_answered"] for row in rounds.state.rows] == [0]
    assert "7 of 7 homes said: another plan than the home's (plan)" in fleet.events


# --- what is kept of sums


@pytest.mark.long
def test_after_a_kill_a_sum_that_is_kept_is_taken_and_told(tmp_path: Path) -> None:
    """Two homes are away when the round is done again."""
    fleet = _fleet(tmp_path, rounds={"count": 1})

    def kill(_home: str, message: Message) -> bool:
        if message.metadata.message_type == "evaluate":
            raise Killed
        return False

    fleet.wire.deaf = kill
    with pytest.raises(Killed), fleet.run() as rounds:
        rounds.run()
    fleet.wire.deaf = lambda _home, _message: False
    fleet.wire.away = {"h05", "h06"}
    with fleet.run() as rounds:
        rounds.run()
        (row,) = rounds.state.rows
    assert (row["homes_asked"], row["homes_answered"], row["homes_dropped"]) == (5, 7, 0)
    assert "was opened before, and is taken again" in fleet.events
    assert "no round gave a model" not in fleet.events


@pytest.mark.long
def test_a_model_that_has_broken_down_scores_worst(tmp_path: Path) -> None:
    """Two hidden units that overflow everywhere, one with each sign: infinity less infinity."""
    rows = []
    for name in ("silent", "broken"):
        fleet = _fleet(tmp_path / name, rounds={"count": 1})
        layout = fleet.learning.layout
        start = np.zeros_like(fleet.learning.initial)
        parts = {key: one.copy() for key, one in layout.unflatten(start).items()}
        if name == "broken":
            parts["0.bias"][:2] = 3e38
            parts["2.weight"][0, :2] = (3e38, -3e38)
        fleet.learning.initial = layout.flatten(parts)
        with fleet.run() as rounds:
            rounds.strategy.configure_train = lambda *_: []  # type: ignore[method-assign]
            rounds.run()
            rows.append(rounds.state.rows[-1])
    silent, broken = rows
    assert broken["validation_loss"] == pytest.approx(LOUDEST * silent["validation_loss"], rel=1e-6)
    assert broken["validation_score"] == -1.0 < silent["validation_score"]


@pytest.mark.long
def test_a_second_run_takes_what_homes_have_counted_in_the_first(tmp_path: Path) -> None:
    """Homes count their examples once in an epoch; in the next they count anew."""
    fleet = _fleet(tmp_path, aggregation={"weight_cap": None}, rounds={"count": 1})
    assert _answered(fleet) == [7]
    fleet.name, fleet.learning.initial = "second", fleet.learning.initial + np.float32(0.01)
    assert _answered(fleet) == [7]
    assert "weights-counted" not in fleet.events
    fleet.next_epoch()
    fleet.name, fleet.learning.initial = "third", fleet.learning.initial + np.float32(0.01)
    assert _answered(fleet) == [7]
    assert "weights-counted" in fleet.events
