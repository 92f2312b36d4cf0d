"""A tiny fleet's rounds over a grid of sums, as tests of secure and of noisy runs open them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from fedhome.data.series.examples import HomeExamples
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.strategies import strategy_of
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.engines.world import World
from fedhome.simulations.secure.secure_fleet import SecureFleet, secure_grid
from helpers import tiny


def sum_world(plan: Plan, fleet: list[HomeExamples], *, sums: bool | None = None) -> World:
    mode = plan.aggregation_mode(len(fleet))
    world = replace(tiny.world(plan, fleet, sums=sums), mode=mode)
    if mode == "secure":
        world = replace(world, secure=SecureFleet(world.names, plan))
    return world


@contextmanager
def sum_rounds(plan: Plan, fleet: list[HomeExamples], folder: Path) -> Iterator[RoundLoop]:
    """Open the rounds of a plan over a grid of sums."""
    world = sum_world(plan, fleet)
    place = RunFolder(folder)
    place.checkpoint_path.mkdir(parents=True, exist_ok=True)
    layout = world.learning.layout
    with (
        closing(world),
        ENGINES[plan.engine.name](world) as grid,
        EventLog(place.events_path) as log,
    ):
        yield RoundLoop(
            plan=plan,
            strategy=strategy_of(plan, len(fleet)),
            grid=secure_grid(grid, plan=plan, layout=layout, log=log, fleet=world.secure),
            layout=layout,
            initial=world.learning.initial,
            folder=place,
            log=log,
        )
