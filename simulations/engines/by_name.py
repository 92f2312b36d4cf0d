"""Engines by name: each gives a grid whose homes learn in this process (or in Ray's)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from flwr.app import Context, RecordDict

from fedhome.clients.client_app import build
from fedhome.clients.home import ClientHome
from fedhome.errors import EngineError
from fedhome.learning.local import LocalLearning
from fedhome.learning.personalise import Personaliser
from fedhome.plan.settings import AggregationMode, Plan
from fedhome.simulations.engines.compute_device import Placement
from fedhome.simulations.engines.grid import InProcessGrid, SequentialGrid, Silent
from fedhome.simulations.engines.kernels import FusedKernel, kernel_of
from fedhome.simulations.engines.shard import Homes
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.torch_kernels import Kernel
from fedhome.simulations.engines.vector_cohort import VectorCohort
from fedhome.simulations.engines.vector_grid import VectorGrid
from fedhome.simulations.faults import faults_of
from fedhome.simulations.gather import GatheredHomes
from fedhome.simulations.secure.masked_adding import (
    IdealSumResponder,
    MaskedSumResponder,
    SumResponder,
)
from fedhome.simulations.secure.secure_fleet import SecureFleet

_KERNELS = 16  # one for each rate and method that homes train by


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
        mode: How updates are added up.
        secure: The parties of secure sums; None where there are none.
    """

    plan: Plan
    gathered: GatheredHomes
    learning: LocalLearning
    how: Personaliser | None
    sums: bool
    notice: Callable[[str], None]
    mode: AggregationMode = "plain"
    secure: SecureFleet | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the homes."""
        return tuple(home.home for home in self.gathered.homes)

    def adding(self, homes: Homes) -> SumResponder | None:
        """Return what answers for homes that are asked together; None in the clear.

        Raises:
            EngineError: The parties of secure sums are missing, or another mode is wanted.
        """
        if self.mode == "plain":
            return None
        layout, score = self.learning.layout, self.learning.task.score
        if self.mode == "ideal":
            return IdealSumResponder(self.plan, self.names, homes, layout, score)
        if self.mode != "secure" or self.secure is None:
            raise EngineError(f"updates cannot be added up here as aggregation.mode = {self.mode}")
        return MaskedSumResponder(
            self.plan,
            self.names,
            homes,
            layout,
            score,
            parties=self.secure.parties,
            quorum=self.secure.directory.threshold,
        )

    def close(self) -> None:
        """End the processes that belong to it."""
        if self.secure is not None:
            self.secure.close()

    def silent(self) -> Silent | None:
        """Which homes give no answer, by the plan's faults."""
        examples = np.array([home.counts[0] for home in self.gathered.homes])
        return faults_of(self.plan, self.names, examples)


def threads_of(plan: Plan) -> int:
    """Return how many worker threads a plan gets; a GPU is fed by one."""
    if plan.engine.device != "cpu":
        return 1
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


def against_vectors(world: World) -> str:
    """Return why a world's homes cannot be trained many at once; empty when they can."""
    learning, features = world.learning, world.gathered.homes[0].x.shape[1]
    # What is compiled is known to go through; to ask torch costs seconds of imports.
    return learning.vectorises(features) if FusedKernel.fits(learning, features) else ""


@contextmanager
def cohort_of(
    learning: LocalLearning,
    fleet: StackedHomes,
    plan: Plan,
    *,
    threads: int,
    notice: Callable[[str], None],
) -> Iterator[VectorCohort]:
    """Open a fleet's cohort, with worker threads of its own.

    Args:
        learning: What the homes learn with.
        fleet: The homes.
        plan: The plan.
        threads: How many chunks are trained at a time.
        notice: Called with a sentence when a kernel is not as the plan asked.

    Raises:
        EngineError: The plan's device is not there, or the model does not run on it.
    """
    placement = Placement.of(plan.engine.device)
    placement.check(learning, fleet.x.shape[1])

    @lru_cache(maxsize=_KERNELS)
    def kernel(learning: LocalLearning) -> Kernel:
        return kernel_of(learning, plan.engine.kernel, fleet.x.shape[1], notice, placement)

    with one_torch_thread(), placement.exact(), ThreadPoolExecutor(threads) as workers:
        yield VectorCohort(
            learning,
            fleet,
            seed=plan.seed,
            kernel=kernel,
            workers=workers,
            placement=placement,
        )


@contextmanager
def vector(world: World) -> Iterator[InProcessGrid]:
    """Train all asked homes together; a module that cannot be is trained home after home."""
    if reason := against_vectors(world):
        if world.plan.engine.device != "cpu":
            raise EngineError(
                f"a GPU trains many homes at once, which this model does not allow: {reason}",
                hint='set engine.device = "cpu": it trains such a model home after home',
            )
        world.notice(f"the model is trained home after home: {reason}")
        with sequential(world) as grid:
            yield grid
        return
    with cohort_of(
        world.learning,
        StackedHomes.of(world.gathered.homes),
        world.plan,
        threads=threads_of(world.plan),
        notice=world.notice,
    ) as cohort:
        yield VectorGrid(
            cohort,
            world.plan,
            how=world.how,
            sums=world.sums,
            silent=world.silent(),
            adding=world.adding,
        )


@contextmanager
def sequential(world: World) -> Iterator[InProcessGrid]:
    """Run the ClientApp's own handlers, home after home."""
    gathered = world.gathered
    parts = [None] * len(gathered.homes) if world.secure is None else world.secure.participants()
    homes = [
        ClientHome.of(world.plan, data, gathered.classes, mode=world.mode, participant=participant)
        for data, participant in zip(gathered.homes, parts, strict=True)
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
        yield SequentialGrid(
            world.names, build(find), contexts, silent=world.silent(), open_app=build(find_open)
        )


@contextmanager
def ray(world: World) -> Iterator[InProcessGrid]:
    """Train shards of the fleet on Ray's workers: see :mod:`.ray_engine`."""
    from fedhome.simulations.engines.ray_engine import ray_grid  # noqa: PLC0415 - it needs what is above

    with ray_grid(world) as grid:
        yield grid


ENGINES: Mapping[str, Callable[[World], AbstractContextManager[InProcessGrid]]] = {
    "vector": vector,
    "sequential": sequential,
    "ray": ray,
}
