"""Engines by name: each gives a grid whose homes learn in this process (or in Ray's)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import Context, RecordDict

from clients.app import build
from clients.home import Home
from fedhome.learning.local import LocalLearning
from fedhome.learning.personalise import Personaliser
from fedhome.models.check import vectorises
from fedhome.plan import Plan
from simulations.faults import faults_of
from simulations.fleet import Gathered
from simulations.grid import InProcessGrid, SequentialGrid, Silent
from simulations.kernels import Kernel, kernel_of
from simulations.vector import Fleet, VectorCohort
from simulations.vector_grid import VectorGrid


@dataclass(frozen=True, kw_only=True)
class World:
    """What an engine works on.

    Args:
        plan: The plan.
        gathered: The homes.
        learning: What they learn with.
        how: The personaliser; None where the plan has none.
        sums: Whether the strategy is content with means of groups of homes.
        notice: Called with a sentence when something is not as the plan asked.
    """

    plan: Plan
    gathered: Gathered
    learning: LocalLearning
    how: Personaliser | None
    sums: bool
    notice: Callable[[str], None]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the homes."""
        return tuple(home.home for home in self.gathered.homes)

    def silent(self) -> Silent | None:
        """Which homes give no answer, by the plan's faults."""
        examples = np.array([home.counts[0] for home in self.gathered.homes])
        return faults_of(self.plan, self.names, examples)


def threads_of(plan: Plan) -> int:
    """Return how many worker threads a plan gets."""
    return plan.engine.threads or len(os.sched_getaffinity(0))


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let each worker compute in its own thread alone: that holds up on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def vector(world: World) -> Iterator[InProcessGrid]:
    """Train all asked homes together; a module that cannot be is trained home after home."""
    reason = vectorises(world.learning.model, world.gathered.homes[0].x.shape[1])
    if reason:
        world.notice(f"the model is trained home after home: {reason}")
        with sequential(world) as grid:
            yield grid
        return
    kernels: dict[int, Kernel] = {}

    def kernel(learning: LocalLearning) -> Kernel:
        if id(learning) not in kernels:
            kernels[id(learning)] = kernel_of(learning, world.plan.engine.kernel, world.notice)
        return kernels[id(learning)]

    fleet = Fleet.of(world.gathered.homes)
    with one_torch_thread(), ThreadPoolExecutor(threads_of(world.plan)) as workers:
        cohort = VectorCohort(
            world.learning, fleet, seed=world.plan.seed, kernel=kernel, workers=workers
        )
        yield VectorGrid(cohort, world.plan, how=world.how, sums=world.sums, silent=world.silent())


@contextmanager
def sequential(world: World) -> Iterator[InProcessGrid]:
    """Run the ClientApp's own handlers, home after home."""
    homes = [Home.of(world.plan, data, world.gathered.classes) for data in world.gathered.homes]
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

    def find(context: Context) -> Home:
        number = context.node_config["partition-id"]
        assert isinstance(number, int)
        return homes[number]

    yield SequentialGrid(world.names, build(find), contexts, silent=world.silent())


ENGINES: Mapping[str, Callable[[World], AbstractContextManager[InProcessGrid]]] = {
    "vector": vector,
    "sequential": sequential,
}
