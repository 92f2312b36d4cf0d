"""What may happen to a fleet: each kind of outage waits for its moment, begins, and is over.

A kind is a generator: it yields what it waits for, so that two can be played at once, and does
what there is to do in between. None waits for a time: moments are a run's own steps.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, TypeAlias

from fedhome.simulations.benchmarks.outages.road import CLEAR, RoadState
from fedhome.simulations.benchmarks.outages.tested_fleet import PARTS, SERVER, TestedFleet


class Until(NamedTuple):
    """What an outage waits for.

    Args:
        done: Whether it is so.
        what: It, as a clause: what hangs where it never is.
    """

    done: Callable[[], bool]
    what: str


@dataclass
class OutageScene:
    """Where an outage is played.

    Args:
        fleet: The fleet.
        home: The home that it is about; the server's outages have none.
        draw: Draws what is left to chance.
        say: Called with what happens, a clause each.
        broken: Called with a promise that is found broken, a clause each.
    """

    fleet: TestedFleet
    home: str
    draw: Random
    say: Callable[[str], None]
    broken: Callable[[str], None]

    def step(self) -> Until:
        """Wait for a step of a round that is drawn, at this home or, for the server, at any."""
        home = self.home or self.draw.choice(sorted(self.fleet.homes))
        mark = self.draw.choice(STEPS)
        before, moves = self.fleet.told(home, mark), self.fleet.moves()["round-closed"]

        def done() -> bool:
            # Not each home takes each step in each round.
            later = self.fleet.moves()["round-closed"] > moves + 1
            return later or self.fleet.told(home, mark) > before or not self.fleet.is_running

        return Until(done, f"{home} says {mark!r}")

    def noticed(self, times: int = 1) -> Until:
        """Wait until the run has closed a round, failed with one, or waits; or is over."""
        before = self.fleet.moves().total()

        over = self.lasting(MOST_S).done

        def done() -> bool:
            moved = self.fleet.moves().total() >= before + times
            return moved or not self.fleet.is_running or over()

        return Until(done, "the run goes on, or says why it does not")

    def lasting(self, seconds: float) -> Until:
        """Let an outage last for some time: nothing is awaited by that."""
        end = time.monotonic() + seconds
        return Until(lambda: time.monotonic() >= end, f"{seconds:.0f} s have passed")

    def connected(self) -> Until:
        """Wait until this home is connected."""
        return Until(lambda: self.fleet.is_connected(self.home), f"{self.home} is connected again")


MOST_S = 45.0
"""An outage that nothing comes of is over after so many seconds."""
Play: TypeAlias = Generator[Until, None, None]
STEPS = (
    "train came",  # before it learns
    "train is answered",  # it has learnt, and not sent
    "train is sent",
    "query.help came",  # as a member of the committee
    "evaluate came",
)
"""Steps of a round, in the words of an agent's log."""


def home_killed(scene: OutageScene) -> Play:
    """A home's agent is killed."""
    yield scene.step()
    scene.say(f"{scene.home} is killed")
    scene.fleet.kill(scene.home)
    yield scene.noticed()


def worker_killed(scene: OutageScene) -> Play:
    """What learns in a home is killed."""
    yield scene.step()
    if scene.fleet.signal_worker(scene.home, signal.SIGKILL):
        scene.say(f"the worker of {scene.home} is killed")
        yield scene.noticed()


def home_stands_still(scene: OutageScene) -> Play:
    """A home is stopped (SIGSTOP) for some rounds, and goes on."""
    yield scene.step()
    scene.say(f"{scene.home} stands still")
    scene.fleet.signal_home(scene.home, signal.SIGSTOP)
    try:
        yield scene.noticed(scene.draw.randint(2, 4))
    finally:
        scene.fleet.signal_home(scene.home, signal.SIGCONT)
        scene.say(f"{scene.home} goes on")


def part_killed(scene: OutageScene) -> Play:
    """One of the server's processes is killed."""
    part = scene.draw.choice(sorted(PARTS))
    yield scene.step()
    if scene.fleet.signal_part(part, signal.SIGKILL):
        scene.say(f"the server's {part} is killed")
        yield scene.noticed()


def part_stands_still(scene: OutageScene) -> Play:
    """One of the server's processes is stopped (SIGSTOP) until a home's step, and goes on."""
    part = scene.draw.choice(sorted(PARTS))
    yield scene.step()
    scene.fleet.signal_part(part, signal.SIGSTOP)
    scene.say(f"the server's {part} stands still")
    try:
        yield scene.lasting(scene.draw.uniform(1, 12))
    finally:
        scene.fleet.signal_part(part, signal.SIGCONT)
        scene.say(f"the server's {part} goes on")
    yield scene.noticed()


def server_killed(scene: OutageScene) -> Play:
    """The server's daemon is killed, and all of its processes with it."""
    yield scene.step()
    scene.say("the server is killed")
    scene.fleet.kill(SERVER)
    yield scene.noticed()


def connections_cut(scene: OutageScene) -> Play:
    """Every connection of a home is reset, at some step."""
    yield scene.step()
    scene.say(f"connections of {scene.home} are cut")
    scene.fleet.roads[scene.home].cut()
    yield scene.noticed()


def road_cuts(scene: OutageScene) -> Play:
    """Each of a home's connections is reset after some bytes, for a round or two."""
    most = scene.draw.randrange(6_000, 40_000)
    yield from _on_road(scene, RoadState(most=most), f"cuts each connection after {most} bytes")


def road_closed(scene: OutageScene) -> Play:
    """A home reaches nobody, for a round or two."""
    yield from _on_road(scene, RoadState(closed=True), "is closed", cut=True)


def road_slow(scene: OutageScene) -> Play:
    """A home's connections carry few bytes a second."""
    rate = scene.draw.randrange(1_000, 12_000)
    yield from _on_road(scene, RoadState(bytes_a_second=rate), f"carries {rate} bytes a second")


def road_half_closed(scene: OutageScene) -> Play:
    """The server's direction of a home's connections ends, and the home's stays open."""
    half = scene.draw.randrange(2_000, 40_000)
    yield from _on_road(scene, RoadState(half=half), f"ends after {half} bytes, one way")


def road_swallows(scene: OutageScene) -> Play:
    """A home's connections stay, and what is sent on them is swallowed: up, down or both."""
    up, down = scene.draw.choice([(True, False), (False, True), (True, True)])
    words = {(True, False): "up", (False, True): "down", (True, True): "both ways"}[up, down]
    yield from _on_road(
        scene, RoadState(hole_up=up, hole_down=down), f"swallows what is sent {words}"
    )


def _on_road(scene: OutageScene, state: RoadState, words: str, *, cut: bool = False) -> Play:
    road = scene.fleet.roads[scene.home]
    yield scene.step()
    scene.say(f"the road of {scene.home} {words}")
    road.state = state
    if cut:
        road.cut()
    try:
        yield scene.noticed(scene.draw.randint(2, 4))
    finally:
        road.state = CLEAR
        scene.say(f"the road of {scene.home} is clear")


class OutageKind(NamedTuple):
    """A kind of outage.

    Args:
        play: Plays one.
        of_home: Whether it is about a home.
        alone: Whether no other may be played meanwhile.
        lacks: Returns why it cannot be played on this machine, as a clause; empty where it can.
    """

    play: Callable[[OutageScene], Play]
    of_home: bool = True
    alone: bool = False
    lacks: Callable[[], str] = str


KINDS = {
    "home killed": OutageKind(home_killed),
    "worker killed": OutageKind(worker_killed),
    "home stands still": OutageKind(home_stands_still),
    "part of the server killed": OutageKind(part_killed, of_home=False),
    "part of the server stands still": OutageKind(part_stands_still, of_home=False, alone=True),
    "server killed": OutageKind(server_killed, of_home=False, alone=True),
    "connections cut": OutageKind(connections_cut),
    "road cuts": OutageKind(road_cuts),
    "road closed": OutageKind(road_closed),
    "road slow": OutageKind(road_slow),
    "road half closed": OutageKind(road_half_closed),
    "road swallows": OutageKind(road_swallows),
}
"""All kinds, by name."""
