"""The traced kernel: any module that ``torch.func`` takes, without the interpreter's price."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fedhome import rng
from fedhome.errors import EngineError
from fedhome.learning.local import LocalLearning
from simulations.kernels import Kernel, Rows, chunk_homes
from simulations.traced.passes import simplify
from simulations.traced.program import prepare
from simulations.traced.tracing import BatchShape, Trace, record
from simulations.traced.workspace import Workspace

if TYPE_CHECKING:
    from simulations.vector import Fleet


class Turn(NamedTuple):
    """One step of a pass: first row, homes that have a batch, rows of each ``[active]``, shape."""

    first: int
    active: int
    here: NDArray[np.int64]
    shape: BatchShape


class TracedKernel(Kernel):
    """Runs the step as recorded once, rewritten, and bound to memory.

    A batch that is full in all homes has a program without a mask; other batches are padded to
    a power of two, so that there are few shapes to trace. Homes without further rows are not
    part of a step at all: homes are sorted by their rows, and a program takes the first so many.

    Args:
        learning: What each home computes.

    Raises:
        EngineError: From :meth:`train`, where the step cannot be traced; ask :meth:`fits`
            beforehand.
    """

    def __init__(self, learning: LocalLearning) -> None:
        self.learning = learning
        self.chunk_homes = chunk_homes(learning.layout.size)
        self._traces: dict[BatchShape, Trace] = {}
        self._tracing = threading.Lock()
        self._idle: deque[Workspace] = deque()  # its pop and append are atomic

    @classmethod
    def fits(cls, learning: LocalLearning, features: int) -> str:
        """Return why a learning cannot be traced; empty where it can.

        Args:
            learning: What each home computes.
            features: Width of the input.
        """
        try:
            cls(learning).trace(BatchShape(rows=2, masked=True, features=features))
        except EngineError as error:
            return error.message
        return ""

    def train(self, params: NDArray[np.float32], fleet: Fleet, rows: Rows) -> NDArray[np.float64]:
        """Train step by step; homes that have no further batch stand still."""
        turns = self._turns(rows.counts, fleet.x.shape[1])
        work = self._workspace(len(params))
        work.start(params)
        losses = np.zeros(len(params))
        x, y = torch.from_numpy(fleet.x), torch.from_numpy(fleet.y)
        for order, keys in zip(rows.orders, rows.keys, strict=True):
            losses[:] = 0.0
            for number, turn in enumerate(turns):
                step = work.step(self.trace(turn.shape), turn.shape, turn.active)
                index = torch.from_numpy(_drawn(order, turn).reshape(-1))
                torch.index_select(x, 0, index, out=step.x)
                torch.index_select(y, 0, index, out=step.y)
                if turn.shape.masked:
                    np.less(np.arange(turn.shape.rows), turn.here[:, None], out=step.mask)
                if step.keyed:
                    step.key[:] = rng.step_keys(keys[: turn.active], number)
                step.program.run()
                losses[: turn.active] += step.loss * turn.here
        work.finish(params)
        self._idle.append(work)
        return losses / np.maximum(rows.counts, 1)

    def trace(self, shape: BatchShape) -> Trace:
        """Return the step for batches of a shape, traced once.

        Raises:
            EngineError: It cannot be traced.
        """
        if shape not in self._traces:
            with self._tracing:
                if shape not in self._traces:
                    trace = record(self.learning, shape)
                    trace.rewrites.update(simplify(trace.graph))
                    prepare(trace)
                    self._traces[shape] = trace
        return self._traces[shape]

    def _turns(self, counts: NDArray[np.int64], features: int) -> list[Turn]:
        size = self.learning.train.batch_size
        turns = []
        for first in range(0, int(counts.max(initial=0)), size):
            active = int(np.searchsorted(-counts, -first))
            here = np.minimum(counts[:active] - first, size)
            most = int(here[0])
            rows = min(size, 1 << (most - 1).bit_length())
            shape = BatchShape(rows=rows, masked=int(here[-1]) < rows, features=features)
            turns.append(Turn(first, active, here, shape))
        return turns

    def _workspace(self, homes: int) -> Workspace:
        try:
            work = self._idle.pop()
        except IndexError:
            return Workspace(self.learning, max(homes, self.chunk_homes))
        return work if work.homes >= homes else Workspace(self.learning, homes)


def _drawn(order: NDArray[np.int64], turn: Turn) -> NDArray[np.int64]:
    """Return which rows a step is made of ``[active, rows]``; padding repeats some row."""
    drawn = order[: turn.active, turn.first : turn.first + turn.shape.rows]
    if not turn.shape.masked:
        return drawn
    padded = np.repeat(order[: turn.active, :1], turn.shape.rows, axis=1)
    inside = np.arange(drawn.shape[1]) < turn.here[:, None]
    np.copyto(padded[:, : drawn.shape[1]], drawn, where=inside)
    return padded
