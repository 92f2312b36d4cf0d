"""Attempts at the server's rates begin with nearly one model: what their sums show, as docs say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.clients.membership.consent import Invitation, consent_text
from fedhome.learning.at_home import device_of
from fedhome.plan.settings import Plan
from helpers import tiny

AWAY = 5


def _difference(rate: float) -> float:
    """Return how far a home's update is from what two sums show of it, as a share of its length.

    The second attempt is five rounds later, from the first model with its last digits changed, at
    a multiple of the first one's rate, by which the server divides; the home is away then.
    """
    plan = tiny.plan()
    first = tiny.learning(plan).initial
    later = np.nextafter(first, np.float32(np.inf))
    devices = [device_of(plan, home) for home in tiny.homes([(60, 8, 7)] * 10)]

    def updates(start: NDArray[np.float32], number: int, rate: float) -> NDArray[np.float32]:
        trained = [
            one.train(start, stream=number, epochs=1, rate=rate).params[0] for one in devices
        ]
        return np.stack(trained) - start

    whole, again = updates(first, 1, 1.0), updates(later, 6, rate)
    shown = whole.sum(axis=0) - np.delete(again, AWAY, axis=0).sum(axis=0) / rate
    return float(np.linalg.norm(shown - whole[AWAY]) / np.linalg.norm(whole[AWAY]))


@pytest.mark.long
def test_two_attempts_show_roughly_the_update_of_a_home_that_was_in_one_alone() -> None:
    """It is open where the server's rates are tried; homes' own rates hide it."""
    assert _difference(1.0) < 0.5
    assert _difference(0.3) > 1.0


def test_people_are_told_before_they_agree() -> None:
    plan = Plan.load(aggregation={"mode": "secure"})
    told, usual = (
        consent_text(Invitation(home="oak", fleet=bytes(16), server="a:1", plan=one))
        for one in (plan.change(strategy={"rate": "auto"}), plan)
    )
    words = "where this home is away from one of the attempts at how far the server goes"
    assert words in " ".join(told.split())
    assert words not in " ".join(usual.split())
