"""Replies that are made quickly: what a strategy sees of them is what Flower makes."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

from fedhome.flower import fast_replies, messages
from fedhome.flower.fast_replies import BlobReplies, contents_asking, replies
from fedhome.flower.messages import (
    ARRAYS,
    METRICS,
    LazyArray,
    blob_reply,
    blobs_of,
    messages_to,
    reply,
    take_identity,
    with_sum_record,
)

HOMES, SIZE = 9, 7
KEY = "flat"


def _questions(**changes: Any) -> list[Message]:
    take_identity(1)
    content = RecordDict({"config": ConfigRecord({"round": 1})})
    asked = []
    for node in range(HOMES):
        message = Message(content, dst_node_id=node + 2, message_type="train", **changes)
        message.metadata.__dict__["_message_id"] = f"question-{node}"
        asked.append(message)
    first = asked[0].metadata.created_at
    for message in asked:
        message.metadata.created_at = first
    return asked


def _said() -> tuple[list[dict[str, Any]], list[LazyArray]]:
    drawn = np.random.default_rng(3)
    rows = [
        {"num-examples": 5 + home, "train_loss": float(drawn.random())} for home in range(HOMES)
    ]
    arrays = [LazyArray(drawn.standard_normal(SIZE).astype(np.float32)) for _ in range(HOMES)]
    return rows, arrays


def _by_flower(asked: list[Message]) -> list[Message]:
    rows, arrays = _said()
    return [
        reply(message, row, ArrayRecord({KEY: array}))
        for message, row, array in zip(asked, rows, arrays, strict=True)
    ]


_STRATEGIES = {
    "fedavg": flower.FedAvg,
    "fedavgm": flower.FedAvgM,
    "fedmedian": flower.FedMedian,
    "fedtrimmedavg": flower.FedTrimmedAvg,
    "fedadam": flower.FedAdam,
    "krum": lambda: flower.Krum(num_malicious_nodes=2),
    "bulyan": lambda: flower.Bulyan(num_malicious_nodes=1),
    "dp": lambda: flower.DifferentialPrivacyServerSideFixedClipping(
        flower.FedAvg(), noise_multiplier=0.0, clipping_norm=0.5, num_sampled_clients=HOMES
    ),
}


@pytest.mark.parametrize("name", _STRATEGIES)
def test_a_strategy_makes_the_same_of_them(name: str) -> None:
    found = []
    for made in (_by_flower(_questions()), replies(_questions(), *_said(), KEY)):
        strategy = _STRATEGIES[name]()
        zeros = np.zeros(SIZE, np.float32)  # what some keep of the round's model
        wraps = hasattr(strategy, "strategy")
        strategy.current_arrays = ArrayRecord({KEY: LazyArray(zeros)}) if wraps else {KEY: zeros}
        arrays, metrics = strategy.aggregate_train(1, made)
        assert arrays is not None
        assert metrics is not None
        found.append((arrays[KEY].numpy(), dict(metrics)))
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_they_are_what_flower_makes_but_for_when() -> None:
    asked = _questions()
    for one, other in zip(_by_flower(asked), replies(asked, *_said(), KEY), strict=True):
        mine, flowers = vars(other.metadata), vars(one.metadata)
        for name in flowers.keys() - {"_created_at", "_ttl"}:
            assert mine[name] == flowers[name], name
        assert dict(other.content[METRICS]) == dict(one.content[METRICS])
        assert np.array_equal(other.content[ARRAYS][KEY].numpy(), one.content[ARRAYS][KEY].numpy())
        for view in ("array_records", "metric_records", "config_records"):
            assert type(getattr(other.content, view)) is type(getattr(one.content, view))
            assert list(getattr(other.content, view)) == list(getattr(one.content, view))


def test_a_view_still_checks_and_tells_its_record() -> None:
    content = replies(_questions(), *_said(), KEY)[4].content
    with pytest.raises(TypeError, match="ArrayRecord"):
        content.array_records["more"] = MetricRecord({"a": 1.0})
    content.array_records["more"] = ArrayRecord()
    assert "more" in content
    del content.array_records[ARRAYS]
    assert ARRAYS not in content
    with pytest.raises(TypeError):
        content.metric_records[METRICS]["loss"] = "high"


@pytest.mark.parametrize(
    "odd", [{"num-examples": 5.0}, {"num-examples": 5, "more": 1}, {"a": [1.0]}]
)
def test_one_that_says_something_else_is_checked_by_flower(odd: dict[str, Any]) -> None:
    rows, arrays = _said()
    rows[3] = odd
    made = replies(_questions(), rows, arrays, KEY)
    assert dict(made[3].content[METRICS]) == odd
    rows[3] = {"num-examples": "many"}
    with pytest.raises(TypeError):
        replies(_questions(), rows, arrays, KEY)


def test_one_that_answers_another_question_says_so() -> None:
    asked = _questions()
    asked[5].metadata.group_id = "another"
    made = replies(asked, *_said(), KEY)
    assert [one.metadata.group_id for one in made] == [one.metadata.group_id for one in asked]


def test_what_homes_learnt_goes_when_the_replies_do() -> None:
    made = replies(_questions(), *_said(), KEY)
    flower.FedAvg().aggregate_train(1, made)
    held = [weakref.ref(message.content) for message in made[1:]]
    gc.disable()
    try:
        del made
        assert [one for one in held if one() is not None] == []
    finally:
        gc.enable()


def test_numbers_that_a_strategy_changes_are_its_own() -> None:
    rows, arrays = _said()
    array = replies(_questions(), rows, arrays, KEY)[2].content[ARRAYS][KEY]
    before = array.numpy()
    array.numpy()[:] = 0.0
    assert np.array_equal(array.numpy(), before)
    assert not array.looked_at().flags.writeable


def _assert_like(made: Message, flowers: Message) -> None:
    mine, theirs = vars(made.metadata), vars(flowers.metadata)
    for name in theirs.keys() - {"_created_at", "_ttl"}:
        assert mine[name] == theirs[name], name
    assert made.content == flowers.content
    assert made.has_error() is False
    assert blobs_of(made) == blobs_of(flowers)


def test_answers_of_bytes_are_what_flower_makes_but_for_when(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_flower = list[Message]()

    def counted(message: Message, blobs: dict[str, bytes]) -> Message:
        by_flower.append(message)
        return blob_reply(message, blobs)

    monkeypatch.setattr(fast_replies, "blob_reply", counted)
    asked, answers = _questions(), BlobReplies()
    asked[4].metadata.group_id = "another"
    blobs = [{"upload": bytes([home]), "bundle": bytes([home] * 3)} for home in range(HOMES)]
    del blobs[2]["bundle"]
    made = [answers.reply(*one) for one in zip(asked, blobs, strict=True)]
    for answer, message, own in zip(made, asked, blobs, strict=True):
        _assert_like(answer, blob_reply(message, own))
    # The first one, one with bytes of other names, and one that answers another question.
    assert by_flower == [asked[0], asked[2], asked[4]]
    made[1].content["config"]["upload"] = b"changed"
    assert blobs_of(made[3]) == blobs[3]


def test_answers_of_many_bytes_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_IN_ONE_PIECE", 10)
    asked, answers = _questions(), BlobReplies()
    for message, size in zip(asked, (3, 11, 10, 11), strict=False):
        made = answers.reply(message, {"upload": bytes(size)})
        assert (ARRAYS in made.content) is (size > 10)
        assert blobs_of(made) == {"upload": bytes(size)}


def test_messages_with_a_content_each_are_what_flower_makes() -> None:
    take_identity(1)
    contents = [RecordDict({"config": ConfigRecord({"own": own})}) for own in range(3)]
    made = messages_to([2, 5, 3], contents, "query.help")
    for message, node, content in zip(made, (2, 5, 3), contents, strict=True):
        alone = Message(content, dst_node_id=node, message_type="query.help")
        for name in vars(alone.metadata).keys() - {"_created_at"}:
            assert vars(message.metadata)[name] == vars(alone.metadata)[name], name
        assert message.content is content
    assert messages_to([], [], "query.help") == []


def test_questions_of_bytes_are_those_that_flower_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def counted(content: RecordDict, values: Any) -> RecordDict:
        made.append(values)
        return with_sum_record(content, values)

    monkeypatch.setattr(fast_replies, "with_sum_record", counted)
    same = {"request": b"1"}
    other = {"request": b"2", "check": b"3"}
    records: list[Any] = [same, {"request": b"4"}, same, other, {"request": b""}]
    contents = contents_asking(records)
    wanted = [with_sum_record(RecordDict({"config": ConfigRecord()}), one) for one in records]
    assert contents == wanted
    assert contents[2] is contents[0], "what all are asked travels once"
    assert made == [same, other]
    assert contents[1]["sum"] is not contents[0]["sum"]
    with pytest.raises(TypeError):  # by Flower's own checks
        contents_asking([same, {"request": object()}])  # type: ignore[dict-item]
    assert contents_asking([]) == []
