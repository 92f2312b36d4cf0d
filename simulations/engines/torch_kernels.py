"""Kernels made of torch's operations: their common ground, and the plain vmapped step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedhome.learning.local import Batch, LocalLearning, State
from fedhome.models.over_homes import over_homes
from fedhome.simulations.engines.batches import Rows, Schedule
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement, homes_at_once
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.streamed_examples import Examples

_CACHE_BYTES = 1 << 20  # stacked parameters of a chunk should stay in the second-level cache


class Kernel(ABC):
    """Trains a chunk of homes in place. Instances are used by several threads at once.

    A kernel says whether it fits what is to be trained; one that knows a loss, an optimiser or a
    method not says so, and leaves it to the next.
    """

    chunk_homes: int
    slow: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fits(cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR) -> str:
        """Return why this kernel does not fit; empty where it does.

        Args:
            learning: What each home computes.
            features: Width of the inputs.
            placement: Where it is to be trained.
        """

    @classmethod
    def passed_over(cls, learning: LocalLearning, features: int) -> str:
        """Return why this kernel is taken by name only; empty where it is taken unasked.

        Args:
            learning: What each home computes.
            features: Width of the inputs.
        """
        del learning, features
        return ""

    @classmethod
    @abstractmethod
    def of(cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR) -> Kernel:
        """Return the kernel for what fits; arguments as of :meth:`fits`."""

    @abstractmethod
    def train(
        self,
        params: NDArray[np.float32],
        fleet: StackedHomes,
        rows: Rows,
        *,
        towards: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """Train.

        Args:
            params: Parameters float32 ``[homes, size]``; starts on entry, results on exit.
            fleet: All examples.
            rows: Which rows, in which order.
            towards: The round's start in the method's gradient, ``[size]`` or ``[homes, size]``;
                None: ``params`` as they are on entry.

        Returns:
            Mean loss of the last pass, float64 ``[homes]``.
        """


class SummingKernel(Kernel):
    """A kernel that can add up what homes learn while it trains them."""

    @abstractmethod
    def train_sum(
        self,
        start: NDArray[np.float32],
        shares: NDArray[np.float32],
        fleet: StackedHomes,
        rows: Rows,
        *,
        each: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Train homes that all begin with ``start``.

        Args:
            start: Parameters float32 ``[size]``.
            shares: What each home's result is multiplied with, float32 ``[homes]``.
            fleet: All examples.
            rows: Which rows, in which order.
            each: Homes of a sum, the last of which may have fewer.

        Returns:
            The sums float32 ``[sums, size]``, and the mean losses of the last pass, float64
            ``[homes]``.
        """


def chunk_homes(size: int) -> int:
    """Return how many homes' stacked parameters of ``size`` numbers suit the cache."""
    return int(np.clip(_CACHE_BYTES // (4 * size), 10, 50))


class DeviceKernel(Kernel):
    """A kernel that can also train where parameters and examples lie already.

    Args:
        placement: Where.
    """

    placement: Placement
    orders_there: ClassVar[bool] = False
    """Whether it takes orders of batches that were drawn on the device."""

    def train(
        self,
        params: NDArray[np.float32],
        fleet: StackedHomes,
        rows: Rows,
        *,
        towards: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """Bring over what is needed, train there, and bring back what was learnt."""
        placement = self.placement
        with placement.explained():
            there = placement.put(params)
            losses = self.train_there(there, placement.examples(fleet), rows, towards=towards)
            placement.take_into(params, there)
        return losses

    @abstractmethod
    def train_there(
        self,
        params: Tensor,
        examples: Examples,
        rows: Rows,
        *,
        towards: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """Train on the device.

        Args:
            params: Parameters float32 ``[homes, size]``; starts on entry, results on exit.
            examples: Examples of these homes at least.
            rows: Which rows of them, in which order.
            towards: As of :meth:`train`.

        Returns:
            Mean loss of the last pass, float64 ``[homes]``.
        """


class TorchKernel(DeviceKernel):
    """A kernel made of torch's operations, on the processor or on a GPU.

    Args:
        learning: What each home computes.
        placement: Where.
        chunk: Most homes of a chunk; None: what suits the processor's cache.
    """

    powers: bool  # see Schedule

    def __init__(
        self, learning: LocalLearning, placement: Placement = PROCESSOR, *, chunk: int | None = None
    ) -> None:
        self.learning = learning
        self.placement = placement
        self.chunk_homes = chunk or chunk_homes(learning.layout.size)

    @classmethod
    def why_too_coarse(cls, placement: Placement) -> str:
        """Return why torch's products cannot be as coarse as a plan wants them; empty: they can."""
        if placement.precision != "bf16":
            return ""
        return "torch multiplies float32 as it is or in tf32, not in bf16"

    @classmethod
    def of(
        cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR
    ) -> TorchKernel:
        """Return the kernel, its chunks as large as suits the device."""
        chunk = homes_at_once(learning, features) if placement.elsewhere else None
        return cls(learning, placement, chunk=chunk)

    def train_there(
        self,
        params: Tensor,
        examples: Examples,
        rows: Rows,
        *,
        towards: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """Train step by step; homes that have no further batch stand still."""
        learning, placement = self.learning, self.placement
        with placement.explained(), placement.training():
            schedule = Schedule(
                rows,
                learning.train.batch_rows,
                put=placement.put,
                draws=learning.draws,
                powers=self.powers,
            )
            anchor = params if towards is None else placement.put(_of_all(towards, len(params)))
            losses = self.learn(params, examples, schedule, anchor)
            total: NDArray[np.float64] = placement.take(losses)
        return total / np.maximum(rows.counts, 1)

    @abstractmethod
    def learn(
        self, params: Tensor, examples: Examples, schedule: Schedule, anchor: Tensor
    ) -> Tensor:
        """Train where everything given lies, without waiting for a result.

        Args:
            params: Parameters float32 ``[homes, size]``; starts on entry, results on exit.
            examples: All examples of the fleet.
            schedule: The batches.
            anchor: The round's start in the method's gradient, ``[homes, size]``.

        Returns:
            Sum of the rows' losses in the last pass, float64 ``[homes]``.
        """


class EagerKernel(TorchKernel):
    """The three functions under ``torch.func.vmap``, one operation at a time: for any module."""

    powers = False
    slow = True

    @classmethod
    def fits(cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR) -> str:
        """Return why a step cannot be taken for many homes at once; empty where it can."""
        return cls.why_too_coarse(placement) or learning.vectorises(features)

    def learn(
        self, params: Tensor, examples: Examples, schedule: Schedule, anchor: Tensor
    ) -> Tensor:
        """Train, one operation at a time."""
        learning, homes = self.learning, len(params)
        stacked, take_step = learning.split(params), over_homes(learning.step)
        state = over_homes(learning.init)(stacked)
        if state.anchor:
            state = state._replace(anchor=learning.split(anchor))
        losses = torch.zeros(homes, dtype=torch.float64, device=params.device)
        for draws in schedule.passes():
            losses.zero_()
            for step, rows, mask, key, weight in draws:
                x, y = (
                    part.index_select(0, rows).view(step.active, step.rows, *part.shape[1:])
                    for part in examples
                )
                moved, loss = take_step(first_homes(state, step.active), Batch(x, y, mask, key))
                state = moved if step.active == homes else joined(moved, state)
                losses[: step.active].add_(loss * weight)
        for name, value in learning.finish(state).items():
            stacked[name].copy_(value)
        return losses


def _of_all(params: NDArray[np.float32], homes: int) -> NDArray[np.float32]:
    """Return parameters ``[size]`` or ``[homes, size]`` as those of each home."""
    return np.array(np.broadcast_to(params, (homes, params.shape[-1])))


def first_homes(state: State, homes: int) -> State:
    """Return views of the first homes of a stacked state."""
    return State(
        {name: p[:homes] for name, p in state.params.items()},
        {slot: {n: t[:homes] for n, t in named.items()} for slot, named in state.slots.items()},
        {name: p[:homes] for name, p in state.anchor.items()},
        state.steps[:homes],
    )


def joined(moved: State, state: State) -> State:
    """Return a stacked state whose first homes have moved on."""

    def join(new: Tensor, old: Tensor) -> Tensor:
        return torch.cat([new, old[len(new) :]])

    return State(
        {name: join(p, state.params[name]) for name, p in moved.params.items()},
        {
            slot: {n: join(t, state.slots[slot][n]) for n, t in named.items()}
            for slot, named in moved.slots.items()
        },
        state.anchor,
        join(moved.steps, state.steps),
    )
