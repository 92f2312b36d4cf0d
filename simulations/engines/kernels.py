"""What trains a chunk of homes: the fused kernel, the traced step, or the plain vmapped step.

Every kernel computes what :class:`fedhome.learning.device.Device` computes, to float32
rounding; a test says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import vmap

from fedhome.errors import EngineError
from fedhome.learning.local import Batch, LocalLearning, State
from fedhome.simulations.engines.batches import Rows, Schedule
from fedhome.simulations.engines.compute_device import PROCESSOR, Examples, Placement, homes_at_once
from fedhome.simulations.engines.fused import FusedMLP

if TYPE_CHECKING:
    from fedhome.simulations.engines.vector_cohort import Fleet

_CACHE_BYTES = 1 << 20  # stacked parameters of a chunk should stay in the second-level cache


class Kernel(ABC):
    """Trains a chunk of homes in place. Instances are used by several threads at once."""

    chunk_homes: int

    @abstractmethod
    def train(self, params: NDArray[np.float32], fleet: Fleet, rows: Rows) -> NDArray[np.float64]:
        """Train.

        Args:
            params: Parameters float32 ``[homes, size]``; starts on entry, results on exit.
            fleet: All examples.
            rows: Which rows, in which order.

        Returns:
            Mean loss of the last pass, float64 ``[homes]``.
        """


def chunk_homes(size: int) -> int:
    """Return how many homes' stacked parameters of ``size`` numbers suit the cache."""
    return int(np.clip(_CACHE_BYTES // (4 * size), 10, 50))


class TorchKernel(Kernel):
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

    def train(self, params: NDArray[np.float32], fleet: Fleet, rows: Rows) -> NDArray[np.float64]:
        """Train step by step; homes that have no further batch stand still."""
        learning, placement = self.learning, self.placement
        with placement.explained():
            there = placement.put(params)
            schedule = Schedule(
                rows,
                learning.train.batch_size,
                put=placement.put,
                draws=learning.draws,
                powers=self.powers,
            )
            losses = self.learn(there, placement.examples(fleet), schedule)
            placement.take_into(params, there)
            total: NDArray[np.float64] = placement.take(losses)
        return total / np.maximum(rows.counts, 1)

    @abstractmethod
    def learn(self, params: Tensor, examples: Examples, schedule: Schedule) -> Tensor:
        """Train where everything given lies, without waiting for a result.

        Args:
            params: Parameters float32 ``[homes, size]``; starts on entry, results on exit.
            examples: All examples of the fleet.
            schedule: The batches.

        Returns:
            Sum of the rows' losses in the last pass, float64 ``[homes]``.
        """


class EagerKernel(TorchKernel):
    """The three functions under ``torch.func.vmap``, one operation at a time: for any module."""

    powers = False

    def learn(self, params: Tensor, examples: Examples, schedule: Schedule) -> Tensor:
        """Train, one operation at a time."""
        learning, homes = self.learning, len(params)
        stacked, step = learning.split(params), vmap(learning.step)
        state = vmap(learning.init)(stacked)
        losses = torch.zeros(homes, dtype=torch.float64, device=params.device)
        for draws in schedule.passes():
            losses.zero_()
            for turn, rows, mask, key, weight in draws:
                x, y = (
                    part.index_select(0, rows).view(turn.active, turn.rows, *part.shape[1:])
                    for part in examples
                )
                moved, loss = step(first_homes(state, turn.active), Batch(x, y, mask, key))
                state = moved if turn.active == homes else joined(moved, state)
                losses[: turn.active].add_(loss * weight)
        for name, value in learning.finish(state).items():
            stacked[name].copy_(value)
        return losses


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


class FusedKernel(Kernel):
    """The compiled MLP kernel of :mod:`fedhome.simulations.engines.fused`."""

    chunk_homes = 32

    def __init__(self, learning: LocalLearning, sizes: tuple[int, ...]) -> None:
        train = learning.train
        self._train = train
        self._mlp = FusedMLP(
            sizes,
            loss=learning.task.loss,
            optimiser=train.optimiser,
            momentum=train.momentum,
            weight_decay=train.weight_decay,
            proximal_mu=train.proximal_mu,
            clip_norm=train.clip_norm,
        )

    @classmethod
    def fits(
        cls, learning: LocalLearning, placement: Placement = PROCESSOR
    ) -> tuple[int, ...] | str:
        """Return the widths of a plain MLP, or why this kernel does not fit."""
        if placement.elsewhere:
            return f"it is compiled for the processor, not for {placement.device}"
        widths = mlp_widths(learning.model)
        if not widths:
            return "the model is not a plain MLP of Linear and ReLU"
        train = learning.train
        reason = FusedMLP.supports(
            widths,
            loss=learning.task.loss,
            optimiser=train.optimiser,
            momentum=train.momentum,
            weight_decay=train.weight_decay,
            proximal_mu=train.proximal_mu,
            clip_norm=train.clip_norm,
        )
        return reason or widths

    def train(self, params: NDArray[np.float32], fleet: Fleet, rows: Rows) -> NDArray[np.float64]:
        """Train home after home, each with its weights in the cache."""
        own = np.arange(rows.orders[0].shape[1]) < rows.counts[:, None]
        passes = np.stack(rows.orders, axis=1)  # [homes, passes, rows]
        order = passes[np.broadcast_to(own[:, None], passes.shape)]
        return self._mlp.train(
            params,
            fleet.x,
            fleet.y,
            order,
            rows.counts,
            batch_size=self._train.batch_size,
            epochs=len(rows.orders),
            learning_rate=self._train.learning_rate,
        )


def mlp_widths(module: nn.Module) -> tuple[int, ...]:
    """Return the widths of Linear, ReLU, Linear, …, Linear; nothing for another module."""
    layers = list(module) if isinstance(module, nn.Sequential) else []
    linear = [layer for layer in layers[::2] if type(layer) is nn.Linear and layer.bias is not None]
    between = [layer for layer in layers[1::2] if type(layer) is nn.ReLU]
    if not linear or len(linear) != len(between) + 1 or len(linear) + len(between) != len(layers):
        return ()
    return (linear[0].in_features, *(layer.out_features for layer in linear))


def kernel_of(
    learning: LocalLearning,
    wanted: str,
    features: int,
    notice: Callable[[str], None],
    placement: Placement = PROCESSOR,
) -> Kernel:
    """Return the fastest kernel that fits, or the wanted one.

    Args:
        learning: What is to be trained.
        wanted: "auto", "fused", "traced" or "eager".
        features: Width of the inputs.
        notice: Called with a sentence when "auto" takes the slowest.
        placement: Where it is to be trained.

    Raises:
        EngineError: The wanted kernel does not fit.
    """
    from fedhome.simulations.engines.traced.kernel import TracedKernel  # noqa: PLC0415 - it imports this module

    reason = ""
    chunk = homes_at_once(learning, features) if placement.elsewhere else None
    if wanted in {"auto", "fused"}:
        fused = FusedKernel.fits(learning, placement)
        if isinstance(fused, tuple):
            return FusedKernel(learning, fused)
        reason = fused
    if wanted in {"auto", "traced"}:
        reason = TracedKernel.fits(learning, features, placement)
        if not reason:
            return TracedKernel(learning, placement, chunk=chunk)
    if wanted in {"fused", "traced"}:
        raise EngineError(
            f"engine.kernel = {wanted} does not fit: {reason}", hint='set engine.kernel = "auto"'
        )
    if wanted == "auto":
        notice(f"the slow kernel trains, one operation at a time: {reason}")
    return EagerKernel(learning, placement, chunk=chunk)
