"""A home that sends numbers beyond all bounds costs some rounds, and its part of the fleet.

Real homes, members and a real server's run. Which home it is shows by the sums that it is in and
those that it is not; each of them is a sum of an ordinary round.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.errors import RoundError, StateError
from fedhome.flower.messages import sum_record
from fedhome.secagg.directory import Signed
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.rank import solved
from fedhome.server.rounds.left_out import left_out_in, take_off
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.rounds.suspects import Suspects
from helpers.wired_fleet import WiredFleet, secure_plan

pytestmark = pytest.mark.slow

HOMES = 15
"""Three parts of five: a sum takes half of them at least."""


def _garbage(words: NDArray[Any]) -> NDArray[Any]:
    info = np.iinfo(words.dtype)
    drawn = np.random.default_rng(5)
    return drawn.integers(info.min, info.max, words.shape, words.dtype, endpoint=True)


def _fleet(
    folder: Path, homes: int = HOMES, *, cheats: Iterable[str] = (), **sections: Any
) -> WiredFleet:
    rounds = {"count": 6, "evaluate_fraction": 0.0, **sections.pop("rounds", {})}
    fleet = WiredFleet(folder, secure_plan(rounds=rounds, **sections), homes)
    for cheat in cheats:
        fleet.parts[cheat].forge = _garbage
    return fleet


def _answered(fleet: WiredFleet, **sections: Any) -> list[int]:
    with fleet.run(**sections) as rounds:
        rounds.run()
        return [row["homes_answered"] for row in rounds.state.rows]


def _found(fleet: WiredFleet) -> list[list[str]]:
    events = map(json.loads, fleet.events.splitlines())
    return [one["data"]["homes"] for one in events if one["event"] == "homes-left-out"]


def _rosters(fleet: WiredFleet) -> list[tuple[str, ...]]:
    """Have the roster of each sum for training added to a list."""
    rosters: list[tuple[str, ...]] = []

    def see(_home: str, message: Any) -> bool:
        record = sum_record(message)
        data = None if record is None else record.get("manifest")
        if message.metadata.message_type == "train" and isinstance(data, bytes):
            names = Manifest.from_bytes(Signed.from_bytes(data, most=1 << 23).body).names
            if names not in rosters[-1:]:
                rosters.append(names)
        return False

    fleet.wire.deaf = see
    return rosters


def test_the_run_goes_on_with_the_others_and_names_the_part(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, cheats=["h03"])
    rosters = _rosters(fleet)
    answered = _answered(fleet)
    (found,) = _found(fleet)
    assert "h03" in found
    assert len(found) == 5
    assert answered[-2:] == [10, 10]
    assert fleet.wire.refusals == [], "nobody is asked a question twice"
    assert answered.count(0) <= 3
    assert not set(found) & set(rosters[-1])
    assert f"sums with {', '.join(found)} went beyond" in fleet.events
    with fleet.run() as rounds:  # a model of the others
        assert np.isfinite(rounds.state.flat).all()
        assert not np.array_equal(rounds.state.flat, fleet.learning.initial)


def test_control_a_run_that_searches_for_nobody_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Suspects, "spoilt", lambda *_: None)
    fleet = _fleet(tmp_path, cheats=["h03"])
    with pytest.raises(RoundError, match="0 of 15 homes answered"):
        _answered(fleet)
    assert _found(fleet) == []


def test_all_sums_together_tell_of_whole_parts_and_no_home(tmp_path: Path) -> None:
    """Nobody is away. Each sum that was opened is an equation in what homes added."""
    fleet = _fleet(tmp_path, cheats=["h03"], rounds={"evaluate_fraction": 1.0, "count": 6})
    rosters = _rosters(fleet)
    _answered(fleet)
    homes = sorted(fleet.homes)
    equations = np.array([[home in roster for home in homes] for roster in rosters], float)
    assert len(rosters) > 1
    assert not solved(equations).any()
    for columns in {tuple(column) for column in equations.T.tolist()}:
        assert sum(tuple(column) == columns for column in equations.T.tolist()) >= 5
    # Had the server left homes out one by one, it would have solved for them.
    assert solved(np.vstack([np.ones(HOMES), np.ones(HOMES) - np.eye(HOMES)[3]]))[3]


def _parts(fleet: WiredFleet) -> list[frozenset[str]]:
    with fleet.run() as rounds:
        assert isinstance(rounds.grid, SecureGrid)
        return list(rounds.grid.suspects._search_in(frozenset(fleet.homes)).parts)


def test_two_cheats_in_two_parts(tmp_path: Path) -> None:
    plan = {"aggregation": {"dropped": 0.0}}  # four parts of five
    fleet = _fleet(tmp_path, 20, rounds={"count": 12}, **plan)
    parts = _parts(fleet)
    for part in (parts[0], parts[2]):
        fleet.parts[min(part)].forge = _garbage
    answered = _answered(fleet)
    assert {home for homes in _found(fleet) for home in homes} == parts[0] | parts[2]
    assert answered[-1] == 10


def test_a_cheat_in_every_part_stops_the_run_and_says_why(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, 15)
    for part in _parts(fleet):
        fleet.parts[min(part)].forge = _garbage
    with pytest.raises(RoundError, match="more would have to be left out than a sum can do with"):
        _answered(fleet, rounds={"count": 30})


def test_a_fleet_that_is_too_small_for_two_parts_says_so(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, 7, cheats=["h03"])
    with pytest.raises(RoundError, match="7 homes are too few to find out which") as refused:
        _answered(fleet)
    assert "5 rounds in a row" in refused.value.message
    assert "revoke" in refused.value.hint
    assert _found(fleet) == []


def test_a_fault_that_passes_leaves_nobody_out(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, cheats=["h03"])
    assert _answered(fleet, rounds={"count": 1}) == [0]
    fleet.parts["h03"].forge = None
    answered = _answered(fleet)
    assert answered[-1] == HOMES
    assert answered.count(0) == 1
    assert _found(fleet) == []


def test_a_cheat_from_the_first_count_on(tmp_path: Path) -> None:
    """Examples are counted once in an epoch; where that is spoilt, homes count alike."""
    fleet = _fleet(tmp_path, cheats=["h03"], aggregation={"weight_cap": None})
    assert _answered(fleet)[-1] == 10
    assert "all homes count alike until the next one" in fleet.events
    fleet.name, fleet.learning.initial = "second", fleet.learning.initial + np.float32(0.01)
    assert _answered(fleet, rounds={"count": 1}) == [10]
    assert "weights-counted" not in fleet.events


def test_a_server_that_was_killed_goes_on_searching(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, cheats=["h03"])
    rows: list[int] = []
    for count in range(1, 7):
        rows = _answered(fleet, rounds={"count": count})
    assert rows.count(0) <= 3
    assert rows[-1] == 10
    (found,) = _found(fleet)
    assert "h03" in found


def test_with_groups_the_group_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, 14, cheats=["h03"], aggregation={"groups": 2})
    answered = _answered(fleet)
    (found,) = _found(fleet)
    assert "h03" in found
    assert len(found) == 7
    assert answered[-2:] == [7, 7]


# --- what lasts


def test_who_is_left_out_stays_so_in_the_next_run_until_taken_off(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path, cheats=["h03"])
    _answered(fleet)
    (found,) = _found(fleet)
    path = tmp_path / "left-out"
    assert [entry.home for entry in left_out_in(path)] == found
    assert {entry.run for entry in left_out_in(path)} == {"run"}
    fleet.name, fleet.learning.initial = "second", fleet.learning.initial + np.float32(0.01)
    assert _answered(fleet, rounds={"count": 1}) == [10]
    fleet.parts["h03"].forge = None
    assert take_off(path, [*found, "h99"]) == found
    fleet.name, fleet.learning.initial = "third", fleet.learning.initial + np.float32(0.01)
    assert _answered(fleet, rounds={"count": 1}) == [HOMES]


def test_under_the_next_directory_parts_are_dealt_anew_and_the_suspect_is_known_better(
    tmp_path: Path,
) -> None:
    fleet = _fleet(tmp_path, cheats=["h03"])
    _answered(fleet)
    (first,) = _found(fleet)
    fleet.next_epoch()
    fleet.name, fleet.learning.initial = "second", fleet.learning.initial + np.float32(0.01)
    answered = _answered(fleet)
    (second,) = _found(fleet)
    assert "h03" in second
    assert set(second) < set(first)
    assert answered[-1] == HOMES - len(second)


def test_a_damaged_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "left-out").write_text('{"homes": [{"home": 3}]}')
    with pytest.raises(StateError, match="damaged"):
        left_out_in(tmp_path / "left-out")
