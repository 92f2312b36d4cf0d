"""The traced kernel: any module that ``torch.func`` takes, without the interpreter's price."""

from __future__ import annotations

import threading
from collections import deque
from functools import partial

import torch
from torch import Tensor

from fedhome.errors import EngineError
from fedhome.learning.local import LocalLearning
from fedhome.simulations.engines.batches import Schedule
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement
from fedhome.simulations.engines.streamed_examples import Examples
from fedhome.simulations.engines.torch_kernels import TorchKernel
from fedhome.simulations.engines.traced.budget import MOST_OPERATIONS, operations_of
from fedhome.simulations.engines.traced.passes import simplify
from fedhome.simulations.engines.traced.program import prepare
from fedhome.simulations.engines.traced.tracing import BatchShape, Trace, record
from fedhome.simulations.engines.traced.workspace import Workspace


class TracedKernel(TorchKernel):
    """Runs the step as recorded once, rewritten, and bound to memory.

    A batch that is full in all homes has a program without a mask; other batches are padded to
    a power of two, so that there are few shapes to trace. Homes without further rows are not
    part of a step at all: homes are sorted by their rows, and a program takes the first
    of them.

    Args:
        learning: What each home computes.
        placement: Where.
        chunk: Most homes of a chunk; None: what suits the processor's cache.

    Raises:
        EngineError: From :meth:`train`, where the step cannot be traced; ask :meth:`fits`
            beforehand.
    """

    powers = True

    def __init__(
        self, learning: LocalLearning, placement: Placement = PROCESSOR, *, chunk: int | None = None
    ) -> None:
        super().__init__(learning, placement, chunk=chunk)
        self._traces: dict[BatchShape, Trace] = {}
        self._tracing = threading.Lock()
        self._idle: deque[Workspace] = deque()  # its pop and append are atomic

    @classmethod
    def fits(cls, learning: LocalLearning, features: int, placement: Placement = PROCESSOR) -> str:
        """Return why a learning cannot be traced; empty where it can.

        Args:
            learning: What each home computes.
            features: Width of the input.
            placement: Where.
        """
        if reason := cls.why_too_coarse(placement):
            return reason
        try:
            cls(learning, placement).trace(BatchShape(rows=2, masked=True, features=features))
        except EngineError as error:
            return error.message
        return ""

    @classmethod
    def passed_over(cls, learning: LocalLearning, features: int) -> str:
        """Return why a step is recorded by name only: it would take minutes, each batch shape."""
        if learning.vectorises(features):
            return ""  # it does not fit either, and that is the reason
        count = operations_of(partial(learning.try_step, features))
        if count <= MOST_OPERATIONS:
            return ""
        return (
            f"its step is {count} operations, and beyond {MOST_OPERATIONS} recording takes longer "
            'than most runs; a module with shorter loops, or engine.kernel = "traced", records it'
        )

    def learn(
        self, params: Tensor, examples: Examples, schedule: Schedule, anchor: Tensor
    ) -> Tensor:
        """Train step by step, each a list of calls without arguments."""
        work = self._workspace(len(params))
        work.start(params, anchor)
        losses = torch.zeros(len(params), dtype=torch.float64, device=params.device)
        features = examples.x.shape[1]
        bound = []
        for step in schedule.steps:
            shape = BatchShape(rows=step.rows, masked=step.masked, features=features)
            bound.append(work.step(self.trace(shape), shape, step.active))
        for draws in schedule.passes():
            losses.zero_()
            for own, (step, rows, mask, key, weight) in zip(bound, draws, strict=True):
                torch.index_select(examples.x, 0, rows, out=own.x)
                torch.index_select(examples.y, 0, rows, out=own.y)
                if step.masked:
                    own.mask.copy_(mask)
                if own.keyed:
                    own.key.copy_(key)
                own.run()
                losses[: step.active].add_(own.loss * weight)
        work.finish(params)
        self._idle.append(work)
        return losses

    def trace(self, shape: BatchShape) -> Trace:
        """Return the step for batches of a shape, traced once.

        Raises:
            EngineError: It cannot be traced.
        """
        if shape not in self._traces:
            with self._tracing:
                if shape not in self._traces:
                    trace = record(self.learning, shape, self.placement.device)
                    trace.rewrites.update(simplify(trace.graph))
                    prepare(trace)
                    self._traces[shape] = trace
        return self._traces[shape]

    def _workspace(self, homes: int) -> Workspace:
        try:
            work = self._idle.pop()
        except IndexError:
            # A GPU's chunk may be thousands of homes, and the fleet's less.
            most = homes if self.placement.elsewhere else max(homes, self.chunk_homes)
            return self.new_workspace(most)
        enough = work.homes >= homes
        return work if enough else self.new_workspace(homes)

    def new_workspace(self, homes: int) -> Workspace:
        """Return memory for at most this many homes."""
        return Workspace(self.learning, homes, self.placement.device)
