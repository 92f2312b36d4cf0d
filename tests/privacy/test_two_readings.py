"""How far two contents of a home's readings are apart in what it adds, and each from none.

Costs are counted against a home that adds nothing but its noise. Two homes' numbers are up to twice
as far from each other: what was promised of odds between two beliefs holds at another epsilon.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.plan.settings import Plan
from fedhome.privacy.accounting import cost_within, epsilon_between, epsilon_of, sigma_for
from fedhome.privacy.noise import Noise
from fedhome.questions.contributions import Terms
from fedhome.questions.empty_handed import empty_terms, settled
from fedhome.questions.private_sums import added, scalars_of, sensitivity
from fedhome.questions.question_table import EVALUATE, OUTCOME, SUMMED, TRAIN
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form

CLIP, BITS, HONEST, DELTA = 0.5, 8, 12, 1e-5


def _form(kind: str, elements: int = 0) -> Form:
    """Return the form of a sum with noise."""
    asked = SUMMED[kind].lanes({"server-round": 1, "bins": 8}, Plan().personalise)
    scalars = scalars_of(kind, asked, BITS)
    return Form(elements, bytes(32), FixedPoint(BITS, CLIP, "l2", 1), scalars, 20, Noise(9.0, 14))


def _steps(
    form: Form, terms: Terms, update: NDArray[np.float32] | None = None
) -> NDArray[np.int64]:
    """Return what one home adds to a sum, in steps, less its noise."""
    key = [b"n" * 32]
    total = form.total(update, terms.weights, terms.values, [b"r" * 32], key)
    count = form.scalar_elements + form.elements
    steps = form.packing.unpack(total, elements=count, homes=1)[count - form.noisy_elements :]
    return steps - form.noise_sums(key, 1)


def _apart(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    return float(np.linalg.norm(one - other))


def _said(form: Form, loss: float, score: float) -> NDArray[np.int64]:
    """Return what a home adds whose test came to these."""
    _, terms = settled(None, Terms(np.array([40]), np.array([[loss, score]])))
    return _steps(form, added(form, terms))


def test_a_home_that_has_nothing_to_add_is_within_the_reach_that_is_counted() -> None:
    """It added the least of each range: twice as far from the other end as noise was made for."""
    form = _form(EVALUATE)
    reach = sensitivity(form, EVALUATE)
    ends = [_said(form, loss, score) for loss in (0.0, 9.0) for score in (-1.0, 1.0)]
    failed = _said(form, 0.2, math.nan)  # its score is the worst: no failure
    for nothing in (_steps(form, empty_terms(1, form)), _steps(form, added(form, _failed()))):
        assert max(_apart(end, nothing) for end in [*ends, failed]) <= reach
    least = _steps(form, Terms(np.ones(1, np.int64), np.full((1, 2), -np.inf)))
    assert max(_apart(end, least) for end in ends) > 1.9 * reach, "the control: as it was"


def _failed() -> Terms:
    """Return what a home says, before noise, that could not measure anything."""
    return Terms(np.zeros(1, np.int64), np.array([[-np.inf, -np.inf, 1.0]]))


def test_of_flags_a_home_that_has_nothing_sets_none() -> None:
    form = _form(OUTCOME)
    assert not _steps(form, empty_terms(1, form)).any()


def _chance_beyond(apart: float, deviation: float, epsilon: float) -> float:
    """Return the least delta for an epsilon, of two discrete Gaussian laws so far apart."""
    shift = round(apart)
    reach = math.ceil(12 * deviation) + shift
    at = np.arange(-reach, reach + 1, dtype=np.float64)
    here = np.exp(-(at**2) / (2 * deviation**2))
    there = np.exp(-((at - shift) ** 2) / (2 * deviation**2))
    both = here.sum()
    return float(np.maximum(there - math.exp(epsilon) * here, 0).sum() / both)


@pytest.mark.parametrize("promised", [1.0, 4.0, 8.0])
def test_between_two_updates_odds_change_by_another_epsilon(promised: float) -> None:
    form = _form(TRAIN, 1)
    one, other = (
        _steps(form, added(form, Terms(np.ones(1, np.int64), np.zeros((1, 1)))), update)
        for update in (np.full((1, 1), sign * CLIP, np.float32) for sign in (1, -1))
    )
    nothing = _steps(form, empty_terms(1, form), np.zeros((1, 1), np.float32))
    reach, rho = sensitivity(form, TRAIN), cost_within(promised, DELTA)
    deviation = sigma_for(reach, rho, HONEST) * math.sqrt(HONEST)
    assert _apart(one, nothing) <= reach < _apart(one, other) <= 2 * reach
    assert _chance_beyond(_apart(one, nothing), deviation, epsilon_of(rho, DELTA)) <= DELTA
    # What was promised of any two beliefs, and what holds of them.
    assert _chance_beyond(_apart(one, other), deviation, promised) > 5 * DELTA
    assert _chance_beyond(_apart(one, other), deviation, epsilon_between(rho, DELTA)) <= DELTA


def test_the_epsilon_between_two_readings_by_hand() -> None:
    # Twice the distance is four times the cost.
    assert epsilon_between(0.25, DELTA) == epsilon_of(1.0, DELTA)
    assert epsilon_between(0.0, DELTA) == 0.0
