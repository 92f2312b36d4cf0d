"""The grid of the vector and Ray engines: trains all asked homes together and answers for them.

For a strategy that works on sums it answers with one exact weighted mean of all homes; for
one that needs single updates, with one reply a home. The strategy cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message
from numpy.typing import NDArray

from fedhome.errors import EngineError, FedHomeError, PluginError
from fedhome.flower.broadcast import Broadcast
from fedhome.flower.fast_replies import replies
from fedhome.flower.messages import (
    EXAMPLES,
    LazyArray,
    array_record,
    content_of,
    failure,
    number_messages,
    read_flat,
    reply,
)
from fedhome.learning.cohort import Cohort
from fedhome.questions import responses
from fedhome.questions.contributions import NOT_FINITE
from fedhome.questions.question_table import EVALUATE, TRAIN
from fedhome.questions.responses import Columns
from fedhome.questions.train_config import TrainConfig
from fedhome.simulations.engines.grid import InProcessGrid
from fedhome.simulations.engines.shard import Homes
from fedhome.simulations.engines.world import World
from fedhome.wire.names import HELP


class JointGrid(InProcessGrid):
    """Asks many homes at once, wherever they are computed.

    Args:
        world: What is simulated.
        homes: Its homes, by their positions in its names.
        within: They themselves, where they are in this process.
    """

    def __init__(self, world: World, homes: Homes, *, within: Sequence[Cohort] = ()) -> None:
        super().__init__(world.names, silent=world.silent())
        self.within = within
        self._together = homes
        self._layout = world.learning.layout
        self._sums = world.sums
        self._adding = world.adding(homes)

    def observe(self, messages: list[Message]) -> Iterable[Message]:
        """Answer home by home, in the clear."""
        number_messages(messages, self._sent)
        self._sent += len(messages)
        arrays, config = content_of(messages[0])
        kind = messages[0].metadata.message_type
        homes = self.positions(messages)
        start = read_flat(self._layout, arrays)
        return _rows(messages, self._together.respond(kind, homes, start, config).columns)

    def answer(self, messages: list[Message]) -> Iterable[Message]:
        """Answer messages; those with the same content are computed together.

        Raises:
            EngineError: The engine itself failed: no reply of a home can say so.
        """
        together: dict[tuple[int, str], list[Message]] = {}
        for message in messages:
            kind = message.metadata.message_type
            # Members are asked with a content each, and answer together all the same.
            key = (0 if kind == HELP else id(message.content), kind)
            together.setdefault(key, []).append(message)
        return (
            answer for (_, kind), some in together.items() for answer in self._alike(kind, some)
        )

    @property
    def takes_broadcasts(self) -> bool:  # type: ignore[override]
        """Whether a broadcast may come: where homes answer in the clear."""
        return self._adding is None

    def answer_broadcast(self, messages: Broadcast) -> Iterable[Message]:
        """Answer messages that differ in their receiver alone."""
        return self._alike(messages[0].metadata.message_type, messages)

    def _alike(self, kind: str, messages: Sequence[Message]) -> Iterable[Message]:
        if self._adding is not None:
            return self._adding.answer(self, list(messages))
        arrays, config = content_of(messages[0])
        homes = self.positions(messages)
        try:
            start = read_flat(self._layout, arrays)
            if kind == TRAIN and self._sums:
                return self._train_mean(messages, homes, start, TrainConfig.of(config))
            return self._respond(kind, messages, homes, start, config)
        except (EngineError, PluginError):
            raise
        except FedHomeError as error:
            return [failure(message, str(error)) for message in messages]

    def _train_mean(
        self,
        messages: Sequence[Message],
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: TrainConfig,
    ) -> list[Message]:
        mean = self._together.train_mean(homes, start, config)
        if mean.weight == 0:
            return [failure(message, NOT_FINITE) for message in messages]
        metrics: dict[str, float | int | list[float]] = {
            EXAMPLES: mean.weight,
            "train_loss": mean.loss,
        }
        metrics |= config.clipping.share(mean.clipped, len(homes) - len(mean.lost))
        return self._for_all(messages, mean.lost, metrics, mean.params.astype(np.float32))

    def _respond(
        self,
        kind: str,
        messages: Sequence[Message],
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: ConfigRecord,
    ) -> list[Message]:
        columns, params = self._together.respond(kind, homes, start, config)
        if kind == EVALUATE and self._sums:
            fine = np.all([np.isfinite(values) for values in columns.values()], axis=0)
            weights = columns.pop(EXAMPLES)[fine]
            total = float(weights.sum())
            if total == 0:
                return [failure(message, NOT_FINITE) for message in messages]
            mean: dict[str, float | int | list[float]] = {EXAMPLES: int(total)}
            mean |= {k: float((weights * v[fine]).sum() / total) for k, v in columns.items()}
            return self._for_all(messages, tuple(np.flatnonzero(~fine).tolist()), mean)
        if params is None:
            return _rows(messages, columns)
        return replies(
            messages, responses.rows(columns), list(map(LazyArray, params)), self._layout.key
        )

    def _for_all(
        self,
        messages: Sequence[Message],
        lost: tuple[int, ...],
        metrics: dict[str, float | int | list[float]],
        mean: NDArray[np.float32] | None = None,
    ) -> list[Message]:
        """Answer once for all homes but the lost, and with an error for each of these."""
        arrays: ArrayRecord | None = None
        if mean is not None:
            arrays = array_record(self._layout, mean, lazy=True)
        gone = set(lost)
        first = next(index for index in range(len(messages)) if index not in gone)
        answer = reply(messages[first], metrics, arrays)
        self.stands_for(answer, len(messages) - len(gone))
        return [answer, *(failure(messages[index], NOT_FINITE) for index in sorted(gone))]


def _rows(messages: Sequence[Message], columns: Columns) -> list[Message]:
    return replies(messages, responses.rows(columns), None, "")
