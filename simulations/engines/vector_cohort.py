"""The vector engine: all selected homes train together, on every core.

Homes are sorted by their number of rows and cut into chunks that fit the processor's cache; each
worker thread trains a chunk at a time. A chunk is trained by the fastest *kernel* that fits the
plan: see :mod:`.kernels`. On a GPU (:mod:`.compute_device`) a chunk is thousands of homes, and one
thread feeds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedhome import rng
from fedhome.data.series.examples import Part
from fedhome.learning.cohort import Cohort, Measured, Memory, PartRows, Trained, Training
from fedhome.learning.local import LocalLearning
from fedhome.learning.own_state import HomeStates
from fedhome.learning.personalise.home_end import MOST_KEPT
from fedhome.learning.slice_places import SlicePlaces
from fedhome.learning.tasks import Segments
from fedhome.simulations.engines.chunk_training import ChunkTraining
from fedhome.simulations.engines.chunks import Chunk
from fedhome.simulations.engines.compute_device import PROCESSOR, Placement
from fedhome.simulations.engines.stacked_homes import Spans, StackedHomes
from fedhome.simulations.engines.stacked_predictions import predict_padded
from fedhome.simulations.engines.torch_kernels import DeviceKernel, Kernel

_Result = TypeVar("_Result")
_EVALUATED_ROWS = 1 << 15  # rows of one evaluation chunk


class VectorCohort(Cohort):
    """Many homes of a fleet, trained together.

    Args:
        learning: The three functions of local learning.
        fleet: All homes.
        seed: The plan's seed, for the order of batches.
        kernel: What trains a chunk, given the learning (cached by the caller).
        workers: Where chunks are trained.
        homes: Positions in the fleet of this cohort's homes; None for all.
        keys: Keys of the fleet's homes; None: as the seed says.
        placement: Where homes are trained and scored.
        memory: What the fleet's homes computed earlier.
        states: Where homes keep what their method learns for them alone.
        carries: Where in the fleet's model these homes' lies; None: it is the same.
        rounds: The same homes with what they train in rounds; None: this.
    """

    learning: LocalLearning

    def __init__(
        self,
        learning: LocalLearning,
        fleet: StackedHomes,
        *,
        seed: int,
        kernel: Callable[[LocalLearning], Kernel],
        workers: Executor,
        homes: NDArray[np.int64] | None = None,
        keys: NDArray[np.uint64] | None = None,
        placement: Placement = PROCESSOR,
        memory: Memory | None = None,
        states: HomeStates | None = None,
        carries: SlicePlaces | None = None,
        rounds: Cohort | None = None,
    ) -> None:
        self.learning = learning
        self.carries, self.rounds = carries, rounds
        self.fleet = fleet
        self.seed = seed
        self.memory = {} if memory is None else memory
        self.states = states
        self._kernel = kernel
        self._workers = workers
        self.placement = placement
        self._keys = rng.home_keys(seed, fleet.homes) if keys is None else keys
        self.where = np.arange(len(fleet.homes)) if homes is None else homes

    @property
    def homes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of this cohort's homes."""
        return tuple(self.fleet.homes[index] for index in self.where)

    def pick(self, homes: NDArray[np.int64]) -> VectorCohort:
        """Return the cohort of some of these homes, by their positions here."""
        return VectorCohort(
            self.learning,
            self.fleet,
            seed=self.seed,
            kernel=self._kernel,
            workers=self._workers,
            homes=self.where[homes],
            keys=self._keys,
            placement=self.placement,
            memory=self.memory,
            states=self.states,
            carries=self.carries,
            rounds=None if self.rounds is None else self.rounds.pick(homes),
        )

    def beside(self, fleet: StackedHomes) -> VectorCohort:
        """Return the cohort of other homes, with the same kernels and workers."""
        return VectorCohort(
            self.learning,
            fleet,
            seed=self.seed,
            kernel=self._kernel,
            workers=self._workers,
            placement=self.placement,
            states=self.states,
        )

    def keeps(self) -> NDArray[np.bool_]:
        """Return which homes' fitted models are kept: those of the fleet's first homes."""
        return self.where < MOST_KEPT

    def counts(self, part: Part) -> NDArray[np.int64]:
        """Rows of a part, int64 ``[homes]``."""
        return self.fleet.spans(self.where, part)[1]

    def train(self, start: NDArray[np.float32], how: Training) -> Trained:
        """Train every home; returns all parameters at once."""
        params = np.empty((len(self.where), start.shape[-1]), np.float32)
        losses = np.empty(len(self.where))

        def keep(chunk: Chunk) -> None:
            losses[chunk.homes] = chunk.losses
            if not np.shares_memory(chunk.params, params):
                params[chunk.homes] = chunk.params

        for _ in self.each_chunk(start, how, keep, into=params):
            pass
        return Trained(params, losses)

    def each_chunk(
        self,
        start: NDArray[np.float32],
        how: Training,
        then: Callable[[Chunk], _Result],
        *,
        into: NDArray[np.float32] | None = None,
        sums: bool = False,
    ) -> Iterator[_Result]:
        """Train chunk by chunk; ``then`` runs in the worker, results come in a fixed order.

        Nothing larger than the chunks at work is held in memory: a chunk's parameters are there
        until ``then`` returns, and no longer. Homes of a chunk that stand side
        by side train where they lie in ``into``, ``[homes, size]``, if that is given. On a device
        they train there, and what they learnt is brought back when it is asked for. Where ``sums``
        are all that is wanted as a rule, from one start ``[size]``, several chunks may come as one.
        """
        learning = self.learning.vary(rate=how.rate, method=how.method, batch=how.batch)
        kernel = self._kernel(learning)
        begin, counts = self.fleet.spans(self.where, how.part)
        training = ChunkTraining(
            kernel=kernel,
            fleet=self.fleet,
            placement=self.placement,
            begin=begin,
            counts=counts,
            keys=self._keys[self.where],
            start=start,
            towards=how.towards,
            stream=how.stream,
            epochs=how.epochs,
            wanted=how.steps * learning.train.batch_rows,
        )
        if isinstance(kernel, DeviceKernel) and self.placement.elsewhere:
            return training.there(kernel, self._workers, then)
        return training.here(self._workers, then, into=into, sums=sums)

    def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
        """Score parameters on a part, many homes at once."""
        losses = np.empty(len(self.where))
        metrics: dict[str, NDArray[np.float64]] = {}

        def work(some: Spans) -> Measured:
            rows = some.rows()
            output, losses = self._scored(params, some, rows)
            measured = self._measured(output, rows, self.where[some.homes], some.counts)
            return Measured(Segments(counts=some.counts).mean(losses), measured)

        for some, measured in self._each_span(part, work):
            losses[some.homes] = measured.losses
            for name, values in measured.metrics.items():
                metrics.setdefault(name, np.empty(len(self.where)))[some.homes] = values
        return Measured(losses, metrics)

    def _each_span(
        self, part: Part, work: Callable[[Spans], _Result]
    ) -> Iterator[tuple[Spans, _Result]]:
        """Do something with the rows of a part, some homes at a time, on all workers."""
        begin, counts = self.fleet.spans(self.where, part)
        order = np.argsort(-counts, kind="stable")
        chunks = [Spans(some, begin[some], counts[some]) for some in _by_rows(order, counts)]
        yield from zip(chunks, self._workers.map(work, chunks), strict=True)

    def rows(self, part: Part) -> PartRows:
        """Return the rows of a part."""
        fleet, (begin, counts) = self.fleet, self.fleet.spans(self.where, part)
        rows = Spans(self.where, begin, counts).rows()
        return PartRows(
            fleet.x[rows],
            fleet.y[rows],
            fleet.naive[rows],
            fleet.seasons[rows],
            fleet.times[rows],
            counts,
            fleet.units[self.where],
        )

    def predict(self, params: NDArray[np.float32], part: Part) -> NDArray[np.float32]:
        """Return the model's raw outputs on a part, many homes at once."""
        _, counts = self.fleet.spans(self.where, part)
        ends = np.cumsum(counts)
        output = np.empty((int(ends[-1]), self.learning.task.outputs), np.float32)
        places = Spans(np.arange(len(counts)), ends - counts, counts)

        def work(some: Spans) -> NDArray[np.float32]:
            return self._scored(params, some, some.rows())[0]

        for some, found in self._each_span(part, work):
            at = Spans(some.homes, places.begin[some.homes], some.counts).rows()
            output[at] = found
        return output

    def measure(self, output: NDArray[np.float32], part: Part) -> dict[str, NDArray[np.float64]]:
        """Score outputs on a part."""
        begin, counts = self.fleet.spans(self.where, part)
        rows = Spans(self.where, begin, counts).rows()
        return self._measured(output, rows, self.where, counts)

    def baseline(self, part: Part) -> Measured:
        """Score the forecast without learning."""
        begin, counts = self.fleet.spans(self.where, part)
        rows = Spans(self.where, begin, counts).rows()
        output = self.learning.task.naive_output(self.fleet.naive[rows])
        measured = self._measured(output, rows, self.where, counts)
        return Measured(np.full(len(counts), np.nan), measured)

    def _scored(
        self, params: NDArray[np.float32], some: Spans, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return raw outputs ``[rows, outputs]`` and losses ``[rows]`` of some homes' rows."""
        learning, placement = self.learning, self.placement
        with placement.explained():
            if placement.holds(self.fleet):
                x, y = placement.examples(self.fleet)
                there = placement.put(rows)
            else:  # these rows alone, one home after the other
                x, y = placement.put(self.fleet.x[rows]), placement.put(self.fleet.y[rows])
                there = placement.put(np.arange(len(rows)))
                some = some._replace(begin=np.cumsum(some.counts) - some.counts)
            if params.ndim == 1:
                own = learning.split(placement.put(params))
                output = learning.predict(own, x.index_select(0, there))
            else:
                index, inside = some.padded()
                output = predict_padded(
                    learning,
                    learning.split(placement.put(params[some.homes])),
                    x,
                    placement.put(index),
                    placement.put(np.flatnonzero(inside)),
                )
            losses = learning.loss.rows(output, y.index_select(0, there)).double()
            return placement.take(output), placement.take(losses)

    def _measured(
        self,
        output: NDArray[np.float32],
        rows: NDArray[np.int64],
        homes: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> dict[str, NDArray[np.float64]]:
        fleet, segments = self.fleet, Segments(counts=counts)
        y, naive = fleet.y[rows], fleet.naive[rows]
        anchors = fleet.anchors[rows] if len(fleet.anchors) else None
        units = fleet.units[homes]
        return self.learning.task.measure(y, output, naive, segments, units, anchors=anchors)


def _by_rows(order: NDArray[np.int64], counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut homes, largest first, into chunks of about as many (padded) rows each."""
    first = 0
    while first < len(order):
        homes = max(1, _EVALUATED_ROWS // max(int(counts[order[first]]), 1))
        yield order[first : first + homes]
        first += homes
