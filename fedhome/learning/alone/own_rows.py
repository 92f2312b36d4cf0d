"""One home's rows, as a model takes them that is fitted at home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.learning.fitted import Constant, Fitted
from fedhome.learning.tasks.segments import Floats
from fedhome.learning.tasks.statements import ENCODINGS, Labels

_TENTHS = 10


class FittedAlone(NamedTuple):
    """What a model states of a home's rows, and what it is.

    ``validation`` ``[rows, outputs]`` is what it states when it is fitted to training rows,
    ``test`` the same when it is fitted to validation rows as well; ``by_others`` is what it states
    of each validation row as rows elsewhere would have it fitted, of :class:`Choice`; ``model`` is
    what is fitted to both, None where it is not kept.
    """

    validation: Floats
    test: Floats
    by_others: Floats
    model: Fitted | None


class Choice(NamedTuple):
    """Which of several ways to fit a model is best on a home's validation rows.

    Args:
        best: Its place; the first on a tie.
        stated: What it states of these rows ``[rows, outputs]``.
        by_others: Of each tenth of the rows, what the way states that is best on the other nine:
            no row is stated by a way that it chose. (Of a single row there are no others.)
    """

    best: int
    stated: Floats
    by_others: Floats


@dataclass(frozen=True, kw_only=True)
class OwnRows:
    """One home's rows.

    Args:
        targets: How targets are encoded.
        outputs: Numbers in a statement.
        x: Inputs of training, validation and test, ``[rows, features]`` each.
        y: Targets of the same; of several horizons ``[rows, outputs]``.
    """

    targets: Targets
    outputs: int
    x: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
    y: tuple[Labels, Labels, Labels]

    @property
    def classes(self) -> bool:
        """Whether targets are classes."""
        return self.targets != "continuous"

    @property
    def several(self) -> bool:
        """Whether a row's target is several numbers, one for each horizon."""
        return self.y[0].ndim > 1 and self.y[0].shape[1] > 1

    def together(self) -> tuple[NDArray[np.float32], Labels]:
        """Return training and validation rows as one."""
        return np.concatenate(self.x[:2]), np.concatenate(self.y[:2])

    def labels(self, y: Labels) -> NDArray[Any]:
        """Return targets as a learner takes them, ``[rows]``."""
        flat = y.reshape(len(y), -1)[:, 0]
        return flat.astype(np.int64) if self.classes else flat.astype(np.float64)

    def stated(self, model: Any, x: NDArray[np.float32]) -> Floats:
        """Return what a fitted model states of rows, ``[rows, outputs]``."""
        if not self.classes:
            return _repeated(np.asarray(model.predict(x), np.float64), self.outputs)
        shares = np.asarray(model.predict_proba(x), np.float64)
        if self.targets == "binary":
            known = list(model.classes_)
            return shares[:, [known.index(1)]] if 1 in known else np.zeros((len(x), 1))
        all_shares = np.zeros((len(x), self.outputs))
        all_shares[:, np.asarray(model.classes_, np.int64)] = shares
        return all_shares

    def loss(self, stated: Floats) -> float:
        """Return the mean squared distance of statements on validation rows from the truth.

        Of probabilities that is the Brier score (Brier, "Verification of forecasts expressed in
        terms of probability", 1950).
        """
        truth = ENCODINGS[self.targets].truth(self.y[1], self.outputs)
        distance = float(np.mean(np.sum((stated - truth) ** 2, axis=1))) if len(truth) else 0.0
        return distance if np.isfinite(distance) else np.inf

    def only_one_target(self) -> bool:
        """Whether training holds a single value: there is nothing to fit."""
        return len(np.unique(self.y[0])) < 2  # noqa: PLR2004

    def commonest(self) -> FittedAlone:
        """Return what one states who knows nothing but how often each value came."""
        means = self._mean(self.y[0]), self._mean(self.together()[1])
        validation = np.repeat(means[0][None], len(self.x[1]), axis=0)
        test = np.repeat(means[1][None], len(self.x[2]), axis=0)
        return FittedAlone(validation, test, validation, Constant(means[1]))

    def _mean(self, y: Labels) -> Floats:
        mean: Floats = ENCODINGS[self.targets].truth(y, self.outputs).mean(axis=0)
        return mean


def choice_of(rows: OwnRows, candidates: Sequence[Floats], past: Floats | float = 0.0) -> Choice:
    """Return which statements on validation rows are best, and what rows elsewhere would choose.

    Args:
        rows: The home's rows.
        candidates: What each way states of the validation rows, ``[rows, outputs]`` each.
        past: The squared distances of each on rows elsewhere, added up, ``[candidates]``.
    """
    losses = np.array([rows.loss(stated) for stated in candidates])
    best = int(np.argmin(len(rows.y[1]) * losses + past))
    truth = ENCODINGS[rows.targets].truth(rows.y[1], rows.outputs)
    return Choice(best, candidates[best], by_others(candidates, truth, past))


def by_others(candidates: Sequence[Floats], truth: Floats, past: Floats | float = 0.0) -> Floats:
    """Return of each tenth of the rows what the candidate states that is best on all others.

    Args:
        candidates: What each states ``[rows, outputs]``.
        truth: What is true ``[rows, outputs]``.
        past: As of :func:`choice_of`.
    """
    rows = len(truth)
    tenth = np.arange(rows) * min(_TENTHS, rows) // max(rows, 1)
    losses = np.stack([np.sum((one - truth) ** 2, axis=1) for one in candidates])
    found = np.array(candidates[0])
    for part in np.unique(tenth):
        some = tenth == part
        judges = losses[:, ~some] if (~some).any() or np.any(past) else losses
        sums = np.nan_to_num(judges.sum(axis=1) + past, nan=np.inf, posinf=np.inf)
        found[some] = candidates[int(np.argmin(sums))][some]
    return found


def _repeated(column: Floats, outputs: int) -> Floats:
    return np.repeat(column.reshape(-1, 1), outputs, axis=1)
