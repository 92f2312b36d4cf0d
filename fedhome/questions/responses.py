"""What homes answer to the server's questions, for one home on a device or thousands at once.

Every answer is a dictionary of arrays whose first dimension is the homes; a ClientApp sends
the row of its one home.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import UpdateError
from fedhome.learning.cohort import Cohort
from fedhome.learning.personalise import Personaliser
from fedhome.plan.settings import Personalise

EVALUATE, TRIAL, OUTCOME = "evaluate", "evaluate.trial", "evaluate.outcome"
Columns = dict[str, NDArray[Any]]


def evaluate(cohort: Cohort, start: NDArray[np.float32]) -> Columns:
    """Score the global model on each home's validation rows: ``loss`` and ``score``."""
    measured = cohort.evaluate(start, "validation")
    return {
        "num-examples": cohort.counts("validation"),
        "loss": measured.losses,
        "score": measured.metrics[cohort.learning.task.score],
    }


def trial(
    cohort: Cohort, start: NDArray[np.float32], how: Personaliser, settings: Personalise
) -> Columns:
    """Try to personalise: ``changes [homes, rates * (1 + epochs)]`` of the validation loss."""
    changes = how.trial(cohort, start, settings)
    return {
        "num-examples": np.ones(len(changes), np.int64),  # every home counts alike
        "changes": changes.reshape(len(changes), -1),
    }


def outcome(
    cohort: Cohort,
    start: NDArray[np.float32],
    how: Personaliser,
    settings: Personalise,
    config: Mapping[str, Any],
) -> Columns:
    """Personalise as the fleet chose, and score every model on the test rows.

    Columns are ``MODEL.METRIC`` for the models baseline, local, global and personalised,
    ``chosen`` (0 local, 1 global, 2 personalised), and the numbers of examples.

    Raises:
        UpdateError: The message does not say what the fleet chose.
    """
    rate, epochs = config.get("rate"), config.get("epochs")
    if not isinstance(rate, float) or not isinstance(epochs, int) or rate <= 0 or epochs < 0:
        raise UpdateError(f"an outcome was asked for with rate {rate!r} and epochs {epochs!r}")
    ended = how.outcome(cohort, start, settings, rate=rate, epochs=epochs)
    columns: Columns = {
        "num-examples": cohort.counts("test"),
        "chosen": ended.chosen,
        "examples-train": cohort.counts("train"),
        "examples-validation": cohort.counts("validation"),
    }
    for model, measured in ended.models.items():
        if model != "baseline":  # it states no probabilities, so it has no loss
            columns[f"{model}.loss"] = measured.losses
        columns |= {f"{model}.{name}": values for name, values in measured.metrics.items()}
    return columns


def row(columns: Columns, home: int) -> dict[str, float | int | list[float]]:
    """Return one home's row as plain numbers."""
    return {name: values[home].tolist() for name, values in columns.items()}
