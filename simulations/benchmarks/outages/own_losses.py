"""How good a release is by the homes' own validation rows, which no server sees.

What a server promises of a release rests on two things: that what homes said of it in sums is what
their rows give, and that it took the better one by what they said. Both are looked at here, the one
by scoring the release over each home's own rows, the other by the runs' tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.clients.home import home_of
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.own_readings import read_own
from fedhome.plan.settings import Plan
from fedhome.registry import Registry, Release
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.publishing import losses_in

_EXACT = 1e-5
"""By how much a mean of sums may differ, beside its size: losses are added in steps of 2.4e-7, and
other code adds floats up in another order."""


class OwnLoss(NamedTuple):
    """A home's loss with a model on its validation rows.

    Args:
        loss: Their mean.
        rows: How many they are.
    """

    loss: float
    rows: int


def own_losses(
    plan: Plan, homes: Mapping[str, HomeFolder], flat: NDArray[np.float32]
) -> dict[str, OwnLoss]:
    """Return each home's loss with a model, on its own validation rows.

    Args:
        plan: The homes' plan.
        homes: Their folders, by name.
        flat: The model, float32 ``[size]``.
    """
    found = {}
    for name, folder in homes.items():
        own = read_own(plan, Path(folder.settings.data), name=name, reading=folder.settings.reading)
        device = home_of(plan, own).device
        rows = int(device.counts("validation")[0])
        found[name] = OwnLoss(float(device.evaluate(flat, "validation").losses[0]), rows)
    return found


def mean_loss(losses: Mapping[str, OwnLoss]) -> float:
    """Return homes' loss in the mean over all of their rows."""
    return sum(one.loss * one.rows for one in losses.values()) / sum(
        one.rows for one in losses.values()
    )


def who_said(told: float, losses: Mapping[str, OwnLoss], least: int) -> tuple[str, ...] | None:
    """Return which homes said what a server was told of a model, by their own rows.

    Args:
        told: Their mean loss, as a sum gave it.
        losses: Each home's.
        least: How many homes there are in a sum at least.

    Returns:
        Their names; None where no homes have that loss: what was told is not true.
    """
    for count in range(len(losses), least - 1, -1):
        for names in combinations(sorted(losses), count):
            theirs = mean_loss({name: losses[name] for name in names})
            if abs(theirs - told) <= _EXACT * (1 + abs(theirs)):
                return names
    return None


def untrue_losses(
    plan: Plan, homes: Mapping[str, HomeFolder], registry: Registry
) -> tuple[list[str], list[float]]:
    """Return which releases are not as good as the server was told, and how good each is.

    Args:
        plan: The homes' plan.
        homes: Their folders.
        registry: The server's registry.

    Returns:
        What is wrong, in words; and the loss over all homes' own rows, of each release.
    """
    told, broken, whole = losses_in(registry.folder), [], []
    for release in registry.releases():
        losses = own_losses(plan, homes, registry.load(release).flat)
        whole.append(mean_loss(losses))
        said = told.get(release.manifest.payload.hex())
        if said is None:
            broken.append(f"release {release.number} was made without homes' word on it")
        elif who_said(said, losses, plan.aggregation.min_cohort) is None:
            broken.append(
                f"release {release.number}: the server was told a loss of {said:.6g}, and no homes "
                f"have that: over all of them it is {whole[-1]:.6g}"
            )
    return broken, whole


def changed_loss(before: RunFolder, made_in: int, run: RunFolder, number: int) -> float | None:
    """Return by how much homes' loss changed from one round's model to that of a later run.

    The run went on from the other one's last model, and its first round stands for that.

    Args:
        before: The earlier run.
        made_in: The round of it that made the release in use.
        run: The later run.
        number: Its round that made what it ended with.

    Returns:
        Below 0 where the later one is better; None where homes did not say it.
    """
    earlier, later = _losses(before), _losses(run)
    ends = earlier.get(max(earlier)), earlier.get(made_in), later.get(number), later.get(1)
    if any(one is None for one in ends) or number == 1:
        return None
    last, made, now, first = (float(one) for one in ends if one is not None)
    return (last - made) + (now - first)


def worse_by_the_tables(release: Release, before: Release, runs: Path) -> list[str]:
    """Return whether a release was taken although homes said that it is worse.

    Args:
        release: The release.
        before: The one before it.
        runs: The folder of the runs' folders.
    """
    earlier, later = before.manifest, release.manifest
    if earlier.run == later.run or later.restores:
        return []
    change = changed_loss(
        RunFolder(runs / earlier.run), earlier.round, RunFolder(runs / later.run), later.round
    )
    if change is None or change <= 0:
        return []
    return [f"release {release.number} was taken, and homes' loss with it is {change:.3g} higher"]


def _losses(run: RunFolder) -> dict[int, float | None]:
    rows = run.read_rounds()
    numbers, losses = rows.column("round").to_pylist(), rows.column("validation_loss").to_pylist()
    return dict(zip(numbers, losses, strict=True))
