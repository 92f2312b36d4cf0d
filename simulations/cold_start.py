"""What homes get that join after the rounds, with one day of their own readings or with more.

A new home mixes as every home does, from the fleet's weights towards its own. But how far an expert
errs that was fitted at home depends on how much there was to fit it to: weights that are right in
homes of five days are wrong in one of a day. So homes that took part *rehearse*: as if each had the
last days of its training rows alone, they say how experts err on their validation rows, and how
strongly such homes should follow the fleet. Nobody's test rows are looked at for that, nor any
row of a home that is new.

A day or two may name a wrong season for the forecast without learning. So where homes rehearse, the
last value of a series is an expert of its own: a rehearsal says what it is worth beside the season
that few days name.

A simulation sees this past the protocol, in its own homes; a real fleet has no such question.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fedhome import rng
from fedhome.data.series.examples import HomeExamples
from fedhome.data.series.windows import ROWS_A_DAY
from fedhome.learning import mixture
from fedhome.learning.cohort import Cohort
from fedhome.learning.device import Device
from fedhome.learning.mixture import STRENGTHS, FleetsBlend
from fedhome.learning.personalise import ending
from fedhome.learning.personalise.experts import Adaptation, Experts
from fedhome.learning.tasks.segments import Floats
from fedhome.plan.private_plan import is_private
from fedhome.plan.settings import Plan
from fedhome.run.cold_start_table import cold_start_table
from fedhome.run.compared_models import LAST
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.threaded_cohort import cohort_of, one_torch_thread, threads_of
from fedhome.simulations.engines.world import World, against_vectors
from fedhome.simulations.newcomers import Newcomers, rehearsing, with_days
from fedhome.simulations.offered import Offered, experts_of

REHEARSING = 40
"""Homes that rehearse, drawn from those that took part: enough for a mean, in bounded time."""
FEWEST = 5
"""Of fewer homes that can rehearse, no mean is taken: newcomers mix by what the run found."""


def try_newcomers(world: World, newcomers: Newcomers, folder: RunFolder, log: EventLog) -> None:
    """Give homes that join after the rounds a few days of their own, and write how they fare.

    Args:
        world: The homes that took part, and what they learnt with.
        newcomers: The others; where all homes are new there is no model, and each gets the
            forecast without learning.
        folder: The run's folder.
        log: The run's log, with what the fleet chose.

    Raises:
        RunError: The model cannot be read, or the table cannot be written.
    """
    plan = world.plan
    if newcomers.all_new:
        log.append(
            "note",
            text="all homes are new (evaluation.unseen = 1): there is no model of a fleet, and "
            "each gets the forecast without learning",
        )
        rate = plan.personalise.rates[0]
        nothing = FleetsBlend(matrix=np.eye(1), strength=max(STRENGTHS), alone=(rate, 0))
        fleet = Offered(world.learning.initial, Adaptation(rate, 0), ("naive",), nothing)
    else:
        events = folder.read_events()
        chosen = [e.data for e in events if e.event == "personalisation-chosen"][-1]
        fleet = Offered.of(world, folder, chosen)
    log.append(
        "trying-new-homes", homes=len(newcomers.tables), days=sorted(set(plan.evaluation.days))
    )
    rows: list[dict[str, Any]] = []
    for some, told in cold_start(world, newcomers, fleet):
        rows += some
        for text in told:
            log.append("note", text=text)
    if rows:
        folder.write_cold_start(cold_start_table(rows))


def cold_start(
    world: World, newcomers: Newcomers, fleet: Offered
) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
    """Yield for each number of days the rows of new homes, and what is to be told of them.

    Args:
        world: The homes that took part, and what they learnt with.
        newcomers: The others.
        fleet: What there is for them.
    """
    plan = world.plan
    if newcomers.timeless:
        yield [], [f"new homes' rows have no times: {ROWS_A_DAY} rows count as a day"]
    rehearsals = Rehearsals(world, newcomers, fleet)
    for days in sorted(set(plan.evaluation.days)):
        homes, lacking = with_days(newcomers, days)
        told = [
            f"at {days:g} day(s), {count} of {len(newcomers.tables)} new homes are left out: {why}"
            for why, count in lacking.most_common()
        ]
        rows: list[dict[str, Any]] = []
        if homes:
            mixing = rehearsals.mixing(days)
            told += [mixing.why] if mixing.why else []
            with cohort_on(world, homes) as cohorts:
                for cohort in cohorts:
                    rows += _rows(experts_of(world, cohort, fleet), mixing, days)
        if newcomers.all_new:
            rows = [row for row in rows if row["model"] not in _OF_A_FLEET]
        yield rows, told


_OF_A_FLEET = {"global", "tuned", "settings"}


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


class Rehearsals:
    """What homes of the rounds say that homes of some days should mix, and how.

    Args:
        world: The homes that took part.
        newcomers: What says how homes are cut; none of their rows is looked at.
        fleet: What there is for them.
    """

    def __init__(self, world: World, newcomers: Newcomers, fleet: Offered) -> None:
        self._world, self._newcomers, self._fleet = world, newcomers, fleet
        task = world.learning.task
        numbers = task.series and task.kind.targets == "continuous"  # only these have seasons
        seasonal = numbers and "naive" in fleet.experts
        self._names = (*fleet.experts, LAST) if seasonal else fleet.experts
        self._known: dict[float, tuple[FleetsBlend | None, int]] = {}

    def mixing(self, days: float) -> Mixing:
        """Return what homes of some days mix, and how.

        Where too few homes have as many days, experts err as in homes with all the days that there
        are, and the pull of the fleet is the run's: a pull that was tried with fewer days would
        hold homes back that have more.

        Args:
            days: How many days they have.
        """
        run = self._fleet.blend
        # With noise a fleet knows nothing of its experts, and neither does a new home.
        if self._newcomers.all_new or is_private(self._world.plan):
            return Mixing(self._fleet.experts, run)
        blend, count = self._with(days)
        if blend is not None:
            return Mixing(self._names, blend)
        lacking = f"{count} homes of the rounds have as many days to rehearse with"
        with_all, of_any = self._with(math.inf)
        if with_all is None:
            why = f"new homes mix by the weights of the run: {lacking}, and {FEWEST} are needed"
            return Mixing(self._fleet.experts, run, f"at {days:g} day(s), {why}")
        why = f"{of_any} homes rehearsed with all the days that they have: {lacking}"
        blend = replace(with_all, strength=run.strength, fewest_blocks=run.fewest_blocks)
        return Mixing(self._names, blend, f"at {days:g} day(s), {why}")

    def _with(self, days: float) -> tuple[FleetsBlend | None, int]:
        """Return the blend of a rehearsal, None if too few homes can, and how many can."""
        if days not in self._known:
            world = self._world
            generator = rng.generator(world.plan.seed, "rehearsing homes")
            drawn = generator.permutation(len(self._newcomers.found.tables))[:REHEARSING]
            homes = rehearsing(self._newcomers, sorted(drawn.tolist()), days).homes
            blend = None
            if len(homes) >= FEWEST:
                with cohort_on(world, homes) as cohorts:
                    experts = [experts_of(world, cohort, self._fleet) for cohort in cohorts]
                    blend = _rehearsed(experts, self._names, self._fleet.blend)
            self._known[days] = blend, len(homes)
        return self._known[days]


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


def _rehearsed(cohorts: Sequence[Experts], names: Sequence[str], run: FleetsBlend) -> FleetsBlend:
    """Return the blend of homes of few days: as experts err there, and as such homes do best."""
    own = [home for experts in cohorts for home in ending.home_errors(experts, names)]
    after = [matrix for experts in cohorts for matrix in _matrices_after(experts, names)]
    fleet = np.mean(after, axis=0)
    errors = np.zeros((len(own), len(STRENGTHS)))
    for home, matrix, tried in zip(own, after, errors, strict=True):
        others = mixture.steadied(mixture.others(fleet, matrix, len(after)))
        for place, strength in enumerate(STRENGTHS):
            weights = mixture.home_weights(home.matrix, home.blocks, others, strength)
            tried[place] = weights @ matrix @ weights
    strength = STRENGTHS[_strongest(errors)]
    return FleetsBlend(matrix=fleet, strength=strength, alone=run.alone, fewest_blocks=1)


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


def _rows(experts: Experts, mixing: Mixing, days: float) -> Iterator[dict[str, Any]]:
    cohort, task = experts.cohort, experts.cohort.learning.task
    ended = ending.end(experts, mixing.experts, mixing.blend)
    counts = {f"examples_{part}": cohort.counts(part) for part in ("train", "validation", "test")}
    for model, measured in ended.models.items():
        scores = measured.metrics[task.score]
        scores = np.where(np.isfinite(scores), scores, task.kind.worst(task.score))
        for place, home in enumerate(cohort.homes):
            yield {
                "home": home,
                "days": days,
                "model": model,
                "score": float(scores[place]),
                "expert": mixing.experts[int(np.argmax(ended.weights[place]))],
                **{name: int(values[place]) for name, values in counts.items()},
            }
