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

from fedhome.clients.protocol_questions import BUNDLE, HELP
from fedhome.clients.secure_sums import (
    Wanted,
    check_form,
    expected,
    manifest_of,
    request_of,
    tried_by,
    wanted,
)
from fedhome.errors import EngineError, FedHomeError, UpdateError
from fedhome.flower.messages import blob_reply, content_of, failure, read_flat, words_reply
from fedhome.plan.settings import Plan
from fedhome.questions import contributions
from fedhome.questions.contributions import Terms
from fedhome.questions.responses import Given
from fedhome.questions.table import summed
from fedhome.questions.train_config import TrainConfig
from fedhome.simulations.engines.grid import InProcessGrid
from fedhome.simulations.engines.shard import Asked, Homes
from fedhome.simulations.secure.parties import Numbers, Parties, Summed
from fedhome.wire.layout import Layout

_AT_ONCE = 64  # homes whose updates are held while they are masked


class Adding(Protocol):
    """Answers for simulated homes that take part in sums."""

    def answer(self, grid: InProcessGrid, messages: list[Message]) -> Iterable[Message]:
        """Answer messages with the same content and type."""


class _Summed(Adding):
    """What both ways share.

    Args:
        plan: The plan.
        names: Names of all homes.
        homes: They, asked together.
        layout: Layout of the parameters.
        score: Name of the task's score.
    """

    def __init__(
        self, plan: Plan, names: Sequence[str], homes: Homes, layout: Layout, score: str
    ) -> None:
        self.plan = plan
        self.names = names
        self.homes = homes
        self.layout = layout
        self.score = score

    def start(self, message: Message) -> NDArray[np.float32] | None:
        """Return the parameters that a message brings."""
        arrays = content_of(message)[0]
        return read_flat(self.layout, arrays) if arrays else None

    def responded(
        self, message: Message, homes: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32] | None, Terms]:
        """Return what homes add up: their updates, where the question trains, and their numbers."""
        kind, config = message.metadata.message_type, content_of(message)[1]
        came = self.start(message)
        start = np.zeros(0, np.float32) if came is None else came
        columns, params = self.homes.respond(kind, homes, start, config)
        update = None if params is None else params - start
        given = Given(self.plan, config, self.score)
        return update, summed(kind).terms(columns, update, given)


class IdealAdding(_Summed):
    """Answers with the sum of what all asked homes encode."""

    def answer(self, grid: InProcessGrid, messages: list[Message]) -> Iterable[Message]:
        """Answer once for all homes, and with an error for each that is lost."""
        homes = np.array([grid.position(message) for message in messages])
        first = messages[0]
        try:
            asked = self._wanted(first)
            total, lost = self._total(first, homes, asked)
        except EngineError:
            raise
        except FedHomeError as error:
            return [failure(message, error.message) for message in messages]
        gone = [failure(messages[place], contributions.NOT_FINITE) for place in lost]
        if len(lost) == len(messages):
            return gone
        missing = set(lost)
        answer = words_reply(
            next(m for place, m in enumerate(messages) if place not in missing), total
        )
        grid.stands_for(answer, len(messages) - len(lost))
        return [answer, *gone]

    def _wanted(self, message: Message) -> Wanted:
        found = wanted(
            message,
            "ideal",
            None,
            start=self.start(message),
            layout=self.layout,
            tried=tried_by(self.plan.personalise),
        )
        assert found is not None
        return found

    def _total(
        self, message: Message, homes: NDArray[np.int64], asked: Wanted
    ) -> tuple[NDArray[np.unsignedinteger], tuple[int, ...]]:
        form, kind = asked.form, message.metadata.message_type
        if summed(kind).update:
            start = self.start(message)
            assert start is not None
            config = TrainConfig.of(content_of(message)[1])
            return self.homes.train_sum(homes, start, config, Asked(form, asked.round))
        terms = self.responded(message, homes)[1]
        names = [self.names[home] for home in homes]
        keys = contributions.rounding_keys(self.plan.seed, kind, asked.round, names)
        weights = np.minimum(terms.weights, form.fixed.weight_cap)
        return form.total(None, weights, terms.values, keys), ()


class MaskedAdding(_Summed):
    """Answers for each home with what it would send: a masked vector.

    Args:
        plan: The plan.
        names: Names of all homes.
        homes: They, asked together.
        layout: Layout of the parameters.
        score: Name of the task's score.
        parties: The homes' machines of the protocol, by the same places.
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
        parties: Parties,
        quorum: int,
    ) -> None:
        super().__init__(plan, names, homes, layout, score)
        self.parties = parties
        self.quorum = quorum

    def answer(self, grid: InProcessGrid, messages: list[Message]) -> Iterator[Message]:
        """Answer home after home; what one home learnt is let go when it is masked."""
        kind = messages[0].metadata.message_type
        places = [grid.position(message) for message in messages]
        if kind == BUNDLE:
            return _replies(messages, "bundle", self.parties.bundles(places))
        if kind == HELP:
            return self._helped(messages, places)
        return self._summed(messages, places)

    def _helped(self, messages: list[Message], places: list[int]) -> Iterator[Message]:
        try:
            requests = [request_of(message) for message in messages]
        except UpdateError as error:
            yield from (failure(message, error.message) for message in messages)
            return
        # As many as open a sum answer at once, the others only if these did not suffice.
        for first in range(0, len(places), self.quorum):
            some = slice(first, first + self.quorum)
            answers = self.parties.answers(places[some], requests[some])
            yield from _replies(messages[some], "answer", answers)

    def _summed(self, messages: list[Message], places: list[int]) -> Iterator[Message]:
        """Let the homes join a sum, train or measure, and send what they add."""
        first, taken, read = messages[0], list[tuple[Message, int]](), None
        try:
            expects = expected(first.metadata.message_type, self.start(first), self.layout)
            joined = list(self.parties.join(places, manifest_of(first), expects))
            for message, place, answer in zip(messages, places, joined, strict=True):
                if isinstance(answer, FedHomeError):
                    yield failure(message, answer.message)
                else:
                    taken.append((message, place))
                    read = answer
            if read is None:
                return
            self._check(first, read)
        except EngineError:
            raise
        except FedHomeError as error:
            yield from (failure(message, error.message) for message in messages)
            return
        for start in range(0, len(taken), _AT_ONCE):
            yield from self._masked(taken[start : start + _AT_ONCE], read)

    def _check(self, message: Message, read: Summed) -> None:
        tried = tried_by(self.plan.personalise)
        kind, config = message.metadata.message_type, content_of(message)[1]
        check_form(read.form, kind, summed(kind).scalars(config, tried), self.layout)

    def _masked(self, taken: list[tuple[Message, int]], read: Summed) -> Iterator[Message]:
        message = taken[0][0]
        kind, homes = message.metadata.message_type, np.array([place for _, place in taken])
        try:
            update, terms = self.responded(message, homes)
        except EngineError:
            raise
        except FedHomeError as error:
            yield from (failure(asked, error.message) for asked, _ in taken)
            return
        weights = np.minimum(terms.weights, read.form.fixed.weight_cap)
        names = [self.names[home] for home in homes]
        keys = contributions.rounding_keys(self.plan.seed, kind, read.round, names)
        rows = [slice(row, row + 1) for row in range(len(taken))]
        numbers = [
            Numbers(None if update is None else update[row], weights[row], terms.values[row], key)
            for row, key in zip(rows, keys, strict=True)
        ]
        uploads = self.parties.upload(homes.tolist(), numbers)
        for (asked, _), sent in zip(taken, uploads, strict=True):
            if isinstance(sent, FedHomeError):
                yield failure(asked, sent.message)
            else:
                yield blob_reply(asked, sent)


def _replies(
    messages: list[Message], name: str, answers: Iterator[bytes | FedHomeError]
) -> Iterator[Message]:
    for message, answer in zip(messages, answers, strict=True):
        if isinstance(answer, FedHomeError):
            yield failure(message, answer.message)
        else:
            yield blob_reply(message, {name: answer})
