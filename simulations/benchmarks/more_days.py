"""New homes that have more days than homes of the rounds: ways to mix, against the strongest alone.

    python -m fedhome.simulations.benchmarks.more_days --only default few-days --seeds 31 32 33

One run of each set and seed, whose homes have few days; then homes join with a week, two and four,
and mix in every way of :data:`WAYS`. Of real sets the newest fifth of each home's rows is left out
first, so that no test row of a table is looked at; made homes have a table's only with its seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fedhome.learning.mixture import STRENGTHS
from fedhome.learning.personalise import ending
from fedhome.learning.personalise.experts import Experts
from fedhome.learning.tasks.segments import Floats
from fedhome.plan.overrides import merge
from fedhome.plan.settings import Plan
from fedhome.run.mean_intervals import mean_interval
from fedhome.simulations import cold_start as joining
from fedhome.simulations.benchmarks.learning_sets import SETS, LearningSet
from fedhome.simulations.benchmarks.stated_fleet import without_newest
from fedhome.simulations.engines.world import World
from fedhome.simulations.fleet_offer import FleetOffer, experts_of
from fedhome.simulations.newcomers import Newcomers, with_days
from fedhome.simulations.rehearsals import Mixing, Rehearsals, cohort_on, usual_rows
from fedhome.simulations.simulate import simulate

DAYS: Final = (7.0, 14.0, 28.0)
"""Of their own, that homes join with."""
_SHORT = 5.0  # days, that homes of the rounds have
_APART, _REAL_APART = 0.2, 0.3  # of the homes; of few, more
_LEFT_OUT = 0.2
_ALONE = ("naive", "linear", "trees")

Way = Callable[[Mixing, Mixing], Mixing]


def _followed(mixing: Mixing, strength: float) -> Mixing:
    return mixing._replace(blend=replace(mixing.blend, strength=strength))


WAYS: Final[Mapping[str, Way]] = {
    "as few days say, followed wholly": lambda few, _: _followed(few, max(STRENGTHS)),
    "as few days say, followed": lambda few, _: few,
    "drawn on, followed wholly": lambda _, on: _followed(on, max(STRENGTHS)),
    "drawn on, followed (built)": lambda _, on: on,
}
"""How new homes mix: by how experts err with few days, or as that is drawn on; followed as strongly
as can be, or as the run chose."""
_STRONGEST = "strongest alone"


def table(scores: Mapping[tuple[str, float], Sequence[Mapping[str, Floats]]]) -> str:
    """Return a table in Markdown: how far homes are from the strongest way to be alone.

    Args:
        scores: Of each set and number of days, run by run what homes score by way of mixing and
            by way to be alone, ``[homes]`` each.
    """
    rows = [["set, days", "homes", _STRONGEST, *(f"{way}, minus that" for way in WAYS)]]
    rows.append(["---"] * len(rows[0]))
    for (name, days), runs in scores.items():
        # The strongest by its mean over a run's homes, which no home could know beforehand.
        best = [
            max((run[one] for one in _ALONE), key=lambda own: float(own.mean())) for run in runs
        ]
        alone = np.concatenate(best)
        cells = [f"{name}, {days:g}", str(len(alone)), f"{alone.mean():.3f}"]
        for way in WAYS:
            gaps = np.concatenate([run[way] for run in runs]) - alone
            low, high = mean_interval(gaps)
            cells.append(f"{gaps.mean():+.3f} ({low:+.3f} to {high:+.3f})")
        rows.append(cells)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def run_one(one: LearningSet, seed: int, folder: Path) -> dict[float, dict[str, Floats]]:
    """Run a set, and return what new homes score by days and by way, ``[homes]`` each.

    Args:
        one: The set.
        seed: The plan's.
        folder: Where the real homes' subfolders are.
    """
    changes: dict[str, Any] = {"seed": seed, "aggregation": {"mode": "ideal"}}
    changes["personalise"] = {"opponents": ["seasonal"]}
    merge(changes, one.plan)
    merge(
        changes, {"evaluation": {"unseen": _REAL_APART if one.read else _APART, "days": list(DAYS)}}
    )
    tables = None
    if one.read is None:
        merge(changes, {"data": {"days": 42}})
    else:
        merge(changes, {"data": {"history_days": _SHORT}})
        whole = one.read(folder / one.folder)
        tables = [without_newest(home, _LEFT_OUT) for home in whole]
    found: dict[float, dict[str, Floats]] = {}
    with tempfile.TemporaryDirectory() as place, _watched(found):
        simulate(Plan.parse(changes), homes=tables, out=Path(place) / "run")
    return found


@contextmanager
def _watched(found: dict[float, dict[str, Floats]]) -> Iterator[None]:
    """Note what new homes score, in place of what a run makes of them."""
    before = joining.cold_start

    def tried(
        world: World, newcomers: Newcomers, fleet: FleetOffer
    ) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
        rehearsals = Rehearsals(world, newcomers, fleet)
        for days in DAYS:
            homes, _ = with_days(newcomers, days)
            rows = usual_rows([sum(home.counts[:2]) for home in homes])
            few, on = rehearsals.mixing(days, 0.0), rehearsals.mixing(days, rows)
            with cohort_on(world, homes) as cohorts:
                each = [_scores(experts_of(world, cohort, fleet), few, on) for cohort in cohorts]
            found[days] = {name: np.concatenate([one[name] for one in each]) for name in each[0]}
        yield [], []

    joining.cold_start = tried
    try:
        yield
    finally:
        joining.cold_start = before


def _scores(experts: Experts, few: Mixing, on: Mixing) -> dict[str, Floats]:
    """Return what homes score, ``[homes]``: by each way, and with each model alone."""
    stated = {name: experts.stated(name).test for name in _ALONE}
    for name, way in WAYS.items():
        mixing = way(few, on)
        stated[name] = ending.mix(experts, mixing.experts, mixing.blend).stated.test
    score, cohort = experts.cohort.learning.task.score, experts.cohort
    return {
        name: np.asarray(cohort.measure(experts.output(own), "test")[score], np.float64)
        for name, own in stated.items()
    }


def main() -> None:
    """Run what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    series = ("default", "few-days", "energy-homes17")
    parser.add_argument("--only", nargs="*", default=series[:2], choices=series)
    parser.add_argument("--seeds", type=int, nargs="*", default=[31], help="of tables are others")
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the real sets")
    given = parser.parse_args()
    scores: dict[tuple[str, float], list[dict[str, Floats]]] = {}
    for name in given.only:
        (one,) = (known for known in SETS if known.name == name)
        for seed in given.seeds:
            for days, homes in run_one(one, seed, given.data).items():
                scores.setdefault((name, days), []).append(homes)
    print(table(scores))


if __name__ == "__main__":
    main()
