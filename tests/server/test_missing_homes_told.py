"""Whatever way a home misses a round, the run's log names it with the reason, or counts it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from fedhome.flower.messages import blob_reply, blobs_of
from fedhome.run.events import read_events
from fedhome.simulations.benchmarks.outages.told_absences import untold
from helpers.wired_fleet import WiredFleet, secure_plan, shares_asked

HOMES = 7


class Killed(BaseException):
    """The server's process ends here."""


def _fleet(folder: Path, count: int, *, evaluated: float = 0.0) -> WiredFleet:
    rounds = {"count": count, "evaluate_fraction": evaluated, "quorum": 0.5}
    return WiredFleet(folder, secure_plan(rounds=rounds))


def _run(fleet: WiredFleet) -> list[int]:
    with fleet.run() as rounds:
        rounds.run()
        return [row["homes_answered"] for row in rounds.state.rows]


def _told(fleet: WiredFleet, kind: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in fleet.events.splitlines()]
    return [one["data"] for one in events if one["event"] == kind]


def _nothing_untold(fleet: WiredFleet) -> bool:
    return not untold(read_events(fleet.folder / fleet.name / "events.jsonl"), HOMES)


def _in_training(home: str, turns: set[int]) -> Callable[[str, Message], bool]:
    """Return whether a message asks a home for its training in some rounds."""
    seen = [0]

    def asked(name: str, message: Message) -> bool:
        if name != home or message.metadata.message_type != "train":
            return False
        seen[0] += 1
        return seen[0] in turns

    return asked


def test_a_home_that_is_late_with_its_training_is_named(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, 2)
    fleet.wire.mute = _in_training("h03", {2})
    assert _run(fleet) == [7, 6]
    (late,) = _told(fleet, "homes-late")
    assert (late["round"], late["stage"], late["homes"]) == (2, "train", ["h03"])
    assert _nothing_untold(fleet)


def test_a_home_that_gives_no_keys_for_a_sum_is_named(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, 1)
    fleet.wire.deaf = lambda home, message: (
        home == "h03" and message.metadata.message_type == "query.bundle"
    )
    assert _run(fleet) == [6]
    assert {(one["home"], one["stage"]) for one in _told(fleet, "reply-dropped")} == {
        ("h03", "train")
    }
    assert _nothing_untold(fleet)


def test_how_many_homes_had_nothing_to_add_is_told_whenever_it_changes(tmp_path: Path) -> None:
    """The same number a second time, after none in between: it was told once only, before."""
    fleet = _fleet(tmp_path, 4)
    device = fleet.homes["h02"].device
    train, turns = device.train, [0]

    def fails_at_times(*args: Any, **kwargs: Any) -> Any:
        turns[0] += 1
        if turns[0] != 2:
            raise MemoryError
        return train(*args, **kwargs)

    device.__dict__["train"] = fails_at_times
    assert _run(fleet) == [6, 7, 6, 6]
    told = [(one["round"], one["homes"]) for one in _told(fleet, "homes-empty-handed")]
    assert told == [(1, 1), (2, 0), (3, 1)], "as long as it stays one, it is told once"
    assert _nothing_untold(fleet)


@pytest.mark.parametrize("moment", ["half opened", "opened"])
def test_a_sum_that_is_taken_again_after_a_kill_names_who_is_missing(
    tmp_path: Path, moment: str
) -> None:
    fleet = _fleet(tmp_path, 2, evaluated=1.0)
    fleet.wire.mute = _in_training("h03", {1})
    shares = [0]

    def kill(_home: str, message: Message) -> bool:
        shares[0] += shares_asked(message)
        evaluated = message.metadata.message_type == "evaluate"
        if evaluated if moment == "opened" else shares[0] == 3:
            raise Killed
        return False

    fleet.wire.deaf = kill
    with pytest.raises(Killed):
        _run(fleet)
    assert not _told(fleet, "round-closed")
    before = len(fleet.events.splitlines())
    fleet.wire.deaf = lambda _home, _message: False
    assert _run(fleet) == [6, 7]
    (again,) = _told(fleet, "sum-taken-again")
    assert (again["round"], again["stage"], again["homes"]) == (1, "train", 6)
    assert list(again["missing"]) == ["h03"]
    assert "when the question was closed" in again["missing"]["h03"]
    after = read_events(fleet.folder / fleet.name / "events.jsonl")[before:]
    assert not untold(after, HOMES), "also by what the new process tells alone"
    assert untold([one for one in after if one.event != "sum-taken-again"], HOMES), "the control"


def test_a_home_that_no_sum_may_be_with_after_one_that_was_not_opened_is_named(
    tmp_path: Path,
) -> None:
    """A sum without it was half opened; with it, one of nearly the same model would show it."""
    fleet = _fleet(tmp_path, 2)
    fleet.wire.away = {"h03"}
    shares = [0]

    def kill(_home: str, message: Message) -> bool:
        shares[0] += shares_asked(message)
        if shares[0] == 3:
            raise Killed
        return False

    fleet.wire.deaf = kill
    with pytest.raises(Killed):
        _run(fleet)
    fleet.wire.deaf, fleet.wire.away = (lambda _home, _message: False), set()
    fleet.next_epoch()  # nobody finishes a sum of the last one
    assert _run(fleet) == [6, 7]
    assert "last digits changed" in fleet.events
    (passed,) = _told(fleet, "homes-passed-over")
    assert (passed["round"], passed["stage"], passed["homes"]) == (1, "train", ["h03"])
    assert "nearly the same model" in passed["reason"]
    assert _nothing_untold(fleet)


def test_a_home_whose_next_keys_are_of_no_use_is_not_called_dropped(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, 2)
    honest = fleet.wire.homes["h04"]

    def with_odd_keys(message: Message) -> Message:
        answer = honest(message)
        if message.metadata.message_type != "train" or answer.has_error():
            return answer
        return blob_reply(message, {**blobs_of(answer), "bundle": b"no keys"})

    fleet.wire.homes["h04"] = with_odd_keys
    assert _run(fleet) == [7, 7], "others are asked for before the next sum"
    assert not _told(fleet, "reply-dropped")
    assert any("h04 is in the sum" in one["text"] for one in _told(fleet, "note"))
