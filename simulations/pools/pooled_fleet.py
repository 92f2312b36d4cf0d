"""A pool as a plan uses it: some homes are held and looked at, the others become examples if asked.

What all homes' examples are made by (task, inputs, words, lags) and what is told at the end come
from the homes that are looked at: as many as ``evaluation.homes`` says, drawn by the plan's seed.
They take part in the rounds like all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome import rng
from fedhome.data.fleet_examples import fleet_examples
from fedhome.data.homes_folder import FolderRead
from fedhome.data.homes_store import HomesStore, is_store
from fedhome.data.input_schema import InputSchema
from fedhome.data.series.examples import HomeExamples
from fedhome.errors import PlanError
from fedhome.learning.tasks import kind_of
from fedhome.plan.data_settings import SYNTHETIC_HOMES
from fedhome.plan.settings import Plan
from fedhome.simulations.gather import FoundHomes, folder_of
from fedhome.simulations.pools.home_pool import HomePool, SyntheticPool

HELD_HOMES = 20_000
"""Homes that are all held in memory where a plan says nothing of it."""

LOOKED_AT = 200
"""Homes that are looked at where a plan says nothing of it, and not all are held."""


@dataclass(frozen=True, kw_only=True)
class PooledFleet:
    """A pool's homes, and how they become examples.

    Args:
        pool: The homes.
        plan: The plan, with all that it left to the data.
        schema: What the columns are taken for, by the homes that are looked at.
        positions: Where in the pool the homes that are held lie, int64 ``[held]``.
    """

    pool: HomePool
    plan: Plan
    schema: InputSchema
    positions: NDArray[np.int64]

    @classmethod
    def of(cls, pool: HomePool, found: FoundHomes) -> PooledFleet:
        """Return a pool's homes.

        Args:
            pool: All of them.
            found: Those that are looked at.
        """
        plan, used = found.gathered.plan, {home.home for home in found.gathered.homes}
        drawn = looked_at(plan, len(pool.names)).tolist()
        positions = [position for position in drawn if pool.names[position] in used]
        return cls(pool=pool, plan=plan, schema=found.schema, positions=np.array(positions))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all homes."""
        return tuple(self.pool.names)

    def examples(self, homes: NDArray[np.int64]) -> tuple[list[HomeExamples], dict[str, str]]:
        """Return the examples of some homes, and why others of them have none, by name.

        Args:
            homes: Positions in the pool, int64 ``[homes]``.
        """
        data = self.plan.data.simulated()
        data = data.model_copy(update={"indicators": self.schema.indicators})
        targets = kind_of(self.plan.task.kind).targets
        made = fleet_examples(self.pool.tables(homes), self.schema, data, targets)
        return list(made.homes), {one.home: one.told for one in made.excluded}


def open_pool(plan: Plan) -> HomePool | None:
    """Return the pool of a plan's source; None where all homes are to be held in memory.

    Raises:
        PlanError: The plan wants homes made when they are asked, and its source cannot.
        SourceError: The source cannot be read, or is not there.
    """
    hold, source = plan.engine.hold, plan.data.source
    if hold == "all":
        return None
    pool: HomePool | None = None
    if source == "synthetic":
        homes = plan.data.homes or SYNTHETIC_HOMES
        if hold == "asked" or homes > HELD_HOMES:
            pool = SyntheticPool(homes=homes, days=plan.data.days, seed=plan.seed)
    elif is_store(source):
        store = HomesStore(source, most=plan.data.homes)
        if hold == "asked" or len(store.names) > HELD_HOMES:
            pool = store
    if pool is None and hold == "asked":
        folder_of(source)  # one that is not there is told as such
        raise PlanError(
            [f'engine.hold = "asked", but data.source {source!r} gives no home without the rest'],
            hint="`fedhome data pack FOLDER` makes a store that can; or leave engine.hold out",
        )
    if pool is not None and (faults := list(_faults(plan))):
        raise PlanError(
            faults,
            hint='take what works with such a fleet, or hold all in memory: engine.hold = "all"',
        )
    return pool


def _faults(plan: Plan) -> Iterator[str]:
    """Yield what does not go with homes that are not held."""
    if plan.engine.name != "vector":
        yield f"homes are made when they are asked, which engine {plan.engine.name!r} cannot"
    if plan.engine.device != "cpu":
        yield f"homes are made when they are asked, which {plan.engine.device!r} has to wait for"
    if plan.evaluation.unseen:
        yield "evaluation.unseen sets homes apart, for which all must be held"
    if plan.slicing.tiers:
        yield "slicing.tiers deal out devices to homes, for which all must be held"
    if plan.faults.stragglers:
        yield "faults.stragglers need every home's number of rows, for which all must be held"
    if plan.aggregation.mode == "secure":
        yield 'aggregation.mode = "secure" needs keys of all homes: take "ideal" or "plain"'


def looked_at(plan: Plan, homes: int) -> NDArray[np.int64]:
    """Return which homes of a pool are looked at, in order, int64 ``[homes]``.

    Args:
        plan: The plan.
        homes: How many the pool has.
    """
    count = min(plan.evaluation.homes or LOOKED_AT, homes)
    drawn = rng.generator(plan.seed, "looked-at").choice(homes, count, replace=False)
    return np.sort(drawn).astype(np.int64)


def fitting(plan: Plan, homes: int) -> tuple[Plan, str]:
    """Return the plan of a pool with what it leaves open, and what that is, in a sentence.

    Args:
        plan: The plan.
        homes: How many the pool has.
    """
    count = min(plan.evaluation.homes or LOOKED_AT, homes)
    changes: dict[str, dict[str, Any]] = {"evaluation": {"homes": count}}
    held = (
        f"of {homes:,} homes {count} are held in memory and looked at (evaluation.homes): the plan "
        "is completed by their readings, and they say what homes gain; the others are made or read "
        "when a round asks them"
    )
    told = [held]
    if plan.rounds.evaluate_fraction == 1 and count < homes:
        share = count / homes
        changes["rounds"] = {"evaluate_fraction": share}
        told.append(f"about as many tell a round's score (rounds.evaluate_fraction = {share:.3g})")
    if plan.aggregation.mode == "auto":
        changes["aggregation"] = {"mode": "plain"}
        told.append('updates are added up in the clear (aggregation.mode = "plain")')
    return plan.change(**changes), "; ".join(told)


def read_some(pool: HomePool, plan: Plan) -> FolderRead:
    """Return the homes of a pool that are looked at, as they are read."""
    homes = pool.tables(looked_at(plan, len(pool.names)))
    return FolderRead(homes=homes, excluded=[], notes=())
