"""Ways to weigh experts and to pick the best model alone, tried on what models stated.

A rule sees validation rows alone, and is measured on the rows that follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning import bands, mixture
from fedhome.learning.blocks import stretches_of, verdicts
from fedhome.learning.mixture import FIRST_STRENGTH, OF_ITS_OWN, STRENGTHS, TRIED
from fedhome.learning.personalise.ending import HomeErrors
from fedhome.learning.tasks.segments import Floats, Segments
from fedhome.run.compared_models import ALONE
from fedhome.simulations.benchmarks.stated_fleet import (
    BY_OTHERS,
    StatedFleet,
    StatedHome,
)

_FLOOR = 1e-2  # of the error of no learning, as in fedhome.learning.mixture
_EQUAL = 1e-9  # errors that differ by less are equal
_YES = 0.5


@dataclass(frozen=True, kw_only=True)
class WeightRule:
    """A way to weigh experts.

    Args:
        below: In homes of fewer validation rows linear models and trees are weighed by rows that
            did not choose how they are fitted.
        own: How much more each expert's own error counts in the fleet's matrix.
        ridges: How much of its mean diagonal the fleet's matrix has added; of several the fleet
            takes what is best on folds left out, together with the strength.
        bags: So many samples of homes and of folds are weighed by, and the mean is taken; 0: none.
        equal: Every expert is worth the same.
    """

    below: int = 0
    own: float = 0.0
    ridges: tuple[float, ...] = (0.0,)
    bags: int = 0
    equal: bool = False


@dataclass(frozen=True, kw_only=True)
class OpponentRule:
    """A way to pick the model that a home would have alone.

    Args:
        below: As of :class:`WeightRule`.
        strengths: How many of a home's blocks the mean loss of all homes may be worth; of several
            the fleet takes what is best on folds left out.
    """

    below: int = 0
    strengths: tuple[float, ...] = (0.0,)


FIRST: Final = "as built"
"""The rule that all others are measured against."""
_ALWAYS, _FEW = 1 << 62, 20  # validation rows
_ALONE = 1e9  # blocks: what a home's own rows say does not count
_BAGS = 200
_GRID = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
WEIGHT_RULES: Final[Mapping[str, WeightRule]] = {
    FIRST: WeightRule(below=_ALWAYS, own=OF_ITS_OWN),
    "by all rows": WeightRule(),
    "by all rows, own 0.1": WeightRule(own=OF_ITS_OWN),
    "by others": WeightRule(below=_ALWAYS),
    **{f"by others, own {own:g}": WeightRule(below=_ALWAYS, own=own) for own in (0.05, 0.2, 0.5)},
    "by others of few rows": WeightRule(below=_FEW),
    **{f"ridge {ridge:g}": WeightRule(ridges=(ridge,)) for ridge in _GRID[1:]},
    "ridge chosen": WeightRule(ridges=_GRID),
    **{f"by others, ridge {r:g}": WeightRule(below=_ALWAYS, ridges=(r,)) for r in _GRID[1:]},
    "by others, ridge chosen": WeightRule(below=_ALWAYS, ridges=_GRID),
    "bagged": WeightRule(bags=_BAGS),
    "by others, bagged": WeightRule(below=_ALWAYS, bags=_BAGS),
    "equal": WeightRule(equal=True),
}
"""By name."""
OPPONENT_RULES: Final[Mapping[str, OpponentRule]] = {
    FIRST: OpponentRule(),
    "by others": OpponentRule(below=_ALWAYS),
    "shrunk": OpponentRule(strengths=STRENGTHS),
    "by others, shrunk": OpponentRule(below=_ALWAYS, strengths=STRENGTHS),
    "the fleet's": OpponentRule(strengths=(_ALONE,)),
    "by others, the fleet's": OpponentRule(below=_ALWAYS, strengths=(_ALONE,)),
}
"""By name."""


class Tried(NamedTuple):
    """What came of a rule in each home, ``[homes]`` each.

    Args:
        score: Accuracy, balanced accuracy, or what is gained on no learning, on later rows.
        error: There, the mean squared distance from the truth in units of no learning; of
            probabilities after each home's temperature.
        verdict: 1 where it helped against the best alone as built, -1 where it hurt, else 0.
    """

    score: Floats
    error: Floats
    verdict: NDArray[np.int64]


def weights_of(fleet: StatedFleet, rule: WeightRule) -> tuple[Floats, list[Floats]]:
    """Return homes' weights ``[homes, experts]``, and those of each row of theirs.

    The latter, ``[validation rows, experts]`` each, are not fitted to the row's fold.

    Args:
        fleet: What was stated.
        rule: How experts are weighed.
    """
    homes = errors_of(fleet, fleet.experts, below=rule.below)
    count = len(fleet.experts)
    if rule.equal:
        same = np.full(count, 1 / count)
        return np.tile(same, (len(homes), 1)), [np.tile(same, (len(h.fold_of), 1)) for h in homes]
    own = np.stack([home.matrix for home in homes])
    ridge, strength = _chosen(homes, own, rule)
    matrix = _steadied(own.mean(axis=0), ridge, rule.own)
    weights = np.stack([_home_weights(home.matrix, home, matrix, strength) for home in homes])
    if rule.bags:
        weights = _bagged(homes, own, ridge, strength, rule)
    left_out = [
        mixture.left_out_weights(home.folds, home.rows, home.blocks, matrix, np.array([strength]))[
            0, home.fold_of
        ]
        for home in homes
    ]
    return weights, left_out


def opponents_of(fleet: StatedFleet, rule: OpponentRule) -> NDArray[np.int64]:
    """Return which of :data:`ALONE` each home would have, ``[homes]``.

    Args:
        fleet: What was stated.
        rule: How it is picked.
    """
    homes = errors_of(fleet, ALONE, below=rule.below)
    folds = [np.diagonal(home.folds, axis1=1, axis2=2) for home in homes]  # [folds, models]
    own = np.stack([np.diag(home.matrix) for home in homes])
    mean = own.mean(axis=0)
    tried = [
        [_left_out_pick(h, f, mixture.others(mean, o, len(homes)), s) for s in rule.strengths]
        for h, f, o in zip(homes, folds, own, strict=True)
        if h.blocks >= TRIED
    ]
    strength = strongest(np.mean(tried, axis=0), rule.strengths) if tried else rule.strengths[-1]
    blocks = np.array([home.blocks for home in homes])[:, None]
    return np.asarray(np.argmin(blocks * own + strength * mean, axis=1), np.int64)


def try_weights(fleet: StatedFleet, rule: WeightRule) -> Tried:
    """Return what comes of a way to weigh experts."""
    return try_mixed(fleet, *weights_of(fleet, rule), below=rule.below)


def try_mixed(
    fleet: StatedFleet, weights: Floats, left_out: Sequence[Floats], *, below: int
) -> Tried:
    """Return what comes of weights, of `weights_of`.

    Args:
        fleet: What was stated.
        weights: Homes' weights ``[homes, experts]``.
        left_out: Those of each of their validation rows, ``[validation rows, experts]`` each.
        below: As of :class:`WeightRule`.
    """
    stated = []
    for home, own, rows in zip(fleet.homes, weights, left_out, strict=True):
        later = sum(w * home.later[name] for w, name in zip(own, fleet.experts, strict=True))
        if fleet.targets != "continuous":
            before = _stated(home, fleet.experts, below=below)
            mixed = np.einsum("rok,rk->ro", before, rows)
            later = bands.cooled(later, bands.temperature(mixed, home.truth[0]))
        stated.append(np.asarray(later, np.float64))
    return _tried(fleet, stated)


def try_opponents(fleet: StatedFleet, rule: OpponentRule) -> Tried:
    """Return what comes of a way to pick the best alone."""
    return _tried(fleet, _alone(fleet, rule))


def try_model(fleet: StatedFleet, model: str) -> Tried:
    """Return what comes of one model in all homes, by its name."""
    return _tried(fleet, [home.later[model] for home in fleet.homes])


def _alone(fleet: StatedFleet, rule: OpponentRule) -> list[Floats]:
    picked = opponents_of(fleet, rule)
    return [home.later[ALONE[at]] for home, at in zip(fleet.homes, picked, strict=True)]


def _tried(fleet: StatedFleet, stated: Sequence[Floats]) -> Tried:
    alone = _alone(fleet, OPPONENT_RULES[FIRST])
    measure = _MEASURES[fleet.targets]
    found = []
    for home, own, other in zip(fleet.homes, stated, alone, strict=True):
        truth, naive = home.truth[1], home.naive[1]
        unit = max(float(np.mean(np.sum((naive - truth) ** 2, axis=1))), _FLOOR)
        error = float(np.mean(np.sum((own - truth) ** 2, axis=1))) / unit
        wrong = [_wrong(fleet, one, truth) for one in (other, own)]
        rows = Segments(counts=np.array([len(truth)]))
        verdict = verdicts(wrong[0] - wrong[1], home.times[1], rows)[0]
        found.append((measure(own, truth, error), error, verdict))
    scores, errors, told = zip(*found, strict=True)
    return Tried(np.array(scores), np.array(errors), np.array(told))


def _wrong(fleet: StatedFleet, stated: Floats, truth: Floats) -> Floats:
    if fleet.targets == "continuous":
        return np.asarray(np.sum((stated - truth) ** 2, axis=1), np.float64)
    return np.asarray(_classes(stated) != _classes(truth), np.float64)


def _classes(stated: Floats) -> NDArray[np.int64]:
    """Return the class that is stated, of two by the half."""
    if stated.shape[1] > 1:
        return np.asarray(np.argmax(stated, axis=1), np.int64)
    return np.asarray(stated[:, 0] > _YES, np.int64)


def _accuracy(stated: Floats, truth: Floats, error: float) -> float:
    del error
    return float(np.mean(_classes(stated) == _classes(truth)))


def _balanced(stated: Floats, truth: Floats, error: float) -> float:
    del error
    right, known = _classes(stated) == _classes(truth), _classes(truth)
    return float(np.mean([right[known == one].mean() for one in np.unique(known)]))


def _gained(stated: Floats, truth: Floats, error: float) -> float:
    del stated, truth
    return max(1.0 - error, -1.0)


_MEASURES = {"continuous": _gained, "binary": _balanced, "multi-class": _accuracy}


def _stated(home: StatedHome, names: Sequence[str], *, below: int) -> Floats:
    """Return what models state of validation rows, ``[rows, outputs, models]``."""
    own = home.validation
    way = BY_OTHERS if len(home.times[0]) < below else ""
    kept = [f"{name}{way}" if f"{name}{way}" in own else name for name in names]
    return np.stack([own[name] for name in kept], axis=2)


def errors_of(fleet: StatedFleet, names: Sequence[str], *, below: int) -> list[HomeErrors]:
    """Return how models' errors go together in each home.

    Args:
        fleet: What was stated.
        names: The models.
        below: As of :class:`WeightRule`.
    """
    found = []
    for home in fleet.homes:
        truth = home.truth[0]
        reference = np.sum((home.naive[0] - truth) ** 2, axis=1)
        blocks = stretches_of(home.times[0])
        folds = mixture.folds_of(blocks)
        errors = _stated(home, names, below=below) - truth[:, :, None]
        matrices = mixture.error_matrices(errors, reference, folds)
        found.append(HomeErrors(matrices, np.bincount(folds), int(blocks.max()) + 1, folds))
    return found


def _steadied(matrix: Floats, ridge: float, own: float) -> Floats:
    errors = np.diag(matrix)
    return np.asarray(matrix + np.diag(own * errors + ridge * np.mean(errors)), np.float64)


def _home_weights(own: Floats, home: HomeErrors, matrix: Floats, strength: float) -> Floats:
    if home.blocks < TRIED:
        return mixture.best_weights(matrix)
    return mixture.home_weights(own, home.blocks, matrix, strength)


def _chosen(homes: Sequence[HomeErrors], own: Floats, rule: WeightRule) -> tuple[float, float]:
    """Return the ridge and the strength that are best on folds left out; on a tie the greatest."""
    mean = own.mean(axis=0)
    rest = [mixture.others(mean, one, len(homes)) for one in own]
    errors = np.array(
        [
            np.mean(
                [
                    mixture.left_out_errors(
                        h.folds, h.rows, h.blocks, _steadied(other, ridge, rule.own)
                    )
                    for h, other in zip(homes, rest, strict=True)
                ],
                axis=0,
            )
            for ridge in rule.ridges
        ]
    )  # [ridges, strengths]
    ridge = rule.ridges[int(np.argmin(errors.min(axis=1)))]
    if all(home.blocks < TRIED for home in homes):
        return ridge, FIRST_STRENGTH
    return ridge, strongest(errors[rule.ridges.index(ridge)], STRENGTHS)


def strongest(errors: Floats, strengths: Sequence[float]) -> float:
    """Return the strength that errs least; of equally good ones the greatest."""
    least = float(errors.min())
    pairs = zip(strengths, errors.tolist(), strict=True)
    return max(s for s, error in pairs if error <= least * (1 + _EQUAL))


def _bagged(
    homes: Sequence[HomeErrors], own: Floats, ridge: float, strength: float, rule: WeightRule
) -> Floats:
    random = np.random.default_rng(0)
    found = np.zeros(own.shape[:2])
    blocks = np.array([home.blocks for home in homes])[:, None, None]
    for _ in range(rule.bags):
        drawn = own[random.integers(0, len(homes), len(homes))].mean(axis=0)
        matrix = _steadied(drawn, ridge, rule.own)
        some = np.zeros_like(own)
        for place, home in enumerate(homes):
            folds = random.integers(0, len(home.folds), len(home.folds))
            share = home.rows[folds] / home.rows[folds].sum()
            some[place] = np.einsum("f,fkl->kl", share, home.folds[folds])
        pulled = np.where(blocks < TRIED, matrix, blocks * some + strength * matrix)
        found += mixture.best_weights(pulled) / rule.bags
    return found


def _left_out_pick(home: HomeErrors, folds: Floats, others: Floats, strength: float) -> float:
    """Return the error on folds of the model that a home's other folds and all homes pick."""
    share, count = home.rows / home.rows.sum(), len(home.rows)
    rest = (share @ folds - share[:, None] * folds) / (1 - share)[:, None]
    picked = np.argmin(home.blocks * (count - 1) / count * rest + strength * others, axis=1)
    return float(share @ folds[np.arange(count), picked])
