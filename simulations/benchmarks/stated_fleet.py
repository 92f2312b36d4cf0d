"""What models state of homes' rows at a run's end, kept so that rules can be tried on it.

The newest rows of every home are left out first, so that no test row of a table is looked at: what
is called *later* rows here are the last of those that are left.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.data.table import HomeTable
from fedhome.errors import RunError
from fedhome.learning.alone import FITTERS, network
from fedhome.learning.mixture import FleetsBlend
from fedhome.learning.personalise import ending
from fedhome.learning.personalise.experts import Experts
from fedhome.learning.tasks.segments import Floats
from fedhome.plan.settings import Plan
from fedhome.run.compared_models import ALONE, EXPERTS
from fedhome.simulations.benchmarks.own_past import lines_by_past
from fedhome.simulations.benchmarks.stated_past import AT_HOME, StatedPast, stated_past
from fedhome.simulations.simulate import simulate

BY_OTHERS: Final = " by others"
"""After a model's name: of each tenth of the validation rows what it states as it is fitted by what
the other nine chose."""
BY_PAST: Final = "linear by past"
"""The line whose penalty a home's past chooses with its validation rows."""
AGAIN: Final = "again"
"""The home's own network after another order of batches."""


@dataclass(frozen=True, kw_only=True)
class StatedHome:
    """What models state of one home's rows.

    Args:
        home: Its name.
        validation: By model, ``[rows, outputs]``, fitted to training rows alone; those of linear
            models and trees also with :data:`BY_OTHERS` after their names. Of a single horizon
            :data:`BY_PAST` is one of them.
        later: The same of the rows that follow, fitted to validation rows as well.
        truth: What is true of both, ``[rows, outputs]`` each.
        naive: What no learning states of both.
        times: Of both, ``[rows]`` each.
        past: What is stated of its past.
    """

    home: str
    validation: Mapping[str, Floats]
    later: Mapping[str, Floats]
    truth: tuple[Floats, Floats]
    naive: tuple[Floats, Floats]
    times: tuple[NDArray[np.int64], NDArray[np.int64]]
    past: StatedPast = field(default_factory=StatedPast)


@dataclass(frozen=True, kw_only=True)
class StatedFleet:
    """What models state of the rows of all homes of a run.

    Args:
        name: What the set is called.
        seed: The run's.
        targets: How they are encoded.
        experts: The experts of mixtures, by name.
        homes: The homes.
    """

    name: str
    seed: int
    targets: Targets
    experts: tuple[str, ...]
    homes: tuple[StatedHome, ...]

    def write(self, path: Path) -> None:
        """Write it to a file of arrays."""
        told = {
            "name": self.name,
            "seed": self.seed,
            "targets": self.targets,
            "experts": self.experts,
            "homes": [home.home for home in self.homes],
        }
        arrays: dict[str, Any] = {"told": np.array(json.dumps(told))}
        for place, part in enumerate(("validation", "later")):
            each = [getattr(home, part) for home in self.homes]
            for model in each[0]:
                stated = np.concatenate([one[model] for one in each])
                arrays[f"{part}/{model}"] = stated.astype(np.float32)
            for kind in ("truth", "naive", "times"):
                arrays[f"{part} {kind}"] = np.concatenate(
                    [getattr(home, kind)[place] for home in self.homes]
                )
            arrays[f"{part} rows"] = np.array([len(home.times[place]) for home in self.homes])
        for home in (one for one in self.homes if len(one.past.days)):
            past = home.past
            own = [past.truth, past.naive, *(past.stated[name] for name in AT_HOME)]
            arrays[f"past/{home.home}"] = np.stack(own).astype(np.float32)
            arrays[f"past days/{home.home}"] = past.days
        np.savez_compressed(path, **arrays)

    @classmethod
    def read(cls, path: Path) -> StatedFleet:
        """Return what `write` wrote."""
        with np.load(path) as held:
            told = json.loads(str(held["told"]))
            parts: list[dict[str, list[NDArray[Any]]]] = []
            for part in ("validation", "later"):
                ends = np.cumsum(held[f"{part} rows"])[:-1]
                names = [
                    name for name in held.files if name.startswith(part) and name[-4:] != "rows"
                ]
                parts.append({name[len(part) :]: np.split(held[name], ends) for name in names})
            pasts = {
                home: _past(held[f"past/{home}"], held[f"past days/{home}"])
                for home in told["homes"]
                if f"past/{home}" in held
            }
        homes = []
        for at, home in enumerate(told["homes"]):
            own = [{name: found[at] for name, found in part.items()} for part in parts]
            stated = [
                {name[1:]: np.asarray(v, np.float64) for name, v in one.items() if name[0] == "/"}
                for one in own
            ]
            homes.append(
                StatedHome(
                    home=home,
                    validation=stated[0],
                    later=stated[1],
                    truth=(own[0][" truth"], own[1][" truth"]),
                    naive=(own[0][" naive"], own[1][" naive"]),
                    times=(own[0][" times"], own[1][" times"]),
                    past=pasts.get(home, StatedPast()),
                )
            )
        return cls(
            name=told["name"],
            seed=told["seed"],
            targets=told["targets"],
            experts=tuple(told["experts"]),
            homes=tuple(homes),
        )


def _past(arrays: NDArray[np.float32], days: NDArray[np.int64]) -> StatedPast:
    truth, naive, *stated = arrays.astype(np.float64)
    return StatedPast(
        stated=dict(zip(AT_HOME, stated, strict=True)), truth=truth, naive=naive, days=days
    )


def with_line_by_past(fleet: StatedFleet) -> StatedFleet:
    """Return the fleet with each home's line as its past and validation rows choose it.

    Args:
        fleet: The fleet; where no such lines are known, they stay.
    """
    return replace(fleet, homes=tuple(_with_line_by_past(home) for home in fleet.homes))


def _with_line_by_past(home: StatedHome) -> StatedHome:
    if BY_PAST not in home.later:
        return home
    line = {name: home.validation[f"{BY_PAST}{name}"] for name in ("", BY_OTHERS)}
    return replace(
        home,
        validation=dict(home.validation) | {f"linear{name}": own for name, own in line.items()},
        later=dict(home.later) | {"linear": home.later[BY_PAST]},
    )


def without_newest(table: HomeTable, share: float, of_class: str = "") -> HomeTable:
    """Return a home's readings without the newest share of its rows.

    Args:
        table: The readings.
        share: Of the rows that are left out.
        of_class: A column of classes, of each of which the newest are left out; empty: of all.
    """
    rows = table.rows
    keep = np.arange(rows) < rows - int(rows * share)
    if of_class:
        column = table.columns[of_class]
        for value in np.unique(column):
            at = np.flatnonzero(column == value)
            keep[at] = np.arange(len(at)) < len(at) - int(len(at) * share)
    columns = {name: values[keep] for name, values in table.columns.items()}
    return replace(table, time_s=table.time_s[keep], columns=columns)


def stated_fleet(name: str, plan: Plan, tables: Sequence[HomeTable]) -> StatedFleet:
    """Run a plan over homes, and return what models state at its end.

    Args:
        name: What the set is called.
        plan: What is run.
        tables: The homes' readings.

    Raises:
        RunError: Homes are asked for no outcome, or elsewhere.
    """
    found: list[StatedHome] = []
    targets: list[Targets] = []
    with tempfile.TemporaryDirectory() as place, _watched(found, targets):
        simulate(plan, homes=list(tables), out=Path(place) / "run")
    if not found:
        raise RunError(
            f"{name}: no home stated anything here",
            hint='leave personalise.name other than "none", and engine.name as it is',
        )
    unique = {home.home: home for home in found}
    return StatedFleet(
        name=name,
        seed=plan.seed,
        targets=targets[0],
        experts=plan.personalise.experts,
        homes=tuple(unique[home] for home in sorted(unique)),
    )


@contextmanager
def _watched(found: list[StatedHome], targets: list[Targets]) -> Iterator[None]:
    """Note what models state when homes are asked for their outcome."""
    before = ending.end

    def end(experts: Experts, names: Sequence[str], fleet: FleetsBlend) -> ending.Outcome:
        outcome = before(experts, names, fleet)
        targets.append(experts.cohort.learning.task.kind.targets)
        found.extend(_homes(experts, fleet))
        return outcome

    ending.end = end
    try:
        yield
    finally:
        ending.end = before


def _homes(experts: Experts, fleet: FleetsBlend) -> Iterator[StatedHome]:
    cohort = experts.cohort
    schedule = network.fleets_schedule(len(cohort.homes), *fleet.alone)
    stated = {name: experts.stated(name) for name in dict.fromkeys([*EXPERTS, *ALONE[:-1]])}
    stated["settings"] = experts.of_schedule(schedule)
    stated[AGAIN] = experts.stated(AGAIN)
    judged = {name: experts.judged(name) for name in FITTERS}
    naive = experts.naive()
    parts = cohort.rows("validation"), cohort.rows("test")
    truth = experts.truth("validation"), experts.truth("test")
    ends = [np.cumsum(part.counts) for part in parts]
    lines = list(lines_by_past(experts))
    for place, (home, past) in enumerate(zip(cohort.homes, stated_past(experts), strict=True)):
        rows = [
            slice(int(end[place] - part.counts[place]), int(end[place]))
            for end, part in zip(ends, parts, strict=True)
        ]
        own = {name: one.validation[rows[0]] for name, one in stated.items()}
        own |= {f"{name}{BY_OTHERS}": rows_of[rows[0]] for name, rows_of in judged.items()}
        later = {name: one.test[rows[1]] for name, one in stated.items()}
        if lines:
            line = lines[place]
            own |= {BY_PAST: line.validation, f"{BY_PAST}{BY_OTHERS}": line.by_others}
            later[BY_PAST] = line.test
        yield StatedHome(
            home=home,
            validation=own,
            later=later,
            truth=(truth[0][rows[0]], truth[1][rows[1]]),
            naive=(naive.validation[rows[0]], naive.test[rows[1]]),
            times=(parts[0].times[rows[0]], parts[1].times[rows[1]]),
            past=past,
        )
