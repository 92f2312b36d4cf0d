"""Runs by the folder that holds them, and two plans held against each other home by home."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedhome.denied import paths_told
from fedhome.errors import RunError
from fedhome.run.compared_models import FEDERATED
from fedhome.run.folder import RunFolder
from fedhome.run.homes_of_seeds import homes_differ
from fedhome.run.mean_intervals import mean_interval
from fedhome.run.results import scores


@dataclass(frozen=True, kw_only=True)
class PairedGain:
    """What one plan gives homes more than another.

    Args:
        model: One of :data:`.FEDERATED`.
        homes: Homes that have a score in both.
        mean: Mean over homes of the second plan's score minus the first's; a home counts once, with
            its mean over seeds, but a synthetic home is another one in each.
        low: Lower end of an interval of 95 % of that mean, over homes.
        high: Upper end.
    """

    model: str
    homes: int
    mean: float
    low: float
    high: float


def runs_at(path: Path) -> list[RunFolder]:
    """Return the run in a folder; of one that is none itself, the runs in it, as seeds leave them.

    Raises:
        RunError: There is none, of one the scores alone are left, or one may not be looked at.
    """
    try:
        return [RunFolder.open(path)]
    except RunError:
        places: list[Path] = []
        with suppress(OSError):  # such as a file: what was said first is what is wrong
            places = sorted(path.iterdir(), key=lambda one: (len(one.name), one.name))
        found = []
        for one in places:
            run = RunFolder(one)
            with paths_told(RunError, one):
                # Notes and apps may lie there, too; a run that lost its log is told, not left out.
                begun = run.events_path.exists() or run.homes_path.exists()
            if begun:
                found.append(RunFolder.open(one))
        if not found:
            raise
        return found


def not_paired(first: Sequence[RunFolder], second: Sequence[RunFolder]) -> str:
    """Return why two plans' runs cannot be compared home by home; empty where they can."""
    plans = [[run.read_plan() for run in runs] for runs in (first, second)]
    one, other = ([repr(plan.get("seed")) for plan in some] for some in plans)
    if sorted(one) != sorted(other) or len({*one}) < len(first):
        return "their seeds are not the same"
    if {run.path.resolve() for run in first} & {run.path.resolve() for run in second}:
        return "they are the same runs"
    for part in ("data", "task"):
        if any(plan.get(part) != plans[0][0].get(part) for some in plans for plan in some):
            return f"their settings of {part} differ"
    if any(not run.homes_path.exists() for run in (*first, *second)):
        return "not all of them have scores of homes"
    return ""


def paired_gains(first: Sequence[RunFolder], second: Sequence[RunFolder]) -> list[PairedGain]:
    """Return what the second plan gives homes more than the first, model by model.

    Args:
        first: Runs of one plan, a seed each.
        second: Runs of the other with the same seeds, data and task: see :func:`not_paired`.
    """
    by_seed = [
        {repr(run.read_plan().get("seed")): scores(run.read_homes()) for run in runs}
        for runs in (first, second)
    ]
    others = any(map(homes_differ, first))
    gains = []
    for model in FEDERATED:
        gaps: dict[tuple[str, str], list[float]] = {}
        for seed, before in by_seed[0].items():
            after = by_seed[1][seed].get(model, {})
            for home, score in before.get(model, {}).items():
                if np.isfinite(gap := after.get(home, np.nan) - score):
                    gaps.setdefault((home, seed if others else ""), []).append(gap)
        if gaps:
            by_home = np.array([np.mean(one) for one in gaps.values()])
            low, high = mean_interval(by_home)
            mean = float(by_home.mean())
            gains.append(PairedGain(model=model, homes=len(gaps), mean=mean, low=low, high=high))
    return gains
