"""When a second sum of nearly the same numbers can be had, as a plan's explanation says it."""

from __future__ import annotations

from typing import Any

import pytest

from fedhome.plan.second_sums import fewest_before, second_sums_line
from fedhome.plan.settings import Plan
from fedhome.secagg.alike import fitting, smallest_lot
from helpers.secagg_world import names_of

SECURE = Plan.load(aggregation={"mode": "secure"})


def _said(homes: int, plan: Plan = SECURE) -> str:
    ((_, text),) = second_sums_line(plan, homes)
    return text


@pytest.mark.parametrize("homes", [5, 8, 9, 10, 12, 40, 100])
def test_a_home_may_go_away_between_two_sums_from_as_many_homes_on_as_the_plan_says(
    homes: int,
) -> None:
    """Held against what servers leave out and members open, for first sums of every size."""
    first = fewest_before(SECURE, homes)
    for size in range(5, homes + 1):
        before = set(names_of(homes)[:size])
        kept = fitting([before], before - {names_of(homes)[0]}, least=first // 2)
        assert bool(kept) == (size >= first)
        if kept:
            assert smallest_lot([before, kept]) >= first // 2
            assert size - 1 - len(kept) == first // 2 - 1, "others that are left out"
    assert ("are too few to leave others out" in _said(homes)) == (homes < first)


@pytest.mark.parametrize(
    ("homes", "first", "said"),
    [
        (
            8,
            10,
            "the round has no loss of the model as it is, or homes follow",
        ),
        (
            10,
            10,
            "Where fewer than 10 homes are in the first, the round has no loss of",
        ),
        (100, 24, "others are left out of the second as well, 11 at most"),
    ],
)
def test_it_is_said_in_words(homes: int, first: int, said: str) -> None:
    assert fewest_before(SECURE, homes) == first
    assert said in _said(homes)


@pytest.mark.parametrize(
    ("changes", "judged"),
    [
        ({"rounds": {"judge_every": 0}}, False),
        ({"rounds": {"evaluate_fraction": 0.0}}, False),
        ({}, True),
    ],
)
def test_rounds_that_nobody_judges_are_not_spoken_of(changes: dict[str, Any], judged: bool) -> None:
    assert ("once adapted" in _said(8, SECURE.change(**changes))) == judged


def test_a_test_of_some_homes_comes_before_rounds_are_judged() -> None:
    some = SECURE.change(rounds={"evaluate_fraction": 0.75})
    assert "a model as it is, and away when it is tested once adapted" in _said(8, some)
    assert "the round is not judged" in _said(8, some)
    assert "a model once adapted, and away when it is tested as it is" in _said(8)


@pytest.mark.parametrize(
    "changes",
    [
        {"personalise": {"name": "none"}},
        {"privacy": {"mechanism": "discrete-gaussian", "epsilon": 8.0, "clip": 0.3}},
    ],
)
def test_where_no_such_pair_is_asked_nothing_is_said(changes: dict[str, Any]) -> None:
    assert second_sums_line(SECURE.change(**changes), 8) == []
