"""Engines by name: each gives a grid whose homes learn in this process (or in Ray's)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from flwr.app import Context, RecordDict

from fedhome.clients.client_app import build
from fedhome.clients.home import ClientHome
from fedhome.errors import EngineError
from fedhome.learning.at_home import device_of
from fedhome.learning.slice_rules import CarriedSlice
from fedhome.plan.sliced_plan import is_sliced, tiers_of
from fedhome.simulations.engines.first_round import FirstRound
from fedhome.simulations.engines.grid import InProcessGrid, SequentialGrid
from fedhome.simulations.engines.joint_grid import JointGrid
from fedhome.simulations.engines.once import once
from fedhome.simulations.engines.pooled_homes import PooledHomes
from fedhome.simulations.engines.ray_engine import ray_grid
from fedhome.simulations.engines.shard import Homes, Shard
from fedhome.simulations.engines.sliced_grid import SlicedGrid
from fedhome.simulations.engines.sliced_homes import SlicedHomes, device_with, slices_in
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.threaded_cohort import cohort_of, one_torch_thread, threads_of
from fedhome.simulations.engines.world import World, against_vectors


@contextmanager
def vector(world: World) -> Iterator[InProcessGrid]:
    """Train all asked homes together; a module that cannot be is trained home after home."""
    if reason := against_vectors(world):
        if world.pool is not None:
            raise EngineError(
                f"homes that are made when they are asked train many at once, which this model "
                f"does not allow: {reason}",
                hint='hold all in memory: engine.hold = "all"',
            )
        if world.plan.engine.device != "cpu":
            raise EngineError(
                f"a GPU trains many homes at once, which this model does not allow: {reason}",
                hint='set engine.device = "cpu": it trains such a model home after home',
            )
        world.notice(f"the model is trained home after home: {reason}")
        with _home_after_home(world, told=lambda _: None) as grid:  # that it is torch is said now
            yield grid
        return
    if is_sliced(world.plan):
        with ExitStack() as open_, one_torch_thread():
            sliced = SlicedHomes(world, open_)
            yield JointGrid(world, sliced, within=sliced.cohorts)
        return
    with cohort_of(
        world.learning,
        StackedHomes.of(world.gathered.homes),
        world.plan,
        threads=threads_of(world.plan),
        notice=world.notice,
        states=world.states,
    ) as cohort:
        if world.pool is not None:
            homes: Homes = PooledHomes(world.pool, cohort, how=world.how, notice=world.notice)
        else:
            homes = Shard(cohort, world.plan, how=world.how)
        yield JointGrid(world, homes, within=(cohort,))


@contextmanager
def sequential(world: World) -> Iterator[InProcessGrid]:
    """Run the ClientApp's own handlers, home after home; why homes need torch is told once."""
    notice, kernel = once(world.notice), world.plan.engine.kernel
    if kernel != "auto":
        notice(
            f"engine.kernel = {kernel} says nothing here: the sequential engine trains a home as "
            "its own device does, by the compiled kernel or by torch"
        )
    with _home_after_home(world, lambda why: notice(f"homes are trained by torch: {why}")) as grid:
        yield grid


@contextmanager
def _home_after_home(world: World, told: Callable[[str], None]) -> Iterator[InProcessGrid]:
    """Run the ClientApp's own handlers; `told` is called by each home that needs torch."""
    gathered = world.gathered
    parts = [None] * len(gathered.homes) if world.secure is None else world.secure.participants()
    slices = _carried_by_each(world)
    homes = [
        ClientHome.of(
            world.plan,
            data,
            gathered.classes,
            mode=world.mode,
            participant=participant,
            states=world.states,
            device=(
                device_of(world.plan, data, gathered.classes, states=world.states, told=told)
                if carried is None
                else device_with(carried, data, world, told)
            ),
        )
        for data, participant, carried in zip(gathered.homes, parts, slices, strict=True)
    ]
    contexts = [
        Context(
            run_id=1,
            node_id=number,
            node_config={"partition-id": number},
            state=RecordDict(),
            run_config={},
        )
        for number in range(len(homes))
    ]

    def find(context: Context) -> ClientHome:
        number = context.node_config["partition-id"]
        assert isinstance(number, int)
        return homes[number]

    def find_open(context: Context) -> ClientHome:
        return replace(find(context), mode="plain")

    with one_torch_thread():
        asked: dict[str, Any] = {
            "app": build(find),
            "contexts": contexts,
            "silent": world.silent(),
            "open_app": build(find_open),
            "asked": FirstRound(world.plan.rounds.count, world.notice).asked,
        }
        places = [carried.rounds.places for carried in slices if carried is not None]
        grid = (
            SlicedGrid(world.names, world.learning.layout, places, **asked)
            if places and world.mode == "plain"  # sums are integrated shell by shell
            else SequentialGrid(world.names, **asked)
        )
        grid.within = tuple(home.device for home in homes)
        yield grid


def _carried_by_each(world: World) -> list[CarriedSlice] | list[None]:
    """Return what each home's device carries; None of a plan in which all carry all."""
    if not is_sliced(world.plan):
        return [None] * len(world.names)
    slices = slices_in(world)
    return [slices[tier] for tier in tiers_of(world.plan, world.names)]


ENGINES: Mapping[str, Callable[[World], AbstractContextManager[InProcessGrid]]] = {
    "vector": vector,
    "sequential": sequential,
    "ray": ray_grid,
}
