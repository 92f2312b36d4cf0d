"""Homes that are asked together, and what they answer: one mean, single updates, or columns.

A :class:`Shard` computes for its cohort in this process. A fleet may be one shard (the vector
engine) or many, each in a process of its own (the Ray engine); a grid cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import FedHomeError
from fedhome.learning.cohort import Training
from fedhome.learning.home_round import is_plain, train_round
from fedhome.learning.personalise import Personaliser
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import SummedQuestion, summed
from fedhome.questions.responses import Columns, QuestionContext, Response
from fedhome.questions.train_config import TrainConfig
from fedhome.questions.weights import weights_of
from fedhome.simulations.engines.chunk_sums import ChunkSums, RequestedForm, Words
from fedhome.simulations.engines.chunks import Chunk
from fedhome.simulations.engines.vector_cohort import VectorCohort

_Result = TypeVar("_Result")
_NUMBERS_AT_ONCE = 1 << 26  # parameters of the homes that personalise at a time


class Mean(NamedTuple):
    """The mean of some homes after training, each weighted by its number of examples.

    Args:
        params: Parameters, float64 ``[size]``.
        weight: Examples of all of these homes; 0 where every home was lost.
        loss: Training loss of the last pass.
        clipped: How many of these homes' updates were shortened.
        lost: Which of the requested homes, by index, are left out: what they learnt is not finite.
    """

    params: NDArray[np.float64]
    weight: int
    loss: float
    clipped: int
    lost: tuple[int, ...] = ()

    @classmethod
    def of(cls, parts: Sequence[Mean]) -> Mean:
        """Return the mean of means; it depends on their order, and on nothing else."""
        weight = sum(part.weight for part in parts)
        shares = [part.weight / max(weight, 1) for part in parts]
        return cls(
            params=np.sum(
                [share * part.params for share, part in zip(shares, parts, strict=True)], axis=0
            ),
            weight=weight,
            loss=sum(share * part.loss for share, part in zip(shares, parts, strict=True)),
            clipped=sum(part.clipped for part in parts),
            lost=tuple(index for part in parts for index in part.lost),
        )


class Homes(Protocol):
    """Homes that are asked together; ``homes`` are positions, answers are in their order."""

    def train_mean(
        self, homes: NDArray[np.int64], start: NDArray[np.float32], config: TrainConfig
    ) -> Mean:
        """Train homes ``[homes]`` from parameters ``[size]`` and return their mean."""

    def train_sum(
        self,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: TrainConfig,
        request: RequestedForm,
    ) -> Words:
        """Train homes ``[homes]`` from parameters ``[size]`` and return the sum of their words."""

    def respond(
        self,
        kind: str,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: Mapping[str, Any],
    ) -> Response:
        """Respond to a question home by home, with every update where it trains.

        Args:
            kind: Type of the message.
            homes: Whose responses are requested, ``[homes]``.
            start: The parameters that came, float32 ``[size]``.
            config: The settings that came.

        Raises:
            FedHomeError: No home understands such a message.
        """


def _added(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the sum of arrays' rows in float64, added in their order."""
    total = np.zeros(parts[0].shape[1])
    for part in parts:
        for row in part:
            total += row
    return total


def _losses(chunk: Chunk, share: NDArray[np.float64]) -> list[float]:
    """Return the weighted loss of each of a chunk's groups."""
    return [float(share[some] @ chunk.losses[some]) for some in chunk.groups]


class _Observed(NamedTuple):
    """What homes said of themselves: a second request brings nothing new.

    Args:
        request: The question, the model and the settings that came with it.
        known: Which homes' answers are there, bool ``[homes]``.
        columns: The answers, each ``[homes]``.
    """

    request: tuple[str, bytes, str]
    known: NDArray[np.bool_]
    columns: Columns


class Shard(Homes):
    """The homes of a cohort.

    Args:
        cohort: The homes.
        plan: The plan.
        how: The personaliser; None where the plan has none.
        of: How many shards share the memory that personalisation may take.
    """

    def __init__(
        self, cohort: VectorCohort, plan: Plan, *, how: Personaliser | None, of: int = 1
    ) -> None:
        self._cohort = cohort
        self._plan = plan
        self._how = how
        self._numbers = _NUMBERS_AT_ONCE // of
        self._weights = np.minimum(cohort.counts("train"), plan.rounds.max_examples)
        self._observed: _Observed | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the homes."""
        return self._cohort.homes

    def train_mean(
        self, homes: NDArray[np.int64], start: NDArray[np.float32], config: TrainConfig
    ) -> Mean:
        """Train; sums within a chunk are float32, over chunks float64.

        A home whose numbers are not finite is left out, as it would be where it answers for
        itself.
        """
        weights = self._weights[homes]
        weight = int(weights.sum())
        shares = weights / float(weight)

        def add(chunk: Chunk) -> tuple[NDArray[np.float32], list[float], int, NDArray[np.int64]]:
            share = shares[chunk.homes]
            if config.clipping.norm is None:
                # A number that is not finite shows in the mean: nothing times it is finite.
                with np.errstate(over="ignore", invalid="ignore"):
                    sums = self._sums(share.astype(np.float32), chunk)
                if np.isfinite(sums).all() and np.isfinite(chunk.losses).all():
                    return sums, _losses(chunk, share), 0, chunk.homes[:0]
            gone = ~(np.isfinite(chunk.params).all(axis=1) & np.isfinite(chunk.losses))
            if gone.any():
                chunk.params[gone], chunk.losses[gone], share[gone] = start, 0.0, 0.0
            bits = config.clipping.shorten(start, chunk.params)
            clipped = 0 if bits is None else int(bits.sum())
            sums = chunk.summed(share.astype(np.float32))
            return sums, _losses(chunk, share), clipped, chunk.homes[gone]

        cohort, plain = self._cohort.pick(homes), config.clipping.norm is None
        sums, losses, clipped, gone = zip(
            *self._each_trained(cohort, start, add, config, sums=plain), strict=True
        )
        lost = np.sort(np.concatenate(gone))
        kept = weight - int(weights[lost].sum())
        scale = weight / max(kept, 1)
        return Mean(
            params=_added(sums) * scale,
            weight=kept,
            loss=sum(loss for some in losses for loss in some) * scale,
            clipped=sum(clipped),
            lost=tuple(lost.tolist()),
        )

    def _sums(self, share: NDArray[np.float32], chunk: Chunk) -> NDArray[np.float32]:
        """Return the weighted sums of a chunk's groups, from where its parameters lie."""
        if chunk.there is None:
            return chunk.summed(share)
        placement = self._cohort.placement
        return placement.take(placement.put(share) @ chunk.there)[None]

    def train_sum(
        self,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: TrainConfig,
        request: RequestedForm,
        part: NDArray[np.int64] | None = None,
    ) -> Words:
        """Train and add up what homes encode, chunk by chunk; the sum is exact in any order.

        Of the parameters only ``part`` is added up, ``[numbers]``; None: all of them.
        """
        cohort = self._cohort.pick(homes)
        weights = weights_of(self._plan, self._weights[homes])
        sums = ChunkSums(
            self._plan, cohort, start, config=config, request=request, weights=weights, part=part
        )
        return sums.words(self._each_trained(cohort, start, sums.add, config))

    def _each_trained(
        self,
        cohort: VectorCohort,
        start: NDArray[np.float32],
        then: Callable[[Chunk], _Result],
        config: TrainConfig,
        *,
        sums: bool = False,
    ) -> Iterator[_Result]:
        """Let homes do what their method does in a round, some at a time."""
        method, train = config.method(cohort.learning.method), self._plan.train
        if is_plain(method, cohort.learning.layout):
            yield from cohort.each_chunk(
                start,
                Training(
                    stream=config.round,
                    epochs=train.epochs,
                    steps=train.steps,
                    method=method,
                    rate=config.rate,
                ),
                then,
                sums=sums,
            )
            return
        homes, size = len(cohort.where), max(1, self._numbers // len(start))
        for first in range(0, homes, size):
            some = np.arange(first, min(first + size, homes))
            trained = train_round(
                cohort.pick(some),
                start,
                number=config.round,
                epochs=train.epochs,
                steps=train.steps,
                method=method,
                rate=config.rate,
            )
            yield then(Chunk(some, trained.params, trained.losses))

    def respond(
        self,
        kind: str,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: Mapping[str, Any],
    ) -> Response:
        """Respond home by home."""
        question = summed(kind)
        if question.personal and self._how is None:
            raise FedHomeError(f"homes do not understand a message of type {kind!r}")
        given = QuestionContext(self._plan, config, self._cohort.learning.task.score, self._how)
        if question.observed:
            return Response(self._remembered(question, homes, start, given))
        return self._respond(question, homes, start, given)

    def _remembered(
        self,
        question: SummedQuestion,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        given: QuestionContext,
    ) -> Columns:
        """Respond once for a sum, and once more where a simulation looks on."""
        request = (question.name, start.tobytes(), repr(sorted(given.config.items())))
        if self._observed is None or self._observed.request != request:
            self._observed = _Observed(request, np.zeros(len(self._weights), np.bool_), {})
        known, columns = self._observed.known, self._observed.columns
        missing = homes[~known[homes]]
        if len(missing):
            found = self._respond(question, missing, start, given).columns
            for name, values in found.items():
                everyone = np.zeros((len(known), *values.shape[1:]), values.dtype)
                columns.setdefault(name, everyone)[missing] = values
            known[missing] = True
        return {name: values[homes] for name, values in columns.items()}

    def _respond(
        self,
        question: SummedQuestion,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        given: QuestionContext,
    ) -> Response:
        """Let some homes personalise at a time, so that memory does not grow with the fleet."""
        if not question.personal:
            return question.respond(self._cohort.pick(homes), start, given)
        size = max(1, self._numbers // len(start))
        parts = [
            question.respond(self._cohort.pick(homes[first : first + size]), start, given).columns
            for first in range(0, len(homes), size)
        ]
        return Response({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
