"""What noise costs, by hand, by the law itself, and by dp-accounting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedhome.errors import ParameterError
from fedhome.privacy.accounting import cost_of_sum, cost_within, epsilon_of, sigma_for

DELTA = 1e-5


def test_the_cost_of_a_wide_gaussian_by_hand() -> None:
    # One home moves the sum by 30; 100 homes add noise of 6 each: 60 in all. (30 / 60)^2 / 2.
    assert cost_of_sum(30.0, 6.0, 100, 1000) == pytest.approx(0.125, rel=1e-12)
    assert sigma_for(30.0, 0.125, 100) == pytest.approx(6.0)


def _divergence(one: np.ndarray, other: np.ndarray, alpha: float) -> float:
    logs = alpha * np.log(one) + (1 - alpha) * np.log(other)
    return float(np.log(np.exp(logs).sum()) / (alpha - 1))


@pytest.mark.parametrize(("sigma", "homes"), [(0.5, 2), (0.5, 6), (0.8, 3), (2.0, 5)])
def test_the_cost_bounds_the_divergence_of_the_law_itself(sigma: float, homes: int) -> None:
    reach = math.ceil(10 * sigma)
    one = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    one /= one.sum()
    law = np.array([1.0])
    for _ in range(homes):
        law = np.convolve(law, one)
    law = law[law > 1e-200]
    shift = 1
    here, there = law[shift:], law[:-shift]
    for alpha in (1.1, 2.0, 4.0, 8.0):
        found = _divergence(here, there, alpha)
        assert 0 < found <= alpha * cost_of_sum(shift, sigma, homes, 1) + 1e-9
    # Half as much would not do: the bound is no empty one.
    assert _divergence(here, there, 2.0) > 2.0 * cost_of_sum(shift, sigma, homes, 1) / 40


def test_a_sum_of_narrow_gaussians_costs_more_than_one_gaussian() -> None:
    assert cost_of_sum(1.0, 0.5, 4, 100) > 10 * (1 / 0.5**2 / 4 / 2)
    assert cost_of_sum(1.0, 0.5, 4, 100) > cost_of_sum(1.0, 0.5, 4, 10)


def test_epsilon_is_below_the_textbook_bound_and_rises() -> None:
    last = 0.0
    for rho in (1e-6, 1e-3, 0.1, 1.0, 10.0, 100.0):
        epsilon = epsilon_of(rho, DELTA)
        # Bun and Steinke, proposition 1.3.
        assert last < epsilon < rho + 2 * math.sqrt(rho * math.log(1 / DELTA))
        assert epsilon_of(rho, DELTA / 10) > epsilon
        last = epsilon
    assert epsilon_of(0.0, DELTA) == 0


@pytest.mark.parametrize("epsilon", [0.01, 1.0, 8.0, 300.0])
def test_the_cost_within_an_epsilon_is_the_greatest(epsilon: float) -> None:
    rho = cost_within(epsilon, DELTA)
    assert epsilon_of(rho, DELTA) <= epsilon < epsilon_of(1.000001 * rho, DELTA)


@pytest.mark.parametrize(
    ("sensitivity", "sigma", "homes"), [(1, 0.4, 5), (1, math.nan, 5), (1, 3, 0), (-1, 3, 5)]
)
def test_noise_that_hides_nothing_has_no_cost(sensitivity: float, sigma: float, homes: int) -> None:
    with pytest.raises(ParameterError):
        cost_of_sum(sensitivity, sigma, homes, 1)


# Noise multiplier, rounds, and what was measured for 1000 homes that all take part in every round.
FIGURES = [(6.0, 100, 8), (10.8, 100, 4), (19.9, 100, 2), (2.7, 20, 8), (8.9, 20, 2)]
_WITHOUT = "dp-accounting is not installed: pip install 'fedhome[privacy]'"


@pytest.mark.parametrize(("multiplier", "rounds", "wanted"), FIGURES)
def test_epsilon_is_that_of_dp_accounting(multiplier: float, rounds: int, wanted: float) -> None:
    dp = pytest.importorskip("dp_accounting", reason=_WITHOUT)
    from dp_accounting import rdp  # noqa: PLC0415 - optional

    orders = [1 + step / 20 for step in range(1, 400)] + list(range(21, 1000))
    renyi = rdp.RdpAccountant(orders).compose(dp.GaussianDpEvent(multiplier), rounds)
    theirs = renyi.get_epsilon(DELTA)
    ours = epsilon_of(rounds / (2 * multiplier**2), DELTA)
    assert theirs * (1 - 1e-3) < ours <= theirs * (1 + 1e-9)
    assert wanted < ours < 1.1 * wanted


@pytest.mark.parametrize(("multiplier", "rounds", "wanted"), FIGURES)
def test_the_known_figures_are_those_of_a_continuous_gaussian(
    multiplier: float, rounds: int, wanted: float
) -> None:
    dp = pytest.importorskip("dp_accounting", reason=_WITHOUT)
    from dp_accounting import pld  # noqa: PLC0415 - optional

    tight = pld.PLDAccountant().compose(dp.GaussianDpEvent(multiplier), rounds)
    assert tight.get_epsilon(DELTA) == pytest.approx(wanted, rel=0.01)
