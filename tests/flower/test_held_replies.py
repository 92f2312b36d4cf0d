"""What a home that cheats can make a SuperLink hold; in each control Flower's own state holds it.

The nodes here are authenticated: an enrolled home may send whatever it likes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi import HTTPException
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.proto.task_pb2 import Task
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import LinkError
from fedhome.flower.exchange_handlers import accept_announcement
from fedhome.flower.flat_object_store import FlatObjectStore
from fedhome.flower.held_replies import (
    MOST_BESIDE,
    MOST_HEAD,
    MOST_UNASKED,
    MOST_UNTAKEN,
    MOST_WAITING,
    most_of,
)
from fedhome.flower.indexed_state import IndexedLinkState
from fedhome.flower.messages import identify, take_identity
from fedhome.flower.run_handlers import gather_replies
from fedhome.wire.exchange import ReplyDelivery
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


def test_a_question_counts_what_is_its_own(ours: IndexedLinkState) -> None:
    # Asked in one session, as a run asks many: of what comes then, each names some.
    take_identity(RUN)
    session, objects, missing = ours.start_session(RUN), {}, []
    shared = pieces(1, 1 << 20, seed=1)["arrays"]
    for node, size in ((NODE, 1 << 20), (OTHER, 8 << 20)):
        own = pieces(1, size, seed=node)["arrays"]
        content = RecordDict({"shared": shared, "own": own})
        question = Message(content, dst_node_id=node, message_type="query", ttl=600.0)
        identify(question, question.object_id)
        told = remove_content_from_message(question)
        missing += ours.store_message_and_object_tree(told, get_object_tree(question), session)[1]
        objects |= get_all_nested_objects(question)
    for name in dict.fromkeys(missing):
        assert ours.store_object(RUN, session, name, objects[name].deflate())
    rooms = [ours.held.room(node) // 2 - most_of(0) for node in (NODE, OTHER)]
    assert [round(room / (4 << 20)) for room in rooms] == [2, 9]


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


def test_a_reply_to_a_question_of_another_run_is_nobodys(ours: IndexedLinkState) -> None:
    question = asked(ours, NODE, words(1))
    foreign, reply = answer_to(question, words(2)), answer_to(question, words(3))
    foreign.metadata.__dict__["_run_id"] = RUN + 1

    def push(one: Message) -> PushMessagesRequest:
        told = message_to_proto(remove_content_from_message(one))
        return PushMessagesRequest(
            node=Node(node_id=NODE),
            messages_list=[told],
            message_object_trees=[get_object_tree(one)],
        )

    assert accept_announcement(ours, push(foreign)) is None
    assert ours.owes(reply)
    with pytest.MonkeyPatch.context() as patch:  # the control
        patch.setattr(IndexedLinkState, "owes", lambda *_: True)
        with pytest.raises(KeyError):
            accept_announcement(ours, push(foreign))


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
    assert len(ours.message_ins_store) <= 2 * MOST_WAITING  # what was given up, the run is told
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
    assert len(list(iterate_object_tree(ours.get_object_tree(root)))) == 2
    assert len(list(iterate_object_tree(flowers.get_object_tree(root)))) == 11_111
    for tree in doubled(40, 10):  # 10 to the 40 in Flower's
        ours.preregister(RUN, tree)
    assert [one.object_id for one in ours.get_object_tree(root).children] == [f"{1:064x}"]


Parts = st.fixed_dictionaries(
    {name: st.sets(st.integers(0, 9), max_size=3) for name in range(10, 20)}
    | {name: st.sets(st.integers(0, 19), max_size=3) for name in range(20, 30)}
)


def tree_of(name: int, parts: Mapping[int, set[int]]) -> ObjectTree:
    children = [tree_of(part, parts) for part in sorted(parts.get(name, ()))]
    return ObjectTree(object_id=f"{name:064x}", children=children)


@given(Parts, st.lists(st.integers(20, 29)), st.lists(st.integers(20, 29), max_size=40))
def test_what_is_deleted_is_what_flower_deletes(
    parts: Mapping[int, set[int]], announced: list[int], deleted: list[int]
) -> None:
    # Where all say the same of an object: two runs have messages of their own, and parts of both.
    ours, flowers = FlatObjectStore(), InMemoryObjectStore()
    missing = [
        [set(store.preregister(name % 2, tree_of(name, parts))) for name in announced]
        for store in (ours, flowers)
    ]
    assert missing[0] == missing[1]
    for name in deleted:
        for store in (ours, flowers):
            store.delete(f"{name:064x}")
        assert set(ours.store) == set(flowers.store)
    for run in (0, 1):
        for store in (ours, flowers):
            store.delete_objects_in_run(run)
        assert set(ours.store) == set(flowers.store)
    assert not ours.store
    assert not ours.run_objects_mapping


def test_what_was_announced_in_two_ways_goes_with_its_message(ours: IndexedLinkState) -> None:
    flowers = state_of(InMemoryLinkState)
    size = 3 << 20
    for state in (ours, flowers):
        question = asked(state, NODE, words(1))
        reply = answer_to(question, pieces(1, size))
        told = remove_content_from_message(reply)
        bare = ObjectTree(object_id=reply.object_id)
        state.store_message_and_object_tree(told, bare, state.start_session(RUN))
        sent(state, reply)
        taken(state, question, reply)
        state.object_store.delete(question.metadata.message_id)
    assert bytes_in(ours) == 0
    assert bytes_in(flowers) > size


def test_replies_that_name_one_another_keep_little(ours: IndexedLinkState) -> None:
    flowers = state_of(InMemoryLinkState)
    count, size = 8, 3 << 20
    for state in (ours, flowers):
        before: tuple[Message, Message] | None = None
        for number in range(count):
            question = asked(state, NODE, words(number))
            reply = answer_to(question, pieces(1, size, seed=number))
            tree, session = get_object_tree(reply), state.start_session(RUN)
            if before is not None:
                tree.children.add().object_id = before[1].object_id
            told, objects = remove_content_from_message(reply), get_all_nested_objects(reply)
            missing = state.store_message_and_object_tree(told, tree, session)[1]
            for name in objects.keys() & missing:
                state.store_object(RUN, session, name, objects[name].deflate())
            if before is not None:
                taken(state, *before)
            before = question, reply
    assert bytes_in(ours) < 2 * size
    assert bytes_in(flowers) > count * size


def test_each_announcement_of_a_reply_counts(ours: IndexedLinkState) -> None:
    reply = answer_to(asked(ours, NODE, words(1)), words(2))
    told, before = remove_content_from_message(reply), bytes_in(ours)
    with pytest.raises(LinkError, match="more than"):  # noqa: PT012 - which one, the bytes say
        for number in range(20):
            piece = pieces(1, 1 << 20, seed=number)["arrays"]
            tree = ObjectTree(object_id=reply.object_id, children=[get_object_tree(piece)])
            session = ours.start_session(RUN)
            objects = get_all_nested_objects(piece)
            for name in ours.store_message_and_object_tree(told, tree, session)[1]:
                if name in objects:
                    ours.store_object(RUN, session, name, objects[name].deflate())
    assert bytes_in(ours) <= before + most_of(1000)


def test_what_another_home_sends_counts_for_who_names_it(ours: IndexedLinkState) -> None:
    waiting = asked(ours, NODE, words(1))
    reply = answer_to(waiting, words(2))
    told = [pieces(1, 1 << 20, seed=number) for number in range(8)]
    tree = ObjectTree(
        object_id=reply.object_id, children=[get_object_tree(one["arrays"]) for one in told]
    )
    ours.store_message_and_object_tree(
        remove_content_from_message(reply), tree, ours.start_session(RUN)
    )
    for number, content in enumerate(told):
        question = asked(ours, OTHER, words(10 + number))
        other = answer_to(question, content)
        sent(ours, other)
        taken(ours, question, other)
        assert bytes_in(ours) < 2 * most_of(1000)
    assert waiting.metadata.message_id not in ours.message_ins_store  # given up, and told
    assert ours.held.held(NODE) == 0
    assert not ours.held._wanted


def test_what_two_homes_send_alike_is_taken_from_both(ours: IndexedLinkState) -> None:
    size = 3 << 20
    first, second = (
        answer_to(asked(ours, node, words(1)), pieces(1, size)) for node in (NODE, OTHER)
    )
    session, missing = announced(ours, second)
    sent(ours, first)
    assert ours.held.left(OTHER) > MOST_UNASKED + size  # all of it may be on its way
    objects = get_all_nested_objects(second)
    held = ours.held.held(OTHER)
    assert held > size
    for name in missing:
        assert ours.store_object(RUN, session, name, objects[name].deflate())
    assert ours.held.held(OTHER) < held + 1000
    assert ours.held.left(OTHER) == MOST_UNASKED


@pytest.mark.parametrize("fault", ["a name", "a content"])
def test_an_announcement_that_is_none_is_told_so(ours: IndexedLinkState, fault: str) -> None:
    reply = answer_to(asked(ours, NODE, words(1)), words(2))
    tree = get_object_tree(reply)
    told = message_to_proto(reply if fault == "a content" else remove_content_from_message(reply))
    if fault == "a name":
        tree.children[0].object_id = "no name"
    push = PushMessagesRequest(
        node=Node(node_id=NODE), messages_list=[told], message_object_trees=[tree]
    )
    with pytest.raises(HTTPException) as refused:
        accept_announcement(ours, push)
    assert refused.value.status_code == 400
    assert not ours.message_res_store


def test_what_is_said_of_a_reply_is_short(ours: IndexedLinkState) -> None:
    reply = answer_to(asked(ours, NODE, words(1)), words(2))
    reply.metadata.__dict__["_message_type"] = "x" * MOST_HEAD
    identify(reply, reply.object_id)
    with pytest.raises(LinkError, match="more than"):
        announced(ours, reply)
    assert not ours.message_res_store


def test_many_replies_come_in_several_responses(ours: IndexedLinkState) -> None:
    left: list[str] = []
    for number in range(2 * MOST_UNTAKEN):
        question = asked(ours, NODES[number % 2], words(number))
        left.append(question.metadata.message_id)
        reply = answer_to(question, words(1000 + number))
        reply.metadata.__dict__["_message_type"] = "x" * (MOST_HEAD - 1000)
        identify(reply, reply.object_id)
        sent(ours, reply)
    count, came, responses = len(left), 0, 0
    while left:
        pull = PullAppMessagesRequest(message_ids=left)
        delivery, left = gather_replies(ours, Task(run_id=RUN), pull)
        delivery = ReplyDelivery.from_bytes(delivery.to_bytes())  # else the run would end
        came, responses = came + len(delivery.whole), responses + 1
    assert (came, responses) == (count, 3)


def test_flowers_two_locks_are_one(ours: IndexedLinkState) -> None:
    with ours._lock_object_push_sessions, ThreadPoolExecutor(1) as pool:
        assert not pool.submit(ours.lock.acquire, blocking=False).result()


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
