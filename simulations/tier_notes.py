"""What a simulation tells of its tiers: what each carries, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import numpy as np

from fedhome.data.series.examples import HomeExamples
from fedhome.learning.slice_costs import cost_of
from fedhome.learning.slice_rules import CarriedSlice
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.run.folder import RunFolder, scores

_MODELS: Final = {
    "local": "this network alone",
    "global": "global",
    "tuned": "fine-tuned",
    "personalised": "personalised",
}


def carried_notes(
    plan: Plan,
    homes: Sequence[HomeExamples],
    slices: Sequence[CarriedSlice],
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield for each tier a sentence (how many homes, which slice, its cost) and its event's data.

    Args:
        plan: The plan, with tiers.
        homes: The homes.
        slices: What each tier carries.
    """
    tiers = tiers_of(plan, [home.home for home in homes])
    counts = np.bincount(tiers, minlength=len(slices))
    for count, carried in zip(counts, slices, strict=True):
        cost = cost_of(carried, homes[0].x.shape[1])
        told = (
            f"tier {carried.tier}: {count} of {len(homes)} homes carry {carried.told}, "
            f"{cost.numbers:,} of the model's {carried.rounds.places.layout.size:,} "
            f"numbers, {cost.bytes_up:,} bytes of float32 up a round; a step of training takes "
            f"{cost.memory:,} bytes, and {cost.step_ms:.2g} ms of this processor"
        )
        yield told, {"tier": carried.tier, "carries": carried.told, "homes": count, **asdict(cost)}


def outcome_notes(plan: Plan, homes: Sequence[str], folder: RunFolder) -> Iterator[str]:
    """Yield a sentence for each tier: the mean score of its homes, model by model.

    Args:
        plan: The plan, with tiers.
        homes: Names of the homes.
        folder: The run's folder, with its table of homes.
    """
    by_model = scores(folder.read_homes())
    tiers = tiers_of(plan, homes)
    for number, tier in enumerate(plan.slicing.in_order()):
        own = [home for home, at in zip(homes, tiers.tolist(), strict=True) if at == number]
        told = []
        for model, words in _MODELS.items():
            found = [by_model[model][home] for home in own if home in by_model.get(model, {})]
            if found:
                told.append(f"{words} {np.mean(found):.3f}")
        yield f"tier {tier.name}, mean of {len(own)} homes: {', '.join(told)}"
