"""Home after home, each with its slice: replies so that their mean is the integrated model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flwr.app import Message

from fedhome.learning.slice_places import SlicePlaces
from fedhome.questions.question_table import TRAIN
from fedhome.server.rounds.sliced_replies import integrate_replies
from fedhome.simulations.engines.grid import SequentialGrid
from fedhome.wire.layout import Layout


class SlicedGrid(SequentialGrid):
    """Runs the ClientApp's own handlers, home after home, and integrates what they learnt.

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
        carried = [self._carried[self.position(message)] for message in messages]
        integrate_replies(messages[0], answers, layout=self._layout, carried=carried)
        return answers
