"""What a home that cheats can make a SuperLink hold; in each control Flower's own state holds it.

The nodes here are authenticated: an enrolled home may send whatever it likes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.inflatable.inflatable_object import get_object_tree, iterate_object_tree
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import LinkError
from fedhome.flower.flat_object_store import FlatObjectStore
from fedhome.flower.held_replies import (
    MOST_BESIDE,
    MOST_UNASKED,
    MOST_UNTAKEN,
    MOST_WAITING,
    most_of,
)
from fedhome.flower.indexed_state import IndexedLinkState
from helpers.link_states import NODES, RUN, announced, answer_to, asked, bytes_in, sent, state_of

NODE, OTHER = NODES[:2]


@pytest.fixture
def ours() -> IndexedLinkState:
    state = state_of(IndexedLinkState, FlatObjectStore())
    assert isinstance(state, IndexedLinkState)
    return state


def words(number: int) -> RecordDict:
    return RecordDict({"told": ConfigRecord({"number": number})})


def pieces(count: int, size: int, seed: int = 0) -> RecordDict:
    """Return a reply of many arrays, each of its own numbers."""
    draw = np.random.default_rng(seed)
    arrays = {
        f"{index}": Array(draw.integers(0, 256, size, dtype=np.uint8)) for index in range(count)
    }
    return RecordDict({"arrays": ArrayRecord(arrays)})


def taken(state: InMemoryLinkState, question: Message, reply: Message) -> None:
    """Let the run take a reply."""
    state.delete_messages({question.metadata.message_id})
    state.object_store.delete(reply.metadata.message_id)


def test_a_reply_is_no_larger_than_its_question_allows(ours: IndexedLinkState) -> None:
    flowers = state_of(InMemoryLinkState)
    size = 1 << 20
    for state in (ours, flowers):
        question = asked(state, NODE, words(1))
        reply = answer_to(question, pieces(20, size))
        if state is ours:
            before = bytes_in(state)
            with pytest.raises(LinkError) as refused:
                sent(state, reply)
            assert refused.value.reason == "too-large"
            assert bytes_in(state) - before <= most_of(before)
        else:
            sent(state, reply)
            assert bytes_in(state) > 20 * size


def test_a_larger_question_allows_a_larger_reply(ours: IndexedLinkState) -> None:
    question = asked(ours, NODE, pieces(4, 1 << 20, seed=1))
    reply = answer_to(question, pieces(19, 1 << 20))
    sent(ours, reply)
    assert bytes_in(ours) > 19 << 20
    taken(ours, question, reply)
    assert ours.held.held(NODE) == bytes_in(ours) == 0


def test_a_question_counts_what_was_there_before_it(ours: IndexedLinkState) -> None:
    # The second home's model is not sent again: its reply may be as large as the first one's.
    for node in (NODE, OTHER):
        question = asked(ours, node, pieces(4, 1 << 20, seed=1))
        sent(ours, answer_to(question, pieces(10, 1 << 20, seed=node)))
    assert bytes_in(ours) > 20 << 20


def test_two_replies_of_a_home_are_unfinished_at_most(ours: IndexedLinkState) -> None:
    flowers = state_of(InMemoryLinkState)
    count, size = 12, 3 << 20
    for state in (ours, flowers):
        for number in range(count):
            reply = answer_to(asked(state, NODE, words(number)), pieces(1, size, seed=number))
            sent(state, reply, leave_out=1)
    assert bytes_in(ours) < 3 * size
    assert bytes_in(flowers) > count * size


def test_who_waits_for_a_reply_that_was_given_up_learns_of_it(ours: IndexedLinkState) -> None:
    questions = [asked(ours, NODE, words(number)) for number in range(3)]
    replies = [answer_to(one, pieces(1, 10, seed=3)) for one in questions]
    for reply in replies:
        sent(ours, reply, leave_out=1)
    first, *others = (one.metadata.message_id for one in questions)
    assert first not in ours.message_ins_store
    assert replies[0].metadata.message_id not in ours.object_store
    assert set(others) <= set(ours.message_ins_store)


def test_whole_replies_that_nobody_takes_make_room(ours: IndexedLinkState) -> None:
    count, size = 12, 3 << 20
    for number in range(count):
        sent(ours, answer_to(asked(ours, NODE, words(number)), pieces(1, size, seed=number)))
        assert ours.held.held(NODE) <= 2 * most_of(1000)
    small = [asked(ours, OTHER, words(number)) for number in range(2 * MOST_UNTAKEN)]
    for number, question in enumerate(small):
        sent(ours, answer_to(question, words(1000 + number)))
    assert len(ours.message_res_store) <= 2 * MOST_UNTAKEN


def test_one_home_takes_no_other_ones_room(ours: IndexedLinkState) -> None:
    question = asked(ours, OTHER, words(0))
    reply = answer_to(question, pieces(1, 3 << 20, seed=99))
    sent(ours, reply)
    for number in range(8):
        sent(ours, answer_to(asked(ours, NODE, words(number)), pieces(1, 3 << 20, seed=number)))
    assert question.metadata.message_id in ours.message_ins_store
    assert reply.metadata.message_id in ours.object_store


def test_names_of_objects_count(ours: IndexedLinkState) -> None:
    flowers = state_of(InMemoryLinkState)
    names = [f"{number:064x}" for number in range(MOST_BESIDE >> 9)]
    for state in (ours, flowers):
        reply = answer_to(asked(state, NODE, words(1)), words(2))
        tree = ObjectTree(
            object_id=reply.metadata.message_id,
            children=[ObjectTree(object_id=name) for name in names],
        )
        session = state.start_session(RUN)
        if state is ours:
            with pytest.raises(LinkError, match="more than"):
                state.store_message_and_object_tree(reply, tree, session)
            assert len(state.object_store) < 10
        else:
            state.store_message_and_object_tree(reply, tree, session)
            assert len(state.object_store) > len(names)


def test_what_nobody_asked_leaves_nothing(
    ours: IndexedLinkState, caplog: pytest.LogCaptureFixture
) -> None:
    flowers = state_of(InMemoryLinkState)
    for state in (ours, flowers):
        question = asked(state, OTHER, words(1))
        sessions = len(state._object_push_sessions)
        caplog.clear()
        for number in range(50):
            reply = answer_to(question, words(number))
            reply.metadata.__dict__["_src_node_id"] = NODE  # another home's question
            if number % 2:
                reply.metadata.__dict__["_reply_to_message_id"] = "x" * 100_000
            announced(state, reply)
        left = len(state._object_push_sessions) - sessions
        logged = sum(len(one.getMessage()) for one in caplog.records)
        assert (left, logged) == (0, 0) if state is ours else left == 50 and logged > 2_000_000


def test_objects_that_are_not_what_they_are_called_are_not_kept(ours: IndexedLinkState) -> None:
    reply = answer_to(asked(ours, NODE, words(1)), words(2))
    session, missing = announced(ours, reply)
    before = bytes_in(ours)
    for name in missing:
        assert not ours.store_object(RUN, session, name, b"something else")
        assert not ours.store_object(RUN, "", name, b"")  # of no session
        assert not ours.store_object(RUN, "another", name, b"")
    assert bytes_in(ours) == before
    assert sent(ours, reply) == len(missing)  # and can be sent still


def test_a_home_that_answers_nothing_keeps_few_models_here(ours: IndexedLinkState) -> None:
    flowers = state_of(InMemoryLinkState)
    size, count = 8 << 20, 12
    for state in (ours, flowers):
        for number in range(count):
            asked(state, NODE, pieces(1, size, seed=number))
    assert bytes_in(ours) <= 9 * (size + 1000)  # 64 MiB, and what came at last
    assert bytes_in(flowers) > count * size
    for number in range(2 * MOST_WAITING):
        asked(ours, OTHER, words(number))
    assert bytes_in(ours) <= 9 * (size + 1000) + MOST_WAITING * 1000


def test_a_home_that_was_asked_nothing_sends_little(ours: IndexedLinkState) -> None:
    assert ours.held.room(NODE) == MOST_UNASKED
    question = asked(ours, NODE, words(1))
    room = ours.held.room(NODE)
    assert 2 * MOST_BESIDE <= room <= 2 * most_of(1000)
    taken(ours, question, answer_to(question, words(2)))
    assert ours.held.room(NODE) == room  # it may repeat what got lost on the way


def doubled(depth: int, fan: int) -> Iterator[ObjectTree]:
    """Yield announcements, each of which names the last one's root as its parts, many times."""
    name = f"{depth:064x}"
    yield ObjectTree(object_id=name)
    for level in reversed(range(depth)):
        parts = [ObjectTree(object_id=name)] * fan
        name = f"{level:064x}"
        yield ObjectTree(object_id=name, children=parts)


def test_a_tree_names_each_object_once() -> None:
    ours, flowers = FlatObjectStore(), InMemoryObjectStore()
    for store in (ours, flowers):
        for tree in doubled(4, 10):
            store.preregister(RUN, tree)
    root = f"{0:064x}"
    assert len(list(iterate_object_tree(ours.get_object_tree(root)))) == 5
    assert len(list(iterate_object_tree(flowers.get_object_tree(root)))) == 11_111
    for tree in doubled(40, 10):  # 10 to the 40 in Flower's
        ours.preregister(RUN, tree)
    assert len(ours.get_object_tree(root).children) == 4  # the first to name it says so


Trees = st.recursive(
    st.integers(0, 12).map(lambda name: ObjectTree(object_id=f"{name:064x}")),
    lambda parts: st.builds(
        lambda name, children: ObjectTree(object_id=f"{name:064x}", children=children),
        st.integers(13, 30),
        st.lists(parts, max_size=4),
    ),
    max_leaves=12,
)


@given(st.lists(Trees, max_size=5), st.lists(st.integers(0, 30), max_size=40))
def test_what_is_deleted_is_what_flower_deletes(trees: list[ObjectTree], names: list[int]) -> None:
    ours, flowers = FlatObjectStore(), InMemoryObjectStore()
    for store in (ours, flowers):
        for tree in trees:
            store.preregister(RUN, tree)
    for name in names:
        for store in (ours, flowers):
            store.delete(f"{name:064x}")
        assert set(ours.store) == set(flowers.store)
    for store in (ours, flowers):
        store.delete_objects_in_run(RUN)
    assert set(ours.store) == set(flowers.store)


def test_an_honest_tree_has_the_same_objects() -> None:
    ours, flowers = FlatObjectStore(), InMemoryObjectStore()
    reply = answer_to(asked(state_of(InMemoryLinkState), NODE, words(1)), pieces(3, 10))
    trees = []
    for store in (ours, flowers):
        store.preregister(RUN, get_object_tree(reply))
        found = store.get_object_tree(reply.object_id)
        assert found.object_id == reply.object_id
        trees.append({one.object_id for one in iterate_object_tree(found)})
    assert trees[0] == trees[1]
