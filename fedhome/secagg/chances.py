"""Chances far too small for a float, as natural logarithms: binomial and hypergeometric."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@lru_cache(maxsize=8)
def _log_factorials(most: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, most + 1)))])


def choose(of: int | NDArray[np.int64], take: NDArray[np.int64]) -> Floats:
    """Return the logarithm of binomial coefficients; -inf where ``take`` exceeds ``of``."""
    logs = _log_factorials(1 << int(np.max(of, initial=1)).bit_length())
    left = np.asarray(of - take)
    chosen = logs[of] - logs[take] - logs[np.maximum(left, 0)]
    return np.where((left >= 0) & (take >= 0), chosen, -math.inf)


def binomial(trials: int, chance: float) -> Floats:
    """Return the logarithm of P[X = k] for k of 0 to ``trials``."""
    hits = np.arange(trials + 1)
    if chance in (0.0, 1.0):
        return np.where(hits == trials * chance, 0.0, -math.inf)
    misses = trials - hits
    logs: Floats = choose(trials, hits) + hits * math.log(chance) + misses * math.log1p(-chance)
    return logs


def hypergeometric(population: int, bad: int, drawn: int) -> Floats:
    """Return the logarithm of P[k of the drawn are bad] for k of 0 to ``drawn``."""
    hits = np.arange(drawn + 1)
    in_bad = np.where(hits <= bad, choose(bad, np.minimum(hits, bad)), -math.inf)
    others = drawn - hits
    good = population - bad
    in_good = np.where(others <= good, choose(good, np.minimum(others, good)), -math.inf)
    logs: Floats = in_bad + in_good - choose(population, np.array([drawn]))
    return logs


def at_least(logs: Floats) -> Floats:
    """Return the logarithm of P[X >= k] for each k."""
    return np.logaddexp.accumulate(logs[::-1])[::-1]


def above(logs: Floats) -> Floats:
    """Return the logarithm of P[X > k] for each k."""
    return np.append(at_least(logs)[1:], -math.inf)


def below(logs: Floats) -> Floats:
    """Return the logarithm of P[X < k] for each k."""
    return np.insert(np.logaddexp.accumulate(logs)[:-1], 0, -math.inf)
