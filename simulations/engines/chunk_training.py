"""How the homes of a cohort train chunk by chunk: each chunk in a worker, here or on a device."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedhome.learning.batch_order import passes
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.chunks import Chunk, LateChunk, begun
from fedhome.simulations.engines.compute_device import Placement
from fedhome.simulations.engines.device_orders import orders_there
from fedhome.simulations.engines.stacked_homes import Spans, StackedHomes
from fedhome.simulations.engines.torch_kernels import DeviceKernel, Kernel, SummingKernel

_Result = TypeVar("_Result")
_DRAWN_CHUNKS, _SHARES = 8, 4  # of an order of batches that is drawn at once; of a core's work


@dataclass(frozen=True, kw_only=True)
class ChunkTraining:
    """What the homes of a cohort train, largest first, in chunks.

    Args:
        kernel: What trains a chunk.
        fleet: All examples.
        placement: Where homes are trained.
        begin: The fleet's first row of each home, int64 ``[homes]``.
        counts: Rows of each home, int64 ``[homes]``.
        keys: Each home's key, for the order of its batches, uint64 ``[homes]``.
        start: What homes begin with, float32 ``[size]`` or ``[homes, size]``.
        towards: The round's start in the method's gradient, of the same shapes; None: ``start``.
        stream: Stream of the order of batches.
        epochs: Passes over a home's rows.
        wanted: Rows that each home trains on, in place of passes; 0: as many as the passes have.
    """

    kernel: Kernel
    fleet: StackedHomes
    placement: Placement
    begin: NDArray[np.int64]
    counts: NDArray[np.int64]
    keys: NDArray[np.uint64]
    start: NDArray[np.float32]
    towards: NDArray[np.float32] | None
    stream: int
    epochs: int
    wanted: int

    @cached_property
    def chunk_size(self) -> int:
        """Most homes of a chunk."""
        counts, wanted = self.counts, self.wanted
        drawn = np.full(len(counts), wanted) if wanted else counts * self.epochs
        return self.placement.chunk_size(self.kernel.chunk_homes, drawn)

    @cached_property
    def chunks(self) -> list[NDArray[np.int64]]:
        """The homes of each chunk, by their positions in the cohort."""
        order, size = np.argsort(-self.counts, kind="stable"), self.chunk_size
        return [order[first : first + size] for first in range(0, len(order), size)]

    def here(
        self,
        workers: Executor,
        then: Callable[[Chunk], _Result],
        *,
        into: NDArray[np.float32] | None,
        sums: bool,
    ) -> Iterator[_Result]:
        """Train in this machine's memory; arguments and results as of `VectorCohort.each_chunk`."""
        kernel, size, own = self.kernel, self.chunk_size, threading.local()

        def trained(
            some: NDArray[np.int64], rows: Rows
        ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
            params = begun(self.start, some, own, size=size, into=into)
            return params, kernel.train(params, self.fleet, rows, towards=self._anchor(some))

        def work(several: list[NDArray[np.int64]]) -> list[_Result]:
            some = np.concatenate(several)
            rows, ends = self._rows(some), np.cumsum([len(part) for part in several])
            if sums and isinstance(kernel, SummingKernel):
                train_sum = partial(
                    kernel.train_sum, self.start, fleet=self.fleet, rows=rows, each=size
                )
                return [then(LateChunk(some, partial(trained, some, rows), train_sum, each=size))]
            parts = [
                (part, rows.of(slice(end - len(part), end)))
                for part, end in zip(several, ends.tolist(), strict=True)
            ]
            return [then(Chunk(part, *trained(part, own_rows))) for part, own_rows in parts]

        chunks = self.chunks
        at_once = _chunks_at_once(len(chunks))
        several = [chunks[first : first + at_once] for first in range(0, len(chunks), at_once)]
        for results in workers.map(work, several):
            yield from results

    def there(
        self, kernel: DeviceKernel, workers: Executor, then: Callable[[Chunk], _Result]
    ) -> Iterator[_Result]:
        """Train on a device; what homes learnt is brought back when it is asked for.

        Args:
            kernel: What trains there.
            workers: Where chunks are trained.
            then: As of `VectorCohort.each_chunk`.
        """
        placement, chunks = self.placement, self.chunks
        # Parts of a chunk have rows of their own, by other numbers; passes of a set length too.
        drawn_there = kernel.orders_there and placement.holds(self.fleet) and not self.wanted
        spans = [Spans(some, self.begin[some], self.counts[some]) for some in chunks]
        with placement.explained(), placement.turns(self.fleet, spans) as turns:

            def work(number: int) -> _Result:
                some = chunks[number]
                params, anchor = self._sent(some), self._anchor(some)
                rows = self._rows_there(some) if drawn_there else self._rows(some)
                losses = np.empty(len(some))
                for turn in turns(number):
                    losses[turn.homes] = kernel.train_there(
                        params[turn.homes],
                        turn.examples,
                        rows.of(turn.homes, turn.shift),
                        towards=_of_homes(anchor, turn.homes),
                    )
                    del turn  # its examples make room before others are sent
                return then(Chunk(some, params, losses, take=placement.take))

            yield from workers.map(work, range(len(chunks)))

    def _rows(self, some: NDArray[np.int64]) -> Rows:
        """Return which rows some homes train on, and in which order."""
        keys, counts = self.keys[some], self.counts[some]
        each = list(passes(keys, counts, stream=self.stream, epochs=self.epochs, rows=self.wanted))
        return Rows(
            orders=[self.begin[some][:, None] + order for _, order in each],
            counts=np.full(len(some), self.wanted) if self.wanted else counts,
            keys=[key for key, _ in each],
        )

    def _rows_there(self, some: NDArray[np.int64]) -> Rows:
        """Return the same, drawn where the homes train."""
        counts = self.counts[some]
        there = orders_there(
            self.placement,
            self.keys[some],
            self.begin[some],
            counts,
            stream=self.stream,
            epochs=self.epochs,
        )
        return Rows(orders=[], counts=counts, keys=[], there=there)

    def _anchor(self, some: NDArray[np.int64]) -> NDArray[np.float32] | None:
        return _of_homes(self.towards, some)

    def _sent(self, some: NDArray[np.int64]) -> Tensor:
        """Return what some homes begin with, on the device; what is shared goes once."""
        if self.start.ndim > 1:
            return self.placement.put(self.start[some])
        return self.placement.put(self.start).expand(len(some), -1).clone()


def _of_homes(
    params: NDArray[np.float32] | None, some: NDArray[np.int64] | slice
) -> NDArray[np.float32] | None:
    """Return some homes' own of parameters ``[homes, size]``; what is for all stays as it is."""
    return params if params is None or params.ndim == 1 else params[some]


def _chunks_at_once(chunks: int) -> int:
    """Return how many chunks' orders are drawn together, so that all cores have work."""
    return max(1, min(_DRAWN_CHUNKS, chunks // (_SHARES * len(os.sched_getaffinity(0)))))
