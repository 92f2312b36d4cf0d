"""A grid of homes by their places in the directory, over Flower's grid of nodes.

Nodes come and go, and their numbers are Flower's; a home has a number of its own that follows
from the directory, so that a run asks the same homes in the same order as a simulation does. A
message for a home goes to the node that the home has claimed, and to no other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedhome.flower.fleet_connection import readdress
from fedhome.flower.messages import AWAY, LOST, SERVER_NODE, Run, failure, identify, reattribute
from fedhome.server.rounds.sums import replies_of, wait_with

FIRST = 2
_KNOWN_S = 1.0  # so long it is believed who is there
_PATIENCE_S, _MOST_PATIENCE_S = 10.0, 600.0


@dataclass
class _Asked:
    """A message that is not answered yet.

    Args:
        message: The message.
        number: The home's.
        sent: The node that each of its copies went to, by Flower's name of the copy.
        since: When the last copy was sent.
        patience_s: How long an answer to it is waited for before the next.
    """

    message: Message
    number: int
    sent: dict[str, int]
    since: float
    patience_s: float = _PATIENCE_S


class HomesGrid(Grid):
    """Homes behind Flower's nodes; node ``n`` is home ``n - 2`` of the directory.

    Args:
        grid: Flower's grid.
        homes: Names of the homes, sorted.
        nodes: Returns the node that each home has claimed.
        clock: Seconds that rise.
    """

    def __init__(
        self,
        grid: Grid,
        homes: Sequence[str],
        nodes: Callable[[], Mapping[str, int]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.grid, self.homes = grid, tuple(homes)
        self._clock = clock
        self._nodes = nodes
        self._there: dict[int, int] = {}
        self._looked = -math.inf
        self._asked: dict[str, _Asked] = {}
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

    def there(self) -> int:
        """Return how many homes are there."""
        return len(self._online())

    def _online(self) -> Mapping[int, int]:
        """Return the nodes of the homes that are there, by the homes' numbers."""
        if self._clock() - self._looked > _KNOWN_S:
            connected, claimed = set(self.grid.get_node_ids()), self._nodes()
            self._there = {
                number: claimed[home]
                for number, home in self.names.items()
                if claimed.get(home) in connected
            }
            self._looked = self._clock()
        return self._there

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages to homes; one for a home that is away is answered with an error."""
        asked, there = list(messages), self._online()
        present = [message for message in asked if message.metadata.dst_node_id in there]
        names = dict(zip(map(id, present), self._pushed(present, there), strict=True))
        for message in asked:
            name = names.get(id(message), "")
            number = message.metadata.dst_node_id
            if name:
                self._asked[name] = _Asked(message, number, {name: there[number]}, self._clock())
            else:
                self._sent += 1
                name = f"away-{self._sent}"
            identify(message, name)
            if name not in self._asked:
                self._failed[name] = failure(message, "the home is away", AWAY)
        return [message.metadata.message_id for message in asked]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are there; one from another node than was asked is dropped."""
        wanted = list(message_ids)
        answers = [self._failed.pop(name) for name in wanted if name in self._failed]
        waiting = {name: self._asked[name] for name in wanted if name in self._asked}
        self._ask_again(waiting)
        first = {sent: name for name, asked in waiting.items() for sent in asked.sent}
        came = list(self.grid.pull_messages(list(first))) if first else []
        # A repeated question is refused by a home that has answered: the answer counts.
        for answer in sorted(came, key=Message.has_error):
            sent = answer.metadata.reply_to_message_id
            asked = self._asked.get(first.get(sent, ""))
            source = answer.metadata.src_node_id
            if asked is not None and answer.has_error() and answer.error.code == LOST:
                del asked.sent[sent]
                asked.since = -math.inf  # asked again at once
                continue
            if asked is None or (
                source != asked.sent[sent] and not (answer.has_error() and source == SERVER_NODE)
            ):
                continue
            del self._asked[first[sent]]
            reattribute(answer, node=asked.number, reply_to=first[sent])
            answers.append(answer)
        return answers

    def wait(self, seconds: float) -> None:
        """Wait until there may be another reply, or for some time."""
        wait_with(self.grid, seconds)

    def _ask_again(self, waiting: Mapping[str, _Asked]) -> None:
        """Repeat questions that were not answered for long: they may have been lost on the way."""
        now = self._clock()
        due = [asked for asked in waiting.values() if now - asked.since > asked.patience_s]
        there = self._online() if due else {}
        present = [asked for asked in due if asked.number in there]
        for asked, name in zip(
            present, self._pushed([one.message for one in present], there), strict=True
        ):
            asked.since, asked.patience_s = now, min(2 * asked.patience_s, _MOST_PATIENCE_S)
            if name:
                asked.sent[name] = there[asked.number]

    def _pushed(self, messages: list[Message], there: Mapping[int, int]) -> list[str]:
        """Send messages to the homes' nodes; return what Flower calls each, empty if refused."""
        if not messages:
            return []
        sent = [readdress(message, there[message.metadata.dst_node_id]) for message in messages]
        names = [name or "" for name in self.grid.push_messages(sent)]
        return names if len(names) == len(sent) else [""] * len(sent)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return what came in time."""
        asked = list(messages)
        return [answer for _, answer in replies_of(self, asked, timeout)]
