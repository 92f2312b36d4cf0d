"""What waits for each node: the same as Flower finds by looking at everything."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from flwr.app import Message, RecordDict
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate import in_memory_linkstate as flowers
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation.noop_federation_manager import NoOpFederationManager
from hypothesis import given
from hypothesis import strategies as st

from fedhome.flower.flat_object_store import FlatObjectStore
from fedhome.flower.indexed_state import IndexedLinkState, index
from fedhome.flower.messages import take_identity
from fedhome.wire.exchange import HEARTBEAT_S
from helpers.link_states import NODES, RUN, state_of


def message(name: str, node: int) -> Message:
    take_identity(RUN)
    made = Message(RecordDict(), dst_node_id=node, message_type="query", ttl=600.0)
    made.metadata.__dict__["_message_id"] = name
    return made


Steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(NODES)),
        st.tuples(st.just("look"), st.sampled_from(NODES)),
        st.tuples(st.just("drop"), st.integers(0, 20)),
    ),
    max_size=30,
)


@given(Steps)
def test_a_node_gets_what_flower_would_give_it(steps: list[tuple[str, int]]) -> None:
    ours, theirs = state_of(IndexedLinkState), state_of(InMemoryLinkState)
    assert isinstance(ours, IndexedLinkState)
    for number, (step, value) in enumerate(steps):
        if step == "ask":
            for state in (ours, theirs):
                assert state.store_message_ins(message(f"{number}", value)) == f"{number}"
                assert state.store_message_ins(message(f"{number}", value)) == f"{number}"
        elif step == "drop":
            for state in (ours, theirs):
                state.delete_messages({f"{value}"})
        else:
            waits = ours.awaits(value)
            found = [
                [one.metadata.message_id for one in state.get_message_ins(value, 1)]
                for state in (ours, theirs)
            ]
            assert found[0] == found[1]
            assert waits or not found[0], "a node that is not looked at misses nothing"
    for node in NODES:
        everything = [
            [one.metadata.message_id for one in state.get_message_ins(node, None, run_id=RUN)]
            for state in (ours, theirs)
        ]
        assert everything[0] == everything[1]
        assert not ours.awaits(node)


def test_what_is_too_old_is_not_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(IndexedLinkState)
    assert isinstance(state, IndexedLinkState)
    asked = message("old", NODES[0])
    state.store_message_ins(asked)
    late = asked.metadata.created_at + 601
    monkeypatch.setattr(
        flowers, "now", lambda: SimpleNamespace(timestamp=lambda: late, isoformat=lambda: "late")
    )
    assert state.get_message_ins(NODES[0], 1) == []
    assert not state.awaits(NODES[0])
    assert state.message_ins_store == {}


def test_a_node_that_asks_is_there_and_an_unknown_one_is_not() -> None:
    state = state_of(IndexedLinkState)
    assert isinstance(state, IndexedLinkState)
    node = state.nodes[NODES[0]]
    node.status, node.online_until = "offline", 0.0
    state.hear(NODES[0])
    state.hear(99)
    assert node.status == "online"
    assert node.heartbeat_interval == HEARTBEAT_S
    node.status = "unregistered"
    node.online_until = 0.0
    state.hear(NODES[0])
    assert (node.status, node.online_until) == ("unregistered", 0.0)


def test_a_superlink_keeps_its_state_so() -> None:
    factory = LinkStateFactory(
        FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), ObjectStoreFactory(FLWR_IN_MEMORY_DB_NAME)
    )
    before = factory.state()
    index(factory)
    after = factory.state()
    assert isinstance(after, IndexedLinkState)
    assert after is not before
    assert after.object_store is factory.objectstore_factory.store()
    assert isinstance(after.object_store, FlatObjectStore)
    assert after.federation_manager.linkstate is after
