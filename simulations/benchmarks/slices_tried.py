"""What was tried for nested slices, on rows that no table of results is made of.

Seeds begin with 11, and homes of real sets lack the last fifth of each class, which are their test
rows in all other tables: what is scored here is no test row there.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.data.table import HomeTable
from fedhome.models.cut_slices import FinishedModel
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.results import scores
from fedhome.simulations.benchmarks.learning_sets import SETS
from fedhome.simulations.benchmarks.slice_ideas import IDEAS, TAIL, SliceIdea
from fedhome.simulations.simulate import Result, simulate

FIRST_SEED: Final = 11
TRIED_SETS: Final = ("default", "wisdm51", "uci-har30")
_STILL: Final = 1e-6  # of the learning rate: a round that leaves a model as it is
_AFTER: Final[Mapping[str, tuple[str, bool, int, float]]] = {
    "by-tier": ("fine-tuning chosen tier by tier, not by the whole fleet", False, 1, _STILL),
    "tail": (
        f"then {TAIL} rounds by which all that can carry a tier's slice tune it by itself",
        True,
        TAIL,
        1.0,
    ),
    "slow-tail": ("the same at a fifth of the learning rate", True, TAIL, 0.2),
}
"""What follows the joint rounds as they are: in words, by all that can carry the slice or by its
tier alone, how many rounds, at which part of the learning rate."""

_ALL: Final = ("all", "all devices, each tier's network (for comparison)")


def known_rows(tables: Sequence[HomeTable], target: str) -> list[HomeTable]:
    """Return homes without the last fifth of each class's rows.

    Args:
        tables: The homes, rows in the order of time.
        target: The column with the classes.
    """
    found = []
    for one in tables:
        truth = one.columns[target]
        keep = np.isfinite(truth)
        for value in np.unique(truth[keep]):
            rows = np.flatnonzero(truth == value)
            keep[rows[round(len(rows) * 0.8) :]] = False
        columns = {name: values[keep] for name, values in one.columns.items()}
        found.append(replace(one, time_s=one.time_s[keep], columns=columns))
    return found


def tried_ways() -> dict[str, str]:
    """Return every way that was tried, in words, by its name."""
    joint = {name: idea.told for name, idea in IDEAS.items()}
    return joint | {name: words for name, (words, *_) in _AFTER.items()} | dict([_ALL])


def run_tried(plan: Plan, tables: list[HomeTable], ways: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Run one set with one seed, and yield for each way the mean score of each tier's homes.

    Args:
        plan: The sliced plan.
        tables: Its homes.
        ways: What is tried, of :func:`tried_ways`.
    """
    plan = plan.change(
        data={"indicators": ()},  # else a tier's homes may have other inputs
        personalise={"opponents": ("seasonal",)},  # the cheapest: none is looked at here
    )
    numbers = _tiers(plan, (table.home for table in tables))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        joint: Result | None = None
        for way in ways:
            begin = time.perf_counter()
            if way in IDEAS:
                result = _joint(plan, tables, IDEAS[way], folder / way)
                joint = result if way == "as-is" else joint
                by_tier = _means(result, numbers, range(len(plan.slicing.tiers)))
            else:
                if joint is None and way in _AFTER:
                    joint = _joint(plan, tables, IDEAS["as-is"], folder / "as-is")
                by_tier = _each_tier(plan, tables, way, joint, folder)
            yield {"way": way, "tiers": by_tier, "seconds": time.perf_counter() - begin}


def _joint(plan: Plan, tables: list[HomeTable], idea: SliceIdea, out: Path) -> Result:
    plan = plan.change(rounds={"count": plan.rounds.count + idea.rounds})
    with idea.at_work():
        return simulate(plan, homes=tables, model=idea.model, out=out)


def _each_tier(
    plan: Plan, tables: list[HomeTable], way: str, joint: Result | None, folder: Path
) -> list[dict[str, float]]:
    """Return the scores where each tier's network is trained by itself."""
    numbers, found = _tiers(plan, (table.home for table in tables)), list[dict[str, float]]()
    for number, tier in enumerate(plan.slicing.in_order()):
        widths = tier.widths(plan.model.hidden)
        small, start = plan.change(model={"hidden": widths}, slicing={"tiers": ()}), None
        own = tables
        if joint is not None and way in _AFTER:
            _, larger_too, rounds, rate = _AFTER[way]
            start = _cut_run(folder / f"{way}-{tier.name}-start", joint, widths)
            small = joint.plan.change(  # what the plan left open is as the joint run's homes said
                model={"hidden": widths},
                slicing={"tiers": ()},
                rounds={"count": rounds},
                train={"warm_rate": rate},
            )
            own = [
                table
                for table in tables
                if numbers[table.home] == number or (larger_too and numbers[table.home] > number)
            ]
        result = simulate(small, homes=own, start=start, out=folder / f"{way}-{tier.name}")
        found += _means(result, numbers, [number])
    return found


def _cut_run(place: Path, joint: Result, widths: tuple[int, ...]) -> Path:
    """Write a slice of a finished run as one that another run can begin with; return `place`."""
    cut = FinishedModel.of_run(joint.plan, joint.model.parameters).cut(widths)
    run = RunFolder.create(place)
    run.write_plan(joint.plan.to_toml())
    with EventLog(run.events_path) as log:
        log.append("note", text="a slice of another run")
    run.write_model(
        cut, plan=joint.plan.name, round_number=joint.model.round, learnt=joint.model.learnt
    )
    return place


def _tiers(plan: Plan, homes: Iterable[str]) -> dict[str, int]:
    names = sorted(homes)
    return dict(zip(names, tiers_of(plan, names).tolist(), strict=True))


def _means(
    result: Result, numbers: Mapping[str, int], tiers: Sequence[int]
) -> list[dict[str, float]]:
    """Return tiers' mean scores after fine-tuning, and of the fleet's network as it is."""
    found = scores(result.homes)
    return [
        {
            model: float(np.mean([s for home, s in found[model].items() if numbers[home] == tier]))
            for model in ("tuned", "global")
        }
        for tier in tiers
    ]


def tried_table(measured: Iterable[Mapping[str, Any]]) -> str:
    """Return a table in Markdown: for each way and set the tiers' scores after fine-tuning.

    Of slices as they are it has means over seeds, of every other way what its scores differ by from
    these in the same seeds; and how many seeds that is.
    """
    runs = {(run["set"], run["way"], run["seed"]): _tuned(run) for run in measured}
    sets = [one.name for one in SETS if any(name == one.name for name, *_ in runs)]
    rows = [["", *sets], ["---"] * (1 + len(sets))]
    for way, words in tried_ways().items():
        cells = [_cell(runs, name, way) for name in sets]
        if any(cells):
            rows.append([words, *cells])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _tuned(run: Mapping[str, Any]) -> NDArray[np.float64]:
    return np.array([tier["tuned"] for tier in run["tiers"]])


def _cell(runs: Mapping[tuple[str, str, int], NDArray[np.float64]], name: str, way: str) -> str:
    first = next(iter(IDEAS))
    found = [
        tiers if way == first else tiers - runs[name, first, seed]
        for (of, one, seed), tiers in runs.items()
        if (of, one) == (name, way) and (name, first, seed) in runs
    ]
    if not found:
        return ""
    form = "{:.3f}" if way == first else "{:+.3f}"
    return " / ".join(form.format(score) for score in np.mean(found, axis=0)) + f" ({len(found)})"
