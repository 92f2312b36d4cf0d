"""The vector engine: all selected homes train together, on every core.

Homes are sorted by their number of rows and cut into chunks that fit the processor's cache;
each worker thread trains a chunk at a time. A chunk is trained by the fastest *kernel* that
fits the plan: see :mod:`simulations.kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import vmap

from fedhome import rng
from fedhome.learning.cohort import Cohort, Measured, Trained
from fedhome.learning.examples import HomeExamples, Part
from fedhome.learning.local import LocalLearning, Params, row_losses
from fedhome.learning.tasks import Segments
from simulations.kernels import Kernel, Rows

_Result = TypeVar("_Result")
_EVALUATED_ROWS = 1 << 15  # rows of one evaluation chunk


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The examples of all homes, one home after the other.

    Args:
        homes: Names.
        x: Inputs float32 ``[rows, features]``.
        y: Targets float32 ``[rows, 1]`` or int64 ``[rows]``.
        naive: Forecasts without learning, float32 ``[rows]``.
        begin: First row of each home, int64 ``[homes]``.
        sizes: Rows of training, validation and test of each home, int64 ``[homes, 3]``.
        units: Unit of each home's target, float64 ``[homes]``.
    """

    homes: tuple[str, ...]
    x: NDArray[np.float32]
    y: NDArray[np.float32] | NDArray[np.int64]
    naive: NDArray[np.float32]
    begin: NDArray[np.int64]
    sizes: NDArray[np.int64]
    units: NDArray[np.float64]

    @classmethod
    def of(cls, examples: list[HomeExamples]) -> Fleet:
        """Lay homes one after the other."""
        lengths = np.array([len(home.x) for home in examples], np.int64)
        return cls(
            homes=tuple(home.home for home in examples),
            x=np.concatenate([home.x for home in examples]),
            y=np.concatenate([home.y for home in examples]),
            naive=np.concatenate([home.naive for home in examples]),
            begin=np.cumsum(lengths) - lengths,
            sizes=np.array([home.counts for home in examples], np.int64),
            units=np.array([home.unit for home in examples]),
        )

    def spans(
        self, homes: NDArray[np.int64], part: Part
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return first row and number of rows of a part, for some homes, each ``[homes]``."""
        begin, sizes = self.begin[homes], self.sizes[homes]
        first = {"validation": sizes[:, 0], "test": sizes[:, 0] + sizes[:, 1]}.get(part)
        count = {
            "train": sizes[:, 0],
            "validation": sizes[:, 1],
            "test": sizes[:, 2],
            "train+validation": sizes[:, 0] + sizes[:, 1],
        }[part]
        return (begin if first is None else begin + first), count


class Chunk(NamedTuple):
    """Some homes after training: positions in the cohort, parameters, losses."""

    homes: NDArray[np.int64]
    params: NDArray[np.float32]
    losses: NDArray[np.float64]


class VectorCohort(Cohort):
    """Many homes of a fleet, trained together.

    Args:
        learning: The three functions of local learning.
        fleet: All homes.
        seed: The plan's seed, for the order of batches.
        kernel: What trains a chunk, given the learning (cached by the caller).
        workers: Where chunks are trained.
        homes: Positions in the fleet of this cohort's homes; None for all.
    """

    def __init__(
        self,
        learning: LocalLearning,
        fleet: Fleet,
        *,
        seed: int,
        kernel: Callable[[LocalLearning], Kernel],
        workers: Executor,
        homes: NDArray[np.int64] | None = None,
        keys: NDArray[np.uint64] | None = None,
    ) -> None:
        self.learning = learning
        self.fleet = fleet
        self.seed = seed
        self._kernel = kernel
        self._workers = workers
        self._keys = rng.home_keys(seed, fleet.homes) if keys is None else keys
        self.where = np.arange(len(fleet.homes)) if homes is None else homes

    @property
    def homes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of this cohort's homes."""
        return tuple(self.fleet.homes[place] for place in self.where)

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
        )

    def counts(self, part: Part) -> NDArray[np.int64]:
        """Rows of a part, int64 ``[homes]``."""
        return self.fleet.spans(self.where, part)[1]

    def train(
        self,
        start: NDArray[np.float32],
        *,
        stream: int,
        epochs: int,
        part: Part = "train",
        rate: float = 1.0,
        proximal_mu: float | None = None,
    ) -> Trained:
        """Train every home; returns all parameters at once."""
        params = np.empty((len(self.where), start.shape[-1]), np.float32)
        losses = np.empty(len(self.where))

        def keep(chunk: Chunk) -> None:
            params[chunk.homes], losses[chunk.homes] = chunk.params, chunk.losses

        for _ in self.each_chunk(
            start,
            keep,
            stream=stream,
            epochs=epochs,
            part=part,
            rate=rate,
            proximal_mu=proximal_mu,
        ):
            pass
        return Trained(params, losses)

    def each_chunk(
        self,
        start: NDArray[np.float32],
        then: Callable[[Chunk], _Result],
        *,
        stream: int,
        epochs: int,
        part: Part = "train",
        rate: float = 1.0,
        proximal_mu: float | None = None,
    ) -> Iterator[_Result]:
        """Train chunk by chunk; ``then`` runs in the worker, results come in a fixed order.

        Nothing larger than the chunks at work is held in memory.
        """
        kernel = self._kernel(self.learning.vary(rate=rate, proximal_mu=proximal_mu))
        begin, counts = self.fleet.spans(self.where, part)
        order = np.argsort(-counts, kind="stable")
        size = kernel.chunk_homes
        chunks = [order[first : first + size] for first in range(0, len(order), size)]

        def work(some: NDArray[np.int64]) -> _Result:
            shared = start.ndim == 1
            params = np.repeat(start[None], len(some), axis=0) if shared else start[some]
            keys, count = self._keys[self.where[some]], counts[some]
            passes = [rng.epoch_keys(keys, stream, epoch) for epoch in range(epochs)]
            rows = Rows(
                orders=[begin[some][:, None] + rng.shuffles(key, count) for key in passes],
                counts=count,
                keys=passes,
            )
            losses = kernel.train(params, self.fleet, rows)
            return then(Chunk(some, params, losses))

        yield from self._workers.map(work, chunks)

    def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
        """Score parameters on a part, many homes at once."""
        begin, counts = self.fleet.spans(self.where, part)
        order = np.argsort(-counts, kind="stable")
        shared = params.ndim == 1
        losses = np.empty(len(self.where))
        metrics: dict[str, NDArray[np.float64]] = {}

        def work(some: NDArray[np.int64]) -> tuple[NDArray[np.int64], Measured]:
            rows = np.concatenate(
                [np.arange(b, b + c) for b, c in zip(begin[some], counts[some], strict=True)]
            )
            output = (
                self._predict_shared(params, rows)
                if shared
                else self._predict_own(params[some], begin[some], counts[some])
            )
            return some, self._measured(output, rows, self.where[some], counts[some])

        for some, measured in self._workers.map(work, _by_rows(order, counts)):
            losses[some] = measured.losses
            for name, values in measured.metrics.items():
                metrics.setdefault(name, np.empty(len(self.where)))[some] = values
        return Measured(losses, metrics)

    def baseline(self, part: Part) -> Measured:
        """Score the forecast without learning."""
        begin, counts = self.fleet.spans(self.where, part)
        rows = np.concatenate([np.arange(b, b + c) for b, c in zip(begin, counts, strict=True)])
        output = self.learning.task.naive_output(self.fleet.naive[rows])
        measured = self._measured(torch.from_numpy(output), rows, self.where, counts)
        return Measured(np.full(len(counts), np.nan), measured.metrics)

    def _predict_shared(self, params: NDArray[np.float32], rows: NDArray[np.int64]) -> torch.Tensor:
        x = torch.from_numpy(self.fleet.x[rows])
        return self.learning.predict(self.learning.tensors(params), x)

    def _predict_own(
        self,
        params: NDArray[np.float32],
        begin: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> torch.Tensor:
        width = int(counts.max())
        place = np.arange(width)
        inside = place[None] < counts[:, None]
        index = np.where(inside, begin[:, None] + place[None], begin[:, None])
        x = torch.from_numpy(self.fleet.x[index])  # [homes, width, features]
        output = predict_stacked(self.learning, self.learning.tensors(params), x)
        return output[torch.from_numpy(inside)]

    def _measured(
        self,
        output: torch.Tensor,
        rows: NDArray[np.int64],
        homes: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> Measured:
        task, segments = self.learning.task, Segments(counts=counts)
        y = self.fleet.y[rows]
        losses = row_losses(task.loss, output, torch.from_numpy(y)).double().numpy()
        scores = task.measure(
            y, output.numpy(), self.fleet.naive[rows], segments, self.fleet.units[homes]
        )
        return Measured(segments.mean(losses), scores)


def predict_stacked(learning: LocalLearning, params: Params, x: torch.Tensor) -> torch.Tensor:
    """Return each home's own predictions.

    Args:
        learning: The model.
        params: Stacked parameters, each ``[homes, ...]``.
        x: Inputs ``[homes, rows, features]``.

    Returns:
        Raw outputs ``[homes, rows, outputs]``.
    """
    with torch.no_grad():
        return vmap(learning.forward)(params, x)


def _by_rows(order: NDArray[np.int64], counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut homes, largest first, into chunks of about as many (padded) rows each."""
    first = 0
    while first < len(order):
        homes = max(1, _EVALUATED_ROWS // max(int(counts[order[first]]), 1))
        yield order[first : first + homes]
        first += homes
