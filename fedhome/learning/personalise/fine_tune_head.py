"""Fine-tuning of the model's last layer in each home; the layers below stay the fleet's.

Source: Wang et al., "Federated evaluation of on-device personalization", 2019, and Collins et al.,
ICML 2021, section 5: with few rows a home moves few numbers.

Passes and rate are chosen as for :mod:`.fine_tune`. A step is plain descent, whatever the method.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.learning.cohort import Cohort
from fedhome.learning.methods.model_layers import last_layers
from fedhome.learning.methods.steps import OnlyThese
from fedhome.learning.personalise import fine_tune
from fedhome.plan.settings import PersonaliseSettings


def trial(
    cohort: Cohort, start: NDArray[np.float32], settings: PersonaliseSettings
) -> NDArray[np.float64]:
    """Return how each pass changes the home's validation loss; as of `fine_tune.trial`."""
    return fine_tune.trial(cohort, start, settings, method=_head(cohort))


def adapt(
    cohort: Cohort, start: NDArray[np.float32], *, rate: float, epochs: int, part: Part
) -> NDArray[np.float32]:
    """Return the model with each home's own last layer; as of `fine_tune.adapt`."""
    how = _head(cohort)
    return fine_tune.adapt(cohort, start, rate=rate, epochs=epochs, part=part, method=how)


def _head(cohort: Cohort) -> OnlyThese:
    names = cohort.learning.layout.names
    head = last_layers(names, 1)
    return OnlyThese(names=tuple(name for name in names if name in head))
