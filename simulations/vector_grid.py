"""The grid of the vector engine: trains all asked homes together and answers for them.

For a strategy that works on sums it answers with one exact weighted mean of all homes; for
one that needs single updates, with one reply a home. The strategy cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message
from numpy.typing import NDArray

from fedhome.errors import FedHomeError
from fedhome.flower import EXAMPLES, array_record, content_of, failure, read_flat, reply
from fedhome.learning import answers
from fedhome.learning.answers import Columns
from fedhome.learning.order import Order, clip_updates
from fedhome.learning.personalise import Personaliser
from fedhome.plan import Plan
from simulations.grid import InProcessGrid, Silent
from simulations.vector import Chunk, VectorCohort

_OUTCOME_NUMBERS = 1 << 26  # parameters of the homes that personalise at a time


class _Sum(NamedTuple):
    total: NDArray[np.float64]  # sum of weight * parameters, [size]
    loss: float
    clipped: int


class VectorGrid(InProcessGrid):
    """Trains many homes at once.

    Args:
        cohort: All homes.
        plan: The plan.
        how: The personaliser; None where the plan has none.
        sums: Whether the strategy is content with means of groups of homes.
        silent: Which homes give no answer.
    """

    def __init__(
        self,
        cohort: VectorCohort,
        plan: Plan,
        *,
        how: Personaliser | None,
        sums: bool,
        silent: Silent | None = None,
    ) -> None:
        super().__init__(cohort.homes, silent=silent)
        self._cohort = cohort
        self._plan = plan
        self._how = how
        self._sums = sums
        self._weights = np.minimum(cohort.counts("train"), plan.rounds.max_examples)

    def answer(self, messages: list[Message]) -> list[Message]:
        """Answer messages; those with the same content are computed together."""
        together: dict[tuple[int, str], list[Message]] = {}
        for message in messages:
            key = (id(message.content), message.metadata.message_type)
            together.setdefault(key, []).append(message)
        return [
            answer for (_, kind), some in together.items() for answer in self._alike(kind, some)
        ]

    def _alike(self, kind: str, messages: list[Message]) -> list[Message]:
        arrays, config = content_of(messages[0])
        homes = np.array([self.position(message) for message in messages])
        try:
            start = read_flat(self._cohort.learning.layout, arrays)
            if kind == "train":
                order = Order.of(config)
                if self._sums:
                    return self._train_sum(messages, homes, start, order)
                return self._train_each(messages, homes, start, order)
            return self._evaluate(kind, messages, homes, start, config)
        except FedHomeError as error:
            return [failure(message, str(error)) for message in messages]

    def _train_sum(
        self,
        messages: list[Message],
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        order: Order,
    ) -> list[Message]:
        """Answer with one mean; sums within a chunk are float32, over chunks float64."""
        weights = self._weights[homes]
        total = float(weights.sum())
        shares = weights / total

        def add(chunk: Chunk) -> _Sum:
            clipped = 0
            if order.clip_norm is not None:
                clipped = int(clip_updates(start, chunk.params, order.clip_norm).sum())
            share = shares[chunk.homes]
            mean = share.astype(np.float32) @ chunk.params
            return _Sum(mean.astype(np.float64), float(share @ chunk.losses), clipped)

        sums = list(
            self._cohort.pick(homes).each_chunk(
                start,
                add,
                stream=order.round,
                epochs=self._plan.train.epochs,
                proximal_mu=order.proximal_mu,
            )
        )
        mean = np.sum([part.total for part in sums], axis=0).astype(np.float32)
        metrics: dict[str, float | int | list[float]] = {
            EXAMPLES: int(total),
            "train_loss": sum(part.loss for part in sums),
        }
        if order.clip_norm is not None:
            metrics["norm_bit"] = sum(part.clipped for part in sums) / len(homes)
        return [self._for_all(messages, metrics, mean)]

    def _train_each(
        self,
        messages: list[Message],
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        order: Order,
    ) -> list[Message]:
        trained = self._cohort.pick(homes).train(
            start,
            stream=order.round,
            epochs=self._plan.train.epochs,
            proximal_mu=order.proximal_mu,
        )
        columns: Columns = {EXAMPLES: self._weights[homes], "train_loss": trained.losses}
        if order.clip_norm is not None:
            bits = clip_updates(start, trained.params, order.clip_norm)
            columns["norm_bit"] = bits.astype(np.int64)
        layout = self._cohort.learning.layout
        return [
            reply(
                message,
                answers.row(columns, place),
                array_record(layout, trained.params[place], lazy=True),
            )
            for place, message in enumerate(messages)
        ]

    def _evaluate(
        self,
        kind: str,
        messages: list[Message],
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: ConfigRecord,
    ) -> list[Message]:
        if kind == answers.EVALUATE:
            columns = answers.evaluate(self._cohort.pick(homes), start)
            if self._sums:
                weights = columns.pop(EXAMPLES)
                total = float(weights.sum())
                mean: dict[str, float | int | list[float]] = {EXAMPLES: int(total)}
                mean |= {k: float((weights * v).sum() / total) for k, v in columns.items()}
                return [self._for_all(messages, mean)]
        else:
            columns = self._personal(kind, homes, start, config)
        return [
            reply(message, answers.row(columns, place)) for place, message in enumerate(messages)
        ]

    def _personal(
        self, kind: str, homes: NDArray[np.int64], start: NDArray[np.float32], config: ConfigRecord
    ) -> Columns:
        """Personalise some homes at a time, so that memory does not grow with the fleet."""
        questions: dict[str, Callable[[VectorCohort, Personaliser], Columns]] = {
            answers.TRIAL: lambda some, how: answers.trial(
                some, start, how, self._plan.personalise
            ),
            answers.OUTCOME: lambda some, how: answers.outcome(
                some, start, how, self._plan.personalise, config
            ),
        }
        if kind not in questions or self._how is None:
            raise FedHomeError(f"homes do not understand a message of type {kind!r}")
        size = max(1, _OUTCOME_NUMBERS // len(start))
        parts = [
            questions[kind](self._cohort.pick(homes[first : first + size]), self._how)
            for first in range(0, len(homes), size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _for_all(
        self,
        messages: list[Message],
        metrics: dict[str, float | int | list[float]],
        mean: NDArray[np.float32] | None = None,
    ) -> Message:
        arrays: ArrayRecord | None = None
        if mean is not None:
            arrays = array_record(self._cohort.learning.layout, mean, lazy=True)
        answer = reply(messages[0], metrics, arrays)
        self.stands_for(answer, len(messages))
        return answer
