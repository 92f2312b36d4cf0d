"""The report's table of tiers: which devices carry which slice, what it costs, what it gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced, tiers_of
from fedhome.server.report.number_words import NOTHING, number, signed, size
from fedhome.server.report.run_results import RunResults

CARRIED: Final = "tier-carried"
"""The event that tells what a tier carries, and what it costs a device."""

TIER_COLUMNS: Final = (
    ("Tier", "a kind of device", "text"),
    ("Carries", "its part of the model", "text prose"),
    ("Homes", "homes with such a device", ""),
    ("Numbers", "how many numbers such a device trains in a round, and sends", ""),
    ("Up a round", "these as float32", ""),
    (
        "Memory",
        "what a step of training holds at once by what trains it, beside Python, code and readings",
        "",
    ),
    (
        "ms a step",
        "processor time of a training step by what trains it, on the machine that ran this",
        "",
    ),
    ("Network alone", "mean score of this tier's network, trained by each home alone", ""),
    ("Global", "mean score of the tier's slice as the rounds left it", ""),
    ("Fine-tuned", "mean score of that slice, fine-tuned by each home", ""),
    ("Ends with", "mean score of what the tier's homes end with", ""),
    ("Gain", "mean difference of that to each home's best model alone", ""),
)
"""The columns, each with what it means and the class of its cells."""

_MODELS: Final = ("local", "global", "tuned", "personalised")


@dataclass(frozen=True, kw_only=True)
class HomeTier:
    """What one home's device carries.

    Args:
        tier: The tier's name.
        bytes_up: Bytes of an update that it sends; None where the log does not tell.
    """

    tier: str
    bytes_up: int | None

    @property
    def cells(self) -> tuple[str, str]:
        """The tier, and the kB of an update: a number alone, by which a table can be sorted."""
        return self.tier, NOTHING if self.bytes_up is None else f"{self.bytes_up / 1000:.2f}"


def home_tiers(run: RunResults) -> Mapping[str, HomeTier]:
    """Return what each scored home carries, by its name; empty without slices.

    Args:
        run: The run. In a simulation its plan tells homes' tiers where all are scored: it deals
            them out to all together. Of a fleet its log does.
    """
    if run.homes is None:
        return {}
    plan = Plan.parse(run.plan)
    if not is_sliced(plan):
        return {}
    names = sorted(set(run.homes["home"].to_pylist()))
    told, unknown = _told(run), HomeTier(tier=NOTHING, bytes_up=None)
    if "engine" not in run.started:
        signed = {
            home: HomeTier(tier=tier, bytes_up=data.get("bytes_up"))
            for tier, data in told.items()
            for home in data.get("names", ())
        }
        return {name: signed.get(name, unknown) for name in names} if signed else {}
    if len(names) != run.started.get("homes", len(names)):
        return dict.fromkeys(names, unknown)
    kinds = [
        HomeTier(tier=tier.name, bytes_up=told.get(tier.name, {}).get("bytes_up"))
        for tier in plan.slicing.in_order()
    ]
    return {
        name: kinds[tier] for name, tier in zip(names, tiers_of(plan, names).tolist(), strict=True)
    }


def tier_rows(run: RunResults) -> Sequence[tuple[str, ...]]:
    """Return a row for each tier from the smallest, as of `TIER_COLUMNS`; none without slices."""
    by_home = home_tiers(run)
    homes_by_tier: dict[str, list[str]] = {}
    for home, own in by_home.items():
        homes_by_tier.setdefault(own.tier, []).append(home)
    return [
        (*_cost_cells(name, told, homes_by_tier), *_score_cells(run, homes_by_tier.get(name, [])))
        for name, told in _told(run).items()
    ]


def _told(run: RunResults) -> dict[str, Mapping[str, Any]]:
    """Return what the log says of each tier, from the smallest; of a resumed run the last."""
    return {str(e.data.get("tier")): e.data for e in run.events if e.event == CARRIED}


def _cost_cells(
    name: str, told: Mapping[str, Any], homes: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    step_ms = told.get("step_ms")
    count = len(homes[name]) if name in homes else told.get("homes")
    return (
        name,
        str(told.get("carries", NOTHING)),
        NOTHING if count is None else f"{count:,}",
        f"{told['numbers']:,}" if "numbers" in told else NOTHING,
        size(told["bytes_up"]) if "bytes_up" in told else NOTHING,
        size(told["memory"]) if "memory" in told else NOTHING,
        NOTHING if step_ms is None else f"{step_ms:.3g}",
    )


def _score_cells(run: RunResults, homes: Sequence[str]) -> tuple[str, ...]:
    cells = [_mean([run.scores.get(model, {}).get(home) for home in homes]) for model in _MODELS]
    ends, alone = (run.scores.get(model, {}) for model in ("personalised", "alone"))
    gains = [ends[home] - alone[home] for home in homes if home in ends and home in alone]
    return (*cells, signed(float(np.mean(gains))) if gains else NOTHING)


def _mean(scores: Sequence[float | None]) -> str:
    known = [score for score in scores if score is not None]
    return number(float(np.mean(known))) if known else NOTHING
