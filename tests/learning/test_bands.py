"""Bands hold as many truths as they say, and calibrated probabilities are as sure as they ought."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn import metrics

from fedhome.learning.bands import LEVEL, calibration_error, cooled, nll, reach, temperature
from helpers.examples import share_of

_MONDAY = 1_799_625_600


def test_a_band_by_hand() -> None:
    """Of 19 residuals the ranks are 2 and 18: of 20 places where a new one may fall, 16 inside."""
    residuals = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))
    low, high = reach(residuals, np.arange(19)).at(np.arange(3))
    assert (low.tolist(), high.tolist()) == ([2.0] * 3, [18.0] * 3)
    few = reach(np.array([3.0, -1.0]), np.arange(2)).at(np.arange(1))
    assert (few[0].tolist(), few[1].tolist()) == ([-1.0], [3.0])  # too few for the rank


@pytest.mark.long
@pytest.mark.parametrize("rows", [9, 19, 60])
def test_a_band_holds_four_of_five_of_what_is_alike(rows: int) -> None:
    drawn, inside, trials = np.random.default_rng(1), 0.0, 3000
    for _ in range(trials):
        errors = drawn.standard_t(3, size=rows + 20)
        low, high = reach(errors[:rows], np.arange(rows)).at(np.arange(20))
        inside += np.mean((low <= errors[rows:]) & (errors[rows:] <= high))
    # By its proof at least the level, and by less than 2 / (rows + 1) more.
    assert LEVEL - 0.01 < inside / trials < LEVEL + 2 / (rows + 1) + 0.01


def test_each_quarter_of_the_day_has_its_own_band_where_rows_allow() -> None:
    hours = _MONDAY + 3600 * np.arange(24 * 20)
    quarter = np.arange(24 * 20) % 24 // 6
    residuals = (1.0 + quarter) * np.tile([-1.0, 1.0], 240)
    wanted = _MONDAY + 3600 * np.array([0, 6, 12, 18])
    low, high = reach(residuals, hours).at(wanted)
    assert high.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert low.tolist() == [-1.0, -2.0, -3.0, -4.0]
    few = slice(0, 24 * 3)  # 18 rows a quarter
    low, high = reach(residuals[few], hours[few]).at(wanted)
    assert len(set(high)) == len(set(low)) == 1
    timeless = reach(residuals, np.arange(480)).at(np.arange(4))
    assert len(set(timeless[1])) == 1


def test_a_temperature_is_the_likelihoods_greatest_with_its_prior() -> None:
    drawn = np.random.default_rng(2)
    logits = 2.0 * drawn.normal(size=(400, 3))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([drawn.choice(3, p=row) for row in shares])
    truth = np.eye(3)[labels]
    for sharper in (0.4, 1.0, 2.5):  # stated too surely, rightly, not surely enough
        stated = cooled(shares, sharper)
        found = temperature(stated, truth)

        def cost(log_t: float, stated: np.ndarray = stated) -> float:
            heat = float(np.exp(log_t))
            own = np.exp(np.log(stated) / heat)
            own /= own.sum(axis=1, keepdims=True)
            return metrics.log_loss(labels, own) * 400 + 10 * log_t**2

        best = float(np.exp(minimize_scalar(cost, bounds=(-1.5, 1.5), method="bounded").x))
        assert found == pytest.approx(best, rel=0.06)  # the grid's steps are of 10 %
        assert nll(cooled(stated, found), truth) <= nll(stated, truth) + 1e-9


def test_of_few_rows_probabilities_stay_as_they_are() -> None:
    """One surprise does not change them as if it were a law."""
    assert temperature(np.array([[0.9]]), np.array([[0.0]])) < 1.3
    assert temperature(np.array([[0.9]]), np.array([[1.0]])) > 0.8


@settings(max_examples=share_of(60))
@given(
    st.lists(st.lists(st.floats(0.001, 1), min_size=3, max_size=3), min_size=1, max_size=5),
    st.floats(0.25, 4),
)
def test_cooling_leaves_probabilities_and_their_order(rows: list[list[float]], heat: float) -> None:
    stated = np.array(rows)
    stated /= stated.sum(axis=1, keepdims=True)
    found = cooled(stated, heat)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    for before, after in zip(stated, found, strict=True):
        assert after[np.argmax(before)] == pytest.approx(after.max())
    np.testing.assert_allclose(cooled(stated, 1.0), stated, rtol=1e-9)
    two = cooled(stated[:, :1], heat)
    assert two.shape == (len(rows), 1)
    assert (two[stated[:, :1] > 0.5 + 1e-9] > 0.5).all()
    assert (two[stated[:, :1] < 0.5 - 1e-9] < 0.5).all()


def test_the_likelihood_is_the_textbooks() -> None:
    drawn = np.random.default_rng(3)
    shares, labels = drawn.dirichlet(np.ones(4), 50), drawn.integers(0, 4, 50)
    expected = metrics.log_loss(labels, shares, labels=range(4))
    assert nll(shares, np.eye(4)[labels]) == pytest.approx(expected, rel=1e-6)
    yes, said = drawn.integers(0, 2, 50), drawn.uniform(0.01, 0.99, 50)
    expected = metrics.log_loss(yes, said)
    assert nll(said[:, None], yes[:, None].astype(float)) == pytest.approx(expected, rel=1e-6)


def test_the_calibration_error_by_hand() -> None:
    # Four rows are 0.9 sure, three right: off by 0.15. Two are 0.6 sure, both right: off by 0.4.
    stated = np.array([[0.9], [0.9], [0.1], [0.1], [0.6], [0.4]])
    truth = np.array([[1.0], [1.0], [0.0], [1.0], [1.0], [0.0]])
    assert calibration_error(stated, truth) == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)
    both = np.concatenate([1 - stated, stated], axis=1)
    assert calibration_error(both, np.concatenate([1 - truth, truth], axis=1)) == pytest.approx(
        (4 * 0.15 + 2 * 0.4) / 6
    )
    assert calibration_error(np.eye(3), np.eye(3)) == 0.0
