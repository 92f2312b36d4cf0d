"""The memory of one thread at work on a chunk of homes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fedhome.learning.local import LocalLearning
from fedhome.simulations.engines.traced.program import Blocks, BoundProgram
from fedhome.simulations.engines.traced.tracing import (
    BatchShape,
    Trace,
    nested_state,
    sample_batch,
    sample_state,
    stacked,
)

_MOST_STEPS = 1 << 10  # bound at a time: chunks of thousands of ragged homes have no end of them


class BoundStep(NamedTuple):
    """A program, where its batch is read, and the loss that it leaves.

    Args:
        run: Takes the step.
        x: Inputs ``[homes * rows, features]``.
        y: Targets ``[homes * rows, ...]``.
        mask: float32 ``[homes, rows]``.
        key: int64 ``[homes]``.
        keyed: Whether the key is read at all.
        loss: float32 ``[homes]``.
    """

    run: Callable[[], None]
    x: Tensor
    y: Tensor
    mask: Tensor
    key: Tensor
    keyed: bool
    loss: Tensor


class Workspace:
    """State, batch, and what lies between, for the homes of a chunk; one thread's at a time.

    Parameters lie apart and not one home after the other as they come: the matrix library
    accumulates in place only into matrices that follow each other without a gap.

    Args:
        learning: What is computed.
        homes: Most homes of a chunk.
        device: Where they are trained.
    """

    def __init__(self, learning: LocalLearning, homes: int, device: torch.device) -> None:
        self.homes = homes
        self._learning = learning
        self._device = device
        state = sample_state(learning, device)
        self._state = {name: stacked(homes, like) for name, like in state.items()}
        self._batches: dict[BatchShape, dict[str, Tensor]] = {}
        self._steps: dict[tuple[BatchShape, int], BoundStep] = {}
        self._blocks = Blocks(device)

    def start(self, params: Tensor, anchor: Tensor) -> None:
        """Begin a round with these parameters ``[homes, size]`` and an empty optimiser."""
        homes, split = len(params), self._learning.split
        given = {"params": split(params), "anchor": split(anchor)}
        for name, tensor in self._state.items():
            kind, _, own = name.partition(".")
            if kind in given:
                tensor[:homes].copy_(given[kind][own])
            else:
                tensor[:homes].zero_()

    def finish(self, params: Tensor) -> None:
        """Write what the homes have learnt into parameters ``[homes, size]``."""
        kept, homes = self._learning.split(params), len(params)
        state = nested_state({name: t[:homes] for name, t in self._state.items()})
        for name, tensor in self._learning.finish(state).items():
            kept[name].copy_(tensor)

    def step(self, trace: Trace, shape: BatchShape, homes: int) -> BoundStep:
        """Return the step for this many homes, the first, bound to this memory once."""
        if (shape, homes) not in self._steps:
            if len(self._steps) >= _MOST_STEPS:
                self._steps.clear()
            batch = {name: t[:homes] for name, t in self._batch(shape).items()}
            state = {name: t[:homes] for name, t in self._state.items()}
            program = BoundProgram(trace, homes, {**state, **batch}, self._blocks)
            self._steps[shape, homes] = BoundStep(
                run=self.runner(program.run),
                x=batch["x"].flatten(0, 1),
                y=batch["y"].flatten(0, 1),
                mask=batch["mask"],
                key=batch["key"],
                keyed=trace.reads("key"),
                loss=program.loss,
            )
        return self._steps[shape, homes]

    def runner(self, run: Callable[[], None]) -> Callable[[], None]:
        """Return what takes a step, given the calls that it is made of."""
        return run

    def _batch(self, shape: BatchShape) -> dict[str, Tensor]:
        if shape not in self._batches:
            batch = sample_batch(self._learning, shape, self.homes, self._device)
            batch.setdefault("mask", torch.empty(0, 0, device=self._device))
            self._batches[shape] = batch
        return self._batches[shape]
