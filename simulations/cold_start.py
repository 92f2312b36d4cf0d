"""What homes get that join after the rounds, with one day of their own readings or with more.

A new home mixes as every home does, from the fleet's weights towards its own. But how far an expert
errs that was fitted at home depends on how much there was to fit it to: weights that are right in
homes of five days are wrong in one of a day, and in one of a month. So homes that took part
*rehearse* (:mod:`fedhome.simulations.rehearsals`). Nobody's test rows are looked at for that, nor
any row of a home that is new.

A day or two may name a wrong season for the forecast without learning. So where homes rehearse, the
last value of a series is an expert of its own: a rehearsal says what it is worth beside the season
that few days name.

A simulation sees this past the protocol, in its own homes; a real fleet has no such question.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fedhome.counted import counted, was
from fedhome.data.series.windows import ROWS_A_DAY
from fedhome.learning.mixture import STRENGTHS, FleetsBlend
from fedhome.learning.personalise import ending
from fedhome.learning.personalise.experts import Adaptation, Experts
from fedhome.run.cold_start_table import cold_start_table
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.simulations.engines.world import World
from fedhome.simulations.fleet_offer import FleetOffer, experts_of
from fedhome.simulations.newcomers import Newcomers, with_days
from fedhome.simulations.rehearsals import Mixing, Rehearsals, at_days, cohort_on, usual_rows


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
        nothing = FleetsBlend(matrix=np.eye(1), strength=max(STRENGTHS), alone=(rate, 0, 0))
        fleet = FleetOffer(world.learning.initial, Adaptation(rate, 0), ("naive",), nothing)
    else:
        events = folder.read_events()
        chosen = [e.data for e in events if e.event == "personalisation-chosen"][-1]
        fleet = FleetOffer.of(world, folder, chosen)
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
    world: World, newcomers: Newcomers, fleet: FleetOffer
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
            f"{at_days(days)}, {count} of {counted(len(newcomers.tables), 'new home')} "
            f"{was(count)} left out: {why}"
            for why, count in lacking.most_common()
        ]
        rows: list[dict[str, Any]] = []
        if homes:
            rows_before = [sum(home.counts[:2]) for home in homes]
            mixing = rehearsals.mixing(days, usual_rows(rows_before))
            told += [mixing.why] if mixing.why else []
            with cohort_on(world, homes) as cohorts:
                for cohort in cohorts:
                    rows += _rows(experts_of(world, cohort, fleet), mixing, days)
        if newcomers.all_new:
            rows = [row for row in rows if row["model"] not in _OF_A_FLEET]
        yield rows, told


_OF_A_FLEET = {"global", "tuned", "settings"}


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
