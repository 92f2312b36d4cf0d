"""Places for connections: a newcomer always gets one, and who has the most pays for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.ops.places import Places, neighbourhood


def test_the_oldest_of_whoever_has_the_most_makes_room() -> None:
    places: Places[int] = Places(most=4, each=4)
    for number in (1, 2, 3):
        assert places.enter("many", number) is None
    assert places.enter("one", 4) is None
    assert places.enter("another", 5) == 1
    assert places.enter("many", 6) == 2
    assert len(places) == 4


def test_nobody_has_more_than_its_share() -> None:
    places: Places[int] = Places(most=100, each=2)
    assert [places.enter("many", number) for number in range(4)] == [None, None, 0, 1]
    assert places.enter("one", 9) is None


def test_a_place_that_was_given_back_is_free() -> None:
    places: Places[int] = Places(most=2, each=2)
    places.enter("a", 1)
    places.enter("b", 2)
    places.leave("a", 1)
    places.leave("a", 1)
    places.leave("nobody", 7)
    assert places.enter("c", 3) is None
    assert places.oldest() == 2
    assert places.oldest() == 3
    assert places.oldest() is None
    assert len(places) == 0


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60),
)
def test_there_are_never_more_than_places_and_the_newcomer_stays(
    most: int, each: int, moves: list[tuple[str, bool]]
) -> None:
    places: Places[int] = Places(most, each)
    here: list[tuple[str, int]] = []
    for number, (owner, comes) in enumerate(moves):
        if comes:
            here.append((owner, number))
            lost = places.enter(owner, number)
            if lost is not None:
                assert lost != number
                (gone,) = (one for one in here if one[1] == lost)
                # The oldest of its owner; and of nobody who has less than another.
                assert next(one for one in here if one[0] == gone[0]) == gone
                here.remove(gone)
        elif here:
            places.leave(*here.pop(0))
        assert len(places) == len(here) <= most
        assert all(sum(one[0] == owner for one in here) <= each for owner in "abc")


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("hub", "hub"),
    ],
)
def test_one_network_is_one_owner(host: str, owner: str) -> None:
    assert neighbourhood(host) == owner
