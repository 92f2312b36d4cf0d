"""What a simulation tells of its tiers: what each came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.run.folder import RunFolder
from fedhome.run.results import scores

_MODELS: Final = {
    "local": "this network alone",
    "global": "global",
    "tuned": "tuned",
    "personalised": "personalised",
}


def outcome_notes(plan: Plan, homes: Sequence[str], folder: RunFolder) -> dict[str, str]:
    """Return a sentence for each tier, by its name: the mean score of its homes, model by model.

    Args:
        plan: The plan, with tiers.
        homes: Names of the homes.
        folder: The run's folder, with its table of homes.
    """
    by_model = scores(folder.read_homes())
    tiers, notes = tiers_of(plan, homes), dict[str, str]()
    for number, tier in enumerate(plan.slicing.in_order()):
        own = [home for home, at in zip(homes, tiers.tolist(), strict=True) if at == number]
        told = []
        for model, words in _MODELS.items():
            found = [by_model[model][home] for home in own if home in by_model.get(model, {})]
            if found:
                told.append(f"{words} {np.mean(found):.3f}")
        notes[tier.name] = f"tier {tier.name}, mean of {len(own)} homes: {', '.join(told)}"
    return notes
