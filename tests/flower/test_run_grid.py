"""Flower's grid as a run uses it: a reply on its way holds up no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from google.protobuf.wrappers_pb2 import BytesValue

from fedhome.flower import run_grid
from fedhome.flower.run_grid import RunGrid
from fedhome.wire.exchange import REPLIES, ReplyDelivery, ReplyRequest

LOST = 3


class Link:
    """A SuperLink of which the test says what is there."""

    def __init__(self) -> None:
        self.announced: list[Message] = []
        self.objects: dict[str, bytes | None] = {}  # None: on its way
        self.asked: list[Sequence[str]] = []
        self.all: list[bool] = []
        self.confirmed: list[str] = []

    def announce(self, answer: Message) -> dict[str, bytes]:
        """Take a reply without its content, which is returned."""
        answer.metadata.__dict__["_message_id"] = answer.object_id
        content = {name: one.deflate() for name, one in get_all_nested_objects(answer).items()}
        self.announced.append(answer)
        self.objects |= dict.fromkeys(content)
        return content

    def _unary_unary(self, *, path: str, request: Any, **_: object) -> BytesValue:
        assert path == REPLIES
        wanted = ReplyRequest.from_bytes(request.value)
        self.all.append(bool(wanted.all))
        ids = list(PullAppMessagesRequest.FromString(wanted.pull).message_ids)
        self.asked.append(ids)
        there = [m for m in self.announced if m.metadata.reply_to_message_id in ids]
        self.announced = [m for m in self.announced if m not in there]
        whole, objects = [], dict[str, bytes]()
        for message in there:
            names = get_all_nested_objects(message)
            found = {name: self.objects.get(name) for name in names}
            if None not in found.values():
                whole.append(message.object_id)
                objects |= {name: content for name, content in found.items() if content}
        pulled = PullAppMessagesResponse(
            messages_list=[message_to_proto(remove_content_from_message(m)) for m in there],
            message_object_trees=[get_object_tree(m) for m in there],
        )
        delivery = ReplyDelivery(
            pulled=pulled.SerializeToString(),
            whole=tuple(whole),
            names=tuple(objects),
            objects=tuple(objects.values()),
        )
        return BytesValue(value=delivery.to_bytes())

    def PullObject(self, request: Any) -> PullObjectResponse:  # noqa: N802 - Flower's name
        content = self.objects.get(request.object_id)
        return PullObjectResponse(
            object_found=request.object_id in self.objects,
            object_available=content is not None,
            object_content=content or b"",
        )

    def ConfirmMessageReceived(self, request: Any) -> None:  # noqa: N802 - Flower's name
        self.confirmed.append(request.message_object_id)


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(run_grid.time, "monotonic", lambda: now.s)
    return now


@pytest.fixture
def grid(link: Link, monkeypatch: pytest.MonkeyPatch) -> RunGrid:
    for name, value in (("_run_id", 7), ("_node_id", 1), ("_task_id", 1)):
        monkeypatch.setattr(TaskIdentity, name, value)
    grid = RunGrid(1, "token")
    monkeypatch.setattr(RunGrid, "client", link)
    grid.set_run(Run.create_empty(7))
    return grid


def asked(name: str, node: int) -> Message:
    """Return a question that was sent."""
    question = Message(RecordDict(), dst_node_id=node, message_type="query")
    question.metadata.__dict__["_message_id"] = name
    return question


def answer(name: str, node: int, **words: int | bytes) -> Message:
    return Message(RecordDict({"told": ConfigRecord(dict(words))}), reply_to=asked(name, node))


def told(came: Any) -> Mapping[str, Any]:
    """Return what came, by the question."""
    return {m.metadata.reply_to_message_id: m.content["told"]["a"] for m in came}


def test_a_reply_on_its_way_holds_up_no_other(
    grid: RunGrid, link: Link, clock: SimpleNamespace
) -> None:
    slow, quick = answer("one", 11, a=1), answer("two", 12, a=2)
    content = link.announce(slow)
    link.objects |= link.announce(quick)
    assert told(grid.pull_messages(["one", "two"])) == {"two": 2}
    assert link.confirmed == [], "what comes whole, the SuperLink has forgotten by itself"
    first, *others = content
    link.objects[first] = content[first]
    clock.s += 1
    assert list(grid.pull_messages(["one"])) == []
    link.objects |= {name: content[name] for name in others}
    clock.s += 1
    assert told(grid.pull_messages(["one"])) == {"one": 1}
    assert link.confirmed == [slow.object_id]
    # Flower knows no question any more whose reply it has handed over.
    assert link.asked == [["one", "two"]]


def test_what_has_no_answer_is_looked_for_seldom(
    grid: RunGrid, link: Link, clock: SimpleNamespace
) -> None:
    for _ in range(4):
        assert list(grid.pull_messages(["one"])) == []
        clock.s += 1
    assert link.all == [True, False, True, False], "homes that are away, and old messages"


def test_a_reply_that_never_comes_whole_is_an_error(grid: RunGrid, link: Link) -> None:
    for name in link.announce(answer("one", 11, a=1)):
        del link.objects[name]
    (lost,) = grid.pull_messages(["one"])
    assert lost.has_error()
    assert lost.error.code == LOST
    assert lost.metadata.reply_to_message_id == "one"
    assert link.confirmed == []


def test_what_nobody_waits_for_is_forgotten(
    grid: RunGrid, link: Link, clock: SimpleNamespace
) -> None:
    link.announce(answer("one", 11, a=1))
    assert list(grid.pull_messages(["one"])) == []
    assert len(grid._incoming) == 1
    clock.s += 299
    assert list(grid.pull_messages(["two"])) == []
    assert len(grid._incoming) == 1
    clock.s += 2
    assert list(grid.pull_messages(["two"])) == []
    assert not grid._incoming
