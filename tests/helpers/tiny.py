"""Tiny homes, plans and runs for the tests of the core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples
from fedhome.flower.messages import sums_suffice
from fedhome.learning.build import learning_of
from fedhome.learning.local import LocalLearning
from fedhome.learning.mixture import knowing_nothing, upper
from fedhome.learning.own_state import StatesInMemory
from fedhome.learning.personalise import personaliser
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.strategies import strategy_of
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.engines.grid import InProcessGrid
from fedhome.simulations.engines.world import World
from fedhome.simulations.gather import GatheredHomes
from fedhome.wire.layout import Layout

FEATURES = 3
RAGGED = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6))
CLASSES = ("away", "asleep", "awake")


def plan(**sections: Any) -> Plan:
    """Return a plan that runs in a moment, with some settings changed."""
    table: dict[str, Any] = {
        "seed": 3,
        "data": {"homes": 4, "days": 8, "lags": [1, 2, 24], "gap": 2, "horizon": 1},
        "model": {"hidden": [8]},
        "train": {"epochs": 2, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.0},
        "rounds": {"count": 2, "fraction": 1.0, "quorum": 0.5, "evaluate_fraction": 1.0},
        "personalise": {"name": "none", "epochs": 2, "local_epochs": 3, "rates": [0.5, 1.0]},
        "engine": {"name": "vector", "threads": 1},
        "aggregation": {"mode": "plain"},
    }
    return Plan.parse(table).change(**sections)


def ending(experts: int = 5, **changes: Any) -> dict[str, Any]:
    """Return settings of an outcome such as :func:`plan` allows, with some changed."""
    fleets = {"matrix": upper(knowing_nothing(experts)).tolist(), "strength": 10.0}
    own = {"rate": 0.5, "epochs": 1, "alone-rate": 0.5, "alone-epochs": 2, "alone-batch": 0}
    return {**own, **fleets, **changes}


def fedprox(proximal_mu: float) -> dict[str, Any]:
    """Return a plan's settings for FedProx at home."""
    return {"method": {"name": "fedprox", "args": {"proximal_mu": proximal_mu}}}


def home(
    name: str, counts: tuple[int, int, int], *, kind: str = "regression", seed: int = 0
) -> HomeExamples:
    """Return a home whose targets follow its inputs, with some noise."""
    drawn = np.random.default_rng([seed, *map(ord, name)])
    rows = sum(counts)
    x = drawn.normal(size=(rows, FEATURES)).astype(np.float32)
    signal = x @ np.array([1.0, -0.5, 0.25]) + 0.1 * drawn.normal(size=rows)
    y: NDArray[np.float32] | NDArray[np.int64]
    if kind == "multi-class":
        y = np.digitize(signal, [-0.5, 0.5]).astype(np.int64)
    elif kind == "binary":
        y = (signal > 0).astype(np.float32)[:, None]
    else:
        y = signal.astype(np.float32)[:, None]
    naive = np.zeros(rows) if kind == "regression" else np.ones(rows)
    return HomeExamples(home=name, x=x, y=y, naive=naive.astype(np.float32), counts=counts)


def homes(
    counts: Sequence[tuple[int, int, int]] = RAGGED, *, kind: str = "regression"
) -> list[HomeExamples]:
    """Return homes named home-0, home-1, ... with so many rows."""
    return [home(f"home-{place}", count, kind=kind) for place, count in enumerate(counts)]


def learning(settings: Plan) -> LocalLearning:
    """Return what the homes of a plan learn with."""
    classes = CLASSES if settings.task.kind == "multi-class" else ()
    return learning_of(settings, FEATURES, classes)


def world(
    settings: Plan,
    fleet: list[HomeExamples],
    *,
    sums: bool | None = None,
    notes: list[str] | None = None,
) -> World:
    """Return what an engine works on; ``sums`` as the strategy says, unless it is told."""
    heard: list[str] = [] if notes is None else notes
    classes = CLASSES if settings.task.kind == "multi-class" else ()
    if sums is None:
        sums = sums_suffice(strategy_of(settings, len(fleet)))
    how = None if settings.personalise.name == "none" else personaliser(settings.personalise.name)
    return World(
        plan=settings,
        gathered=GatheredHomes(homes=fleet, excluded=(), notes=(), classes=classes),
        learning=learning(settings),
        how=how,
        sums=sums,
        notice=heard.append,
    )


def run(
    settings: Plan,
    fleet: list[HomeExamples],
    folder: Path,
    *,
    sums: bool | None = None,
    notes: list[str] | None = None,
    on: World | None = None,
) -> RoundLoop:
    """Run a plan's rounds over homes in an engine; the weights are in ``.state.flat``."""
    stage = on or world(settings, fleet, sums=sums, notes=notes)
    layout, initial = stage.learning.layout, stage.learning.initial
    with (
        ENGINES[settings.engine.name](stage) as grid,
        rounds_on(grid, settings, layout, folder, initial, states=stage.states) as rounds,
    ):
        rounds.run()
    return rounds


@contextmanager
def rounds_on(
    grid: InProcessGrid,
    settings: Plan,
    layout: Layout,
    folder: Path,
    initial: NDArray[np.float32],
    *,
    states: StatesInMemory | None = None,
    warm: bool = False,
) -> Iterator[RoundLoop]:
    """Open the rounds of a plan over a grid, with a log in the folder."""
    place = RunFolder(folder)
    place.checkpoint_path.mkdir(parents=True, exist_ok=True)
    with EventLog(place.events_path) as log:
        yield RoundLoop(
            plan=settings,
            strategy=strategy_of(settings, len(grid.homes)),
            grid=grid,
            layout=layout,
            initial=initial,
            folder=place,
            log=log,
            states=states,
            warm=warm,
        )


class FakeGrid(InProcessGrid):
    """A grid whose homes answer as a function of message and position says; None: silence."""

    def __init__(self, count: int, how: Callable[[Message, int], Message | None]) -> None:
        super().__init__([f"home-{place}" for place in range(count)])
        self._how = how
        self.timeouts: list[float | None] = []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answer, and note the deadline."""
        self.timeouts.append(timeout)
        return super().send_and_receive(messages, timeout=timeout)

    def observe(self, messages: list[Message]) -> list[Message]:
        """Answer as ever."""
        return self.answer(messages)

    def answer(self, messages: list[Message]) -> list[Message]:
        """Ask the function, message by message."""
        answers = [self._how(message, self.position(message)) for message in messages]
        return [answer for answer in answers if answer is not None]


SOURCE = '''
"""Three homes that can take part, and one that has been here for some hours."""

import numpy as np

from fedhome.data.table import HomeTable


def homes(plan):
    for place in range(4):
        drawn = np.random.default_rng([plan.seed, place])
        hour = np.arange(120 + 12 * place if place != 2 else 5)
        load = 1 + np.sin(hour / 24 * 2 * np.pi + place) + 0.1 * drawn.normal(size=len(hour))
        yield HomeTable(
            home=f"home-{place}",
            time_s=1_700_000_000 // 3600 * 3600 + 3600 * hour,
            columns={"load": load},
        )
'''
SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "data": {"target": "load", "lags": [1, 2], "gap": 1},
    "model": {"hidden": [4]},
    "train": {"epochs": 1, "batch_size": 16},
    "rounds": {"count": 3},
    "personalise": {"name": "fine-tune", "epochs": 1, "local_epochs": 2, "rates": [1.0]},
    "engine": {"threads": 1},
    "aggregation": {"mode": "plain"},
}


def write_source(folder: Path) -> str:
    """Write a module of homes, and return the name under which a plan finds them."""
    module = f"source_{abs(hash(folder))}"
    (folder / f"{module}.py").write_text(SOURCE)
    return f"{module}:homes"
