"""A day of a fleet: outages, drawn from a seed, while runs go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from fedhome.clients.agent.newer_release import RELEASE_S
from fedhome.data.table import HomeTable
from fedhome.errors import FedHomeError, RunError
from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.current_run import Runs
from fedhome.simulations.benchmarks.outages import promises
from fedhome.simulations.benchmarks.outages.kinds import OutageKind, OutageScene, Play, Until
from fedhome.simulations.benchmarks.outages.tested_fleet import PATIENCE_S, SERVER, TestedFleet
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import named
from fedhome.simulations.simulate import simulate

HOMES, LEAST, ROUNDS = 6, 5, 24
"""Homes of a fleet, fewest in a sum, and rounds of each run."""
AT_ONCE = 2
"""Most outages that are played at once."""
LEARNT_S = 1.2 * RELEASE_S + 60.0
"""After so many seconds each home has a new release, also one that was asked nothing since."""
_SPARED = 1  # rounds before a run's first outage, and after its last one
_MORE = 3  # runs that follow where there were too few kinds of outages


@dataclass
class _Playing:
    """An outage that is being played."""

    name: str
    kind: OutageKind
    home: str
    play: Play
    waits: Until
    since: float = field(default_factory=time.monotonic)


class Outages:
    """Plays outages over a fleet while a run is in progress.

    Args:
        fleet: The fleet.
        kinds: The kinds that are drawn from, by name: each comes before any comes again.
        draw: Draws what is left to chance.
        say: Called with what happens, a clause each.

    Attributes:
        played: How often each kind was played, by name.
        broken: Which promises were found broken meanwhile.
    """

    def __init__(
        self,
        fleet: TestedFleet,
        kinds: Mapping[str, OutageKind],
        draw: Random,
        say: Callable[[str], None],
    ) -> None:
        self._fleet, self._kinds, self._draw, self._say = fleet, dict(kinds), draw, say
        self.broken: list[str] = []
        self._bag: list[str] = []
        self._playing: list[_Playing] = []
        self._moved = (0, time.monotonic())
        self.played: dict[str, int] = {}

    def during_a_run(self, name: str) -> None:
        """Begin a run, and play outages until it is over.

        Args:
            name: The run's.

        Raises:
            RunError: Something hangs.
        """
        Runs(self._fleet.server).begin(self._fleet.plan, name)
        self._say(f"run {name} begins")
        self._moved = (-1, time.monotonic())
        try:
            self._fleet.processes.until(self._look, what=f"the end of {name}")
        finally:
            self._end()

    def _look(self) -> bool:
        for playing in [*self._playing]:
            self._go_on(playing)
        running = self._fleet.is_running
        if running and self._kinds:
            self._begin()
        if not self._playing:
            self._watch()
        return not running and not self._playing

    def _begin(self) -> None:
        """Begin another outage, if there may be one."""
        closed = self._fleet.moves()["round-closed"]
        if not _SPARED <= closed < self._fleet.plan.rounds.count - _SPARED:
            return
        if len(self._playing) >= AT_ONCE or any(one.kind.alone for one in self._playing):
            return
        if not self._bag:
            self._bag = sorted(self._kinds)
            self._draw.shuffle(self._bag)
        name = self._bag[-1]
        kind = self._kinds[name]
        if kind.alone and self._playing:
            return
        self._bag.pop()
        free = sorted({*self._fleet.homes} - {one.home for one in self._playing})
        home = self._draw.choice(free) if kind.of_home else ""
        # A generator of its own: what two outages draw does not depend on which is faster.
        draw = Random(self._draw.getrandbits(64))  # noqa: S311 - no secret
        scene = OutageScene(self._fleet, home, draw, self._say, self.broken.append)
        play = kind.play(scene)
        with suppress(StopIteration):
            self._playing.append(_Playing(name, kind, home, play, next(play)))
            self.played[name] = self.played.get(name, 0) + 1

    def _go_on(self, playing: _Playing) -> None:
        if not playing.waits.done():
            if time.monotonic() > playing.since + PATIENCE_S:
                raise RunError(f"{playing.waits.what}: not within {PATIENCE_S:.0f} s")
            return
        try:
            playing.waits, playing.since = next(playing.play), time.monotonic()
        except StopIteration:
            self._playing.remove(playing)
        self._moved = (-1, time.monotonic())

    def _watch(self) -> None:
        """See that the run goes on while nothing is in its way."""
        now = time.monotonic()
        moves = self._fleet.moves()["round-closed"]  # what fails again and again hangs, too
        if moves != self._moved[0]:
            self._moved = (moves, now)
        elif now > self._moved[1] + PATIENCE_S:
            raise RunError(
                f"nothing is in the run's way, and it does nothing for {PATIENCE_S:.0f} s"
            )

    def _end(self) -> None:
        """End what is being played, whatever happened: nothing stays broken."""
        for playing in self._playing:
            playing.play.close()
        self._playing.clear()


class Day:
    """A fleet of its own, two runs of it, and outages meanwhile.

    Args:
        root: A folder that is made for it.
        seed: Draws what happens.
        kinds: The kinds of outages, by name.
        say: Called with what happens, a clause each.

    Attributes:
        played: How often each kind was played, by name.
    """

    def __init__(
        self, root: Path, *, seed: int, kinds: Mapping[str, OutageKind], say: Callable[[str], None]
    ) -> None:
        self.root, self.seed, self._say = root, seed, say
        self._kinds = kinds
        self.played: dict[str, int] = {}

    def play(self, expected: RunFolder, *, runs: int = 2, least: int = 0) -> list[str]:
        """Play it, and return which promises were broken, in words.

        Args:
            expected: An undisturbed run of the day's plan (:func:`undisturbed`).
            runs: How many runs there are.
            least: How many kinds of outages there are to be: on a quick machine a run may be over
                before its first one is, and up to three more runs follow then.
        """
        plan = Plan.load(expected.plan_path)
        broken: list[str] = []
        self.root.mkdir()
        with Processes() as processes:
            fleet = TestedFleet(self.root / "fleet", plan, _tables(plan), processes)
            try:
                fleet.start()
                outages = Outages(fleet, self._kinds, Random(self.seed), self._say)  # noqa: S311
                self.played = outages.played
                hashes: list[bytes] = []
                for number in range(1, runs + _MORE + 1):
                    if number > runs and len(self.played) >= least:
                        break
                    outages.during_a_run(f"run-{number}")
                    found, hashes = promises.of_releases(fleet, hashes, self._say)
                    broken += found
                    broken += promises.of_a_run(fleet, expected if number == 1 else None)
                    broken += outages.broken
                    outages.broken.clear()
                for home in fleet.homes:
                    fleet.processes.until(
                        partial(promises.has_release, fleet, home),
                        what=f"{home} has the newest release",
                        timeout_s=LEARNT_S,
                    )
                broken += promises.of_logs(fleet)
                for name in (*fleet.homes, SERVER):
                    fleet.stop(name)
                self._say("everything was asked to end, and has")
            except FedHomeError as error:
                broken.append(str(error))
            finally:
                processes.close()
                fleet.close()
        return [*broken, *promises.of_what_is_left(self.root)]


def plan_of_a_day(rounds: int = ROUNDS) -> Plan:
    """Return a plan of synthetic homes whose rounds take next to no arithmetic.

    Args:
        rounds: Of each run.
    """
    plan = Plan.load(
        name="weather",
        seed=3,
        data={"homes": HOMES, "days": 10, "history_days": 10},
        model={"hidden": [8]},
        rounds={
            "count": rounds,
            "patience": 0,
            "deadline_s": 60,
            "quorum": 0.5,
            "close_least_s": 4.0,
            "pause_s": 1.0,
            "most_pause_s": 5.0,
        },
        personalise={"epochs": 2, "local_epochs": 2},
        engine={"name": "sequential"},
        aggregation={"min_cohort": LEAST},
    )
    return named(plan, _tables(plan))


def _tables(plan: Plan) -> list[HomeTable]:
    return list(generate(homes=HOMES, days=plan.data.days, seed=plan.seed))


def undisturbed(out: Path, plan: Plan) -> RunFolder:
    """Simulate what a day's first run gives where nothing happens.

    Args:
        out: The folder of the run.
        plan: The day's plan.
    """
    return simulate(plan, out=out).folder
