"""A grid of homes by their places in the directory, over Flower's grid of nodes.

Nodes come and go, and their numbers are Flower's; a home has a number of its own that follows
from the directory, so that a run asks the same homes in the same order as a simulation does. A
message for a home goes to the node that the home has claimed, and to no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedhome.flower import SERVER_NODE, failure
from fedhome.flower_fleet import readdressed
from server.sums import replies_of

FIRST = 2
AWAY = 5  # Flower's code for a node that is not there
_KNOWN_S = 1.0


class HomesGrid(Grid):
    """Homes behind Flower's nodes; node ``n`` is home ``n - 2`` of the directory.

    Args:
        grid: Flower's grid.
        homes: Names of the homes, sorted.
        nodes: Returns the node that each home has claimed.
    """

    def __init__(
        self, grid: Grid, homes: Sequence[str], nodes: Callable[[], Mapping[str, int]]
    ) -> None:
        self.grid, self.homes = grid, tuple(homes)
        self._nodes = nodes
        self._there: dict[int, int] = {}
        self._looked = 0.0
        self._asked: dict[str, tuple[int, int]] = {}
        self._failed: dict[str, Message] = {}
        self._sent = 0

    def name_of(self, node: int) -> str:
        """Return the name of a home."""
        return self.homes[node - FIRST]

    @property
    def names(self) -> dict[int, str]:
        """Names of all homes of the directory, by number."""
        return {FIRST + place: home for place, home in enumerate(self.homes)}

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self.grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run."""
        return self.grid.run

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
        """Return the homes that are there; all of them where none is: a round then fails."""
        return sorted(self._online()) or sorted(self.names)

    def _online(self) -> Mapping[int, int]:
        """Return the nodes of the homes that are there, by the homes' numbers."""
        if time.monotonic() - self._looked > _KNOWN_S:
            connected, claimed = set(self.grid.get_node_ids()), self._nodes()
            self._there = {
                number: claimed[home]
                for number, home in self.names.items()
                if claimed.get(home) in connected
            }
            self._looked = time.monotonic()
        return self._there

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages to homes; one for a home that is away is answered with an error."""
        asked, there = list(messages), self._online()
        numbers = [message.metadata.dst_node_id for message in asked]
        sent = [
            readdressed(message, there[number])
            for message, number in zip(asked, numbers, strict=True)
            if number in there
        ]
        pushed = iter(list(self.grid.push_messages(sent)) if sent else [])
        names = []
        for message, number in zip(asked, numbers, strict=True):
            name = (next(pushed, "") or "") if number in there else ""
            if name:
                self._asked[name] = (number, there[number])
            else:
                self._sent += 1
                name = f"away-{self._sent}"
                message.metadata.__dict__["_message_id"] = name
                self._failed[name] = failure(message, "the home is away", AWAY)
            names.append(name)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are there; one from another node than was asked is dropped."""
        wanted = list(message_ids)
        answers = [self._failed.pop(name) for name in wanted if name in self._failed]
        waiting = [name for name in wanted if name in self._asked]
        for answer in self.grid.pull_messages(waiting) if waiting else ():
            number, node = self._asked.get(answer.metadata.reply_to_message_id, (0, 0))
            source = answer.metadata.src_node_id
            if source != node and not (answer.has_error() and source == SERVER_NODE):
                continue
            del self._asked[answer.metadata.reply_to_message_id]
            answer.metadata.__dict__["_src_node_id"] = number
            answers.append(answer)
        return answers

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return what came in time."""
        asked = list(messages)
        return [answer for _, answer in replies_of(self, asked, timeout)]
