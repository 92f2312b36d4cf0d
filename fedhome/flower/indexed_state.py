"""Flower's state in memory, with what waits for each node at hand, and a bound on what nodes send.

Flower looks at every message that it holds to find one for a node, and does so for each request of
each node: with a thousand homes, a million looks for one question. And it takes from a node as much
as that sends; here a reply is held to what its question allows
(:mod:`fedhome.flower.held_replies`).
"""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import Message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ObjectTree
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.object_store import ObjectStore
from flwr.superlink.federation import FederationManager

from fedhome.flower.flat_object_store import flatten
from fedhome.flower.held_replies import EACH_OBJECT, HeldReplies, HeldReply
from fedhome.wire.exchange import HEARTBEAT_S


class IndexedLinkState(InMemoryLinkState):
    """What Flower keeps in memory; messages that nobody has fetched are found by their node.

    Args:
        federation_manager: Flower's.
        object_store: Flower's.

    Attributes:
        held: What nodes may send, and have sent.
    """

    def __init__(self, federation_manager: FederationManager, object_store: ObjectStore) -> None:
        super().__init__(federation_manager, object_store)
        # Flower takes the two in either order, and would wait for itself when a session expires.
        self._lock_object_push_sessions = self.lock
        self._waiting: dict[int, dict[str, None]] = {}
        self.held = HeldReplies(lambda name: name in object_store)

    def owes(self, message: Message) -> bool:
        """Whether a reply's node was asked what it answers, and has given no other answer.

        Args:
            message: The reply, of an authenticated node.
        """
        metadata = message.metadata
        question = self.message_ins_store.get(metadata.reply_to_message_id)
        if question is not None and question.metadata.run_id != metadata.run_id:
            return False  # of another run, or none: Flower ends in a KeyError
        return self.held.owes(
            metadata.src_node_id, metadata.reply_to_message_id, metadata.message_id
        )

    def store_message_and_object_tree(
        self, message: Message, object_tree: ObjectTree, session_id: str
    ) -> tuple[bool, list[str]]:
        """Store a message, and note what it consists of.

        Args:
            message: A question or a reply, without its content.
            object_tree: Names of its objects.
            session_id: For what is sent of it.

        Returns:
            Whether it is stored; and the names of the objects that are not there yet.

        Raises:
            LinkError: ``too-large``, of a reply.
        """
        with self.lock:
            if message.metadata.reply_to_message_id:
                return self._store_reply(message, object_tree, session_id)
            stored: bool
            missing: list[str]
            stored, missing = super().store_message_and_object_tree(
                message, object_tree, session_id
            )
            if stored:
                old = self.held.ask(
                    message.metadata.message_id,
                    node=message.metadata.dst_node_id,
                    session=session_id,
                    size=self._bytes_of(_names_in(object_tree)),
                    missing=missing,
                )
                for question in old:  # whoever waits for an answer learns that none will come
                    self.delete_messages({question})
                    self.object_store.delete(question)
            return stored, missing

    def _bytes_of(self, names: Iterable[str]) -> int:
        return sum(len(self.object_store.get(name) or b"") for name in names)

    def _store_reply(
        self, message: Message, tree: ObjectTree, session: str
    ) -> tuple[bool, list[str]]:
        stored, missing = False, list[str]()
        question, reply = message.metadata.reply_to_message_id, message.metadata.message_id
        try:
            if tree.object_id == reply and self.owes(message):
                head, named = message_to_proto(message).ByteSize(), _names_in(tree)
                if reply in self.object_store:  # what was announced before stays as well
                    named |= _names_in(self.object_store.get_object_tree(reply))
                size = head + EACH_OBJECT * len(named) + self._bytes_of(named)
                self.held.check(question, head=head, size=size)
                stored, missing = super().store_message_and_object_tree(message, tree, session)
        finally:
            if not (stored and missing):  # nothing will be sent in it
                self._cleanup_push_session(session, cleanup_messages=False)
        if stored:
            to_come = {name for name in named if not self.object_store.get(name)}
            self._give_up(
                self.held.announce(question, reply, session=session, size=size, missing=to_come)
            )
            self.object_store.delete(question)  # it has been read
        return stored, missing

    def store_object(
        self, run_id: int, session_id: str, object_id: str, object_content: bytes
    ) -> bool:
        """Store an object that a session waits for; return whether it does.

        Args:
            run_id: The run of the session.
            session_id: Flower's name for what is sent; without one nobody can say whose it is.
            object_id: The object's name.
            object_content: The object.

        Raises:
            LinkError: ``too-large``: the reply that it belongs to would be.
        """
        size = len(object_content)
        self.held.check_object(session_id, object_id, size)
        with self.lock:
            if not session_id or not super().store_object(
                run_id, session_id, object_id, object_content
            ):
                return False
            self.held.add_to_questions(session_id, object_id, size)
            self._give_up(self.held.receive(session_id, object_id, size))
        return True

    def delete_messages(self, message_ins_ids: set[str]) -> None:
        """Delete questions, and replies to them, by the questions' names."""
        with self.lock:
            for question in message_ins_ids & self.message_ins_store.keys():
                node = self.message_ins_store[question].metadata.dst_node_id
                self._waiting.get(node, {}).pop(question, None)
            super().delete_messages(message_ins_ids)
            for question in message_ins_ids:
                self.held.end(question)

    def _give_up(self, replies: Iterable[HeldReply]) -> None:
        """Keep nothing of some replies: whoever waits for one learns that it will not come."""
        for reply in replies:
            self.delete_messages({reply.question})
            self._cleanup_push_session(reply.session, cleanup_messages=False)
            self.object_store.delete(reply.name)

    def store_message_ins(self, message: Message) -> str | None:
        """Store a message for a node."""
        with self.lock:
            known = message.metadata.message_id in self.message_ins_store
            name: str | None = super().store_message_ins(message)
            if name is not None and not known:
                node = message.metadata.dst_node_id
                self._waiting.setdefault(node, {})[name] = None
            return name

    def get_message_ins(
        self, node_id: int, limit: int | None, *, run_id: int | None = None
    ) -> list[Message]:
        """Return messages for a node that have not been delivered yet."""
        found: list[Message] = []
        with self.lock:
            waiting = self._waiting.get(node_id, {})
            self._check_stored_messages(set(waiting))
            for name in list(waiting):
                message = self.message_ins_store[name]
                if run_id is None or message.metadata.run_id == run_id:
                    del waiting[name]
                    found.append(message)
                if limit and len(found) == limit:
                    break
            if not waiting:
                self._waiting.pop(node_id, None)
            delivered_at = now().isoformat()
            for message in found:
                message.metadata.delivered_at = delivered_at
        return found

    def awaits(self, node_id: int) -> bool:
        """Whether a message waits for a node."""
        return bool(self._waiting.get(node_id))

    def hear(self, node_id: int) -> None:
        """Take it that a node is there: what it has asked or sent is as good as a heartbeat.

        Args:
            node_id: The node, which was authenticated.
        """
        with self.lock:
            node = self.nodes.get(node_id)
            if node is not None:
                self.acknowledge_node_heartbeat(node_id, max(node.heartbeat_interval, HEARTBEAT_S))


def _names_in(tree: ObjectTree) -> set[str]:
    return {one.object_id for one in iterate_object_tree(tree)}


def index(factory: LinkStateFactory) -> None:
    """Let a SuperLink that has not begun keep its state so.

    Args:
        factory: Its own, which has made an empty state.
    """
    store = flatten(factory.objectstore_factory)
    factory.state_instance = IndexedLinkState(factory.federation_manager, store)
