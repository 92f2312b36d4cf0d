"""How simulated homes answer where updates are added up: with one ideal sum, or each masked.

What a home adds is computed by the same functions as on a device; only the training is done
for many homes together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from fedhome.clients.asked_question import AskedQuestion, manifest_of, manifest_terms, scalars_of
from fedhome.clients.protocol_answers import asked_parts
from fedhome.clients.secure_sums import (
    RequestedSum,
    requested_sum_of,
)
from fedhome.clients.sum_checks import check_form
from fedhome.errors import EngineError, FedHomeError, PluginError, UpdateError
from fedhome.flower.fast_replies import BlobReplies
from fedhome.flower.messages import failure, sum_record, words_reply
from fedhome.learning.own_state import HomeStates
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.questions import contributions, private_sums
from fedhome.questions.contributions import Terms
from fedhome.questions.empty_handed import settled
from fedhome.questions.question_table import summed
from fedhome.questions.responses import QuestionContext
from fedhome.questions.settings import check_settings
from fedhome.questions.shells import shell_layout, shell_places
from fedhome.questions.train_config import TrainConfig
from fedhome.questions.transfer import count_of, encoded
from fedhome.simulations.engines.chunk_sums import RequestedForm
from fedhome.simulations.engines.grid import InProcessGrid
from fedhome.simulations.engines.shard import Homes
from fedhome.simulations.secure.parties import AcceptedForm, Numbers, Parties
from fedhome.wire.layout import Layout
from fedhome.wire.names import BUNDLE, HELP

_AT_ONCE = 64  # homes whose updates are held while they are masked


class SumResponder(Protocol):
    """Answers for simulated homes that take part in sums."""

    def answer(self, grid: InProcessGrid, messages: list[Message]) -> Iterable[Message]:
        """Answer messages with the same content and type."""


class _SumResponder(SumResponder):
    """What both ways share.

    Args:
        plan: The plan.
        names: Names of all homes.
        homes: The homes, asked together.
        layout: Layout of the parameters.
        score: Name of the task's score.
        states: Where homes keep what they do not send.
    """

    def __init__(
        self,
        plan: Plan,
        names: Sequence[str],
        homes: Homes,
        layout: Layout,
        score: str,
        *,
        states: HomeStates,
    ) -> None:
        self.plan = plan
        self.names = names
        self.homes = homes
        self.layout = layout
        self.score = score
        self.states = states

    def contributions_of(
        self, message: Message, homes: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32] | None, Terms]:
        """Return what homes add up: their updates, where the question trains, and their numbers."""
        kind, settings, received = AskedQuestion.of(message, self.layout)
        start = np.zeros(0, np.float32) if received is None else received
        columns, params = self.homes.respond(kind, homes, start, settings)
        update = None if params is None else params - start
        if update is not None:
            update = encoded(
                self.plan,
                update,
                start=start,
                settings=settings,
                homes=[self.names[home] for home in homes],
                states=self.states,
            )
        context = QuestionContext(self.plan, settings, self.score)
        update, terms = settled(update, summed(kind).terms(columns, update, context))
        if update is not None and is_sliced(self.plan):
            update = update[:, shell_places(self.plan, self.layout, settings)]
        return update, terms


class IdealSumResponder(_SumResponder):
    """Answers with the sum of what all requested homes encode."""

    def answer(self, grid: InProcessGrid, messages: list[Message]) -> Iterable[Message]:
        """Answer once for all homes."""
        homes = np.array([grid.position(message) for message in messages])
        first = messages[0]
        try:
            requested_sum = self._requested_sum(first)
            total = self._total(first, homes, requested_sum)
        except (EngineError, PluginError):
            raise
        except FedHomeError as error:
            return [failure(message, error.message) for message in messages]
        answer = words_reply(first, total)
        grid.stands_for(answer, len(messages))
        return [answer]

    def _requested_sum(self, message: Message) -> RequestedSum:
        asked = AskedQuestion.of(message, self.layout)
        requested = requested_sum_of(
            message, asked, "ideal", None, layout=self.layout, plan=self.plan
        )
        assert requested is not None
        return requested

    def _total(
        self, message: Message, homes: NDArray[np.int64], requested_sum: RequestedSum
    ) -> NDArray[np.unsignedinteger]:
        form, kind = requested_sum.form, message.metadata.message_type
        if summed(kind).update:
            _, settings, start = AskedQuestion.of(message, self.layout)
            assert start is not None
            config = TrainConfig.of(settings)
            asked = RequestedForm(form, requested_sum.round)
            return self.homes.train_sum(homes, start, config, asked).total
        terms = private_sums.added(form, self.contributions_of(message, homes)[1])
        names, number = [self.names[home] for home in homes], requested_sum.round
        keys = contributions.rounding_keys(self.plan.seed, kind, number, names)
        noise = contributions.simulated_noise_keys(self.plan.seed, kind, number, names)
        return form.total(None, terms.weights, terms.values, keys, noise)


class MaskedSumResponder(_SumResponder):
    """Answers for each home with what it would send: a masked vector.

    Args:
        plan: The plan.
        names: Names of all homes.
        homes: The homes, asked together.
        layout: Layout of the parameters.
        score: Name of the task's score.
        states: Where homes keep what they do not send.
        parties: The homes' machines of the protocol, by the same positions.
        quorum: How many members of the committee open a sum.
    """

    def __init__(
        self,
        plan: Plan,
        names: Sequence[str],
        homes: Homes,
        layout: Layout,
        score: str,
        *,
        states: HomeStates,
        parties: Parties,
        quorum: int,
    ) -> None:
        super().__init__(plan, names, homes, layout, score, states=states)
        self.parties = parties
        self.quorum = quorum

    def answer(self, grid: InProcessGrid, messages: list[Message]) -> Iterator[Message]:
        """Answer home after home; what one home learnt is let go when it is masked."""
        kind = messages[0].metadata.message_type
        positions = [grid.position(message) for message in messages]
        if kind in (BUNDLE, HELP):
            return self._protocol_answers(kind, messages, positions)
        return self._summed(messages, positions)

    def _protocol_answers(
        self, kind: str, messages: list[Message], positions: list[int]
    ) -> Iterator[Message]:
        try:
            asked = [asked_parts(sum_record(message)) for message in messages]
        except UpdateError as error:
            yield from (failure(message, error.message) for message in messages)
            return
        # As many as open a sum answer at once, the others only if these did not suffice.
        step = self.quorum if kind == HELP else len(positions)
        for first in range(0, len(positions), step):
            some = slice(first, first + step)
            answers = self.parties.answers(positions[some], asked[some])
            yield from _replies(messages[some], answers)

    def _summed(self, messages: list[Message], positions: list[int]) -> Iterator[Message]:
        """Let the homes join a sum, train or measure, and send what they add."""
        first, participants, read = messages[0], list[tuple[Message, int]](), None
        try:
            asked = AskedQuestion.of(first, self.layout)
            check_settings(summed(asked.kind).faults(asked.settings, self.plan))
            layout = self.layout
            if summed(asked.kind).update:
                layout = shell_layout(self.plan, layout, asked.settings)
            terms = manifest_terms(asked, layout)
            joined = list(self.parties.join(positions, manifest_of(first), terms))
            for message, position, answer in zip(messages, positions, joined, strict=True):
                if isinstance(answer, FedHomeError):
                    yield failure(message, answer.message)
                else:
                    participants.append((message, position))
                    read = answer
            if read is None:
                return
            count = 0
            if summed(asked.kind).update:
                count = count_of(self.plan, layout, asked.settings)
            check_form(read.form, asked.kind, scalars_of(asked, self.plan), count)
        except (EngineError, PluginError):
            raise
        except FedHomeError as error:
            yield from (failure(message, error.message) for message in messages)
            return
        for start in range(0, len(participants), _AT_ONCE):
            yield from self._masked_uploads(participants[start : start + _AT_ONCE], read)

    def _masked_uploads(
        self, participants: list[tuple[Message, int]], read: AcceptedForm
    ) -> Iterator[Message]:
        message = participants[0][0]
        kind, homes = (
            message.metadata.message_type,
            np.array([position for _, position in participants]),
        )
        try:
            update, terms = self.contributions_of(message, homes)
        except (EngineError, PluginError):
            raise
        except FedHomeError as error:
            yield from (failure(request, error.message) for request, _ in participants)
            return
        weights, values = private_sums.added(read.form, terms)
        names = [self.names[home] for home in homes]
        keys = contributions.rounding_keys(self.plan.seed, kind, read.round, names)
        noise = contributions.simulated_noise_keys(self.plan.seed, kind, read.round, names)
        rows = [slice(row, row + 1) for row in range(len(participants))]
        numbers = [
            Numbers(None if update is None else update[row], weights[row], values[row], *own)
            for row, *own in zip(rows, keys, noise, strict=True)
        ]
        uploads, blobs = self.parties.upload(homes.tolist(), numbers), BlobReplies()
        for (request, _), sent in zip(participants, uploads, strict=True):
            if isinstance(sent, FedHomeError):
                yield failure(request, sent.message)
            else:
                yield blobs.reply(request, sent)


def _replies(
    messages: list[Message], answers: Iterator[dict[str, bytes] | FedHomeError]
) -> Iterator[Message]:
    blobs = BlobReplies()
    for message, answer in zip(messages, answers, strict=True):
        if isinstance(answer, FedHomeError):
            yield failure(message, answer.message)
        else:
            yield blobs.reply(message, answer)
