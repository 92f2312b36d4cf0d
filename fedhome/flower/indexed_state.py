"""Flower's state in memory, with what waits for each node at hand.

Flower looks at every message that it holds to find one for a node, and does so for each request of
each node: with a thousand homes, a million looks for one question.
"""

from __future__ import annotations

from flwr.app import Message
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.date import now
from flwr.supercore.object_store import ObjectStore
from flwr.superlink.federation import FederationManager

from fedhome.wire.exchange import HEARTBEAT_S


class IndexedLinkState(InMemoryLinkState):
    """What Flower keeps in memory; messages that nobody has fetched are found by their node.

    Args:
        federation_manager: Flower's.
        object_store: Flower's.
    """

    def __init__(self, federation_manager: FederationManager, object_store: ObjectStore) -> None:
        super().__init__(federation_manager, object_store)
        self._waiting: dict[int, dict[str, None]] = {}

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
                message = self.message_ins_store.get(name)
                if message is None:  # given up, or too old
                    del waiting[name]
                elif run_id is None or message.metadata.run_id == run_id:
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
        return node_id in self._waiting

    def hear(self, node_id: int) -> None:
        """Take it that a node is there: what it has asked or sent is as good as a heartbeat.

        Args:
            node_id: The node, which was authenticated.
        """
        with self.lock:
            node = self.nodes.get(node_id)
            if node is not None:
                self.acknowledge_node_heartbeat(node_id, max(node.heartbeat_interval, HEARTBEAT_S))


def index(factory: LinkStateFactory) -> None:
    """Let a SuperLink that has not begun keep its state so.

    Args:
        factory: Its own, which has made an empty state.
    """
    store = factory.objectstore_factory.store()
    factory.state_instance = IndexedLinkState(factory.federation_manager, store)
