"""What a simulation shows of its own homes, once a run has ended (decision 012).

Everything comes from what the homes computed for the run's end: nothing is trained for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples
from fedhome.learning.cohort import Cohort
from fedhome.learning.personalise import ending
from fedhome.learning.personalise.experts import Experts
from fedhome.learning.personalise.sureness import SureHome, at_nearest, sure_homes
from fedhome.learning.tasks.segments import Floats
from fedhome.plan.time_steps import ahead_of
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.results import scores
from fedhome.run.shown_homes import PLACES, Along, Place, Reliability, Shown, ShownHome
from fedhome.simulations.engines.world import World
from fedhome.simulations.fleet_offer import FleetOffer, experts_of

_AT_ONCE = 500  # homes: their statements lie side by side in memory
_ROWS = 120  # of a home's test rows are shown: the first of them
_BINS, _FIFTHS, _HOURS = 10, 5, 24


def show_homes(world: World, folder: RunFolder, log: EventLog, cohorts: Sequence[Cohort]) -> None:
    """Write what a simulation shows of its homes; where an engine has them elsewhere, say so.

    Args:
        world: The homes, and what they learnt with.
        folder: The run's folder, with its model and its table of homes.
        log: The run's log, with what the fleet chose.
        cohorts: The homes in this process.

    Raises:
        RunError: The model or the table cannot be read, or the file cannot be written.
    """
    if not cohorts:
        log.append(
            "note",
            text=f"homes of engine {world.plan.engine.name} are in other processes: the report "
            "shows neither predictions nor how reliable they are",
        )
        return
    chosen = [e.data for e in folder.read_events() if e.event == "personalisation-chosen"][-1]
    fleet = FleetOffer.of(world, folder, chosen)
    places = _places(scores(folder.read_homes()).get("personalised", {}))
    by_name = {home.home: home for home in world.gathered.homes}
    shown: list[ShownHome] = []
    blocks: dict[str, int] = {}
    bins = _Bins(world.learning.task.kind.targets == "continuous", world.gathered.homes)
    for cohort in _some(cohorts):
        experts = experts_of(world, cohort, fleet)
        mixed = ending.mix(experts, fleet.experts, fleet.blend)
        rows = zip(
            cohort.homes,
            mixed.blocks,
            _truths(experts),
            sure_homes(experts, mixed.stated),
            strict=True,
        )
        for home, count, truth, found in rows:
            sure = at_nearest(found) if world.learning.task.horizons else found
            blocks[home] = int(count)
            own = by_name[home]
            times = own.times()[own.rows("test")]
            bins.add(sure, truth, times)
            if world.plan.evaluation.predictions and home in places:
                shown.append(_shown(own, places[home], sure))
    data, task = world.plan.data, world.learning.task
    near = task.horizons[0] if task.horizons else ""
    folder.write_shown(
        Shown(
            targets=task.kind.targets,
            target=f"{data.target}, {ahead_of(near)}" if near else data.target,
            unit=data.target_unit,
            classes=task.classes,
            homes=tuple(sorted(shown, key=lambda one: PLACES.index(one.place))),
            reliability=bins.reliability(),
            blocks=blocks,
            strength=fleet.blend.strength,
        )
    )


class _At(NamedTuple):
    """A home's place among all, and its score."""

    place: Place
    score: float


def _places(by_home: dict[str, float]) -> dict[str, _At]:
    """Return the best, the median and the worst home; of fewer than three as many as there are."""
    ordered = sorted(by_home, key=lambda home: (-by_home[home], home))
    if not ordered:
        return {}
    found: dict[str, _At] = {}
    for place, rank in zip(PLACES, (0, (len(ordered) - 1) // 2, len(ordered) - 1), strict=True):
        found.setdefault(ordered[rank], _At(place, by_home[ordered[rank]]))
    return found


def _some(cohorts: Sequence[Cohort]) -> Iterator[Cohort]:
    for cohort in cohorts:
        for first in range(0, len(cohort.homes), _AT_ONCE):
            yield cohort.pick(np.arange(first, min(first + _AT_ONCE, len(cohort.homes))))


def _truths(experts: Experts) -> list[Floats]:
    ends = np.cumsum(experts.cohort.counts("test"))[:-1]
    return np.split(experts.truth("test"), ends)


def _shown(home: HomeExamples, at: _At, sure: SureHome) -> ShownHome:
    rows = slice(0, _ROWS)
    y = np.asarray(home.y, np.float64).reshape(len(home.y), -1)[home.rows("test"), 0][rows]
    times = home.times()[home.rows("test")][rows]
    predicted = sure.stated[rows, 0]
    if sure.stated.shape[1] > 1:
        predicted = np.argmax(sure.stated[rows], axis=1)

    anchors = home.anchors[home.rows("test")][rows] if len(home.anchors) else np.zeros(1)

    def own(values: Floats) -> tuple[float, ...]:
        scaled = (values[rows] + anchors) * home.unit + home.middle
        return tuple(float(f"{value:.5g}") for value in scaled)

    return ShownHome(
        home=home.home,
        place=at.place,
        score=at.score,
        time_s=tuple(times.tolist()) if len(home.time_s) else (),
        true=own(y),
        predicted=own(np.asarray(predicted, np.float64)),
        low=own(sure.low),
        high=own(sure.high),
    )


class _Bins:
    """Counts rows, and those that were right, bin by bin."""

    def __init__(self, numbers: bool, homes: Sequence[HomeExamples]) -> None:
        timed = all(len(home.time_s) for home in homes)
        self._along: Along = "probability" if not numbers else "hour" if timed else "fifth"
        size = {"probability": _BINS, "hour": _HOURS, "fifth": _FIFTHS}[self._along]
        self._rows, self._right, self._sum = np.zeros(size), np.zeros(size), np.zeros(size)

    def add(self, sure: SureHome, truth: Floats, times: NDArray[np.int64]) -> None:
        """Count one home's test rows."""
        stated = sure.stated[:, 0]
        if self._along == "probability":
            whole, true = _whole(sure.stated), _whole(truth)
            at = whole.max(axis=1)
            right = np.argmax(whole, axis=1) == np.argmax(true, axis=1)
            bins = np.minimum((at * _BINS).astype(np.int64), _BINS - 1)
        else:
            right = (sure.low <= truth[:, 0]) & (truth[:, 0] <= sure.high)
            if self._along == "hour":
                bins = times // 3600 % _HOURS
            else:
                ranks = np.argsort(np.argsort(stated, kind="stable"), kind="stable")
                bins = ranks * _FIFTHS // max(len(ranks), 1)
            at = bins + (1.0 if self._along == "fifth" else 0.0)
        np.add.at(self._rows, bins, 1)
        np.add.at(self._right, bins, right)
        np.add.at(self._sum, bins, at)

    def reliability(self) -> Reliability:
        """Return what was counted, of bins with rows."""
        some = self._rows > 0
        rows = self._rows[some]
        return Reliability(
            along=self._along,
            places=tuple(np.round(self._sum[some] / rows, 4).tolist()),
            right=tuple(np.round(self._right[some] / rows, 4).tolist()),
            rows=tuple(rows.astype(int).tolist()),
        )


def _whole(stated: Floats) -> Floats:
    """Return probabilities of every class: of two, the first is what the second leaves."""
    return stated if stated.shape[1] > 1 else np.concatenate([1.0 - stated, stated], axis=1)
