"""A SuperLink's state without its server: a run that never ends, and nodes that are online."""

from __future__ import annotations

from types import SimpleNamespace

from flwr.app import Message, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.object_store import ObjectStore
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.superlink.federation.noop_federation_manager import NoOpFederationManager

from fedhome.flower.messages import identify, reattribute, take_identity

RUN, NODES = 1, (11, 12, 13)


def state_of(kind: type[InMemoryLinkState], store: ObjectStore | None = None) -> InMemoryLinkState:
    """Return a state with one run that never ends, and three nodes that are online."""
    state = kind(NoOpFederationManager(), InMemoryObjectStore() if store is None else store)
    federation = SimpleNamespace(run=SimpleNamespace(federation_id="@none/default"))
    state.run_ids[RUN] = federation  # type: ignore[assignment]
    state._is_finished_run = lambda _: False  # type: ignore[method-assign]
    state.federation_manager.exists = lambda _: True  # type: ignore[method-assign]
    for node in NODES:
        state.nodes[node] = SimpleNamespace(  # type: ignore[assignment]
            node_id=node, status="online", online_until=1e12, heartbeat_interval=0.0
        )
    return state


def asked(state: InMemoryLinkState, node: int, content: RecordDict) -> Message:
    """Ask a node, as a run does, and return the question."""
    take_identity(RUN)
    question = Message(content, dst_node_id=node, message_type="query", ttl=600.0)
    identify(question, question.object_id)
    session = state.start_session(RUN)
    _, missing = state.store_message_and_object_tree(
        remove_content_from_message(question), get_object_tree(question), session
    )
    objects = get_all_nested_objects(question)
    for name in missing:
        assert state.store_object(RUN, session, name, objects[name].deflate())
    return question


def answer_to(question: Message, content: RecordDict) -> Message:
    """Return a node's reply, which is not sent yet."""
    reply = Message(content, reply_to=question)
    metadata = question.metadata
    reattribute(reply, node=metadata.dst_node_id, reply_to=metadata.message_id)
    identify(reply, reply.object_id)
    return reply


def announced(state: InMemoryLinkState, reply: Message) -> tuple[str, list[str]]:
    """Announce a reply; return its session, and the names of the objects to send."""
    session = state.start_session(RUN)
    _, missing = state.store_message_and_object_tree(
        remove_content_from_message(reply), get_object_tree(reply), session
    )
    return session, missing


def sent(state: InMemoryLinkState, reply: Message, *, leave_out: int = 0) -> int:
    """Announce a reply and send its objects but for some; return how many were stored."""
    session, missing = announced(state, reply)
    objects = get_all_nested_objects(reply)
    to_send = missing[: len(missing) - leave_out]
    return sum(state.store_object(RUN, session, one, objects[one].deflate()) for one in to_send)


def bytes_in(state: InMemoryLinkState) -> int:
    """Return how many bytes of objects a state holds."""
    store = state.object_store
    assert isinstance(store, InMemoryObjectStore)
    return sum(len(entry.content) for entry in store.store.values())
