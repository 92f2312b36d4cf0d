"""How homes should mix that have some days of their own, as homes of the rounds rehearse it.

As if each had the last days of its training rows alone, homes say how experts err on their
validation rows, and how strongly such homes should follow the fleet.

Where too few have as many days, homes rehearse with all that they have, and with a third of that:
errors that surely fell in between are drawn on to the days that are asked for, as far again at most
(:mod:`fedhome.learning.learning_curve`). Models that are fitted at home would else be trusted as
little as homes of few days can. How strongly such homes follow the fleet is the run's choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fedhome import rng
from fedhome.data.series.examples import HomeExamples
from fedhome.data.series.splits import AsNew
from fedhome.learning import mixture
from fedhome.learning.cohort import Cohort
from fedhome.learning.device import Device
from fedhome.learning.learning_curve import drawn_on, sure_falls
from fedhome.learning.mixture import STRENGTHS, FleetsBlend
from fedhome.learning.personalise import ending
from fedhome.learning.personalise.experts import Experts
from fedhome.learning.tasks.segments import Floats
from fedhome.plan.private_plan import is_private
from fedhome.plan.settings import Plan
from fedhome.run.compared_models import LAST
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.threaded_cohort import cohort_of, one_torch_thread, threads_of
from fedhome.simulations.engines.world import World, against_vectors
from fedhome.simulations.fleet_offer import FleetOffer, experts_of
from fedhome.simulations.newcomers import Newcomers, rehearsing

REHEARSING = 40
"""Homes that rehearse, drawn from those that took part: enough for a mean, in bounded time."""
FEWEST = 5
"""Of fewer homes that can rehearse, no mean is taken: newcomers mix by what the run found."""
ALL = AsNew(math.inf)
"""All that homes have before their validation rows."""
A_THIRD = AsNew(math.inf, 1 / 3)
"""The newest third of it: half a decade, as far apart as the strengths of a pull."""


class Mixing(NamedTuple):
    """What homes of some days mix, and how.

    Args:
        experts: What they mix, by name.
        blend: How.
        why: Why it is not as homes rehearsed it; empty: it is.
    """

    experts: tuple[str, ...]
    blend: FleetsBlend
    why: str = ""


class Rehearsed(NamedTuple):
    """What homes said that rehearsed with some of their rows.

    Args:
        matrices: How experts' errors go together on the rows that follow, by home,
            ``[experts, experts]`` each.
        rows: How many rows each had before these.
        strength: How strongly such homes should follow the fleet.
    """

    matrices: Mapping[str, Floats]
    rows: Mapping[str, int]
    strength: float

    @property
    def enough(self) -> bool:
        """Whether so many homes could rehearse that a mean says something."""
        return len(self.matrices) >= FEWEST

    @property
    def matrix(self) -> Floats:
        """The mean over homes ``[experts, experts]``."""
        return np.asarray(np.mean(list(self.matrices.values()), axis=0), np.float64)

    @property
    def usual_rows(self) -> float:
        """The geometric mean of homes' rows."""
        return usual_rows(list(self.rows.values()))


def usual_rows(rows: Sequence[int]) -> float:
    """Return the geometric mean of how many rows homes have.

    Args:
        rows: Of each home.
    """
    return float(np.exp(np.mean(np.log(rows))))


class Rehearsals:
    """What homes of the rounds say that homes of some days should mix, and how.

    Args:
        world: The homes that took part.
        newcomers: What says how homes are cut; none of their rows is looked at.
        fleet: What there is for them.
    """

    def __init__(self, world: World, newcomers: Newcomers, fleet: FleetOffer) -> None:
        self._world, self._newcomers, self._fleet = world, newcomers, fleet
        task = world.learning.task
        numbers = task.series and task.kind.targets == "continuous"  # only these have seasons
        seasonal = numbers and "naive" in fleet.experts
        self._names = (*fleet.experts, LAST) if seasonal else fleet.experts
        self._known: dict[AsNew, Rehearsed] = {}

    def mixing(self, days: float, rows: float) -> Mixing:
        """Return what homes of some days mix, and how.

        Args:
            days: How many days they have.
            rows: How many rows before their test rows that usually is.
        """
        run = self._fleet.blend
        # With noise a fleet knows nothing of its experts, and neither does a new home.
        if self._newcomers.all_new or is_private(self._world.plan):
            return Mixing(self._fleet.experts, run)
        found = self._with(AsNew(days))
        if found.enough:
            blend = replace(run, matrix=found.matrix, strength=found.strength, fewest_blocks=1)
            return Mixing(self._names, blend)
        lacking = f"{len(found.rows)} homes of the rounds have as many days to rehearse with"
        with_all = self._with(ALL)
        if not with_all.enough:
            why = f"new homes mix by the weights of the run: {lacking}, and {FEWEST} are needed"
            return Mixing(self._fleet.experts, run, f"{at_days(days)}, {why}")
        why = f"{len(with_all.rows)} homes rehearsed with all the days that they have: {lacking}"
        matrix = with_all.matrix
        third = self._with(A_THIRD)
        if rows > with_all.usual_rows and third.enough:
            seen = with_all.usual_rows / third.usual_rows  # no further on than was seen
            further, falls = min(rows / with_all.usual_rows, seen), _falls(third, with_all)
            if further > 1 and falls.any():
                matrix = drawn_on(matrix, falls, further)
                why += "; errors are extrapolated from how they fell with days"
        # A pull that was tried with fewer days would hold homes back that have more.
        blend = replace(run, matrix=matrix)
        return Mixing(self._names, blend, f"{at_days(days)}, {why}")

    def _with(self, as_new: AsNew) -> Rehearsed:
        """Return what homes say that rehearse with some of their rows."""
        if as_new not in self._known:
            world = self._world
            generator = rng.generator(world.plan.seed, "rehearsing homes")
            drawn = generator.permutation(len(self._newcomers.found.tables))[:REHEARSING]
            homes = rehearsing(self._newcomers, sorted(drawn.tolist()), as_new).homes
            rows = {home.home: sum(home.counts[:2]) for home in homes}
            found = Rehearsed({}, rows, 0.0)
            if len(homes) >= FEWEST:
                with cohort_on(world, homes) as cohorts:
                    experts = [experts_of(world, cohort, self._fleet) for cohort in cohorts]
                    found = rehearsed(experts, self._names, rows)
            self._known[as_new] = found
        return self._known[as_new]


def _falls(fewer: Rehearsed, more: Rehearsed) -> Floats:
    """Return by which power of the rows each expert's error surely falls, ``[experts]``."""
    both = [name for name in more.matrices if name in fewer.matrices]
    rows = np.array([[one.rows[name] for name in both] for one in (fewer, more)], np.float64)
    errors = [[np.diag(one.matrices[name]) for name in both] for one in (fewer, more)]
    return sure_falls(rows, np.array(errors))


@contextmanager
def cohort_on(world: World, homes: Sequence[HomeExamples]) -> Iterator[list[Cohort]]:
    """Open homes as cohorts: one of all, or where the model does not allow it one of each."""
    with ExitStack() as open_:
        if against_vectors(world):
            open_.enter_context(one_torch_thread())
            yield [Device(world.learning, home, world.plan.seed) for home in homes]
            return
        cohort = cohort_of(
            world.learning,
            StackedHomes.of(list(homes)),
            plan := _here(world),
            threads=threads_of(plan),
            notice=world.notice,
        )
        yield [open_.enter_context(cohort)]


def _here(world: World) -> Plan:
    """Return the plan for homes that train in this process, where a GPU may be a cluster's."""
    plan = world.plan
    if plan.engine.name != "ray" or plan.engine.device == "cpu":
        return plan
    world.notice("homes that join after the rounds train on this machine's processor")
    processor = {"device": "cpu", "kernel": "auto", "precision": "float32", "examples_gb": 0.0}
    return plan.change(engine=processor)


def rehearsed(
    cohorts: Sequence[Experts], names: Sequence[str], rows: Mapping[str, int]
) -> Rehearsed:
    """Return how experts err in homes that rehearse, and how such homes do best.

    Args:
        cohorts: The homes and their models.
        names: What they mix.
        rows: How many rows each home has before those that follow.
    """
    own = [home for experts in cohorts for home in ending.home_errors(experts, names)]
    after = [matrix for experts in cohorts for matrix in _matrices_after(experts, names)]
    fleet = np.mean(after, axis=0)
    errors = np.zeros((len(own), len(STRENGTHS)))
    for home, matrix, tried in zip(own, after, errors, strict=True):
        others = mixture.steadied(mixture.others(fleet, matrix, len(after)))
        for place, strength in enumerate(STRENGTHS):
            weights = mixture.home_weights(home.matrix, home.blocks, others, strength)
            tried[place] = weights @ matrix @ weights
    homes = [home for experts in cohorts for home in experts.cohort.homes]
    return Rehearsed(dict(zip(homes, after, strict=True)), rows, STRENGTHS[_strongest(errors)])


def _strongest(errors: Floats) -> int:
    """Return which pull new homes take: the strongest that is not surely worse than the best one.

    What few homes rehearse hardly tells pulls apart, and a new home that follows its own day of
    rows too far is among the worst served. So of those whose error is within a standard error of
    the least one, home by home, the strongest is taken (the rule of one standard error: Breiman
    et al., "Classification and Regression Trees", 1984, section 3.4.3).

    Args:
        errors: What homes erred with each pull, weakest first, ``[homes, strengths]``.
    """
    means = errors.mean(axis=0)
    best = int(np.argmin(means))
    gaps = errors - errors[:, [best]]
    reach = gaps.std(axis=0, ddof=1) / np.sqrt(len(errors))
    # Rounding is no difference either: of pulls that are as good the strongest, as in a run.
    near = gaps.mean(axis=0) <= np.maximum(reach, 1e-9 * means[best])
    return int(np.flatnonzero(near)[-1])


def _matrices_after(experts: Experts, names: Sequence[str]) -> Iterator[Floats]:
    """Yield how refitted experts' errors go together on the rows that follow, home by home."""
    truth = experts.truth("test")
    errors = np.stack([experts.stated(name).test - truth for name in names], axis=2)
    reference = np.sum((experts.naive().test - truth) ** 2, axis=1)
    end = 0
    for count in experts.cohort.counts("test").tolist():
        own = slice(end, end := end + count)
        whole = np.zeros(count, np.int64)
        yield mixture.error_matrices(errors[own], reference[own], whole)[0]


def at_days(days: float) -> str:
    """Return how a sentence about homes with some days of readings begins: ``at 1 day``."""
    return f"at {days:g} day{'' if days == 1 else 's'}"
