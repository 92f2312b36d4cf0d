"""A cohort with worker threads of its own: the vector engine's, and that of each Ray worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import torch

from fedhome.learning.alone.pass_counts import batches_alone
from fedhome.learning.local import LocalLearning
from fedhome.learning.own_state import HomeStates
from fedhome.learning.slice_places import SlicePlaces
from fedhome.models.over_homes import without_torchs_warning
from fedhome.plan.settings import Plan
from fedhome.simulations.engines.compute_device import Placement
from fedhome.simulations.engines.kernels import kernel_of, wanted_kernel
from fedhome.simulations.engines.once import once
from fedhome.simulations.engines.onchip.device_rounding import why_not_there
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.torch_kernels import Kernel
from fedhome.simulations.engines.vector_cohort import VectorCohort

_KERNELS = 16  # one for each rate and method that homes train by


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


@contextmanager
def cohort_of(
    learning: LocalLearning,
    fleet: StackedHomes,
    plan: Plan,
    *,
    threads: int,
    notice: Callable[[str], None],
    states: HomeStates | None = None,
    carries: SlicePlaces | None = None,
    rounds: VectorCohort | None = None,
    sharing: int = 1,
) -> Iterator[VectorCohort]:
    """Open a fleet's cohort, with worker threads of its own.

    Args:
        learning: What the homes learn with.
        fleet: The homes.
        plan: The plan.
        threads: How many chunks are trained at a time.
        notice: Called once with each sentence on a kernel that is not as the plan asked.
        states: Where homes keep what their method learns for them alone; None: nowhere.
        carries: Where in the fleet's model these homes' lies; None: it is the same.
        rounds: The same homes with what they train in rounds; None: this.
        sharing: How many shards there are on a GPU.

    Raises:
        EngineError: The plan's device is not there, or the model does not run on it; or the plan's
            kernel does not fit batches of networks alone.
    """
    placement = Placement.of(plan.engine, sharing=sharing)
    placement.check(learning, fleet.x.shape[1])
    if plan.engine.kernel != "auto":
        for batch in batches_alone(plan.personalise):  # else a run would end so after its rounds
            varied = learning.vary(batch=batch)
            wanted_kernel(varied, plan.engine.kernel, fleet.x.shape[1], placement)

    say = once(notice)
    if text := placement.told_of(fleet):
        say(text)
    sums_there = placement.elsewhere and plan.aggregation.mode == "ideal"
    if sums_there and (reason := why_not_there(placement)):
        say(f"updates are brought back from {placement.device} to be rounded: {reason}")

    @lru_cache(maxsize=_KERNELS)
    def kernel(learning: LocalLearning) -> Kernel:
        return kernel_of(learning, plan.engine.kernel, fleet.x.shape[1], say, placement)

    with (
        one_torch_thread(),
        without_torchs_warning(),
        placement.exact(),
        ThreadPoolExecutor(threads) as workers,
    ):
        yield VectorCohort(
            learning,
            fleet,
            seed=plan.seed,
            kernel=kernel,
            workers=workers,
            placement=placement,
            states=states,
            carries=carries,
            rounds=rounds,
        )
