"""Two honest servers of one identity, as one that was put back beside what it was before.

Homes see both in turn. Each asks about the model that a plan begins with, and knows its own sums
alone: a home that is away from the second one would show by the difference of the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.errors import RoundError
from fedhome.reasons import in_words
from fedhome.secagg.graph import groups
from fedhome.server.rounds.answered_elsewhere import OPENED, PASSED, AnsweredElsewhere
from fedhome.server.rounds.sum_journal import MOST_TRIES, KeptSum, SumJournal, name_of
from fedhome.server.rounds.sums import Channel, GroupSum, SumRequest
from helpers import tiny
from helpers.registry_world import Crash
from helpers.wired_fleet import WiredFleet, secure_plan

GOES = "h05"
MODEL = b"m" * 32
NAME = name_of("train", MODEL, 0)


def _attempted(fleet: WiredFleet, *, times: int = 12) -> int:
    """Let a server ask about its first model, process after process; return whose sum it had."""
    homes = 0
    for _ in range(times):
        with fleet.run() as rounds:
            row = rounds._trained(1)
        assert row is not None
        homes = homes or row["homes_answered"]
    return homes


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[Any]]:
    """The words of all sums that any server has opened."""
    found: list[NDArray[Any]] = []
    keep_opened = SumJournal.keep_opened

    def kept(self: SumJournal, name: str, one: KeptSum) -> None:
        found.append(one.words)
        keep_opened(self, name, one)

    monkeypatch.setattr(SumJournal, "keep_opened", kept)
    return found


@pytest.fixture(params=["with fewer sums behind it", "with as many"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path, opened: list[NDArray[Any]]) -> WiredFleet:
    """Homes that one server has had a sum of; from now on the other one asks."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    if request.param == "with fewer sums behind it":
        (first / "turns").write_text("80", encoding="ascii")
    fleet = WiredFleet(first, secure_plan(rounds={"evaluate_fraction": 0.0}), 7)
    assert _attempted(fleet, times=1) == 7
    assert len(opened) == 1
    fleet.folder = second
    fleet.wire.away = {GOES}
    return fleet


@pytest.mark.long
def test_a_server_does_not_ask_about_nearly_a_model_that_another_one_has_a_sum_of(
    fleet: WiredFleet, opened: list[NDArray[Any]]
) -> None:
    with pytest.raises(RoundError, match="another server has the keys"):
        _attempted(fleet)
    with pytest.raises(RoundError, match="another server has the keys"):
        _attempted(fleet, times=1)
    assert "last digits" not in fleet.events
    assert len(opened) == 1
    # With a new model it goes on.
    fleet.name = "fresh"
    fleet.learning = tiny.learning(fleet.plan.change(seed=4))
    assert _attempted(fleet, times=1) == 6


@pytest.mark.long
def test_control_the_two_sums_differ_by_one_homes_update(
    fleet: WiredFleet, opened: list[NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnsweredElsewhere, "hear", lambda *_: None)
    own = fleet.parts[GOES].words
    assert own is not None
    assert _attempted(fleet) == 6
    first, second = opened[:2]
    assert own[2:].any()
    assert np.array_equal((first - second)[2:], own[2:]), "its whole update, bit for bit"


@pytest.mark.long
def test_a_kill_between_two_groups_and_a_new_directory_end_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members open no other group in another epoch: as if another server had opened theirs."""
    sections = {"rounds": {"evaluate_fraction": 0.0, "quorum": 0.55}, "aggregation": {"groups": 2}}
    fleet = WiredFleet(tmp_path, secure_plan(**sections), 10)
    second = groups(fleet.world.directory.seed, sorted(fleet.wire.homes), 2)[1]
    fleet.wire.away = {second[0]}  # too few for a sum: nobody of theirs is asked
    keep = Channel.keep

    def killed(self: Channel, group: GroupSum, request: SumRequest) -> None:
        keep(self, group, request)
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(Channel, "keep", killed)
        with pytest.raises(Crash):
            _attempted(fleet, times=1)
    fleet.wire.away = set()
    fleet.next_epoch()
    _attempted(fleet, times=MOST_TRIES + 1)
    assert {why for _, why in fleet.wire.refusals} == {"opened-before", "asked-before"}
    assert "last digits changed" in fleet.events, "it goes on"


@pytest.mark.parametrize("where", ["in memory", "in files"])
def test_fewer_homes_than_may_be_corrupt_stop_nothing(where: str, tmp_path: Path) -> None:
    folder = None if where == "in memory" else tmp_path
    journal = SumJournal(folder)
    heard = AnsweredElsewhere(journal, 2)
    journal.tried(NAME)
    for word in (OPENED, PASSED, "expired"):
        for home in ("a", "b", "b"):
            heard.hear(NAME, home, in_words(word))
    heard.begin(NAME)
    heard.hear(NAME, "c", in_words(OPENED))
    heard.hear(name_of("train", MODEL, 1), "d", in_words(OPENED))
    heard.hear(name_of("train", MODEL, 2), "e", in_words(OPENED))
    assert not journal.elsewhere(MODEL), "each sum counts its own"
    assert not journal.spent(NAME)
    heard.begin(NAME)
    for home in "abc":
        heard.hear(NAME, home, in_words(OPENED))
    for kept in (journal, *([SumJournal(folder)] if folder else [])):
        assert kept.elsewhere(MODEL)
        assert kept.spent(NAME), "it is not asked for once more"
        assert not kept.elsewhere(b"o" * 32)


def test_a_sum_of_its_own_is_none_of_another_server() -> None:
    journal = SumJournal()
    journal.keep_homes(NAME, ["a", "b"])
    heard = AnsweredElsewhere(journal, 0)
    heard.hear(NAME, "a", in_words(OPENED))
    assert not journal.elsewhere(MODEL)


def test_nor_is_one_of_another_group_of_an_earlier_epoch(tmp_path: Path) -> None:
    """A server was killed after one of two groups; members of the next epoch open neither."""
    other = name_of("train", MODEL, 1)
    for directory in (b"first", b"second"):
        journal = SumJournal(tmp_path)
        journal.begin_epoch(directory)
        journal.keep_homes(NAME, ["a", "b"])
    for kept in (journal, SumJournal(tmp_path)):
        AnsweredElsewhere(kept, 0).hear(other, "a", in_words(OPENED))
        assert not kept.elsewhere(MODEL)
    AnsweredElsewhere(journal, 0).hear(name_of("evaluate", MODEL, 1), "a", in_words(OPENED))
    assert journal.elsewhere(MODEL), "of another question none is known"


def test_one_of_another_group_of_the_same_epoch_explains_nothing() -> None:
    journal = SumJournal()
    journal.begin_epoch(b"first")
    journal.keep_homes(NAME, ["a", "b"])
    AnsweredElsewhere(journal, 0).hear(name_of("train", MODEL, 1), "a", in_words(OPENED))
    assert journal.elsewhere(MODEL)


def test_a_number_that_has_passed_is_no_attempt() -> None:
    """Homes did not look at the model: after six of these its last digits would change."""
    journal = SumJournal()
    heard = AnsweredElsewhere(journal, 1)
    for _ in range(2 * MOST_TRIES):
        journal.tried(NAME)
        heard.begin(NAME)
        for home in "abcd":
            heard.hear(NAME, home, in_words(PASSED))
    assert not journal.spent(NAME)
