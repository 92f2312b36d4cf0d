"""A home that cheats at a real server: what it sends is held to what was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PushObjectRequest
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_id,
    get_object_tree,
)

from fedhome.errors import LinkError
from fedhome.flower.fleet_connection import FleetConnection, _request
from fedhome.flower.messages import identify
from fedhome.wire.exchange import ANSWER, ExchangeAnswer
from helpers.exchange_fleet import Fleet, exchange_fleet, numbers, words

# Flower's own, when it makes a bundle.
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),
]
MOST_MEMORY = 300 << 20


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with exchange_fleet(tmp_path_factory.mktemp("bounds")) as fleet:
        yield fleet


def peak(process: int) -> int:
    """Return how much memory a process has had at most, in bytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) << 10


def asked(fleet: Fleet, home: FleetConnection, number: int, content: RecordDict) -> Message:
    fleet.ask(number, content)
    arrival = home.look()
    assert arrival is not None
    return home.fetch(arrival)


def reply_to(question: Message, content: RecordDict) -> Message:
    reply = Message(content, reply_to=question)
    identify(reply, reply.object_id)
    return reply


def announced(home: FleetConnection, reply: Message, tree: ObjectTree | None = None) -> str:
    """Announce a reply by Flower's own request, and return the session."""
    push = PushMessagesRequest(
        node=home._node,
        messages_list=[message_to_proto(remove_content_from_message(reply))],
        message_object_trees=[tree or get_object_tree(reply)],
    )
    session: str = _request(lambda: home._client.PushMessages(push)).session_id
    return session


def pushed(home: FleetConnection, reply: Message, session: str, name: str, data: bytes) -> bool:
    request = PushObjectRequest(
        node=home._node,
        run_id=reply.metadata.run_id,
        session_id=session,
        object_id=name,
        object_content=data,
    )
    return bool(_request(lambda: home._client.PushObject(request)).stored)


@pytest.mark.parametrize(("count", "size"), [(15, 4 << 20), (60, 1 << 20)])
def test_hundreds_of_megabytes_are_not_kept(fleet: Fleet, count: int, size: int) -> None:
    draw, rounds = np.random.default_rng(size), 5
    big = {f"{one}": Array(draw.integers(0, 256, size, np.uint8)) for one in range(count)}
    ends: list[BaseException | None] = []
    with fleet.home(0) as home, fleet.home(1) as honest, ThreadPoolExecutor(8) as pool:
        for number in range(rounds):
            reply = reply_to(
                asked(fleet, home, 0, words(size + number)),
                RecordDict({"arrays": ArrayRecord(big), "of": ConfigRecord({"round": number})}),
            )
            session = announced(home, reply)
            ends += [
                send.exception()
                for send in [
                    pool.submit(pushed, home, reply, session, name, one.deflate())
                    for name, one in get_all_nested_objects(reply).items()
                ]
            ]
        refused = [end for end in ends if end is not None]
        reasons = {one.reason for one in refused if isinstance(one, LinkError)}
        assert len(refused) == sum(isinstance(one, LinkError) for one in refused)
        assert reasons <= {"too-large", "unreachable"}  # the latter of what came side by side
        assert len(refused) > rounds * count // 2
        assert peak(fleet.link) < MOST_MEMORY
        name = fleet.ask(1, words(5))
        arrival = honest.look()
        assert arrival is not None
        honest.push(honest.announce(Message(words(6), reply_to=honest.fetch(arrival))))
    assert fleet.answer_to(name).content["told"]["number"] == 6


def test_long_names_of_questions_are_not_kept(fleet: Fleet) -> None:
    before = peak(fleet.link)
    with fleet.home(0) as home:
        reply = reply_to(asked(fleet, home, 0, words(1)), words(2))
        for number in range(60):
            data = message_to_proto(remove_content_from_message(reply))
            data.metadata.reply_to_message_id = f"{number}" + "x" * (3 << 20)
            push = PushMessagesRequest(
                node=home._node,
                messages_list=[data],
                message_object_trees=[get_object_tree(reply)],
            )
            told = ExchangeAnswer(push=push.SerializeToString(), names=(), objects=())
            with suppress(LinkError):
                _request(partial(home._client.exchange, ANSWER, told.to_bytes()))
        home.push(home.announce(reply))
    assert peak(fleet.link) < before + (60 << 20)
    log = fleet.server.logs / "link.log"
    assert not log.exists() or log.stat().st_size < 1 << 20


def test_a_home_that_was_asked_nothing_sends_nothing_large(fleet: Fleet) -> None:
    with fleet.home(2) as home:
        told = ExchangeAnswer(push=b"", names=("a",), objects=(bytes(1 << 20),))
        with pytest.raises(LinkError) as refused:
            _request(lambda: home._client.exchange(ANSWER, told.to_bytes()))
        assert refused.value.reason == "too-large"


def test_a_reply_of_nonsense_ends_no_run(fleet: Fleet) -> None:
    with fleet.home(0) as home:
        question = asked(fleet, home, 0, words(71))
        reply = reply_to(question, words(72))
        objects = {name: one.deflate() for name, one in get_all_nested_objects(reply).items()}
        (record,) = (name for name, data in objects.items() if data.startswith(b"RecordDict "))
        kind, parts, _ = objects[record].partition(b"\x00")[0].split(b" ")
        bad = b" ".join([kind, parts, b"4"]) + b"\x00null"
        nonsense = get_object_id(bad)
        root = objects[reply.object_id].replace(record.encode(), nonsense.encode())
        identify(reply, get_object_id(root))
        leaf = next(name for name in objects if name not in {record, reply.object_id})
        inner = ObjectTree(object_id=nonsense, children=[ObjectTree(object_id=leaf)])
        tree = ObjectTree(object_id=reply.metadata.message_id, children=[inner])
        session = announced(home, reply, tree)
        for data in (objects[leaf], bad, root):
            assert pushed(home, reply, session, get_object_id(data), data)
    answer = fleet.answer_to(question.metadata.message_id)
    assert answer.has_error()
    assert answer.error.reason == "malformed"


def test_what_all_homes_say_alike_is_kept_from_nobody(fleet: Fleet) -> None:
    with fleet.home(0) as home, fleet.home(1) as honest:
        first = asked(fleet, home, 0, words(81))
        name = fleet.ask(1, words(81))
        arrival = honest.look()
        assert arrival is not None
        # The cheat says first that what both answer has a part, which never comes.
        reply = reply_to(first, words(82))
        tree = get_object_tree(reply)
        part = tree.children[0].children[0]
        part.children.append(ObjectTree(object_id="ab" * 32))
        announced(home, reply, tree)
        honest.push(honest.announce(Message(words(82), reply_to=honest.fetch(arrival))))
    assert fleet.answer_to(name).content["told"]["number"] == 82


def test_a_question_that_the_server_has_forgotten_is_given_up(fleet: Fleet) -> None:
    with fleet.home(2) as home:
        fleet.ask(2, numbers(12 << 20, 1))
        arrival = home.look()
        assert arrival is not None
        run, name = arrival.message.metadata.run_id, arrival.message.metadata.message_id
        home._client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(node=home._node, run_id=run, message_object_id=name)
        )
        with pytest.raises(LinkError, match="no longer waits") as refused:
            home.fetch(arrival)
        assert refused.value.reason == "over"  # else it would ask again without end


def test_an_honest_reply_larger_than_one_request_is_kept_whole(fleet: Fleet) -> None:
    with fleet.home(2) as home:
        question = asked(fleet, home, 2, numbers(12 << 20, 1))
        home.push(home.announce(Message(numbers(24 << 20, 2), reply_to=question)))
    answer = fleet.answer_to(question.metadata.message_id)
    assert answer.content == numbers(24 << 20, 2)
