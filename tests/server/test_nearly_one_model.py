"""After a sum that is of no use a run asks about nearly the same model: no home shows by both.

Last digits alone change, so that homes which are in both sums add the same. What the sums differ by
are the homes that are in one of them alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.errors import OpeningError
from fedhome.secagg.alike import smallest_lot
from fedhome.server.rounds.alike_homes import AlikeHomes
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.rounds.sum_journal import KeptSum, SumJournal, name_of
from fedhome.server.rounds.suspects import Suspects
from fedhome.wire.layout import model_hash
from helpers.secagg_world import names_of
from helpers.wired_fleet import WiredFleet, secure_plan

CHEAT, GOES = "h03", "h05"
HOMES = names_of(12)
MODEL = np.linspace(-1, 1, 7, dtype=np.float32)


class Seen(NamedTuple):
    """What a server ever had of sums: who is in each, and its words."""

    homes: list[frozenset[str]]
    words: list[NDArray[Any]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen = Seen([], [])
    keep_homes, keep_opened = SumJournal.keep_homes, SumJournal.keep_opened

    def of_homes(self: SumJournal, name: str, homes: Any) -> None:
        seen.homes.append(frozenset(homes))
        keep_homes(self, name, homes)

    def of_words(self: SumJournal, name: str, kept: KeptSum) -> None:
        seen.words.append(kept.words)
        keep_opened(self, name, kept)

    monkeypatch.setattr(SumJournal, "keep_homes", of_homes)
    monkeypatch.setattr(SumJournal, "keep_opened", of_words)
    return seen


def _fleet(folder: Path, homes: int) -> WiredFleet:
    return WiredFleet(folder, secure_plan(rounds={"evaluate_fraction": 0.0}), homes)


def _answered(rounds: RoundLoop) -> int:
    """Have the first round once more, as a run does that waits, and return whose sum it had."""
    row = rounds._trained(1)
    assert row is not None
    homes: int = row["homes_answered"]
    return homes


def _spoilt(fleet: WiredFleet, rounds: RoundLoop) -> NDArray[Any]:
    """Have a round whose sum one home spoils in one number; return what another one added."""

    def once(words: NDArray[Any]) -> NDArray[Any]:
        sent = words.copy()
        sent[0] = np.iinfo(sent.dtype).max // 2
        return sent

    fleet.parts[CHEAT].forge = once
    assert _answered(rounds) == 0
    fleet.parts[CHEAT].forge = None
    words = fleet.parts[GOES].words
    assert words is not None
    return words


@pytest.mark.long
def test_a_small_fleet_waits_for_a_home_that_went_away_after_a_spoilt_sum(
    tmp_path: Path, seen: Seen
) -> None:
    fleet = _fleet(tmp_path, 7)
    with fleet.run() as rounds:
        _spoilt(fleet, rounds)
        fleet.wire.away = {GOES}
        assert _answered(rounds) == 0
    with fleet.run() as rounds:  # a server that was killed knows it, too
        assert _answered(rounds) == 0
        assert len(seen.words) == 1, "nothing else was opened"
        assert "of 'train' about a model that hardly differs" in fleet.events
        fleet.wire.away = set()
        assert _answered(rounds) == 7
    assert fleet.wire.refusals == []
    first, second = seen.words
    assert not (first - second)[2:].any(), "the same homes add the same"


@pytest.mark.long
def test_control_the_two_sums_differed_by_what_that_home_had_added(
    tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AlikeHomes, "before", lambda *_: [])
    fleet = _fleet(tmp_path, 7)
    with fleet.run() as rounds:
        own = _spoilt(fleet, rounds)
        fleet.wire.away = {GOES}
        assert _answered(rounds) == 6
    first, second = seen.words
    assert own[2:].any()
    assert np.array_equal((first - second)[2:], own[2:]), "its whole update, bit for bit"


@pytest.mark.long
def test_a_larger_fleet_leaves_four_others_out(
    tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Suspects, "spoilt", lambda *_: None)  # all parts are asked again
    fleet = _fleet(tmp_path, 12)
    with fleet.run() as rounds:
        _spoilt(fleet, rounds)
        fleet.wire.away = {GOES}
        assert _answered(rounds) == 7
    assert smallest_lot(seen.homes) == 5
    assert fleet.wire.refusals == []


# --- whom a sum is held against


def _choice(**given: Any) -> tuple[AlikeHomes, SumJournal, bytes, bytes]:
    journal = SumJournal()
    alike = AlikeHomes(secure_plan(), journal, fleet=len(HOMES), **given)
    return alike, journal, model_hash(MODEL), model_hash(alike.next_to(MODEL))


def _fitting(alike: AlikeHomes, model: bytes, homes: list[str], purpose: str = "train") -> int:
    return len(alike.fitting(homes, purpose=purpose, model_hash=model, group=0, notes=[]))


def test_the_same_question_and_those_alike_about_nearly_the_same_model_count() -> None:
    alike, journal, first, second = _choice()
    third = model_hash(alike.next_to(alike.next_to(MODEL)))
    journal.keep_homes(name_of("train", first, 0), HOMES)
    journal.keep_homes(name_of("evaluate", first, 0), HOMES)
    for model in (second, third):
        assert _fitting(alike, model, HOMES) == 12
        assert _fitting(alike, model, HOMES[1:]) == 7
        assert _fitting(alike, model, HOMES[1:], "adapted") == 7
        assert _fitting(alike, model, HOMES[1:], "outcome") == 11
    assert _fitting(alike, first, HOMES[1:]) == 11, "members see to that themselves"
    assert _fitting(alike, b"o" * 32, HOMES[1:]) == 11


def test_a_group_is_held_against_all_groups_about_the_earlier_model() -> None:
    """A new directory deals them anew: homes of the second group may be in the first one now."""
    plan, journal = secure_plan(aggregation={"groups": 2}), SumJournal()
    alike = AlikeHomes(plan, journal, fleet=2 * len(HOMES))
    first, second = model_hash(MODEL), model_hash(alike.next_to(MODEL))
    journal.keep_homes(name_of("train", first, 1), HOMES)
    assert _fitting(alike, second, HOMES) == 12
    assert _fitting(alike, second, HOMES[1:]) == 7
    journal.keep_homes(name_of("train", first, 0), [f"other-{home}" for home in HOMES])
    assert _fitting(alike, second, HOMES[1:]) == 7, "of those none is in it"


def test_nobody_waits_for_homes_that_are_asked_nothing_more() -> None:
    alike, journal, _, second = _choice(asked=lambda: HOMES[1:])
    journal.keep_homes(name_of("train", model_hash(MODEL), 0), HOMES)
    assert _fitting(alike, second, HOMES[1:]) == 11
    assert _fitting(alike, second, HOMES[2:]) == 6
    journal.keep_homes(name_of("evaluate", second, 0), HOMES)
    assert _fitting(alike, second, HOMES[1:], "adapted") == 7, "members count them all the same"


def test_a_sum_over_too_little_of_its_group_is_not_asked_for() -> None:
    alike, *_ = _choice()
    alike.check_share(6, members=12)
    with pytest.raises(OpeningError) as refused:
        alike.check_share(5, members=12)
    assert refused.value.reason == "alike"
