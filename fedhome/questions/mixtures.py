"""What homes add up to find the weights of their mixtures, and the settings by which they mix.

The fleet's part in a mixture (see :mod:`fedhome.learning.mixture`) is a matrix and a strength. Both
come back to the homes as settings of a question, which its hash binds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import UpdateError
from fedhome.learning.mixture import BOUND, STRENGTHS, entries
from fedhome.plan.settings import PersonaliseSettings, Plan
from fedhome.questions.blend_settings import (
    ALONE_BATCH,
    ALONE_EPOCHS,
    ALONE_RATE,
    HOMES,
    STRENGTH,
    matrix_of,
)
from fedhome.questions.contributions import Terms, trial_sizes
from fedhome.questions.responses import Columns, QuestionContext
from fedhome.questions.settings import adaptation_faults
from fedhome.secagg.scalars import Scalar
from fedhome.wire.names import EXAMPLES


def sizes(settings: PersonaliseSettings) -> dict[str, int]:
    """Return how much the questions about a run's end ask, by the names that texts have for it."""
    adapting, alone = trial_sizes(settings)
    return {
        "tried": adapting,
        "alone": alone,
        "experts": len(settings.experts),
        "strengths": len(STRENGTHS),
    }


def blend_scalars(
    config: Mapping[str, Any], personalise: PersonaliseSettings
) -> tuple[Scalar, ...]:
    """Return how experts' errors go together, one number for each two of them.

    Args:
        config: The settings that came with the question.
        personalise: The plan's settings of personalisation.
    """
    del config
    count = entries(len(personalise.experts))
    return tuple(Scalar(f"errors-{n}", -BOUND, BOUND, weighted=True) for n in range(count))


def shrink_scalars(
    config: Mapping[str, Any], personalise: PersonaliseSettings
) -> tuple[Scalar, ...]:
    """Return the error for each strength; arguments as of `blend_scalars`."""
    del config, personalise
    return tuple(Scalar(f"error-{n}", 0.0, BOUND, weighted=True) for n in range(len(STRENGTHS)))


def mixture_terms(
    columns: Columns, update: NDArray[np.float32] | None, given: QuestionContext
) -> Terms:
    """Return what homes add up of a blend or a shrinkage.

    Args:
        columns: What each home says.
        update: Nothing: these questions train nothing that leaves a home.
        given: What they were asked with.
    """
    del update, given
    return Terms(columns[EXAMPLES].astype(np.int64), columns["errors"])


def matrix_faults(settings: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Yield what is wrong with a fleet's matrix among the settings of a question."""
    yield from adaptation_faults(settings, plan)
    try:
        matrix_of(settings, len(plan.personalise.experts))
    except UpdateError as error:
        yield error.message
    homes = settings.get(HOMES, 1)
    if type(homes) is not int or homes < 1:
        yield f"{HOMES} {homes!r}, and a fleet has one at least"


def outcome_faults(settings: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Yield what is wrong with the settings of an outcome: how homes adapt, mix and compare."""
    yield from matrix_faults(settings, plan)
    own = plan.personalise
    if settings.get(STRENGTH) not in STRENGTHS:
        yield f"a strength of {settings.get(STRENGTH)!r}, which is none of {list(STRENGTHS)}"
    rate, epochs = settings.get(ALONE_RATE), settings.get(ALONE_EPOCHS)
    if rate not in own.rates:
        yield f"{ALONE_RATE} {rate!r}, which is none of the plan's {list(own.rates)}"
    if type(epochs) is not int or not 0 <= epochs <= own.local_epochs:
        yield f"{ALONE_EPOCHS} {epochs!r}, and the plan allows 0 to {own.local_epochs}"
    batch, batches = settings.get(ALONE_BATCH), own.local_batches or (0,)
    if type(batch) is not int or batch not in batches:
        yield f"{ALONE_BATCH} {batch!r}, which is none of the plan's {list(batches)}"
