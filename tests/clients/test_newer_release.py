"""When a home asks for a newer release: soon where there may be one, and seldom otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from fedhome.clients.agent.newer_release import RELEASE_S, NewerRelease
from fedhome.errors import LinkError, ReleaseError, StateError
from fedhome.registry import ReleaseManifest

UNREACHABLE = LinkError("the server cannot be reached", reason="unreachable")
WITHHELD = ReleaseError("it hands over none", reason="withheld")


class Times:
    """A home on a clock of its own, whose server answers as the test says."""

    def __init__(self) -> None:
        self.now, self.named, self.asked = 0.0, 0, list[float]()
        self.answers: list[ReleaseManifest | Exception | None] = []
        self.newer = self.which_is_told(self._named)

    def which_is_told(self, named: Callable[[], int]) -> NewerRelease:
        draw = random.Random(3)  # noqa: S311 - no secret
        return NewerRelease(self, named=named, draw=draw, clock=lambda: self.now)

    def _named(self) -> int:
        return self.named

    def update(self, *, layout: str | None = None) -> ReleaseManifest | None:
        assert layout == "mine"
        self.asked.append(self.now)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def idle(self, seconds: float) -> list[float]:
        """Let time pass while nothing is asked of it; return when it asked, from now."""
        begin, before = self.now, len(self.asked)
        for _ in range(int(seconds)):
            self.newer.update("mine")
            self.now += 1.0
        return [moment - begin for moment in self.asked[before:]]


@pytest.fixture
def times() -> Times:
    times = Times()
    assert times.idle(1) == [0.0], "when it has begun"
    return times


def test_who_expects_nothing_asks_every_five_minutes(times: Times) -> None:
    first, second = times.idle(720)[:2]
    assert 0.8 * RELEASE_S - 2 <= first <= 1.2 * RELEASE_S
    assert 0.8 * RELEASE_S <= second - first <= 1.2 * RELEASE_S + 1


def test_a_release_that_comes_long_after_the_last_question_is_found_with_growing_pauses(
    times: Times,
) -> None:
    """It asked once before, five seconds after the question, and then in five minutes."""
    times.newer.hope()
    asked = times.idle(300)
    assert 5 <= asked[0] <= 11
    assert len(asked) == 4
    for growth, (one, other) in enumerate(pairwise(asked)):
        assert 0.8 * 15 * 3**growth <= other - one <= 1.2 * 15 * 3**growth + 1


@pytest.mark.parametrize("error", [UNREACHABLE, WITHHELD])
def test_after_a_failure_it_asks_soon_and_less_and_less_often(
    times: Times, error: Exception
) -> None:
    times.now = times.asked[-1] + 2 * RELEASE_S
    times.answers = [error] * 3
    asked = times.idle(400)
    assert asked[0] == 0
    assert 12 <= asked[1] <= 19
    assert 36 <= asked[2] - asked[1] <= 55
    assert 108 <= asked[3] - asked[2] <= 163
    assert times.newer.not_taken is None, "the fourth went well"


def test_why_one_was_not_taken_is_kept_where_it_is_for_people(times: Times) -> None:
    times.answers = [WITHHELD, UNREACHABLE]
    times.newer.update("mine", at_once=True)
    assert times.newer.not_taken is WITHHELD
    times.newer.update("mine", at_once=True)
    assert times.newer.not_taken is WITHHELD, "that the server is away says nothing of it"


def test_who_connects_anew_asks_soon_where_the_server_names_one_it_has_not(times: Times) -> None:
    times.newer.connected()
    assert times.idle(60) == []
    times.named = 1
    times.newer.connected()
    assert times.idle(12) != []


def test_who_connects_anew_asks_soon_after_an_attempt_that_failed(times: Times) -> None:
    times.answers = [UNREACHABLE]
    times.newer.update("mine", at_once=True)
    times.newer.connected()
    (asked,) = times.idle(12)
    assert asked >= 5


def test_who_has_missed_more_than_one_request_brings_asks_for_the_rest_soon(times: Times) -> None:
    times.named = 40
    assert times.newer.many_are_named()
    times.newer.update("mine", at_once=True)
    assert len(times.idle(20)) >= 2
    times.named = 0
    assert not times.newer.many_are_named()


def test_where_it_cannot_be_told_what_was_named_it_asks_as_if_nothing_was(times: Times) -> None:
    def damaged() -> int:
        raise StateError("head.fh is damaged", reason="altered")

    times.newer = times.which_is_told(damaged)
    times.newer.connected()
    assert not times.newer.many_are_named()
    times.newer.update("mine")
    assert times.idle(200) == []
