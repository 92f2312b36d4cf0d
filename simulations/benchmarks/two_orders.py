"""In how many homes a network differs surely from itself after another order of batches, and why.

    python -m fedhome.simulations.benchmarks.two_orders DUMPS

DUMPS is a folder of `fedhome.simulations.benchmarks.expert_weights`. Two trainings are two models,
so one of them is the better one by a little. If the interval were at fault, it would find
differences as well where there are none: where for each day of rows a coin says which of the two
is taken for which. If they are real, more days show more of them, and the half of the days in
which a network is better is followed by another one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.blocks import blocks_of, interval
from fedhome.learning.tasks.segments import Floats
from fedhome.simulations.benchmarks.stated_fleet import AGAIN, StatedFleet

_DAYS = (3, 7, 14, 28)
_COINS = 50  # for each home


class Orders(NamedTuple):
    """Two orders of batches, over homes.

    Args:
        homes: How many there are.
        differ: Share of them in which the two surely differ.
        by_days: The same of the first days of their later rows alone, of as many as `days`.
        days: How many these are.
        by_coins: The same where for each day a coin says which is which.
        apart: Median of what one errs more than the other, as a share.
        halves: How what one is better by in the first half of the days goes together with that in
            the second: their correlation over homes, in units of each home's mean difference;
            NaN where too few homes differ.
    """

    homes: int
    differ: float
    by_days: tuple[float, ...]
    days: tuple[int, ...]
    by_coins: float
    apart: float
    halves: float


def orders(fleets: Sequence[StatedFleet], days: Sequence[int] = _DAYS) -> Orders:
    """Return how two orders of batches differ in the homes of some runs.

    Args:
        fleets: The runs, of numbers; both networks' statements are among what is kept.
        days: Of how many days it is told as well.
    """
    coins = np.random.default_rng(0)
    differ, apart, halves = [], [], []
    by_coins: list[bool] = []
    by_days: list[list[bool]] = [[] for _ in days]
    for home in (home for fleet in fleets for home in fleet.homes):
        errors = [
            np.sum((home.later[name] - home.truth[1]) ** 2, axis=1) for name in ("local", AGAIN)
        ]
        gains, blocks = errors[0] - errors[1], blocks_of(home.times[1])
        count = int(blocks.max()) + 1
        differ.append(_differ(gains, blocks))
        for found, first in zip(by_days, days, strict=True):
            found.append(_differ(gains[blocks < first], blocks[blocks < first]))
        drawn = coins.choice([-1.0, 1.0], (_COINS, count))
        by_coins += [_differ(gains * signs[blocks], blocks) for signs in drawn]
        apart.append(abs(errors[0].mean() / errors[1].mean() - 1))
        if count > 1 and gains.any():
            early, unit = blocks < count // 2, np.abs(gains).mean()
            halves.append((gains[early].mean() / unit, gains[~early].mean() / unit))
    return Orders(
        len(differ),
        float(np.mean(differ)),
        tuple(float(np.mean(found)) for found in by_days),
        tuple(days),
        float(np.mean(by_coins)),
        float(np.median(apart)),
        _together(np.array(halves)),
    )


def _together(halves: Floats) -> float:
    """Return the correlation of two columns; NaN where one of them is the same throughout."""
    if len(halves) < 2 or not np.all(np.std(halves, axis=0) > 0):  # noqa: PLR2004
        return float("nan")
    return float(np.corrcoef(halves[:, 0], halves[:, 1])[0, 1])


def _differ(gains: Floats, blocks: NDArray[np.int64]) -> bool:
    low, high = interval(gains, blocks)
    return low > 0 or high < 0


def main() -> None:
    """Print a line for each set."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dumps", type=Path)
    given = parser.parse_args()
    fleets = [StatedFleet.read(path) for path in sorted(given.dumps.glob("*.npz"))]
    told = [one for one in fleets if all(AGAIN in home.later for home in one.homes)]
    for name in dict.fromkeys(one.name for one in told if one.targets == "continuous"):
        found = orders([one for one in told if one.name == name])
        shares = ", ".join(
            f"{share:.0%} by {days} days"
            for days, share in zip(found.days, found.by_days, strict=True)
        )
        print(
            f"{name} ({found.homes}): {found.differ:.0%} differ; {shares}; {found.by_coins:.1%} "
            f"by coins; {found.apart:.1%} apart; halves {found.halves:+.2f}"
        )


if __name__ == "__main__":
    main()
