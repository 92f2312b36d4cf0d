"""Homes with many days of readings in one run with homes that have few: is either worse off?

    python -m fedhome.simulations.benchmarks.unlike_histories --seeds 31 32 --one-in 10

Made homes, of which one in so many has 80 days and all others have 5; tests and validation are
their last fifths as ever. The table says of both kinds what homes end with, against whatever way to
be alone was strongest in the mean over homes of that kind.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from fedhome.data.table import HomeTable
from fedhome.learning.tasks.segments import Floats
from fedhome.plan.settings import Plan
from fedhome.plan.time_steps import DAY_S
from fedhome.run.mean_intervals import mean_interval
from fedhome.run.results import scores
from fedhome.simulations.gather import read_source
from fedhome.simulations.simulate import simulate

MANY, FEW = 80, 5
"""Days of readings."""
_ALONE: Final = ("seasonal", "linear", "trees")


def newest_days(table: HomeTable, days: int) -> HomeTable:
    """Return a home's readings of its last days.

    Args:
        table: The readings.
        days: How many.
    """
    keep = table.time_s > table.time_s[-1] - days * DAY_S
    columns = {name: values[keep] for name, values in table.columns.items()}
    return replace(table, time_s=table.time_s[keep], columns=columns)


def run_one(plan: Plan, one_in: int) -> dict[int, dict[str, Floats]]:
    """Run a plan over homes of unlike length, and return scores by days and model ``[homes]``.

    Args:
        plan: The plan, of made homes.
        one_in: Of so many homes one has many days, the first among them.
    """
    whole = read_source(plan.change(data={"days": MANY, "history_days": float(MANY)})).homes
    days = {table.home: FEW if at % one_in else MANY for at, table in enumerate(whole)}
    tables = [newest_days(table, days[table.home]) for table in whole]
    with tempfile.TemporaryDirectory() as place:
        by_model = scores(simulate(plan, homes=tables, out=Path(place) / "run").homes)
    return {
        length: {
            model: np.array([score for home, score in own.items() if days[home] == length])
            for model, own in by_model.items()
        }
        for length in (MANY, FEW)
    }


def table(runs: Sequence[Mapping[int, Mapping[str, Floats]]]) -> str:
    """Return a table in Markdown.

    Args:
        runs: What `run_one` returned with each seed.
    """
    rows = [["days", "homes", "what homes end with", "strongest alone", "minus that"]]
    rows.append(["---"] * len(rows[0]))
    for days in (MANY, FEW):
        own = np.concatenate([run[days]["personalised"] for run in runs])
        best = [max((run[days][name] for name in _ALONE), key=np.mean) for run in runs]
        gaps = own - np.concatenate(best)
        low, high = mean_interval(gaps)
        told = f"{gaps.mean():+.3f} ({low:+.3f} to {high:+.3f})"
        alone = f"{np.concatenate(best).mean():.3f}"
        rows.append([str(days), str(len(own)), f"{own.mean():.3f}", alone, told])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Run what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[31], help="of tables are others")
    parser.add_argument("--one-in", type=int, default=10)
    given = parser.parse_args()
    told = {"aggregation": {"mode": "ideal"}, "personalise": {"opponents": list(_ALONE)}}
    plans = [Plan.parse({"seed": seed, **told}) for seed in given.seeds]
    print(table([run_one(plan, given.one_in) for plan in plans]))


if __name__ == "__main__":
    main()
