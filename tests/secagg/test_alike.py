"""Sums of nearly the same numbers tell homes apart in lots alone, whatever a server combines."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import ManifestError, OpeningError
from fedhome.questions.question_table import SUMMED
from fedhome.secagg import member as committee_member
from fedhome.secagg.alike import MOST_BYTES, MOST_SETS, OpenedSet, fitting, smallest_lot, with_set
from fedhome.secagg.manifest import ALIKE, Manifest, alike_to
from helpers.secagg_attacker import refused, weaken
from helpers.secagg_world import Sum, World, model_of, names_of

HOMES = names_of(12)
SETS = st.frozensets(st.sampled_from(HOMES))


@given(st.lists(SETS, max_size=4), SETS, st.integers(2, 6))
def test_what_fits_tells_no_lot_that_is_too_small(
    before: list[frozenset[str]], there: frozenset[str], least: int
) -> None:
    sums: list[frozenset[str]] = []
    for one in [*before, there]:
        kept = frozenset(fitting(sums, one, least=least))
        assert kept <= one
        if not sums and len(kept) < least:
            continue  # too few for any sum
        if kept:
            sums.append(kept)
        assert not sums or smallest_lot(sums) >= least


@given(st.lists(SETS, min_size=2, max_size=4), SETS)
def test_whatever_is_combined_tells_sums_over_whole_lots(
    sums: list[frozenset[str]], probe: frozenset[str]
) -> None:
    """What a combination weighs homes with is one number in each lot: checked by linear algebra."""
    table = np.array([[home in one for home in HOMES] for one in sums], float)
    weights = np.random.default_rng(len(probe)).normal(size=len(sums)) @ table
    told = {}
    for place, home in enumerate(HOMES):
        where = tuple(home in one for one in sums)
        if any(where):
            told.setdefault(where, set()).add(round(float(weights[place]), 9))
    assert all(len(numbers) == 1 for numbers in told.values())


def test_pairs_far_apart_would_not_be_enough() -> None:
    """Four sums, each two of which differ by five homes or more, tell the one that two lack."""
    names = names_of(20)
    one, two = set(names[:7]), set(names[6:14])
    sums = [set(names), set(names) - one, set(names) - two, set(names) - one - two]
    assert min(len(a ^ b) for a, b in itertools.combinations(sums, 2)) >= 5
    alone = np.array([[home in some for home in names] for some in sums], float)
    assert (alone[0] - alone[1] - alone[2] + alone[3]).tolist() == [
        float(home == names[6]) for home in names
    ]
    assert smallest_lot(sums) == 1


@pytest.mark.parametrize(
    ("before", "there", "kept"),
    [
        ([], range(12), 12),
        ([range(12)], range(12), 12),
        ([range(12)], range(1, 12), 7),  # one is away: four more are left out
        ([range(9)], range(1, 9), 0),  # of nine there is no second sum without one of them
        ([range(9)], range(9), 9),
        ([range(9)], range(12), 9),  # three that have come are left out
        ([range(6)], range(12), 12),  # six that have come are as many as a sum takes
        ([range(12)], range(6), 6),
    ],
)
def test_how_many_more_are_left_out(before: list[range], there: range, kept: int) -> None:
    sums = [frozenset(HOMES[place] for place in one) for one in before]
    assert len(fitting(sums, [HOMES[place] for place in there], least=5)) == kept


@pytest.mark.parametrize(
    ("count", "never", "left_out"), [(8, 0.08, 0.2), (10, 0.08, 0.4), (12, 0.03, 0.8), (16, 0.0, 1)]
)
def test_how_often_no_second_sum_fits_where_homes_come_and_go(
    count: int, never: float, left_out: float
) -> None:
    """One in ten is away, and one in a hundred goes away between two questions."""
    drawn, names = np.random.default_rng(1), np.array(names_of(count))
    refused_, fewer, tries = 0, 0, 2000
    for _ in range(tries):
        there = drawn.random(count) >= 0.1
        later = np.where(there, drawn.random(count) >= 0.01, drawn.random(count) < 0.04)
        if there.sum() < 5 or later.sum() < 5:
            continue
        kept = fitting([set(names[there])], list(names[later]), least=5)
        refused_ += not kept
        fewer += later.sum() - len(kept) if kept else 0
    assert refused_ / tries <= never
    assert fewer / tries <= left_out


def test_it_is_not_always_the_same_homes_that_are_left_out() -> None:
    left = {
        frozenset(HOMES[1:]) - fitting([set(HOMES)], HOMES[1:], least=5, salt=bytes([number]))
        for number in range(20)
    }
    assert len(left) > 10
    assert {len(some) for some in left} == {4}


def test_alike_are_questions_that_there_are() -> None:
    purposes = {name.rpartition(".")[2] for name in SUMMED}
    assert {one for some in ALIKE for one in some} <= purposes
    assert alike_to("blend") == ("evaluate", "adapted", "shrink")
    assert alike_to("adapted") == ("evaluate", "blend", "shrink")
    assert alike_to("train") == ()


# --- members


def _asked(world: World, purpose: str, homes: range, model: int = 1) -> Sum:
    """Return a sum over some homes: all are asked, and the others do not answer."""
    world.refill()
    sum_ = world.draw_up(purpose=purpose, model_hash=model_of(model), a_min=5, tau=4)
    for home in world.homes:
        sum_.join(home)
    for place in homes:
        sum_.upload(names_of(12)[place])
    return sum_


@pytest.mark.long
def test_members_open_no_sum_that_tells_a_home_by_another_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.of(12, bundles=0)
    first = _asked(world, "blend", range(12))
    first.answer()
    first.open()
    second = _asked(world, "shrink", range(1, 12))
    refused(OpeningError, "alike", second.vote)
    fewer = _asked(world, "shrink", range(5, 12))
    fewer.answer()
    assert fewer.open().homes == tuple(names_of(12)[5:])

    weaken(monkeypatch, committee_member, "_case_of", "manifest.alike_subjects")  # the control
    first = _asked(world, "blend", range(12), model=2)
    first.answer()
    of_all = first.open().words.copy()
    world.refill()
    same = world.draw_up(purpose="shrink", model_hash=model_of(2), a_min=5, tau=4)
    for home in world.homes:
        same.join(home)
    for home in HOMES[1:]:  # each answers with the same numbers
        same.aggregator.receive(home, same.joined.pop(home).upload(first.sent[home].copy()))
    same.answer()
    assert np.array_equal(of_all - same.open().words, first.sent["h00"])


@pytest.mark.long
def test_the_order_of_the_two_does_not_matter_and_other_models_are_free() -> None:
    world = World.of(12, bundles=0)
    first = _asked(world, "adapted", range(1, 12))
    first.answer()
    refused(OpeningError, "alike", _asked(world, "evaluate", range(12)).vote)
    _asked(world, "evaluate", range(12), model=2).answer()
    _asked(world, "train", range(12)).answer()
    refused(OpeningError, "alike", _asked(world, "shrink", range(12)).vote)
    _asked(world, "shrink", range(1, 12)).answer()


@pytest.mark.long
def test_a_restart_forgets_no_set_and_a_set_that_is_forgotten_is_refused() -> None:
    world = World.of(12, bundles=0)
    _asked(world, "blend", range(12)).answer()
    for home in world.homes:
        world.restart(home)
    refused(OpeningError, "alike", _asked(world, "shrink", range(1, 12)).vote)
    for home in world.homes.values():  # as where later sets have taken its place
        home.state = replace(home.state, sets=())
        assert len(home.state.opened) == 1
    refused(OpeningError, "alike", _asked(world, "shrink", range(12)).vote)


@pytest.mark.long
def test_homes_answer_what_is_alike_in_one_epoch_alone() -> None:
    """Members of the next epoch need not know who was in a sum of this one."""
    world = World.of(12, bundles=0)
    _asked(world, "blend", range(12)).answer()
    issued = world.next_epoch()
    for home in world.homes.values():
        home.renew(issued)
        assert not home.state.sets
    world.refill()
    sum_ = world.draw_up(purpose="shrink", model_hash=model_of(1), a_min=5, tau=4)
    refused(ManifestError, "asked-before", lambda: sum_.join("h00"))
    world.refill()
    world.draw_up(purpose="shrink", model_hash=model_of(2), a_min=5, tau=4).join("h00")


def test_sets_are_kept_up_to_a_size_the_newest_of_each() -> None:
    def numbered(number: int, size: int = 2) -> OpenedSet:
        return OpenedSet(subject=number.to_bytes(32, "big"), group=0, homes=bytes(size))

    sets: tuple[OpenedSet, ...] = ()
    for number in range(MOST_SETS + 3):
        sets = with_set(sets, numbered(number))
    assert [sets[0], sets[-1], len(sets)] == [numbered(3), numbered(MOST_SETS + 2), MOST_SETS]
    assert len(with_set(sets, numbered(3))) == MOST_SETS, "once each"
    large: tuple[OpenedSet, ...] = ()
    for number in range(40):
        large = with_set(large, numbered(number, 1 << 14))
    assert sum(len(one.homes) for one in large) == MOST_BYTES
    assert large[-1] == numbered(39, 1 << 14)


def test_a_set_says_who_is_in_a_sum_by_the_directory() -> None:
    world = World.of(12)
    manifest: Manifest = world.draw_up(HOMES[2:9], purpose="blend").manifest
    present = np.array([True, False, True, True, True, True, True])
    one = OpenedSet.of(manifest, present, world.directory)
    assert one.places == {2, 4, 5, 6, 7, 8}
    assert OpenedSet.from_bytes(one.to_bytes()) == one
