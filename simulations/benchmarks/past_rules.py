"""Ways to weigh experts by a home's past, where it has a single stretch of validation rows.

Networks have learnt from the past, so that of their errors there nothing is known: they stand as
the fleet's regression on the errors of experts fitted at home has them. A past is one of fewer
days. So its errors are put in units of what the fleet errs: each expert's by as much as makes the
mean of homes' pasts the mean of their validation rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from fedhome.learning import mixture
from fedhome.learning.mixture import FIRST_STRENGTH, STRENGTHS, TRIED
from fedhome.learning.tasks.segments import Floats
from fedhome.simulations.benchmarks.mixture_rules import (
    FIRST,
    WEIGHT_RULES,
    Tried,
    errors_of,
    strongest,
    try_mixed,
    weights_of,
)
from fedhome.simulations.benchmarks.stated_fleet import StatedFleet
from fedhome.simulations.benchmarks.stated_past import AT_HOME, StatedPast

_LEAST = 1e-6
_RIDGE = 1e-9


@dataclass(frozen=True, kw_only=True)
class PastRule:
    """A way to weigh experts by a home's past.

    Args:
        day: How many blocks of validation rows a day of the past is worth.
        own: Whether a home's validation rows count as well.
        scaled: Whether a past is put in units of what the fleet errs.
        strength: How many blocks the fleet is worth; None: what is best on validation rows by
            weights of the past alone.
    """

    day: float = 1.0
    own: bool = True
    scaled: bool = True
    strength: float | None = None


PAST_RULES: Final[Mapping[str, PastRule]] = {
    "past": PastRule(),
    "past, days count half": PastRule(day=0.5),
    "past, as it is": PastRule(scaled=False),
    "past in place of validation rows": PastRule(own=False),
    "past, ten blocks": PastRule(strength=FIRST_STRENGTH),
    "validation rows, ten blocks": PastRule(day=0.0, strength=FIRST_STRENGTH),
}
"""By name."""


class _Past(NamedTuple):
    """The mean products of errors of a home's past ``[local, local]``, and how many days it is."""

    matrix: Floats
    days: int


def try_past(fleet: StatedFleet, rule: PastRule) -> Tried:
    """Return what comes of a way to weigh experts by homes' pasts."""
    weights = past_weights(fleet, rule)
    _, left_out = weights_of(fleet, WEIGHT_RULES[FIRST])
    return try_mixed(fleet, weights, left_out, below=WEIGHT_RULES[FIRST].below)


def past_weights(fleet: StatedFleet, rule: PastRule) -> Floats:
    """Return homes' weights ``[homes, experts]``.

    Homes of several stretches, and those without a past where validation rows do not count, have
    what they have as built.

    Args:
        fleet: What was stated.
        rule: How experts are weighed.
    """
    built, _ = weights_of(fleet, WEIGHT_RULES[FIRST])
    local = [fleet.experts.index(name) for name in AT_HOME if name in fleet.experts]
    names = [fleet.experts[at] for at in local]
    homes = errors_of(fleet, fleet.experts, below=WEIGHT_RULES[FIRST].below)
    pasts = [_past(home.past, names) for home in fleet.homes]
    asked = [at for at, home in enumerate(homes) if home.blocks < TRIED and pasts[at].days]
    if not asked:
        return built
    own = np.stack([home.matrix for home in homes])
    every, past = own.mean(axis=0), np.mean([pasts[at].matrix for at in asked], axis=0)

    def weights(at: int, strength: float, matrix: Floats, mean: Floats, by: float) -> Floats:
        told = pasts[at].matrix
        if rule.scaled:
            unit = np.sqrt(np.diag(matrix)[local] / np.maximum(np.diag(mean), _LEAST))
            told = told * np.outer(unit, unit)
        said = rule.day * pasts[at].days * completed(told, matrix, local)
        return mixture.best_weights(by * own[at] + said + strength * mixture.steadied(matrix))

    strength = rule.strength
    if strength is None:
        errors = np.zeros(len(STRENGTHS))
        for at in asked:
            rest = mixture.others(every, own[at], len(homes))
            mean = mixture.others(past, pasts[at].matrix, len(asked))
            for place, tried in enumerate(STRENGTHS):
                found = weights(at, max(tried, _LEAST), rest, mean, 0.0)
                errors[place] += found @ own[at] @ found / len(asked)
        strength = strongest(errors, STRENGTHS)
    for at in asked:
        by = float(homes[at].blocks) if rule.own else 0.0
        built[at] = weights(at, max(strength, _LEAST), every, past, by)
    return built


def completed(told: Floats, fleet: Floats, local: Sequence[int]) -> Floats:
    """Return how all experts' errors go together where those of some are known.

    The others' are what the fleet's regression on these says, and err beyond it as in the fleet.

    Args:
        told: Of the known ones ``[local, local]``.
        fleet: Of all, in the fleet ``[experts, experts]``.
        local: The places of the known ones.
    """
    known, rest = np.array(local), np.array([at for at in range(len(fleet)) if at not in local])
    found = np.array(fleet)
    found[np.ix_(known, known)] = told
    if len(rest):
        of_known = fleet[np.ix_(known, known)] + _RIDGE * np.eye(len(known))
        slopes = np.linalg.solve(of_known, fleet[np.ix_(known, rest)]).T
        beyond = fleet[np.ix_(rest, rest)] - slopes @ fleet[np.ix_(known, rest)]
        found[np.ix_(rest, known)] = slopes @ told
        found[np.ix_(known, rest)] = (slopes @ told).T
        found[np.ix_(rest, rest)] = beyond + slopes @ told @ slopes.T
    return found


def _past(past: StatedPast, names: Sequence[str]) -> _Past:
    if not len(past.days):
        return _Past(np.zeros((len(names), len(names))), 0)
    errors = np.stack([past.stated[name] - past.truth for name in names], axis=2)
    reference = np.sum((past.naive - past.truth) ** 2, axis=1)
    whole = np.zeros(len(past.days), np.int64)
    return _Past(mixture.error_matrices(errors, reference, whole)[0], int(past.days.max()) + 1)
