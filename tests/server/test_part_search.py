"""The search for the part that spoils sums, and into how many parts a fleet is dealt."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.plan.parts import MOST_PARTS, can_do_without, parts_in, parts_line
from fedhome.plan.private_plan import cohort_of
from fedhome.secagg.rank import solved
from fedhome.server.rounds.part_search import PartSearch, _hitting
from helpers import tiny

SIZE, KIND = 5, "train"


def _parts(count: int) -> list[list[str]]:
    return [[f"h{part:02d}-{home}" for home in range(SIZE)] for part in range(count)]


class Rounds:
    """Rounds over parts, in which a cheat spoils each sum that it is in.

    Args:
        parts: How many parts there are.
        cheats: Homes that cheat.
    """

    def __init__(self, parts: int, cheats: set[str]) -> None:
        self.search, self.cheats = PartSearch(_parts(parts)), cheats
        self.all = frozenset().union(*self.search.parts)
        self.out: set[str] = set()
        self.sums: list[frozenset[str]] = []
        self.spoilt = 0

    def enough(self, homes: frozenset[str]) -> bool:
        return 2 * len(self.all - self.out - homes) >= len(self.all)

    def one(self) -> bool:
        """Do a round; False where there is none that could hold."""
        without = self.search.leave_out(self.enough)
        if without is None:
            return False
        asked = self.all - self.out - without
        self.sums.append(asked)
        if asked & self.cheats:
            self.spoilt += 1
            self.search.spoilt(KIND, asked)
        else:
            self.search.held(KIND, asked)
        while found := self.search.found():
            self.out |= found
            self.search.forget(found)
        return True


def test_what_meets_most_spoilt_sums_is_taken_first() -> None:
    sums = [frozenset(some) for some in ((1, 2), (2, 3), (2, 4), (5, 6), (6, 7))]
    assert _hitting(sums, ()) == {2, 6}
    assert _hitting(sums, {3, 5}) == {2, 3, 5, 6}
    assert _hitting([], {3}) == {3}


@given(st.integers(2, MOST_PARTS), st.data())
def test_one_cheat_is_found_in_few_sums_and_its_part_alone_is_left_out(
    parts: int, data: st.DataObject
) -> None:
    part = data.draw(st.integers(0, parts - 1))
    rounds = Rounds(parts, {f"h{part:02d}-3"})
    for _ in range(14):
        assert rounds.one()
    assert rounds.out == rounds.search.parts[part]
    assert rounds.spoilt <= 2 + np.ceil(np.log2(parts))
    assert not rounds.search.is_on
    assert rounds.sums[-1] == rounds.all - rounds.out


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(st.integers(4, 8), st.sets(st.integers(0, 39), min_size=1, max_size=6))
def test_whatever_the_cheats_no_honest_part_is_left_out(parts: int, cheats: set[int]) -> None:
    rounds = Rounds(parts, {f"h{cheat // SIZE:02d}-{cheat % SIZE}" for cheat in cheats})
    guilty = [part for part in rounds.search.parts if part & rounds.cheats]
    for _ in range(120):
        if not rounds.one():
            break
    assert rounds.out <= frozenset().union(*guilty)
    if 2 * len(guilty) <= parts:
        assert rounds.out == frozenset().union(*guilty)
        assert not rounds.sums[-1] & rounds.cheats


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.sets(st.integers(0, 39), max_size=6))
def test_whatever_sums_are_combined_they_tell_of_whole_parts(parts: int, cheats: set[int]) -> None:
    rounds = Rounds(parts, {f"h{cheat // SIZE:02d}-{cheat % SIZE}" for cheat in cheats})
    for _ in range(30):
        if not rounds.one():
            break
    homes = sorted(rounds.all)
    equations = np.array([[home in asked for home in homes] for asked in rounds.sums], float)
    assert not solved(equations).any()
    for part in rounds.search.parts:  # all homes of a part are in the same sums
        columns = equations[:, [homes.index(home) for home in sorted(part)]]
        assert (columns == columns[:, :1]).all()


def test_a_sum_that_was_spoilt_once_leaves_nobody_out() -> None:
    search = PartSearch(_parts(2))
    everybody = frozenset().union(*search.parts)
    search.spoilt(KIND, everybody)
    assert search.leave_out(lambda _: True)
    search.held(KIND, search.parts[1])
    assert search.found() == frozenset()
    assert search.leave_out(lambda _: True) == frozenset(), "all are asked once more"
    search.held(KIND, everybody)
    assert not search.is_on


def test_a_home_that_begins_to_cheat_after_it_was_cleared_is_searched_for() -> None:
    search = PartSearch(_parts(2))
    first, second = search.parts
    search.spoilt(KIND, first | second)
    search.held(KIND, first)
    search.spoilt(KIND, first)
    assert search.found() == first


def test_who_spoils_one_kind_of_sum_is_not_cleared_by_another() -> None:
    search = PartSearch(_parts(2))
    first, second = search.parts
    search.spoilt("evaluate", first | second)
    search.held("train", first)
    search.held("train", second)
    assert search.is_on
    search.held("evaluate", first)
    search.spoilt("evaluate", first | second)
    assert search.found() == second


def test_homes_that_came_late_are_not_blamed_for_what_was_before() -> None:
    search = PartSearch(_parts(2))
    first, second = search.parts
    late = min(second)
    search.spoilt(KIND, first | second - {late})
    search.held(KIND, first)
    search.spoilt(KIND, first | second)
    assert search.found() == second - {late}


@pytest.mark.parametrize("spoilt", [0, 1, 3])
def test_a_search_goes_on_from_its_file(spoilt: int) -> None:
    rounds = Rounds(8, {"h03-1"})
    for _ in range(spoilt):
        rounds.one()
    again = PartSearch(_parts(8))
    again.recall(json.loads(json.dumps(rounds.search.to_plain())))
    always: Callable[[frozenset[str]], bool] = lambda _: True  # noqa: E731
    assert again.leave_out(always) == rounds.search.leave_out(always)
    assert again.to_plain() == rounds.search.to_plain()


# --- into how many parts


@pytest.mark.parametrize(
    ("homes", "parts"), [(5, 1), (9, 1), (10, 2), (14, 2), (15, 3), (24, 3), (40, 4), (1000, 16)]
)
def test_parts_are_as_large_as_the_smallest_sum(homes: int, parts: int) -> None:
    assert parts_in(tiny.plan(), homes, fleet=homes) == parts


def test_a_sum_has_half_of_its_group_at_least() -> None:
    plan = tiny.plan()
    assert can_do_without(plan, 10, group=20, fleet=20)
    assert not can_do_without(plan, 9, group=20, fleet=20)
    assert not can_do_without(plan, 4, group=7, fleet=7)


def test_with_noise_no_more_is_left_out_than_the_noise_bears() -> None:
    plan = tiny.plan(
        data={"homes": None},
        aggregation={"mode": "secure"},
        privacy={"mechanism": "discrete-gaussian", "epsilon": 8.0},
    )
    least = cohort_of(plan, "train", 40).least
    assert least > 20
    assert can_do_without(plan, least, group=40, fleet=40)
    assert not can_do_without(plan, least - 1, group=40, fleet=40)


@pytest.mark.parametrize(
    ("homes", "groups", "said"),
    [(7, 1, "too few to find out"), (40, 1, "parts of 10 homes"), (14, 2, "a group whose sums")],
)
def test_the_plan_says_what_happens_to_homes_that_spoil_sums(
    homes: int, groups: int, said: str
) -> None:
    plan = tiny.plan(data={"homes": None}, aggregation={"mode": "secure", "groups": groups})
    assert said in parts_line(plan, homes)[1]
