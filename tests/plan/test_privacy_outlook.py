"""Which noise is realistic: by hand, and what would make it so."""

from __future__ import annotations

import math
import re

import pytest

from fedhome.plan.privacy_outlook import Outlook, privacy_lines, ways_out, with_noise
from fedhome.plan.settings import Plan


def _plan(epsilon: float = 8.0, rounds: int = 100) -> Plan:
    return with_noise(Plan(), epsilon=epsilon, delta=1e-5, rounds=rounds)


def test_the_outlook_by_hand() -> None:
    outlook = Outlook(
        homes=400,
        honest=100,
        rounds=10,
        epsilon=8.0,
        between=19.0,
        delta=1e-5,
        noise_multiplier=5.0,
    )
    assert outlook.noise_of_a_home == 0.5  # 5 / sqrt(100)
    assert outlook.error_of_the_mean == 0.025  # 0.5 * sqrt(400) / 400
    assert outlook.noise_length(10_000) == 2.5
    assert outlook.largest_model == 1600  # (1 / 0.025)^2


@pytest.mark.long
def test_noise_in_a_single_number_may_be_too_much_for_any_model() -> None:
    outlook = Outlook(
        homes=100,
        honest=100,
        rounds=10,
        epsilon=1.0,
        between=2.1,
        delta=1e-5,
        noise_multiplier=6.0,
    )
    assert outlook.error_of_the_mean == pytest.approx(0.06)  # 6 / 100
    assert outlook.largest_model == 0
    assert outlook.largest_in_words.startswith("none: 0.06 clips of noise in each number")
    assert outlook.excess(4) == pytest.approx(1.2)
    assert outlook.excess(900) == pytest.approx(1.8)  # 0.06 * 30
    assert not any("a model of" in way for way in ways_out(_plan(epsilon=1.0), 100, 24))


def test_a_thousand_homes() -> None:
    outlook = Outlook.of(_plan(), 1000)
    # Updates have nine tenths of the cost; a continuous Gaussian would take 6.0 for all of it.
    assert outlook.noise_multiplier == pytest.approx(6.3765 / math.sqrt(0.9), rel=1e-4)
    assert outlook.honest == 600
    assert 10_000 < outlook.largest_model < 15_000


def test_more_homes_fewer_rounds_and_less_privacy_allow_larger_models() -> None:
    first = Outlook.of(_plan(), 1000).largest_model
    assert Outlook.of(_plan(), 2000).largest_model > 3.9 * first
    assert Outlook.of(_plan(rounds=50), 1000).largest_model == pytest.approx(2 * first, rel=1e-3)
    assert Outlook.of(_plan(epsilon=16.0), 1000).largest_model > 2 * first


@pytest.mark.long
def test_each_way_out_makes_the_model_realistic() -> None:
    size, homes = 30_000, 1000
    ways = ways_out(_plan(), homes, size)
    assert len(ways) == 4
    smaller, more, fewer, weaker = (
        float(re.search(r"[\d,]+", way)[0].replace(",", ""))  # type: ignore[index]
        for way in ways
    )
    assert smaller == Outlook.of(_plan(), homes).largest_model
    assert Outlook.of(_plan(), int(more)).largest_model >= size
    assert Outlook.of(_plan(rounds=int(fewer)), homes).largest_model >= size
    assert Outlook.of(_plan(epsilon=weaker), homes).largest_model >= size
    assert Outlook.of(_plan(epsilon=weaker - 1), homes).largest_model < size
    assert ways_out(_plan(), homes, 5000) == []


def test_a_plan_says_what_it_promises() -> None:
    assert privacy_lines(Plan(), 100) == [
        ("noise", "none: what sums tell of a home has no bound (privacy.mechanism)")
    ]
    told = dict(privacy_lines(_plan(), 1000))
    assert told["noise"].endswith("so that 600 of them make 6.72")
    assert "epsilon 8 at most, but for a chance of 1 in 100,000" in told["privacy"]
