"""A home's own part of its mixture, fitted anew between runs: without a fleet to ask.

No sum is asked then. What the fleet chose for its homes' mixtures at the end of the last run is
kept with the home's model: the weights follow from it and from the rows that count now, as they do
in a run. The rate and the passes of adapting the fleet's model are those that this home's own
validation rows take for the best.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import RunError
from fedhome.learning.cohort import Cohort
from fedhome.learning.home_round import ends_with
from fedhome.learning.mixture import FleetsBlend
from fedhome.learning.personalise import Personaliser, choose
from fedhome.learning.personalise.ending import mix
from fedhome.learning.personalise.expert_statements import Statements
from fedhome.learning.personalise.experts import Adaptation, Experts
from fedhome.learning.personalise.home_end import remember
from fedhome.learning.personalise.sureness import how_sure
from fedhome.plan.settings import PersonaliseSettings


def refit(
    cohort: Cohort,
    start: NDArray[np.float32],
    *,
    how: Personaliser,
    settings: PersonaliseSettings,
    weights: Mapping[str, float],
    fleet: FleetsBlend | None,
) -> None:
    """Fit a home's experts anew; :func:`.home_end.home_end` has what it ends with.

    Args:
        cohort: The home, on the rows that count.
        start: The fleet's model, float32 ``[size]``.
        how: What turns it into the home's own.
        settings: The plan's settings of personalisation.
        weights: The mixture's weights, by the names of its experts; they add up to 1. They stay
            where there is no ``fleet``, or one of other experts.
        fleet: What the fleet chose for its homes' mixtures; None: that is not known.

    Raises:
        RunError: The mixture is of experts that the plan does not have.
    """
    if unknown := [name for name in weights if name not in settings.experts]:
        raise RunError(
            f"the home's model mixes {', '.join(unknown)}, and its plan has no such expert",
            hint="the home's next run makes a model by the plan",
        )
    start = cohort.own_part(start)
    rate, epochs = settings.rates[0], 0
    refits = fleet is not None and len(fleet.matrix) == len(settings.experts)
    if refits or "tuned" in weights:
        changes = how.trial(cohort, ends_with(cohort, start), settings)
        rate, epochs = choose(np.mean(changes, axis=0), settings.rates)
    experts = Experts(cohort, settings, start=start, how=how, adaptation=Adaptation(rate, epochs))
    if fleet is not None and refits:
        names = tuple(settings.experts)
        mixtures = mix(experts, names, fleet)
        by = how_sure(experts, mixtures.stated).by
        remember(experts, names, mixtures.weights, by, fleet)
        return
    mixed = Statements(
        np.sum([share * experts.judged(name) for name, share in weights.items()], axis=0),
        np.sum([share * experts.stated(name).test for name, share in weights.items()], axis=0),
    )
    shares = np.array([list(weights.values())])
    remember(experts, list(weights), shares, how_sure(experts, mixed).by, None)
