"""What each slice of a sliced model is worth: mean scores of the tiers' homes, and who may know.

A run's folder holds single homes' scores where whoever runs it sees them: in the clear, and in a
simulation. A release goes to all homes, so it tells means over at least as many homes of a tier as
a sum takes. Under masks scores are added up over all tiers together, and nobody knows a tier's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fedhome.plan.settings import Plan
from fedhome.registry.release import ReleaseScores, TierScore
from fedhome.run.folder import RunFolder
from fedhome.server.report.run_results import RunResults, load
from fedhome.server.report.tiers_table import home_tiers

GLOBAL, TUNED = "global", "tuned"
"""The models of which a slice's score is told: as the rounds left it, and fine-tuned at home."""


def scores_by_tier(run: RunResults, model: str) -> Mapping[str, Sequence[float]]:
    """Return the scores of each tier's homes with a model, by the tier's name.

    Args:
        run: The run; of a fleet, tiers are those that its owner signed.
        model: Name of the model.
    """
    by_home, found = run.scores.get(model, {}), dict[str, list[float]]()
    for home, own in home_tiers(run).items():
        if home in by_home:
            found.setdefault(own.tier, []).append(by_home[home])
    return found


def release_scores(folder: RunFolder) -> tuple[ReleaseScores, ...]:
    """Return what a release may tell of its slices' scores; nothing where it may tell none.

    Args:
        folder: The run's folder.
    """
    plan = folder.read_plan()
    if not plan.get("slicing", {}).get("tiers"):  # of an older plan no more is read
        return ()
    return told_scores(folder, least=Plan.parse(plan).aggregation.min_cohort)


def told_scores(folder: RunFolder, *, least: int = 1) -> tuple[ReleaseScores, ...]:
    """Return the mean scores of a run's tiers; nothing where no tier has one.

    Args:
        folder: The run's folder.
        least: Homes of a tier at least, for its mean to be told.
    """
    run = load([folder])[0]
    as_it_is, tuned = (scores_by_tier(run, model) for model in (GLOBAL, TUNED))
    tiers = [
        TierScore(
            tier=tier.name,
            homes=len(scores),
            score=float(np.mean(scores)),
            tuned=(float(np.mean(own)),) if len(own := tuned.get(tier.name, ())) >= least else (),
        )
        for tier in Plan.parse(run.plan).slicing.in_order()
        if len(scores := as_it_is.get(tier.name, ())) >= max(least, 1)
    ]
    return (ReleaseScores(score=run.score_name, tiers=tuple(tiers)),) if tiers else ()
