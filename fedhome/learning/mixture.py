"""A weighted mean of experts' predictions: one set of weights for the fleet, and each home's own.

The error of a mean is a quadratic form of its weights: with ``E`` the experts' errors on a row and
``A`` the mean of ``E E'`` over a home's validation rows, weights ``w`` that add up to one have the
mean squared error ``w' A w``. So homes need only add up a few numbers each, and the fleet's best
weights follow exactly from their sum. Of probabilities it is the Brier score that is least.

A home shrinks from the fleet's weights towards its own, as far as its rows carry: it takes the
weights that are best for ``n A + s F``: ``n`` counts its independent blocks of rows, ``F`` is the
fleet's mean and ``s`` says how many blocks the fleet is worth. With hardly any rows that is the
fleet's choice, with many it is the home's own. The fleet chooses ``s`` as well: by the error on
blocks that were left out.

Sources: Breiman, "Stacked regressions", Machine Learning 1996 (weights that add up to one);
Efron and Morris, "Stein's estimation rule and its competitors", JASA 1973 (shrinkage).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.tasks.segments import Floats

STRENGTHS: Final = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
"""How many of a home's blocks the fleet may be worth: about half a decade apart, not tuned."""
FIRST_STRENGTH: Final = 10.0
"""What the fleet is worth where homes are not asked."""
BOUND: Final = 16.0
"""No entry of a matrix is greater: an expert errs four times as far as no learning at most."""
OF_ITS_OWN: Final = 0.1
"""How much more each expert will err than it did, by itself: experts that are alike share."""
TRIED: Final = 2
"""Of how many blocks a home can leave one out, and so try what its own say is worth."""
_FOLDS = 10
_FLOOR = 1e-2  # of the error of no learning, in units of the target: below that it is rounding
_RIDGE = 1e-9


@dataclass(frozen=True, kw_only=True)
class FleetsBlend:
    """What the fleet chose for its homes' mixtures.

    Args:
        matrix: How experts' errors go together over all homes, ``[experts, experts]``.
        strength: How many of a home's blocks of rows that is worth.
        alone: How homes without a fleet would train the network: rate, passes, and examples in a
            step (0: the plan's).
        fewest_blocks: Of how many blocks a home's own say was tried. A home of fewer takes the
            fleet's weights: of a single block none can be left out, so that no home of one had
            part in the choice of the strength. It is 1 where that was tried otherwise, or where
            the fleet's matrix knows nothing.
    """

    matrix: Floats
    strength: float
    alone: tuple[float, int, int]
    fewest_blocks: int = TRIED

    def weights_of(self, own: Floats, blocks: int) -> Floats:
        """Return a home's weights, ``[experts]``.

        Args:
            own: Its matrix ``[experts, experts]``.
            blocks: How many independent blocks of rows that comes from.
        """
        if blocks < self.fewest_blocks:
            return best_weights(self.steadied)
        return home_weights(own, blocks, self.steadied, self.strength)

    @property
    def steadied(self) -> Floats:
        """The matrix as homes are pulled to it, of `steadied`."""
        return steadied(self.matrix)


def error_matrices(errors: Floats, reference: Floats, folds: NDArray[np.int64]) -> Floats:
    """Return the mean products of experts' errors in each fold of a home's rows.

    Args:
        errors: What each expert states less the truth, ``[rows, outputs, experts]``; what is not
            finite counts as the worst.
        reference: The squared error of no learning on each row, summed over outputs, ``[rows]``:
            its mean is the unit, so that homes count alike.
        folds: Each row's fold, from 0, ``[rows]``.

    Returns:
        float64 ``[folds, experts, experts]``, none beyond :data:`BOUND`.
    """
    unit = np.sqrt(max(float(np.mean(reference)), _FLOOR))
    worst = np.sqrt(BOUND / errors.shape[1])
    scaled = np.clip(np.nan_to_num(errors / unit, nan=worst), -worst, worst)
    count = int(folds.max()) + 1
    matrices = np.zeros((count, errors.shape[2], errors.shape[2]))
    for fold in range(count):
        some = scaled[folds == fold]
        matrices[fold] = np.einsum("rok,rol->kl", some, some) / max(len(some), 1)
    return matrices


def folds_of(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each row's fold: neighbouring blocks together, ten folds at most, ``[rows]``."""
    count = int(blocks.max()) + 1 if len(blocks) else 0
    return blocks if count <= _FOLDS else blocks * _FOLDS // count


def best_weights(matrices: Floats) -> Floats:
    """Return the weights, none below zero and one in all, for which ``w' A w`` is least.

    Every set of experts that may have a weight is looked at, so it is exact.

    Args:
        matrices: Symmetric, none of them negative definite, ``[..., experts, experts]``.

    Returns:
        float64 ``[..., experts]``.
    """
    experts = matrices.shape[-1]
    scale = np.trace(matrices, axis1=-2, axis2=-1)[..., None, None]
    steady = matrices + (_RIDGE * scale + 1e-300) * np.eye(experts)
    best = np.zeros(matrices.shape[:-1])
    least = np.full(matrices.shape[:-2], np.inf)
    for some in _subsets(experts):
        part = steady[..., some[:, None], some[None, :]]
        ones = np.ones((*part.shape[:-1], 1))
        found = np.linalg.solve(part, ones)[..., 0]
        found = found / found.sum(axis=-1, keepdims=True)
        weights = np.zeros_like(best)
        weights[..., some] = found
        loss = np.einsum("...k,...kl,...l->...", weights, matrices, weights)
        better = (found >= 0).all(axis=-1) & (loss < least * (1 - 1e-12))
        best = np.where(better[..., None], weights, best)
        least = np.where(better, loss, least)
    return best


def home_weights(own: Floats, blocks: int, fleet: Floats, strength: float) -> Floats:
    """Return a home's weights, shrunk from the fleet's towards its own.

    Args:
        own: The home's matrix ``[..., experts, experts]``.
        blocks: How many independent blocks of rows it comes from.
        fleet: The fleet's matrix ``[experts, experts]``.
        strength: How many blocks the fleet is worth.
    """
    return best_weights(blocks * own + strength * fleet)


def left_out_weights(
    matrices: Floats, rows: NDArray[np.int64], blocks: int, fleet: Floats, strengths: Floats
) -> Floats:
    """Return a home's weights for each fold, fitted to its other folds.

    Args:
        matrices: The home's matrix of each fold ``[folds, experts, experts]``.
        rows: How many rows each fold has ``[folds]``.
        blocks: How many independent blocks of rows all folds have together. The others of a fold
            count by theirs, as all of them do in `home_weights`: a strength is tried as it is used.
        fleet: The fleet's matrix ``[experts, experts]``.
        strengths: How many blocks that is worth, ``[strengths]``.

    Returns:
        float64 ``[strengths, folds, experts]``; of a single fold the fleet's weights.
    """
    share, count = rows / rows.sum(), len(rows)
    if count < 2:  # noqa: PLR2004
        return np.broadcast_to(best_weights(fleet), (len(strengths), 1, len(fleet)))
    whole = np.einsum("f,fkl->kl", share, matrices)
    rest = (whole - share[:, None, None] * matrices) / (1 - share)[:, None, None]
    others_blocks = blocks * (count - 1) / count
    return best_weights(others_blocks * rest[None] + strengths[:, None, None, None] * fleet)


def left_out_errors(
    matrices: Floats, rows: NDArray[np.int64], blocks: int, fleet: Floats
) -> Floats:
    """Return the error of a home's mixture on folds that it was not fitted to, ``[strengths]``.

    Args:
        matrices: The home's matrix of each fold ``[folds, experts, experts]``.
        rows: How many rows each fold has ``[folds]``.
        blocks: How many independent blocks of rows they have together.
        fleet: The matrix of the other homes ``[experts, experts]``.
    """
    found = left_out_weights(matrices, rows, blocks, fleet, np.array(STRENGTHS))
    share = rows / rows.sum()
    return np.asarray(np.einsum("f,sfk,fkl,sfl->s", share, found, matrices, found), np.float64)


def others(fleet: Floats, own: Floats, homes: int) -> Floats:
    """Return the mean matrix of the fleet without one of its homes.

    Args:
        fleet: The mean over all homes ``[experts, experts]``.
        own: The home's ``[experts, experts]``.
        homes: How many homes the mean is over.
    """
    return fleet if homes < 2 else (homes * fleet - own) / (homes - 1)  # noqa: PLR2004


def steadied(fleet: Floats) -> Floats:
    """Return a fleet's matrix with what experts will err by themselves, beyond what was seen.

    Each expert's own error counts a tenth more (:data:`OF_ITS_OWN`), in units of that error: one
    that is bad gets nothing by it, and of those that are about as good none gets all for a hair.

    Args:
        fleet: The mean over homes ``[experts, experts]``.
    """
    return fleet + OF_ITS_OWN * np.diag(np.diag(fleet))


def upper(matrix: Floats) -> Floats:
    """Return the entries of symmetric matrices that say all, ``[..., entries]``."""
    rows, columns = np.triu_indices(matrix.shape[-1])
    return np.asarray(matrix[..., rows, columns], np.float64)


def entries(experts: int) -> int:
    """Return how many numbers say all of a matrix of this many experts."""
    return experts * (experts + 1) // 2


def full(values: Sequence[float], experts: int) -> Floats:
    """Return the symmetric matrix ``[experts, experts]`` of what `upper` returned.

    One that noise or rounding made negative in some direction is mended: that direction is worth
    nothing.
    """
    spread, vectors = np.linalg.eigh(symmetric(values, experts))
    return np.asarray((vectors * np.maximum(spread, 0.0)) @ vectors.T, np.float64)


def symmetric(values: Sequence[float], experts: int) -> Floats:
    """Return the matrix ``[experts, experts]`` of what `upper` returned, bit for bit."""
    matrix = np.zeros((experts, experts))
    rows, columns = np.triu_indices(experts)
    matrix[rows, columns] = matrix[columns, rows] = values
    return matrix


def knowing_nothing(experts: int) -> Floats:
    """Return the matrix of experts of which nothing is known: each is worth the same."""
    return np.eye(experts)


@lru_cache(maxsize=8)
def _subsets(count: int) -> tuple[NDArray[np.int64], ...]:
    return tuple(
        np.array(some) for size in range(1, count + 1) for some in combinations(range(count), size)
    )
