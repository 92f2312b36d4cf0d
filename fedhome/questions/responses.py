"""What homes respond to the server's questions, for one home on a device or thousands at once.

Each function is the home's part of one row of :mod:`fedhome.questions.question_table`. What it
returns are arrays whose first dimension is the homes; a ClientApp sends the row of its one home.
Nothing here imports what learns: a home's agent reads the table without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import UpdateError
from fedhome.plan.settings import PersonaliseSettings, Plan
from fedhome.questions.blend_settings import HOMES, fleets_blend, matrix_of
from fedhome.questions.train_config import TrainConfig
from fedhome.run.compared_models import EXPERTS, WORST_ERROR
from fedhome.wire.names import EXAMPLES

if TYPE_CHECKING:
    from fedhome.learning.cohort import Cohort
    from fedhome.learning.personalise import Personaliser
    from fedhome.learning.personalise.experts import Experts

LOUDEST = 4.0
"""How many times the loss of a model that says nothing a home's loss may be, as it is told."""

Columns = dict[str, NDArray[Any]]


class QuestionContext(NamedTuple):
    """What homes are asked with, besides parameters.

    Args:
        plan: The plan that they take part in.
        config: The settings that came with the question.
        score: Name of the task's score.
        personaliser: What makes the model a home's own; None where the plan has none.
        settled: The plan's settings of personalisation with what they left to the data, where the
            plan was given without; None: they left nothing.
    """

    plan: Plan
    config: Mapping[str, Any]
    score: str
    personaliser: Personaliser | None = None
    settled: PersonaliseSettings | None = None

    @property
    def personalise(self) -> PersonaliseSettings:
        """How homes make the model their own."""
        return self.settled or self.plan.personalise


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
    from fedhome.learning.home_round import train_round  # noqa: PLC0415 - an agent needs none

    config, homes = TrainConfig.of(given.config), cohort.rounds or cohort
    own = homes.own_part(start, config.round)
    trained = train_round(
        homes,
        own,
        number=config.round,
        epochs=given.plan.train.epochs,
        steps=given.plan.train.steps,
        method=config.method(cohort.learning.method),
        rate=config.rate,
    )
    columns: Columns = {
        EXAMPLES: np.minimum(cohort.counts("train"), given.plan.rounds.max_examples),
        "train_loss": trained.losses,
    }
    columns |= config.clipping.columns(config.clipping.shorten(own, trained.params))
    return Response(columns, homes.in_whole(start, trained.params, config.round))


def census(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Count each home's examples, the greater of training and validation: ``examples``."""
    del start
    most = np.maximum(cohort.counts("train"), cohort.counts("validation"))
    return Response({"examples": np.minimum(most, given.plan.rounds.max_examples)})


def evaluate(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Score the global model on each home's validation rows: ``loss`` and ``score``.

    Where parameters are private, each home's own stand in their places.
    """
    from fedhome.learning.home_round import as_used  # noqa: PLC0415 - an agent needs none

    used = as_used(cohort, cohort.own_part(start))
    measured = cohort.evaluate(used, "validation")
    return Response(
        {
            EXAMPLES: cohort.counts("validation"),
            "loss": _bounded(measured.losses, cohort, used),
            "score": measured.metrics[given.score],
        }
    )


def adapted(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Score the model on validation rows as each home would make it its own: as of `evaluate`.

    Raises:
        UpdateError: The plan personalises nothing.
    """
    from fedhome.learning.home_round import ends_with  # noqa: PLC0415 - it loads torch

    own = _personaliser(given).adapt(
        cohort,
        ends_with(cohort, cohort.own_part(start)),
        rate=float(given.config["rate"]),
        epochs=int(given.config["epochs"]),
        part="train",
    )
    measured = cohort.evaluate(own, "validation")
    return Response(
        {
            EXAMPLES: cohort.counts("validation"),
            "loss": _bounded(measured.losses, cohort, own),
            "score": measured.metrics[given.score],
        }
    )


def _bounded(
    losses: NDArray[np.float64], cohort: Cohort, params: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return losses of which none is further beyond that of a model which says nothing.

    So a home whose readings or numbers went wrong decides little of which round is kept. A loss
    that is no number counts as the bound.

    Args:
        losses: Of each home on its validation rows, ``[homes]``.
        cohort: The homes.
        params: The model's parameters ``[size]`` or ``[homes, size]``.
    """
    silent = np.zeros(params.shape[-1], np.float32)  # all outputs are zero

    def of_nothing(some: Cohort) -> list[float]:
        found: list[float] = some.evaluate(silent, "validation").losses.tolist()
        return found

    most = LOUDEST * np.array(cohort.recall(f"loss of nothing {len(silent)}", of_nothing))
    return np.where(np.isfinite(most), np.fmin(losses, most), losses)


def trial(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Try to train: ``changes [homes, ways]`` of the validation loss.

    First come the ways to adapt the fleet's model, then those to train one alone.

    Raises:
        UpdateError: The plan personalises nothing.
    """
    from fedhome.learning.alone import network  # noqa: PLC0415 - an agent needs none
    from fedhome.learning.home_round import ends_with  # noqa: PLC0415 - as above

    settings = given.personalise
    own = ends_with(cohort, cohort.own_part(start))
    changes = _personaliser(given).trial(cohort, own, settings)
    homes = len(changes)
    tried = [changes.reshape(homes, -1)]
    if "settings" in settings.opponents:
        tried.append(network.trial(cohort, settings).reshape(homes, -1))
    return Response(
        {
            EXAMPLES: np.ones(homes, np.int64),  # every home counts alike
            "changes": np.concatenate(tried, axis=1),
        }
    )


def blend(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Say how experts' errors go together: ``errors [homes, entries]``.

    Raises:
        UpdateError: The message does not say what the fleet chose, or the plan personalises
            nothing.
    """
    from fedhome.learning.personalise import ending  # noqa: PLC0415 - an agent needs none

    errors = ending.blend(_experts(cohort, start, given), given.plan.personalise.experts)
    return Response({EXAMPLES: np.ones(len(errors), np.int64), "errors": errors})


def shrink(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Say how well mixtures do on rows left out: ``errors [homes, strengths]``.

    Raises:
        UpdateError: As of `blend`.
    """
    from fedhome.learning.personalise import ending  # noqa: PLC0415 - an agent needs none

    names = given.plan.personalise.experts
    matrix, homes = matrix_of(given.config, len(names)), int(given.config.get(HOMES, 1))
    errors = ending.shrink(_experts(cohort, start, given), names, matrix, homes)
    return Response({EXAMPLES: np.ones(len(errors), np.int64), "errors": errors})


def outcome(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Response:
    """Mix as the fleet and the home's own rows say, and score every model on the test rows.

    Columns are ``MODEL.METRIC`` for all models, ``verdict.MODEL`` for those of the fleet,
    ``weight.EXPERT``, ``expert`` (the place of the heaviest), ``best`` (of the best alone),
    ``null`` where homes train alone, and the numbers of examples.

    Raises:
        UpdateError: As of `blend`.
    """
    from fedhome.learning.personalise import ending  # noqa: PLC0415 - an agent needs none

    names = given.plan.personalise.experts
    fleet = fleets_blend(given.config, given.plan)
    ended = ending.end(_experts(cohort, start, given), names, fleet)
    weights = {name: ended.weights[:, place] for place, name in enumerate(names)}
    none = np.zeros(len(ended.weights))
    shares = {name: weights.get(name, none) for name in EXPERTS}
    columns: Columns = {
        EXAMPLES: cohort.counts("test"),
        "expert": np.argmax(list(shares.values()), axis=0),
        "best": ended.alone,
        "examples-train": cohort.counts("train"),
        "examples-validation": cohort.counts("validation"),
    }
    if ended.null is not None:
        columns["null"] = ended.null
    columns |= {f"weight.{name}": share for name, share in shares.items()}
    columns |= {f"verdict.{name}": told for name, told in ended.verdicts.items()}
    columns |= {f"personalised.{name}": told for name, told in ended.sureness.items()}
    task = cohort.learning.task
    for model, measured in ended.models.items():
        columns[f"{model}.loss"] = _finite(measured.losses, WORST_ERROR)
        for name, values in measured.metrics.items():
            columns[f"{model}.{name}"] = _finite(
                values, WORST_ERROR if task.is_error(name) else task.worst(name)
            )
    return Response(columns)


def _finite(values: NDArray[np.float64], worst: float) -> NDArray[np.float64]:
    """Return scores in which what is not finite counts as the worst: nobody disappears."""
    return np.where(np.isfinite(values), values, worst)


def _experts(cohort: Cohort, start: NDArray[np.float32], given: QuestionContext) -> Experts:
    from fedhome.learning.personalise.experts import Adaptation, Experts  # noqa: PLC0415

    how = _personaliser(given)
    rate, epochs = given.config.get("rate"), given.config.get("epochs")
    if not isinstance(rate, float) or not isinstance(epochs, int) or rate <= 0 or epochs < 0:
        raise UpdateError(f"homes were asked with rate {rate!r} and epochs {epochs!r}")
    return Experts(
        cohort,
        given.personalise,
        start=cohort.own_part(start),
        how=how,
        adaptation=Adaptation(rate, epochs),
    )


def row(columns: Columns, home: int) -> dict[str, float | int | list[float]]:
    """Return one home's row as plain numbers."""
    return {name: values[home].tolist() for name, values in columns.items()}


def rows(columns: Columns) -> list[dict[str, float | int | list[float]]]:
    """Return each home's row as plain numbers."""
    names, values = list(columns), [column.tolist() for column in columns.values()]
    return [dict(zip(names, one, strict=True)) for one in zip(*values, strict=True)]


def _personaliser(given: QuestionContext) -> Personaliser:
    if given.personaliser is None:
        raise UpdateError("this home's plan personalises nothing")
    return given.personaliser
