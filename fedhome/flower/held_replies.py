"""What homes' replies may take of the SuperLink's memory until the run has taken them.

A reply is announced first and sent in as many pieces as a home likes, so how much one home can make
the SuperLink hold is for us to bound. An honest reply is about as large as its question: a vector
has as many numbers as the model that came with it. No network and no store here: names and sizes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fedhome.errors import LinkError

MOST_BESIDE = 4 << 20
"""Bytes of a reply at most, beside what its question allows."""
TIMES = 4
"""How many times as large as its question a reply is at most: numbers of eight bytes in place of
four, of a method that sends two for one."""
EACH_OBJECT = 1 << 10
"""Bytes that count for each object that is announced: what the SuperLink knows it by."""
MOST_HEAD = 1 << 16
"""Bytes of a reply without its content, at most: what the run is told of many in one response."""
MOST_UNFINISHED = 2
"""Replies of one node that are not whole."""
MOST_UNTAKEN = 64
"""Replies of one node that are kept."""
MOST_WAITING, MOST_WAITING_BYTES = 16, 64 << 20
"""Questions whose content is kept for a node that does not answer them: how many, how large; the
newest two in any case."""
MOST_UNASKED = 1 << 16
"""Bytes of a request from a node that was asked nothing yet."""
_NEWEST = 2
_MOST_SESSIONS = 1000  # of the run, of which more may come


def most_of(size: int) -> int:
    """Return how many bytes a reply has at most.

    Args:
        size: Of its question, bytes.
    """
    return TIMES * size + MOST_BESIDE


@dataclass
class _Question:
    node: int
    size: int  # bytes of it that are there
    reply: str = ""

    @property
    def most(self) -> int:
        """Bytes of a reply to it, at most."""
        return most_of(self.size)


@dataclass
class HeldReply:
    """A reply that the SuperLink holds, whole or in part.

    Args:
        node: Who sends it.
        question: Name of the message that it answers.
        name: Its name.
        session: Flower's name for what is sent of it.
        most: Bytes of it, at most.
        size: Bytes that are there, whoever sent them: they stay for as long as this one does.
        missing: Names of its objects that are not there yet.
        due: Names of those that its node was asked for and has not sent, with their bytes where
            another node has sent them meanwhile; else 0.
    """

    node: int
    question: str
    name: str
    session: str
    most: int
    size: int
    missing: set[str] = field(default_factory=set)
    due: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Bytes of objects that may still come of it."""
        return self.most - self.size + sum(self.due.values()) if self.due else 0


@dataclass
class _Node:
    waiting: dict[str, None] = field(default_factory=dict)  # questions that it has not answered
    replies: dict[str, HeldReply] = field(default_factory=dict)
    last_most: int = 0

    @property
    def size(self) -> int:
        return sum(reply.size for reply in self.replies.values())


class HeldReplies:
    """The replies that a SuperLink holds, by node.

    Args:
        is_held: Whether the SuperLink still holds the reply of a name.
    """

    def __init__(self, is_held: Callable[[str], bool]) -> None:
        self._is_held = is_held
        self._lock = threading.Lock()
        self._questions: dict[str, _Question] = {}
        self._nodes: dict[int, _Node] = {}
        # Sessions of the run, and of each object that it has yet to send the questions with it.
        self._asking: dict[str, dict[str, list[_Question]]] = {}
        self._sending: dict[str, HeldReply] = {}  # sessions of homes
        self._wanted: dict[str, dict[str, HeldReply]] = {}  # objects, and sessions without them

    def ask(
        self, question: str, *, node: int, session: str, size: int, missing: Iterable[str]
    ) -> list[str]:
        """Note a question.

        Args:
            question: Its name.
            node: Whom it is for.
            session: Flower's name for what is sent of it.
            size: Bytes of it that are there already.
            missing: Names of its objects that are to come.

        Returns:
            Names of older questions of this node that are to be given up.
        """
        with self._lock:
            if len(self._asking) > _MOST_SESSIONS:  # complete, or given up
                del self._asking[next(iter(self._asking))]
            new = self._questions[question] = _Question(node, size)
            to_come = self._asking.setdefault(session, {})
            for name in missing:
                to_come.setdefault(name, []).append(new)
            asked = self._nodes.setdefault(node, _Node())
            asked.waiting[question] = None
            return self._too_many(asked)

    def _too_many(self, node: _Node) -> list[str]:
        old: list[str] = []
        sizes = {name: self._questions[name].size for name in node.waiting}
        for name in list(node.waiting)[:-_NEWEST]:
            if len(node.waiting) <= MOST_WAITING and sum(sizes.values()) <= MOST_WAITING_BYTES:
                break
            del node.waiting[name], sizes[name]
            old.append(name)
        return old

    def add_to_questions(self, session: str, name: str, size: int) -> None:
        """Note that the run has sent more of its questions.

        Args:
            session: Of what; one that is a home's is passed over.
            name: The object's name.
            size: Its bytes.
        """
        with self._lock:
            for question in self._asking.get(session, {}).pop(name, ()):
                question.size += size

    def owes(self, node: int, question: str, reply: str) -> bool:
        """Whether a node was asked a question that is open, and has given no other reply to it."""
        with self._lock:
            asked = self._questions.get(question)
            if asked is None or asked.node != node:
                return False
            return asked.reply in {"", reply} or not self._is_held(asked.reply)

    def check(self, question: str, *, head: int, size: int) -> None:
        """Refuse an announcement that is too large, before anything of it is kept.

        Args:
            question: Name of a question that is open.
            head: Bytes of the reply without its content.
            size: Bytes of the announcement, and of what it names that is there already.

        Raises:
            LinkError: ``too-large``.
        """
        with self._lock:
            _check(head, MOST_HEAD)
            _check(size, self._questions[question].most)

    def announce(
        self, question: str, reply: str, *, session: str, size: int, missing: set[str]
    ) -> list[HeldReply]:
        """Note what a home announces to a question that it owes a reply to.

        Args:
            question: The question's name.
            reply: The reply's.
            session: Flower's name for what is sent of it.
            size: Bytes of the announcement, and of what is there already.
            missing: Names of what is to come.

        Returns:
            Other replies of this node, which are to be given up.
        """
        with self._lock:
            asked = self._questions[question]
            node = self._nodes[asked.node]
            if (before := node.replies.get(reply)) is not None:
                self._forget(before)
            held = HeldReply(
                asked.node,
                question,
                reply,
                session,
                asked.most,
                size,
                missing,
                dict.fromkeys(missing, 0),
            )
            asked.reply, node.last_most = reply, max(asked.most, MOST_BESIDE)
            node.waiting.pop(question, None)
            self._prune(node)
            node.replies[reply] = self._sending[session] = held
            for name in missing:
                self._wanted.setdefault(name, {})[session] = held
            return self._beyond(node, held)

    def receive(self, session: str, name: str, size: int) -> list[HeldReply]:
        """Note that an object was stored: it is there for every reply that names it.

        Args:
            session: What it came with.
            name: The object's name.
            size: Its bytes.

        Returns:
            Replies that are to be given up: those that are too large with it, and others of their
            nodes.
        """
        gone: list[HeldReply] = []
        with self._lock:
            if (sent := self._sending.get(session)) is not None:
                sent.due.pop(name, None)
            for held in self._wanted.pop(name, {}).values():
                held.size += size
                held.missing.discard(name)
                if name in held.due:
                    held.due[name] = size
                node = self._nodes[held.node]
                self._prune(node)
                if node.replies.get(held.name) is not held:
                    continue
                if held.size > held.most:  # by requests that came side by side, or by another's
                    self._forget(held)
                    gone.append(held)
                else:
                    gone += self._beyond(node, held)
        return gone

    def check_object(self, session: str, name: str, size: int) -> None:
        """Refuse an object of a reply that is too large with it; one that is there adds nothing.

        Args:
            session: Of whose; one that is the run's is passed over.
            name: The object's name.
            size: Its bytes.

        Raises:
            LinkError: ``too-large``.
        """
        with self._lock:
            held = self._sending.get(session)
            if held is not None and name in held.missing:
                _check(held.size + size, held.most)

    def end(self, question: str) -> None:
        """Note that nobody waits for a reply to a question any more, or that the run has it."""
        with self._lock:
            asked = self._questions.pop(question, None)
            if asked is not None:
                node = self._nodes[asked.node]
                node.waiting.pop(question, None)
                node.last_most = max(asked.most, MOST_BESIDE)

    def room(self, node: int) -> int:
        """Return how many bytes of requests of a node are read at once."""
        with self._lock:
            known = self._nodes.get(node)
            if known is None:
                return MOST_UNASKED
            open_ones = (self._questions[name].most for name in known.waiting)
            held = (reply.most for reply in known.replies.values())
            return 2 * max([known.last_most, *open_ones, *held])

    def left(self, node: int) -> int:
        """Return how many bytes of objects of a node's replies may still come."""
        with self._lock:
            known = self._nodes.get(node)
            replies = known.replies.values() if known is not None else ()
            return MOST_UNASKED + sum(one.left for one in replies)

    def held(self, node: int) -> int:
        """Return how many bytes of a node's replies are held."""
        with self._lock:
            known = self._nodes.get(node)
            if known is None:
                return 0
            self._prune(known)
            return known.size

    def _prune(self, node: _Node) -> None:
        """Forget replies that the run has taken, or that were given up."""
        for reply in [one for one in node.replies.values() if not self._is_held(one.name)]:
            self._forget(reply)

    def _forget(self, reply: HeldReply) -> None:
        self._nodes[reply.node].replies.pop(reply.name, None)
        self._sending.pop(reply.session, None)
        for name in reply.missing:
            wanting = self._wanted.get(name, {})
            wanting.pop(reply.session, None)
            if not wanting:
                self._wanted.pop(name, None)

    def _beyond(self, node: _Node, kept: HeldReply) -> list[HeldReply]:
        """Take out the oldest replies of a node that are too much beside one."""
        others = [reply for reply in node.replies.values() if reply is not kept]
        gone: list[HeldReply] = []

        def give_up(reply: HeldReply) -> None:
            others.remove(reply)
            gone.append(reply)
            self._forget(reply)

        unfinished = [reply for reply in others if reply.missing]
        for reply in unfinished[: len(unfinished) + 1 - MOST_UNFINISHED]:
            give_up(reply)
        while others and (
            len(others) >= MOST_UNTAKEN or node.size > 2 * max(kept.most, others[0].most)
        ):
            give_up(others[0])
        return gone


def _check(size: int, most: int) -> None:
    if size > most:
        raise LinkError(
            f"a reply of more than {most} bytes", reason="too-large", hint="it is not taken"
        )
