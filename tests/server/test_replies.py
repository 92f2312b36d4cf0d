"""Replies: whatever a home sends, the run goes on without it and says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

from fedhome.flower.messages import (
    EXAMPLES,
    array_record,
    failure,
    number_messages,
    reply,
    take_identity,
)
from fedhome.server.rounds.replies import sound_replies
from fedhome.wire.layout import Layout

_LAYOUT = Layout(("w",), ((2,),))
_FLAT = np.array([1.0, 2.0], np.float32)
_METRICS: dict[str, Any] = {EXAMPLES: 4, "train_loss": 0.5}


def _asked(count: int = 4) -> list[Message]:
    take_identity(1)
    messages = [
        Message(content=RecordDict(), message_type="train", dst_node_id=100 + place)
        for place in range(count)
    ]
    number_messages(messages, 10)
    return messages


def _good(message: Message, **metrics: Any) -> Message:
    return reply(message, _METRICS | metrics, array_record(_LAYOUT, _FLAT))


def _record(array: Array) -> ArrayRecord:
    record = ArrayRecord()
    record[_LAYOUT.key] = array
    return record


def _broken() -> Array:
    return Array(dtype="float32", shape=(2,), stype="numpy.ndarray", data=b"junk")


_BAD: dict[str, tuple[Any, str]] = {
    "an error": (lambda m: failure(m, "the app raised"), "the app raised"),
    "an error without words": (lambda m: failure(m, "", 5), "error 5"),
    "no arrays": (lambda m: reply(m, _METRICS), "0 array and 1 metric records"),
    "nothing": (lambda m: Message(RecordDict(), reply_to=m), "0 array and 0 metric records"),
    "two metric records": (
        lambda m: Message(
            RecordDict(
                {
                    "arrays": array_record(_LAYOUT, _FLAT),
                    "one": MetricRecord(_METRICS),
                    "two": MetricRecord(_METRICS),
                }
            ),
            reply_to=m,
        ),
        "1 array and 2 metric records",
    ),
    "another layout": (
        lambda m: reply(
            m, _METRICS, array_record(Layout(("w",), ((3,),)), np.zeros(3, np.float32))
        ),
        _LAYOUT.key,
    ),
    "another type": (
        lambda m: reply(m, _METRICS, _record(Array(_FLAT.astype(np.float64)))),
        "float64",
    ),
    "numbers that are not finite": (
        lambda m: reply(m, _METRICS, array_record(_LAYOUT, np.array([1, np.nan], np.float32))),
        "not finite",
    ),
    "bytes that are no array": (lambda m: reply(m, _METRICS, _record(_broken())), "cannot be read"),
    "a metric that is not finite": (
        lambda m: _good(m, train_loss=float("inf")),
        "'train_loss' is not finite",
    ),
    "a list that is not finite": (
        lambda m: _good(m, train_loss=[1.0, float("nan")]),
        "'train_loss' is not finite",
    ),
    "no examples": (lambda m: _good(m, **{EXAMPLES: 0}), "not a positive number"),
    "less than no examples": (lambda m: _good(m, **{EXAMPLES: -5}), "not a positive number"),
    "a list of examples": (lambda m: _good(m, **{EXAMPLES: [3, 4]}), "not a positive number"),
    "odd metrics": (lambda m: _good(m, colour=3), "metrics differ"),
    "a missing metric": (
        lambda m: reply(m, {EXAMPLES: 4}, array_record(_LAYOUT, _FLAT)),
        "metrics differ",
    ),
}


@pytest.mark.parametrize("name", _BAD)
def test_one_bad_reply_is_dropped_with_its_reason_and_the_others_stay(name: str) -> None:
    make, why = _BAD[name]
    asked = _asked()
    replies = [_good(asked[0]), make(asked[1]), _good(asked[2]), _good(asked[3])]
    sound = sound_replies(replies, sent=asked, layout=_LAYOUT, max_examples=100)
    assert sound.replies == [replies[0], replies[2], replies[3]]
    assert sound.homes == 3
    ((node, reason),) = sound.dropped
    assert node == 101
    assert why in reason


def test_names_that_a_home_chose_fill_no_log_and_move_no_cursor() -> None:
    """They come in the clear, where a plan is plain: millions of letters, once a round."""
    asked = _asked(3)
    named = f"\x1b[2J\nhome-excluded{'x' * 1_000_000}"
    odd = ArrayRecord()
    odd[named] = Array(_FLAT)
    replies = [
        reply(asked[0], _METRICS, odd),
        _good(asked[1], **{named: float("nan")}),
        _good(asked[2]),
    ]
    sound = sound_replies(replies, sent=asked, layout=_LAYOUT, max_examples=100)
    assert sound.replies == replies[2:]
    for _, reason in sound.dropped:
        assert "home-excluded" in reason, "the control: such a name is told"
        assert reason.isprintable()
        assert len(reason) < 1000


def test_both_layouts_are_named() -> None:
    asked, other = _asked(1), Layout(("w",), ((3,),))
    sound = sound_replies(
        [reply(asked[0], _METRICS, array_record(other, np.zeros(3, np.float32)))],
        sent=asked,
        layout=_LAYOUT,
        max_examples=100,
    )
    assert _LAYOUT.key in sound.dropped[0][1]
    assert other.key in sound.dropped[0][1]


def test_a_second_answer_and_a_strangers_are_dropped() -> None:
    asked = _asked(2)
    stranger = _asked(1)[0]
    number_messages([stranger], 99)
    first, second = _good(asked[0]), _good(asked[0], train_loss=9.0)
    sound = sound_replies(
        [first, second, _good(stranger)], sent=asked, layout=_LAYOUT, max_examples=100
    )
    assert sound.replies == [first]
    assert [node for node, _ in sound.dropped] == [100, 100]
    assert all("still open" in reason for _, reason in sound.dropped)


def test_after_a_bad_answer_no_better_one_is_taken() -> None:
    asked = _asked(1)
    replies = [failure(asked[0], "broken"), _good(asked[0])]
    sound = sound_replies(replies, sent=asked, layout=_LAYOUT, max_examples=100)
    assert (sound.replies, sound.homes) == ([], 0)


def test_claims_of_many_examples_are_cut_to_the_greatest_weight() -> None:
    asked = _asked(3)
    replies = [
        _good(m, **{EXAMPLES: count}) for m, count in zip(asked, (5, 10**12, 7), strict=True)
    ]
    sound = sound_replies(replies, sent=asked, layout=_LAYOUT, max_examples=6)
    counts = [m.content.metric_records["metrics"][EXAMPLES] for m in sound.replies]
    assert counts == [5, 6, 6]


def test_a_reply_for_many_homes_may_claim_as_much_as_they() -> None:
    asked = _asked(2)
    replies = [_good(m, **{EXAMPLES: 50}) for m in asked]
    sound = sound_replies(
        replies,
        sent=asked,
        layout=_LAYOUT,
        max_examples=6,
        homes_behind=lambda m: 3 if m.metadata.reply_to_message_id == "10" else 1,
    )
    assert sound.homes == 4
    counts = [m.content.metric_records["metrics"][EXAMPLES] for m in sound.replies]
    assert counts == [18, 6]


def test_answers_to_an_evaluation_hold_no_arrays() -> None:
    asked = _asked(3)
    replies = [reply(asked[0], _METRICS), reply(asked[1], _METRICS), _good(asked[2])]
    sound = sound_replies(replies, sent=asked, layout=None, max_examples=100)
    assert sound.replies == replies[:2]
    assert "1 array and 1 metric records" in sound.dropped[0][1]
