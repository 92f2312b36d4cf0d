"""What a home ended with, as it can be kept: its experts themselves, and not what they scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.bands import Reach
from fedhome.learning.cohort import Cohort
from fedhome.learning.fitted import Fitted
from fedhome.learning.mixture import FleetsBlend
from fedhome.learning.personalise.experts import Experts
from fedhome.learning.tasks.segments import Floats

MOST_KEPT: Final = 200
"""So many homes of a simulation, the first ones, have their models kept: trees fill memory."""

_KEY = "ended"


@dataclass(frozen=True, kw_only=True)
class HomeEnd:
    """One home's mixture.

    All of it is fitted to training and validation rows; of test rows it knows nothing, so that its
    scores on them are those of what is kept.

    Args:
        weights: Each expert's weight by its name, those without any left out.
        models: The same experts: parameters of the network float32 ``[size]``, or fitted models;
            None where none was finite: then the forecast without learning stands in.
        naive: The forecast without learning.
        by: How far the band around numbers reaches, in the unit that targets are learnt in, or the
            temperature of classes' probabilities.
        fleet: What the fleet chose for its homes' mixtures, by which weights can be fitted anew;
            None: no fleet was asked.
    """

    weights: dict[str, float]
    models: dict[str, NDArray[np.float32] | Fitted | None]
    naive: Fitted
    by: Reach | float
    fleet: FleetsBlend | None = None


def remember(
    experts: Experts,
    names: Sequence[str],
    weights: Floats,
    by: Sequence[Reach | float],
    fleet: FleetsBlend | None,
) -> None:
    """Keep what homes ended with in their cohort's memory.

    Args:
        experts: The homes and their models.
        names: The experts of the plan.
        weights: Each one's weight in each home ``[homes, experts]``.
        by: How each home's statements are calibrated ``[homes]``.
        fleet: As of :class:`HomeEnd`.
    """
    cohort = experts.cohort
    models = {name: experts.models(name) for name in names}
    naive = experts.without_learning()
    kept = cohort.memory.setdefault(_KEY, {})
    for place in np.flatnonzero(cohort.keeps()).tolist():
        used = [at for at in range(len(names)) if weights[place, at] > 0]
        kept[cohort.homes[place]] = HomeEnd(
            weights={names[at]: float(weights[place, at]) for at in used},
            models={names[at]: models[names[at]][place] for at in used},
            naive=naive[place],
            by=by[place],
            fleet=fleet,
        )


def home_end(cohort: Cohort, home: str) -> HomeEnd | None:
    """Return what a home ended with; None: it was not asked, or it is not kept."""
    found = cohort.memory.get(_KEY, {}).get(home)
    assert found is None or isinstance(found, HomeEnd)
    return found
