"""A grid of homes by their index in the directory, over Flower's grid of nodes.

Nodes come and go, and their numbers are Flower's; a home has a number of its own that follows
from the directory, so that a run asks the same homes in the same order as a simulation does. A
message for a home goes to the node that the home has claimed, and to no other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedhome.flower.fleet_connection import readdress
from fedhome.flower.grid_around import GridAround
from fedhome.flower.messages import (
    AWAY,
    CONFIG,
    LOST,
    SERVER_NODE,
    failure,
    hold_to_words,
    identify,
    reattribute,
)
from fedhome.plan.round_settings import RoundSettings
from fedhome.server.rounds.punctuality import Punctuality
from fedhome.server.rounds.reply_stream import replies_of, wait_with
from fedhome.wire.names import HELP

FIRST = 2
_KNOWN_S = 1.0  # for how long it is assumed who is online
_PATIENCE_S, _MOST_PATIENCE_S = 10.0, 600.0
_MORE_PATIENCE_S = 0.1  # for each home that is asked with it
_MOST_OVERDUE = 4  # answers a home that are looked for after their question was closed
_PROBE = HELP  # with nothing to help with: a home refuses it at once, and so is there


@dataclass
class _Pending:
    """A message that is not answered yet.

    Args:
        message: The message.
        number: The home's.
        copies: The node that each of its copies went to, by Flower's name of the copy.
        since: When the last copy was sent.
        patience_s: How long a reply to it is waited for before the next copy.
    """

    message: Message
    number: int
    copies: dict[str, int]
    since: float
    patience_s: float = _PATIENCE_S


@dataclass
class _Probe:
    """When a home that does not answer is asked the next time whether it is there.

    The pauses grow until it has answered in time: one that answers little questions alone, as over
    a line that breaks after some kilobytes, is asked less and less often.
    """

    due: float = -math.inf
    pause_s: float = _PATIENCE_S


class HomesGrid(GridAround):
    """Homes behind Flower's nodes; node ``n`` is home ``n - 2`` of the directory.

    Args:
        grid: Flower's grid.
        homes: Names of the homes, sorted.
        nodes: Returns the node that each home has claimed.
        rounds: The plan's settings: when a question is closed.
        clock: Seconds that rise.
        see: Told whenever it is asked who is there: who is connected, and which of those are asked,
            by name.
        hear: Told of each answer: home, type of the question, and the word for why it refuses
            (:data:`fedhome.reasons.TOLD`), empty where it does not.

    Attributes:
        late: How many homes were late with the last question.
    """

    def __init__(
        self,
        grid: Grid,
        homes: Sequence[str],
        nodes: Callable[[], Mapping[str, int]],
        *,
        rounds: RoundSettings,
        clock: Callable[[], float] = time.monotonic,
        hear: Callable[[str, str, str], None] | None = None,
        see: Callable[[Collection[str], Collection[str]], None] | None = None,
    ) -> None:
        super().__init__(grid)
        self.homes = tuple(homes)
        self._clock, self._on_answer, self._on_look = clock, hear, see
        self._nodes = nodes
        self._connected: dict[int, int] = {}
        self._checked_at = -math.inf
        self._pending: dict[str, _Pending] = {}
        self._failed: dict[str, Message] = {}
        self._away_count = 0
        self.late = 0
        self._rounds = rounds
        self._punctuality = Punctuality(rounds, clock=clock)
        self._overdue: dict[str, int] = {}
        self._probes: dict[int, _Probe] = {}
        self._heard_at = -math.inf

    def name_of(self, node: int) -> str:
        """Return the name of a home."""
        return self.homes[node - FIRST]

    @property
    def names(self) -> dict[int, str]:
        """Names of all homes of the directory, by number."""
        return {FIRST + index: home for index, home in enumerate(self.homes)}

    def get_node_ids(self) -> Iterable[int]:
        """Return the homes that are there and answer; all where none does: a round then fails."""
        answering = self._answering()
        if self._on_look is not None:
            online = {self.name_of(number) for number in self._online()}
            self._on_look(online, {self.name_of(number) for number in answering})
        return sorted(answering) or sorted(self.names)

    def away(self) -> list[str]:
        """Return the names of the homes that are not online, in the order of the directory."""
        online = {self.name_of(number) for number in self._online()}
        return [home for home in self.homes if home not in online]

    def present(self) -> set[str]:
        """Return the names of the homes that are there and answer."""
        return {self.name_of(number) for number in self._answering()}

    def _answering(self) -> Mapping[int, int]:
        """Return the nodes of the homes that are asked, by number; those that were late may say so.

        A home that was late twice in a row is sent nothing but a question that costs it nothing,
        and is asked again once it has answered that, or anything else.
        """
        online, silent = self._online(), self._punctuality.silent
        now = self._clock()
        if (silent or self._overdue) and now - self._heard_at > _KNOWN_S:
            self._heard_at = now
            self._hear()
            for number in silent.intersection(online):
                probe = self._probes.setdefault(number, _Probe())
                if now >= probe.due:
                    self._probe(number, online, probe)
            silent = self._punctuality.silent
        return {number: node for number, node in online.items() if number not in silent}

    def _hear(self) -> None:
        """Take note of answers that nobody waits for any more."""
        for reply in self.grid.pull_messages(list(self._overdue)) if self._overdue else []:
            number = self._overdue.pop(reply.metadata.reply_to_message_id, None)
            lost = reply.has_error() and reply.error.code in (AWAY, LOST)
            if number is not None and not lost:
                self._punctuality.hear(number)

    def _probe(self, number: int, online: Mapping[int, int], probe: _Probe) -> None:
        content = RecordDict({CONFIG: ConfigRecord()})
        (name,) = self._push([Message(content, number, _PROBE)], online)
        if name:
            self._overdue[name] = number
        probe.due, probe.pause_s = (
            self._clock() + probe.pause_s,
            min(2 * probe.pause_s, _MOST_PATIENCE_S),
        )

    def closes(self, names: Collection[str], enough: int) -> bool:
        """Whether a question is closed now, although homes have not answered it."""
        return self._punctuality.closes(names, enough)

    def close(self, names: Collection[str], *, over: bool) -> None:
        """Forget a question; what is still answered to it shows that a home is there."""
        for name in names:
            pending = self._pending.pop(name, None)
            if pending is not None and over:
                self._overdue |= dict.fromkeys(pending.copies, pending.number)
        self.late = len(self._punctuality.close(names, over=over))
        while len(self._overdue) > _MOST_OVERDUE * len(self.homes):
            del self._overdue[next(iter(self._overdue))]

    def _online(self) -> Mapping[int, int]:
        """Return the nodes of the homes that are there, by the homes' numbers."""
        if self._clock() - self._checked_at > _KNOWN_S:
            connected, claimed = set(self.grid.get_node_ids()), self._nodes()
            self._connected = {
                number: claimed[home]
                for number, home in self.names.items()
                if claimed.get(home) in connected
            }
            self._checked_at = self._clock()
        return self._connected

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages to homes; one for a home that is away is answered with an error."""
        sent, connected = list(messages), self._answering()
        present = [message for message in sent if message.metadata.dst_node_id in connected]
        names = dict(zip(map(id, present), self._push(present, connected), strict=True))
        for message in sent:
            name = names.get(id(message), "")
            number = message.metadata.dst_node_id
            if name:
                self._pending[name] = _Pending(
                    message,
                    number,
                    {name: connected[number]},
                    self._clock(),
                    # Where many are asked, a copy to each would be what keeps them from answering.
                    _PATIENCE_S + _MORE_PATIENCE_S * len(present),
                )
            else:
                self._away_count += 1
                name = f"away-{self._away_count}"
            identify(message, name)
            if name not in self._pending:
                why = "its node takes no message: it is about to connect anew"
                if number not in connected:
                    online = number in self._online()
                    why = "the home was late too often" if online else "the home is away"
                self._failed[name] = failure(message, why, AWAY)
        self._punctuality.ask({name: self._pending[name].number for name in names.values() if name})
        return [message.metadata.message_id for message in sent]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are there; one from a node that was sent no copy is dropped."""
        names = list(message_ids)
        answered = [self._failed.pop(name) for name in names if name in self._failed]
        waiting = {name: self._pending[name] for name in names if name in self._pending}
        self._ask_again(waiting)
        first = {copy: name for name, pending in waiting.items() for copy in pending.copies}
        replies = list(self.grid.pull_messages(list(first))) if first else []
        # A home that has replied refuses a repeated message: the reply counts.
        for reply in sorted(replies, key=Message.has_error):
            copy = reply.metadata.reply_to_message_id
            pending = self._pending.get(first.get(copy, ""))
            source = reply.metadata.src_node_id
            if pending is not None and reply.has_error() and reply.error.code == LOST:
                del pending.copies[copy]
                pending.since = -math.inf  # sent again at once
                continue
            if pending is None or (
                source != pending.copies[copy] and not (reply.has_error() and source == SERVER_NODE)
            ):
                continue
            del self._pending[first[copy]]
            self._take_note(pending, reply)
            if reply.has_error() and reply.error.code == AWAY:
                self._punctuality.leave(first[copy])
            else:
                self._punctuality.answer(first[copy], useful=not reply.has_error())
                self._probes.pop(pending.number, None)
            reattribute(reply, node=pending.number, reply_to=first[copy])
            answered.append(reply)
        return answered

    def _take_note(self, pending: _Pending, reply: Message) -> None:
        """Hold what a home says of a refusal to the words that there are, and tell of it."""
        if reply.has_error() and reply.metadata.src_node_id == SERVER_NODE:
            return  # Flower's own: the home said nothing
        word = hold_to_words(reply) if reply.has_error() else ""
        if self._on_answer is not None:
            self._on_answer(
                self.name_of(pending.number), pending.message.metadata.message_type, word
            )

    def wait(self, seconds: float) -> None:
        """Wait until there may be another reply, or for some time."""
        wait_with(self.grid, seconds)

    def _ask_again(self, waiting: Mapping[str, _Pending]) -> None:
        """Repeat messages that were not answered for long: they may have been lost on the way."""
        now = self._clock()
        due = [pending for pending in waiting.values() if now - pending.since > pending.patience_s]
        connected = self._online() if due else {}
        present = [pending for pending in due if pending.number in connected]
        for pending, name in zip(
            present, self._push([one.message for one in present], connected), strict=True
        ):
            pending.since, pending.patience_s = now, min(2 * pending.patience_s, _MOST_PATIENCE_S)
            if name:
                pending.copies[name] = connected[pending.number]

    def _push(self, messages: list[Message], connected: Mapping[int, int]) -> list[str]:
        """Send messages to the homes' nodes; return what Flower calls each, empty if refused."""
        if not messages:
            return []
        copies = [
            readdress(message, connected[message.metadata.dst_node_id]) for message in messages
        ]
        names = [name or "" for name in self.grid.push_messages(copies)]
        return names if len(names) == len(copies) else [""] * len(copies)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return what came in time."""
        sent = list(messages)
        enough = max(1, math.ceil(self._rounds.quorum * len(sent)))
        return [reply for _, reply in replies_of(self, sent, timeout, enough=enough)]
