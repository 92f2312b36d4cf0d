"""The traced kernel: any module that ``torch.func`` takes, without the interpreter's price."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedhome import rng
from fedhome.errors import EngineError
from fedhome.learning.local import LocalLearning
from simulations.kernels import Kernel, Rows, chunk_homes
from simulations.traced.passes import simplify
from simulations.traced.program import Blocks, Program, prepare
from simulations.traced.tracing import (
    BatchShape,
    Trace,
    flat_state,
    nested_state,
    record,
    sample_state,
    stacked,
)
from simulations.vector import Fleet

_ALIGNED_FEATURES = 1  # placeholder for the input's own width


class Workspace:
    """The memory of one thread at work on a chunk: state, batch, and what lies between.

    Args:
        learning: What is computed.
        homes: Most homes of a chunk.
    """

    def __init__(self, learning: LocalLearning, homes: int) -> None:
        self._learning = learning
        self.homes = homes
        self.state = {name: stacked(homes, t) for name, t in sample_state(learning).items()}
        self._batches: dict[tuple[int, int], dict[str, Tensor]] = {}
        self._programs: dict[tuple[BatchShape, int], tuple[Program, dict[str, Tensor]]] = {}
        self._blocks = Blocks()

    def start(self, params: NDArray[np.float32]) -> None:
        """Begin a round with these parameters ``[homes, size]`` and an empty optimiser."""
        given, homes = self._learning.tensors(params), len(params)
        for name, tensor in self.state.items():
            kind, _, own = name.partition(".")
            if kind in {"params", "anchor"}:
                tensor[:homes].copy_(given[own])
            else:
                tensor[:homes].zero_()

    def finish(self, params: NDArray[np.float32]) -> None:
        """Write what the homes have learnt into parameters ``[homes, size]``."""
        kept, homes = self._learning.tensors(params), len(params)
        state = nested_state({name: t[:homes] for name, t in self.state.items()})
        for name, tensor in self._learning.finish(state).items():
            kept[name].copy_(tensor)

    def program(self, trace: Trace, shape: BatchShape, homes: int) -> tuple[Program, dict[str, Tensor]]:
        """Return the step for the first so many homes, and the batch that it reads."""
        if (shape, homes) not in self._programs:
            batch = {name: t[:homes] for name, t in self._batch(shape).items()}
            state = {name: t[:homes] for name, t in self.state.items()}
            self._programs[shape, homes] = Program(trace, homes, {**state, **batch}, self._blocks), batch
        return self._programs[shape, homes]

    def _batch(self, shape: BatchShape) -> dict[str, Tensor]:
        rows = (self.homes, shape.rows)
        if (shape.rows, shape.features) not in self._batches:
            task = self._learning.task
            classes = task.loss == "cross-entropy"
            self._batches[shape.rows, shape.features] = {
                "x": torch.empty(*rows, shape.features),
                "y": torch.empty(*rows, dtype=torch.int64)
                if classes
                else torch.empty(*rows, task.outputs),
                "mask": torch.empty(*rows),
                "key": torch.empty(self.homes, dtype=torch.int64),
            }
        return self._batches[shape.rows, shape.features]


class TracedKernel(Kernel):
    """Runs the step as recorded once, rewritten, and bound to memory.

    Args:
        learning: What each home computes.

    Raises:
        EngineError: From :meth:`train`, where the step cannot be traced; ask :meth:`fits`
            beforehand.
    """

    def __init__(self, learning: LocalLearning) -> None:
        self.learning = learning
        self.chunk_homes = chunk_homes(learning.layout.size)
        self._keyed = bool(learning._dropouts)
        self._traces: dict[BatchShape, Trace] = {}
        self._tracing = threading.Lock()
        self._idle: deque[Workspace] = deque()

    @classmethod
    def fits(cls, learning: LocalLearning, features: int) -> str:
        """Return why a learning cannot be traced; empty where it can.

        Args:
            learning: What each home computes.
            features: Width of the input.
        """
        try:
            cls(learning)._trace(BatchShape(rows=2, masked=True, features=features))  # noqa: SLF001
        except EngineError as error:
            return error.message
        return ""

    def train(self, params: NDArray[np.float32], fleet: Fleet, rows: Rows) -> NDArray[np.float64]:
        """Train step by step; homes that have no further batch stand still."""
        work = self._workspace(len(params))
        work.start(params)
        x, y, size = torch.from_numpy(fleet.x), torch.from_numpy(fleet.y), self.learning.train.batch_size
        losses = np.zeros(len(params))
        for order, keys in zip(rows.orders, rows.keys, strict=True):
            losses[:] = 0.0
            for turn, first in enumerate(range(0, order.shape[1], size)):
                active = int(np.searchsorted(-rows.counts, -first))  # homes with rows left
                here = np.minimum(rows.counts[:active] - first, size)
                shape = self._shape(here, x.shape[1])
                program, batch = work.program(self._trace(shape), shape, active)
                if shape.masked:
                    inside = np.arange(shape.rows) < here[:, None]
                    drawn = np.resize(order[:active, :1], 1)
                    drawn = np.repeat(order[:active, :1], shape.rows, axis=1)
                    wide = min(shape.rows, order.shape[1] - first)
                    drawn[:, :wide] = order[:active, first : first + wide]
                    drawn = np.where(inside, drawn, order[:active, :1])
                    batch["mask"].numpy()[:] = inside
                else:
                    drawn = np.ascontiguousarray(order[:active, first : first + size])
                index = torch.from_numpy(drawn.reshape(-1))
                torch.index_select(x, 0, index, out=batch["x"].view(-1, x.shape[1]))
                torch.index_select(y, 0, index, out=batch["y"].view(-1, *y.shape[1:]))
                if self._keyed:
                    batch["key"].numpy()[:] = rng.step_keys(keys[:active], turn)
                program.run()
                losses[:active] += program.loss.numpy() * here
        work.finish(params)
        self._idle.append(work)
        return losses / np.maximum(rows.counts, 1)

    def _shape(self, here: NDArray[np.int64], features: int) -> BatchShape:
        size = self.learning.train.batch_size
        most = int(here[0])
        rows = size if most == size else min(size, 1 << (most - 1).bit_length())
        return BatchShape(rows=rows, masked=int(here[-1]) < rows, features=features)

    def _workspace(self, homes: int) -> Workspace:
        try:
            work = self._idle.pop()
        except IndexError:
            work = None
        if work is None or work.homes < homes:
            work = Workspace(self.learning, max(homes, self.chunk_homes))
        return work

    def _trace(self, shape: BatchShape) -> Trace:
        with self._tracing:
            if shape not in self._traces:
                trace = record(self.learning, shape)
                simplify(trace.graph)
                prepare(trace)
                self._traces[shape] = trace
            return self._traces[shape]
