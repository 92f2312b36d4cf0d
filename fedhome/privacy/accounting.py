"""What a noisy sum costs in privacy, what many cost, and what that is as (epsilon, delta).

Costs are of concentrated differential privacy: an answer of cost ``rho`` has a Rényi divergence
of at most ``rho alpha`` at every order ``alpha``, and costs of several answers add up, also where
later questions depend on earlier answers (Bun and Steinke, "Concentrated differential privacy",
TCC 2016). Nothing here counts on who was asked by chance: a server need not draw by chance.

Assumption of all: fleets count as neighbours where they differ in what one home learnt and
measured, against that home adding nothing but its noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from fedhome.errors import ParameterError

_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 200


def cost_of_sum(sensitivity: float, sigma: float, homes: int, elements: int) -> float:
    """Return the cost rho of one sum in which every home adds discrete Gaussian noise.

    Source: Kairouz, Liu, Steinke, "The distributed discrete Gaussian mechanism for federated
    learning with secure aggregation", ICML 2021, proposition 14, third bound: the sum of discrete
    Gaussians is one but for ``tau``, which is counted.

    Args:
        sensitivity: Greatest L2 norm of what one home adds before its noise, in steps.
        sigma: Of each home's noise, in steps.
        homes: How many homes surely added noise that nobody can take off.
        elements: Numbers in the sum that carry noise.

    Raises:
        ParameterError: Noise or homes by which nothing would be hidden.
    """
    if not (sensitivity >= 0 and sigma >= 0.5 and homes >= 1):  # noqa: PLR2004 - as in the paper
        raise ParameterError(
            f"noise of {sigma!r} steps from {homes} homes, around sums that one home moves by "
            f"{sensitivity!r} steps, hides nothing",
            reason="noise",
        )
    tau = 10 * math.fsum(
        math.exp(-2 * (math.pi * sigma) ** 2 * k / (k + 1)) for k in range(1, homes)
    )
    epsilon = sensitivity / (sigma * math.sqrt(homes)) + tau * math.sqrt(elements)
    return epsilon**2 / 2


def epsilon_of(rho: float, delta: float) -> float:
    """Return the epsilon, at this delta, of a cost rho.

    Source: Canonne, Kamath, Steinke, "The discrete Gaussian for differential privacy", NeurIPS
    2020, proposition 12: it holds for each order, and the best of many is taken.

    Args:
        rho: Cost of everything together, at least 0.
        delta: Between 0 and 1.
    """
    if rho == 0:
        return 0.0

    def at(exponent: float) -> float:
        above = math.exp(exponent)  # alpha - 1
        alpha = 1 + above
        return rho * alpha + (-math.log(delta * alpha)) / above + math.log(above / alpha)

    return max(0.0, _least(at, -12.0, 24.0))


def epsilon_between(rho: float, delta: float) -> float:
    """Return the epsilon, at this delta, between any two things that one home may have added.

    What two homes add is up to twice as far from each other as from nothing, and costs grow with
    the square of that. So odds between two beliefs of a home's readings change by this epsilon;
    that of `epsilon_of` is between its readings and none.

    Args:
        rho: Cost of everything together, against a home that adds nothing but its noise.
        delta: Between 0 and 1.
    """
    return epsilon_of(4 * rho, delta)


def cost_within(epsilon: float, delta: float) -> float:
    """Return the greatest cost rho whose epsilon, at this delta, is at most ``epsilon``.

    Args:
        epsilon: Above 0.
        delta: Between 0 and 1.
    """
    low, high = 0.0, 1.0
    while epsilon_of(high, delta) < epsilon:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if epsilon_of(middle, delta) <= epsilon:
            low = middle
        else:
            high = middle
    return low


def sigma_for(sensitivity: float, rho: float, homes: int) -> float:
    """Return each home's sigma, in steps, with which a sum of these homes costs about ``rho``.

    What `cost_of_sum` makes of it is above ``rho`` by the excess of a sum of discrete Gaussians
    over one, which is below 2^-100 from a sigma of 3 on.

    Args:
        sensitivity: As in `cost_of_sum`.
        rho: Above 0.
        homes: As in `cost_of_sum`.
    """
    return sensitivity / math.sqrt(2 * rho * homes)


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the least value of a function with one valley, by golden section.

    Any point gives a bound that holds, so a miss costs tightness alone.
    """
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(_STEPS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
    return min(at_left, at_right)
