"""What each home ends with: its mixture of experts, held against the best that it could do alone.

Three questions lead there. *Blend*: every home says how the experts' errors go together on its
validation rows. *Shrink*: how well its own weights do on rows that they were not fitted to, for
each strength of the pull towards the fleet's. *Outcome*: it takes its weights and scores all models
on its test rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning import mixture
from fedhome.learning.alone import network
from fedhome.learning.blocks import stretches_of, verdicts
from fedhome.learning.cohort import Measured
from fedhome.learning.losses import scored
from fedhome.learning.mixture import FleetsBlend
from fedhome.learning.personalise.expert_statements import Statements
from fedhome.learning.personalise.experts import Experts
from fedhome.learning.personalise.home_end import remember
from fedhome.learning.personalise.sureness import how_sure
from fedhome.learning.tasks.segments import Floats, Segments
from fedhome.run.compared_models import ALONE, FEDERATED

_ROUNDED = 1e-6  # of a unit of the target: float32 has no more digits
_WORSE = -1e9  # what a row that says nothing is worse by


class HomeErrors(NamedTuple):
    """How the experts' errors go together in a home.

    Args:
        folds: The matrix of each fold of its validation rows ``[folds, experts, experts]``.
        rows: How many rows each has ``[folds]``.
        blocks: How many independent blocks of rows there are.
        fold_of: Each row's fold ``[validation rows]``.
    """

    folds: Floats
    rows: NDArray[np.int64]
    blocks: int
    fold_of: NDArray[np.int64]

    @property
    def matrix(self) -> Floats:
        """The matrix of all of its validation rows ``[experts, experts]``."""
        return np.asarray(
            np.einsum("f,fkl->kl", self.rows / self.rows.sum(), self.folds), np.float64
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What each home ended with.

    Args:
        models: Scores on the test rows, of all of
            :func:`fedhome.run.compared_models.models_of` the plan's opponents.
        sureness: How sure predictions are and how rightly, of :mod:`.sureness`, ``[homes]`` each.
        weights: Weight of each expert in the home's mixture, ``[homes, experts]``.
        alone: Which of :data:`fedhome.run.compared_models.ALONE` was best in the home's
            validation, ``[homes]``.
        verdicts: Whether a model of :data:`fedhome.run.compared_models.FEDERATED` helped (1), hurt
            (-1) or neither can be told (0), against that one, ``[homes]`` each.
        null: The same of the network alone against itself after another order of batches; None
            where it is no opponent.
    """

    models: Mapping[str, Measured]
    sureness: Mapping[str, Floats]
    weights: Floats
    alone: NDArray[np.int64]
    verdicts: Mapping[str, NDArray[np.int64]]
    null: NDArray[np.int64] | None


def home_errors(experts: Experts, names: Sequence[str]) -> list[HomeErrors]:
    """Return how experts' errors go together, for each home.

    Args:
        experts: The homes and their models.
        names: The experts of the plan.
    """
    rows = experts.cohort.rows("validation")
    truth = experts.truth("validation")
    errors = np.stack([experts.judged(name) - truth for name in names], axis=2)
    reference = np.sum((experts.naive().validation - truth) ** 2, axis=1)
    found = []
    ends = np.cumsum(rows.counts)
    for end, count in zip(ends.tolist(), rows.counts.tolist(), strict=True):
        own = slice(end - count, end)
        blocks = stretches_of(rows.times[own])
        folds = mixture.folds_of(blocks)
        matrices = mixture.error_matrices(errors[own], reference[own], folds)
        found.append(HomeErrors(matrices, np.bincount(folds), int(blocks.max()) + 1, folds))
    return found


def blend(experts: Experts, names: Sequence[str]) -> Floats:
    """Return what homes add up of their experts' errors, ``[homes, entries]``."""
    return np.stack([mixture.upper(home.matrix) for home in home_errors(experts, names)])


def shrink(experts: Experts, names: Sequence[str], matrix: Floats, homes: int) -> Floats:
    """Return the error of each home's mixture on rows left out, ``[homes, strengths]``.

    Args:
        experts: The homes and their models.
        names: The experts of the plan.
        matrix: The fleet's ``[experts, experts]``.
        homes: How many homes that is the mean of.
    """
    return np.stack(
        [
            mixture.left_out_errors(
                home.folds,
                home.rows,
                home.blocks,
                mixture.steadied(mixture.others(matrix, home.matrix, homes)),
            )
            for home in home_errors(experts, names)
        ]
    )


class HomeMixtures(NamedTuple):
    """The homes' mixtures.

    Args:
        weights: Weight of each expert, ``[homes, experts]``.
        stated: What they state: of validation rows with weights that were not fitted to them.
        blocks: From how many blocks of validation rows each home's own say comes, ``[homes]``; 0:
            it has none.
    """

    weights: Floats
    stated: Statements
    blocks: NDArray[np.int64]


def mix(experts: Experts, names: Sequence[str], fleet: FleetsBlend) -> HomeMixtures:
    """Return what each home's mixture states.

    A home whose numbers have not changed so far ends with that value, where ``naive`` is among the
    experts: in units of no error the fleet's weights would mix it with guesses. A class that a home
    has not seen yet the fleet may know, so that of classes it mixes as all do.

    Args:
        experts: The homes and their models.
        names: The experts of the plan.
        fleet: What the fleet chose.
    """
    errors = home_errors(experts, names)
    weights = np.stack([fleet.weights_of(home.matrix, home.blocks) for home in errors])
    left_out = np.concatenate(
        [
            mixture.left_out_weights(
                home.folds, home.rows, home.blocks, fleet.steadied, np.array([fleet.strength])
            )[0, home.fold_of]
            for home in errors
        ]
    )
    if "naive" in names and experts.cohort.learning.task.kind.targets == "continuous":
        still = _still(experts)
        value = np.eye(len(names))[list(names).index("naive")]
        weights[still] = value
        left_out[np.repeat(still, experts.cohort.counts("validation"))] = value
    rows = np.repeat(weights, experts.cohort.counts("test"), axis=0)
    stated = Statements(
        _mixed([experts.judged(name) for name in names], left_out),
        _mixed([experts.stated(name).test for name in names], rows),
    )
    own_say = [home.blocks if home.blocks >= fleet.fewest_blocks else 0 for home in errors]
    return HomeMixtures(weights, stated, np.array(own_say))


def end(experts: Experts, names: Sequence[str], fleet: FleetsBlend) -> Outcome:
    """Mix, and score every model on the test rows.

    Args:
        experts: The homes and their models.
        names: The experts of the plan.
        fleet: What the fleet chose.
    """
    cohort = experts.cohort
    mixtures = mix(experts, names, fleet)
    stated = _alone(experts, fleet)
    losses = [experts.losses(found.validation, "validation") for found in stated.values()]
    best = np.argmin(losses, axis=0)
    test = {name: found.test for name, found in stated.items()}
    test["alone"] = experts.picked(list(stated.values()), best).test
    test["tuned"] = experts.stated("tuned").test
    sure = how_sure(experts, mixtures.stated)
    test["personalised"] = sure.stated
    remember(experts, names, mixtures.weights, sure.by, fleet)
    outputs = {name: experts.output(found) for name, found in test.items()}
    outputs["baseline"] = cohort.learning.task.naive_output(cohort.rows("test").naive)
    outputs["global"] = cohort.predict(experts.used(), "test")  # as it is, whatever it says
    test["global"] = experts.encoding.stated(outputs["global"].astype(np.float64))
    null = None
    if "local" in stated:
        null = _verdict(experts, experts.stated("again").test, test["local"])
    return Outcome(
        models={name: _measured(experts, output) for name, output in outputs.items()},
        sureness=sure.told,
        weights=mixtures.weights,
        alone=np.array([ALONE.index(name) for name in stated])[best],
        verdicts={name: _verdict(experts, test[name], test["alone"]) for name in FEDERATED},
        null=null,
    )


def _still(experts: Experts) -> NDArray[np.bool_]:
    """Return in which homes no learning was right on all rows before the test rows, ``[homes]``."""
    rows = experts.cohort.rows("train+validation")
    said = experts.cohort.learning.task.naive_output(rows.naive)
    exact = (np.abs(experts.truth("train+validation") - said) <= _ROUNDED).all(axis=1)
    return np.asarray(Segments(counts=rows.counts).mean(np.asarray(exact, np.float64)) == 1.0)


def _alone(experts: Experts, fleet: FleetsBlend) -> dict[str, Statements]:
    """Return what the plan's opponents state, by name; no other is fitted."""
    rate, epochs, batch = fleet.alone
    if not batch and experts.settings.local_batches:  # a server that saw no data names none
        batch = experts.settings.local_batches[0]
    schedule = network.fleets_schedule(len(experts.cohort.homes), rate, epochs, batch)
    return {
        name: experts.of_schedule(schedule) if name == "settings" else experts.stated(name)
        for name in ALONE
        if name in experts.settings.opponents
    }


def _mixed(stated: Sequence[Floats], weights: Floats) -> Floats:
    """Return a weighted mean of statements; weights are ``[rows, experts]``."""
    return np.asarray(np.einsum("kro,rk->ro", np.stack(stated), weights), np.float64)


def _measured(experts: Experts, output: NDArray[np.float32]) -> Measured:
    cohort = experts.cohort
    losses = scored(cohort.learning.loss, output, cohort.rows("test").y)
    segments = Segments(counts=cohort.counts("test"))
    # A class can be read off outputs that are no numbers; that is no score.
    finite = segments.mean(np.asarray(np.isfinite(output).all(axis=1), np.float64)) == 1.0
    metrics = cohort.measure(output, "test")
    return Measured(
        segments.mean(losses),
        {name: np.where(finite, values, np.nan) for name, values in metrics.items()},
    )


def _verdict(experts: Experts, one: Floats, other: Floats) -> NDArray[np.int64]:
    """Return whether one model is better than another (1), worse (-1), or neither can be told."""
    rows = experts.cohort.rows("test")
    segments = Segments(counts=rows.counts)
    wrong = experts.encoding.wrong
    gains = wrong(rows.y, other, segments) - wrong(rows.y, one, segments)
    # What is not finite is worse than anything that is, as in all scores.
    finite = np.isfinite(one).all(axis=1) & np.isfinite(gains)
    ahead = experts.cohort.learning.task.ahead
    return verdicts(np.where(finite, gains, _WORSE), rows.times, segments, ahead)
