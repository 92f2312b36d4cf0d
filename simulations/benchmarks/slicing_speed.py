"""What a sliced simulation costs in wall time, against unsliced ones of equal arithmetic.

    python -m fedhome.simulations.benchmarks.slicing_speed

A device trains its slice and the smaller ones in it. The same arithmetic without slices: the homes
of each tier train a plain network of each of these shapes, by themselves. Both in the vector
engine, with the kernel that it takes by itself, and with the traced kernel for both. The first
round is left out: in it kernels are made.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fedhome.data.table import HomeTable
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.simulations.benchmarks.slicing import TIERS
from fedhome.simulations.gather import read_source
from fedhome.simulations.simulate import simulate


def plan_of_speed(kernel: str, rounds: int, homes: int) -> Plan:
    """Return a sliced plan that does little else than train.

    Args:
        kernel: The engine's kernel.
        rounds: How many rounds are timed.
        homes: How many homes there are.
    """
    return Plan.parse(
        {
            "aggregation": {"mode": "plain"},
            "data": {"homes": homes},
            "train": {"batch_size": 32},
            "slicing": {"tiers": list(TIERS)},
            "rounds": {"count": rounds + 1, "judge_every": 0},
            "personalise": {"name": "none"},
            "engine": {"kernel": kernel},
        }
    )


def seconds_of_training(plan: Plan, homes: Sequence[HomeTable]) -> float:
    """Return the seconds that homes trained in all rounds but the first."""
    with tempfile.TemporaryDirectory() as place:
        result = simulate(plan, homes=list(homes), out=Path(place) / "run")
        return float(sum(result.rounds["seconds_train"].to_pylist()[1:]))


def seconds_unsliced(plan: Plan, homes: Sequence[HomeTable]) -> float:
    """Return the seconds of the same arithmetic by plain networks, tier by tier.

    Args:
        plan: The sliced plan.
        homes: All homes.
    """
    shapes = [tier.widths(plan.model.hidden) for tier in plan.slicing.in_order()]
    tiers = tiers_of(plan, [home.home for home in homes])
    total = 0.0
    for number in range(len(shapes)):
        own = [home for home, at in zip(homes, tiers.tolist(), strict=True) if at == number]
        for widths in shapes[: number + 1]:
            plain = plan.change(model={"hidden": widths}, slicing={"tiers": ()})
            total += seconds_of_training(plain, own)
    return total


def main() -> None:
    """Print seconds with and without slices, and their ratio, kernel by kernel."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--homes", type=int, default=100)
    parser.add_argument("--tries", type=int, default=2, help="the least of so many counts")
    given = parser.parse_args()
    for kernel in ("auto", "traced"):
        plan = plan_of_speed(kernel, given.rounds, given.homes)
        homes = read_source(plan).homes
        sliced = min(seconds_of_training(plan, homes) for _ in range(given.tries))
        plain = min(seconds_unsliced(plan, homes) for _ in range(given.tries))
        print(
            f"{kernel}: sliced {sliced:.2f} s, unsliced {plain:.2f} s, {sliced / plain:.2f} times"
        )


if __name__ == "__main__":
    main()
