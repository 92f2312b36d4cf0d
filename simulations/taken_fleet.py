"""The homes of a simulation: which take part, which join later, which are held in memory."""

from __future__ import annotations

from dataclasses import dataclass

from fedhome.errors import PlanError
from fedhome.plan.plan_faults import single_updates
from fedhome.plan.protocol import check_groups
from fedhome.plan.settings import Plan
from fedhome.simulations.gather import GatheredHomes, find_in, most_homes, read_source
from fedhome.simulations.newcomers import Newcomers, set_apart
from fedhome.simulations.pools.pooled_fleet import PooledFleet, fitting, open_pool, read_some

_NO_EFFECT = (
    "evaluation.homes has no effect: all homes are in memory (engine.hold), and all say what they "
    "gain"
)


@dataclass(frozen=True, kw_only=True)
class TakenFleet:
    """The homes of a simulation.

    Args:
        newcomers: Those that take part and are in memory, and those that join after the rounds.
        pool: The fleet that the former are some of; None where they are all.
        notes: What was noticed, in plain sentences.
    """

    newcomers: Newcomers
    pool: PooledFleet | None
    notes: tuple[str, ...]

    @property
    def gathered(self) -> GatheredHomes:
        """The homes that take part and are in memory."""
        return self.newcomers.found.gathered

    @property
    def homes(self) -> int:
        """How many take part."""
        return len(self.gathered.homes if self.pool is None else self.pool.names)


def take_fleet(plan: Plan) -> TakenFleet:
    """Read or make the homes of a plan; of a pool those that are looked at.

    Raises:
        FedHomeError: The source cannot be read, or does not go with the plan.
    """
    pool = open_pool(plan)
    if pool is None:
        check_most(plan)
        read, unseen = set_apart(read_source(plan), plan)
        newcomers = Newcomers(tables=unseen, found=find_in(read, plan))
        notes = newcomers.found.gathered.notes
        told = () if plan.evaluation.homes is None else (_NO_EFFECT,)
        return TakenFleet(newcomers=newcomers, pool=None, notes=(*told, *notes))
    plan, note = fitting(plan, len(pool.names))
    newcomers = Newcomers(tables=(), found=find_in(read_some(pool, plan), plan))
    return TakenFleet(
        newcomers=newcomers,
        pool=PooledFleet.of(pool, newcomers.found),
        notes=(note, *newcomers.found.gathered.notes),
    )


def check_most(plan: Plan) -> None:
    """Refuse a plan for which a source has too few homes, before these are read.

    Raises:
        PlanError: However many of them can take part, no sum could be opened.
    """
    most = most_homes(plan)
    if most is None or plan.evaluation.unseen or plan.aggregation_mode(most) == "plain":
        return
    # Synthetic homes are alike: none of a million is left out, for which fewer would have to do.
    fewer = range(0) if plan.data.source == "synthetic" else range(1, most)
    if (fault := check_groups(plan, most)) and all(check_groups(plan, n) for n in fewer):
        raise PlanError([fault])


def check_sums(plan: Plan, homes: int, *, sums: bool) -> None:
    """Refuse what cannot be added up in secret.

    Raises:
        PlanError: All faults at once.
    """
    faults = []
    if not sums and plan.aggregation.groups == 1:
        faults.append(single_updates(plan.strategy.name))
    if fault := check_groups(plan, homes):
        faults.append(fault)
    if faults:
        raise PlanError(faults)
