"""Grids that answer in this process: the vector engine, and home after home.

A Flower ``Grid`` is the only thing that knows how updates travel: a strategy cannot tell
these from Flower's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedhome.errors import FedHomeError
from fedhome.flower.broadcast import Broadcast, listed_messages
from fedhome.flower.messages import (
    APP_RAISED,
    Run,
    empty_run,
    failure,
    number_messages,
    take_identity,
)
from fedhome.learning.cohort import Cohort
from fedhome.simulations.faults import ANSWERS, LATE

Silent = Callable[[int, NDArray[np.int64]], NDArray[np.int64]]


class InProcessGrid(Grid):
    """A grid whose homes live in this process; node ``n`` is home ``n - 2``.

    Args:
        homes: Names of the homes.
        silent: Which homes give no answer to training: ``silent(round, positions)`` returns
            ANSWERS, ABSENT or LATE for each, int64 ``[positions]``.
        run_id: Number of the run.
    """

    first_node = 2
    takes_broadcasts = False
    """Whether messages that differ in their receiver alone may come as one."""
    within: Sequence[Cohort] = ()
    """The homes themselves, where they are in this process: a simulation looks at its own."""

    def __init__(
        self, homes: Sequence[str], *, silent: Silent | None = None, run_id: int = 1
    ) -> None:
        self.homes = tuple(homes)
        self._silent = silent
        self._run = empty_run(run_id)
        self._nodes = list(range(self.first_node, self.first_node + len(self.homes)))
        self._sent = 0
        self.late = 0
        self._waiting: dict[str, Message] = {}
        self._behind: dict[str, int] = {}
        take_identity(run_id)

    @abstractmethod
    def answer(self, messages: list[Message]) -> Iterable[Message]:
        """Answer messages of homes that are not silent."""

    def answer_broadcast(self, messages: Broadcast) -> Iterable[Message]:
        """Answer messages that differ in their receiver alone."""
        return self.answer(list(messages))

    @abstractmethod
    def observe(self, messages: list[Message]) -> Iterable[Message]:
        """Answer home by home and in the clear: a simulation looks at its own homes so."""

    def stream(self, messages: Iterable[Message]) -> tuple[list[str], Iterator[Message]]:
        """Answer messages one after the other, so that nobody has to hold all replies.

        Returns:
            The messages' identifiers, and the replies as they come about.
        """
        requests = listed_messages(messages)
        self._behind.clear()
        names = self._numbered(requests)
        return names, iter(self._answers(requests))

    def name_of(self, node: int) -> str:
        """Return the name of the home behind a node."""
        return self.homes[node - self.first_node]

    def stands_for(self, answer: Message, homes: int) -> None:
        """Note that one reply is the mean of several homes."""
        self._behind[answer.metadata.reply_to_message_id] = homes

    def homes_behind(self, answer: Message) -> int:
        """Return how many homes a reply stands for."""
        return self._behind.get(answer.metadata.reply_to_message_id, 1)

    def position(self, message: Message) -> int:
        """Return the position of the home that a message is for."""
        return message.metadata.dst_node_id - self.first_node

    def positions(self, messages: Sequence[Message]) -> NDArray[np.int64]:
        """Return the positions of the homes that messages are for."""
        if isinstance(messages, Broadcast):
            return messages.nodes - self.first_node
        return np.array([self.position(message) for message in messages])

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message to a home."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes of all homes."""
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer messages at once and keep the replies until they are pulled."""
        requests = listed_messages(messages)
        names = self._numbered(requests)
        for answer in self._answers(requests):
            self._waiting[answer.metadata.reply_to_message_id] = answer
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages that are there."""
        return [self._waiting.pop(name) for name in message_ids if name in self._waiting]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answer messages; nobody is waited for in a simulation."""
        del timeout
        requests = listed_messages(messages)
        self._behind.clear()
        self._number(requests)
        return list(self._answers(requests))

    def _numbered(self, requests: Sequence[Message]) -> list[str]:
        """Give messages their identifiers, and return these."""
        first = self._sent
        self._number(requests)
        return [f"{number}" for number in range(first, self._sent)]

    def _number(self, requests: Sequence[Message]) -> None:
        """Give messages their identifiers: numbers in their order."""
        first = self._sent
        self._sent += len(requests)
        if isinstance(requests, Broadcast):
            requests.number(first)
        else:
            number_messages(requests, first)

    def _answers(self, requests: Sequence[Message]) -> Iterable[Message]:
        if not requests:
            return []
        if self._silent is not None and requests[0].metadata.message_type == "train":
            server_round = _round_of(requests[0])
            homes = self.positions(requests)
            missing = self._silent(server_round, homes)
            self.late = int((missing == LATE).sum())
            requests = [m for m, why in zip(requests, missing, strict=True) if why == ANSWERS]
        if isinstance(requests, Broadcast):
            return self.answer_broadcast(requests)
        return self.answer(list(requests)) if requests else []


class SequentialGrid(InProcessGrid):
    """Runs the ClientApp's own handlers, home after home.

    Args:
        homes: Names of the homes.
        app: The ClientApp.
        contexts: Each home's context.
        silent: Which homes give no answer.
        open_app: A ClientApp of the same homes that answers in the clear; None: ``app`` does.
        asked: Called with the round of which homes are asked; 0: of none.
    """

    def __init__(
        self,
        homes: Sequence[str],
        app: ClientApp,
        contexts: Sequence[Context],
        *,
        silent: Silent | None = None,
        open_app: ClientApp | None = None,
        asked: Callable[[int], None] = lambda _: None,
    ) -> None:
        super().__init__(homes, silent=silent)
        self._asked = asked
        self._app = app
        self._open_app = open_app or app
        self._contexts = contexts

    def answer(self, messages: list[Message]) -> Iterable[Message]:
        """Run the app once a message; an error becomes an error reply, as in Flower."""
        self._asked(_round_of(messages[0]))
        return (self._run_app(self._app, message) for message in messages)

    def observe(self, messages: list[Message]) -> Iterable[Message]:
        """Run the app of homes that answer in the clear."""
        number_messages(messages, self._sent)
        self._sent += len(messages)
        return [self._run_app(self._open_app, message) for message in messages]

    def _run_app(self, app: ClientApp, message: Message) -> Message:
        try:
            return app(message, self._contexts[self.position(message)])
        except FedHomeError as error:
            return failure(message, str(error), APP_RAISED)


def _round_of(message: Message) -> int:
    for record in message.content.config_records.values():
        server_round = record.get("server-round")
        if isinstance(server_round, int):
            return server_round
    return 0
