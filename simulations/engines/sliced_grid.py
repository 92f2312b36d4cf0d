"""Home after home, each with its slice: replies so that their mean is the integrated model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from flwr.app import Message

from fedhome.flower.messages import EXAMPLES, array_record, content_of, read_flat, reply
from fedhome.learning.slice_places import SlicePlaces
from fedhome.questions.question_table import TRAIN
from fedhome.questions.train_config import TrainConfig
from fedhome.simulations.engines.grid import SequentialGrid
from fedhome.wire.layout import Layout


class SlicedGrid(SequentialGrid):
    """Runs the ClientApp's own handlers, home after home, and integrates what they learnt.

    A strategy takes the mean over all homes. A place that few of them carry has to move by the
    mean of those few: so what a home changed there is made larger by the weight of all homes over
    the weight of those that carry it.

    Args:
        homes: Names of the homes.
        layout: Layout of the whole model.
        carried: What each home trains of it.
        rest: As of :class:`SequentialGrid`.
    """

    def __init__(
        self, homes: Sequence[str], layout: Layout, carried: Sequence[SlicePlaces], **rest: Any
    ) -> None:
        super().__init__(homes, **rest)
        self._layout = layout
        self._carried = carried

    def answer(self, messages: list[Message]) -> Iterable[Message]:
        """Answer; after training for all homes at once: a place needs its homes' weight."""
        answers = list(super().answer(messages))
        if messages[0].metadata.message_type != TRAIN:
            return answers
        arrays, config = content_of(messages[0])
        start, number = read_flat(self._layout, arrays), TrainConfig.of(config).round
        learnt = {
            place: read_flat(self._layout, next(iter(answer.content.array_records.values())))
            for place, answer in enumerate(answers)
            if not answer.has_error()
        }
        fine = {place: params for place, params in learnt.items() if np.isfinite(params).all()}
        weight, total = np.zeros(len(start)), 0.0
        for place in fine:
            own = _weight(answers[place])
            carried = self._carried[self.position(messages[place])].in_round(number)
            weight[carried.covered(start)] += own
            total += own
        larger = np.divide(total, weight, out=np.zeros(len(start)), where=weight > 0)
        for place, params in fine.items():
            moved = (start + larger * (params.astype(np.float64) - start)).astype(np.float32)
            told = next(iter(answers[place].content.metric_records.values()))
            metrics = cast("Mapping[str, float | int | list[float]]", told)
            arrays = array_record(self._layout, moved, lazy=True)
            answers[place] = reply(messages[place], metrics, arrays)
        return answers


def _weight(answer: Message) -> float:
    metrics = next(iter(answer.content.metric_records.values()))
    weight = metrics[EXAMPLES]
    assert isinstance(weight, int)
    return float(weight)
