"""What homes respond to the server's questions, for one home on a device or thousands at once.

Each function is the home's part of one row of :mod:`fedhome.questions.question_table`. What it
returns are arrays whose first dimension is the homes; a ClientApp sends the row of its one home.
Nothing here imports torch: a home's agent reads the table without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import UpdateError
from fedhome.plan.settings import Plan
from fedhome.questions.train_config import TrainConfig
from fedhome.wire.names import EXAMPLES

if TYPE_CHECKING:
    from fedhome.learning.cohort import Cohort
    from fedhome.learning.personalise import Personaliser

Columns = dict[str, NDArray[Any]]


class QuestionContext(NamedTuple):
    """What homes are asked with, besides parameters.

    Args:
        plan: The plan that they take part in.
        config: The settings that came with the question.
        score: Name of the task's score.
        personaliser: What makes the model a home's own; None where the plan has none.
    """

    plan: Plan
    config: Mapping[str, Any]
    score: str
    personaliser: Personaliser | None = None


class Response(NamedTuple):
    """What homes respond.

    Args:
        columns: What each says, each ``[homes, ...]``.
        params: Parameters that they reached, float32 ``[homes, size]``; None where a question
            trains nothing that leaves.
    """

    columns: Columns
    params: NDArray[np.float32] | None = None


def train(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Learn from the round's model: ``train_loss``, and whether updates were clipped.

    Raises:
        UpdateError: The message's settings cannot be.
    """
    config = TrainConfig.of(given.config)
    trained = cohort.train(
        start,
        stream=config.round,
        epochs=given.plan.train.epochs,
        method=config.method(cohort.learning.method),
    )
    columns: Columns = {
        EXAMPLES: np.minimum(cohort.counts("train"), given.plan.rounds.max_examples),
        "train_loss": trained.losses,
    }
    columns |= config.clipping.columns(config.clipping.shorten(start, trained.params))
    return Response(columns, trained.params)


def census(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Count each home's examples, the greater of training and validation: ``examples``."""
    del start
    most = np.maximum(cohort.counts("train"), cohort.counts("validation"))
    return Response({"examples": np.minimum(most, given.plan.rounds.max_examples)})


def evaluate(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Score the global model on each home's validation rows: ``loss`` and ``score``."""
    measured = cohort.evaluate(start, "validation")
    return Response(
        {
            EXAMPLES: cohort.counts("validation"),
            "loss": measured.losses,
            "score": measured.metrics[given.score],
        }
    )


def trial(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Try to personalise: ``changes [homes, rates * (1 + epochs)]`` of the validation loss.

    Raises:
        UpdateError: The plan personalises nothing.
    """
    changes = _personaliser(given).trial(cohort, start, given.plan.personalise)
    return Response(
        {
            EXAMPLES: np.ones(len(changes), np.int64),  # every home counts alike
            "changes": changes.reshape(len(changes), -1),
        }
    )


def outcome(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Personalise as the fleet chose, and score every model on the test rows.

    Columns are ``MODEL.METRIC`` for the models baseline, local, global and personalised,
    ``chosen`` (0 local, 1 global, 2 personalised), and the numbers of examples.

    Raises:
        UpdateError: The message does not say what the fleet chose, or the plan personalises
            nothing.
    """
    how = _personaliser(given)
    rate, epochs = given.config.get("rate"), given.config.get("epochs")
    if not isinstance(rate, float) or not isinstance(epochs, int) or rate <= 0 or epochs < 0:
        raise UpdateError(f"an outcome was asked for with rate {rate!r} and epochs {epochs!r}")
    ended = how.outcome(cohort, start, given.plan.personalise, rate=rate, epochs=epochs)
    columns: Columns = {
        EXAMPLES: cohort.counts("test"),
        "chosen": ended.chosen,
        "examples-train": cohort.counts("train"),
        "examples-validation": cohort.counts("validation"),
    }
    for model, measured in ended.models.items():
        if model != "baseline":  # it states no probabilities, so it has no loss
            columns[f"{model}.loss"] = measured.losses
        columns |= {f"{model}.{name}": values for name, values in measured.metrics.items()}
    return Response(columns)


def row(columns: Columns, home: int) -> dict[str, float | int | list[float]]:
    """Return one home's row as plain numbers."""
    return {name: values[home].tolist() for name, values in columns.items()}


def _personaliser(given: QuestionContext) -> Personaliser:
    if given.personaliser is None:
        raise UpdateError("this home's plan personalises nothing")
    return given.personaliser
