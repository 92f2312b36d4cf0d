"""What a server makes of replies from devices with slices: the integrated model, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from fedhome.flower.messages import (
    EXAMPLES,
    array_record,
    content_of,
    failure,
    identify,
    read_flat,
    reply,
    take_identity,
)
from fedhome.learning.slice_places import SlicePlaces
from fedhome.models.slicing import integrate
from fedhome.server.rounds.sliced_replies import SlicedRepliesGrid
from fedhome.wire.layout import Layout
from helpers.wired_fleet import Wire

LAYOUT = Layout(("weights",), ((4,),))
PLACES = tuple(SlicePlaces(LAYOUT, np.array(places)) for places in ([0], [0, 2], [0, 1, 2, 3]))
START = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
TIERS = {2: 0, 3: 1, 4: 2, 5: 2}
MOST = 100
TOLD: list[tuple[int, int]] = []


class _Answers(Wire):
    """A grid whose homes answer as they are told, the last that was asked first."""

    def __init__(self, learnt: dict[int, tuple[list[float], int] | None]) -> None:
        super().__init__({})
        self.learnt = learnt

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        del timeout
        sent = list(messages)
        for number, message in enumerate(sent):
            identify(message, f"asked-{number}")
        return [self._answer(message) for message in reversed(sent)]

    def _answer(self, message: Message) -> Message:
        told = self.learnt[message.metadata.dst_node_id]
        if told is None:
            return failure(message, "away")
        params, examples = told
        arrays = array_record(LAYOUT, np.array(params, np.float32))
        return reply(message, {EXAMPLES: examples}, arrays)


def _asked(learnt: dict[int, tuple[list[float], int] | None], kind: str = "train") -> list[Message]:
    take_identity(1)
    grid = SlicedRepliesGrid(
        _Answers(learnt),
        layout=LAYOUT,
        carried=PLACES,
        tier_of=TIERS.__getitem__,
        most_examples=MOST,
        tell_less=lambda node, tier: TOLD.append((node, tier)),
    )
    config = ConfigRecord({"server-round": 1})
    content = RecordDict({"arrays": array_record(LAYOUT, START), "config": config})
    messages = [Message(content, node, kind) for node in learnt]
    return list(grid.send_and_receive(messages))


def _mean(replies: Iterable[Message]) -> NDArray[np.float64]:
    """Return the mean that a strategy takes."""
    found: list[tuple[NDArray[np.float32], float]] = []
    for one in replies:
        if one.has_error():
            continue
        params = read_flat(LAYOUT, content_of(one)[0])
        weight: Any = next(iter(one.content.metric_records.values()))[EXAMPLES]
        found.append((params, float(weight)))
    total = sum(weight for _, weight in found)
    return np.sum(
        [params.astype(np.float64) * (weight / total) for params, weight in found], axis=0
    )


HONEST: dict[int, tuple[list[float], int] | None] = {
    2: ([2.0, 2.0, 3.0, 4.0], 10),
    3: ([0.0, 2.0, 5.0, 4.0], 30),
    4: ([1.5, 3.0, 2.0, 8.0], 20),
    5: ([1.0, 2.5, 3.0, 2.0], 40),
}


def test_their_mean_moves_each_place_by_the_homes_that_carry_it() -> None:
    # By hand: place 0 of all four, 1 and 3 of the two hubs, 2 of these and the plug.
    expected = START + np.array(
        [
            (10 * 1.0 + 30 * -1.0 + 20 * 0.5 + 40 * 0.0) / 100,
            (20 * 1.0 + 40 * 0.5) / 60,
            (30 * 2.0 + 20 * -1.0 + 40 * 0.0) / 90,
            (20 * 4.0 + 40 * -2.0) / 60,
        ]
    )
    np.testing.assert_allclose(_mean(_asked(HONEST)), expected, rtol=1e-6)
    changes = [
        (
            PLACES[TIERS[node]].places,
            np.float64(told[0] - START)[PLACES[TIERS[node]].places],
            told[1],
        )
        for node, told in HONEST.items()
        if told is not None
    ]
    np.testing.assert_allclose(integrate(START, changes), expected, rtol=1e-6)


def test_they_come_in_the_order_of_the_homes() -> None:
    replies = _asked(HONEST)
    assert [one.metadata.reply_to_message_id for one in replies] == [
        f"asked-{number}" for number in range(4)
    ]


def test_what_a_home_changed_where_it_carries_nothing_counts_for_nothing() -> None:
    lying = HONEST | {2: ([2.0, 99.0, -99.0, 99.0], 10)}
    np.testing.assert_array_equal(_mean(_asked(lying)), _mean(_asked(HONEST)))


def test_a_device_that_carries_less_than_is_signed_counts_as_what_it_carries() -> None:
    TOLD.clear()
    small = HONEST | {4: ([1.5, 2.0, 3.0, 4.0], 20)}  # signed as a hub, and has learnt as a sensor
    found = _mean(_asked(small))
    assert TOLD == [(4, 0)]
    expected = START + np.array([-0.1, 0.5, 30 * 2.0 / 70, -2.0])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    TOLD.clear()
    _asked(HONEST)
    assert TOLD == []


def test_a_home_weighs_no_more_than_homes_may() -> None:
    claimed, most = HONEST | {2: (HONEST[2][0], 10**9)}, HONEST | {2: (HONEST[2][0], MOST)}  # type: ignore[index]
    np.testing.assert_array_equal(_mean(_asked(claimed)), _mean(_asked(most)))


@pytest.mark.parametrize("gone", [None, ([float("nan"), 2.0, 3.0, 4.0], 10), ([1.0, 2.0], 10)])
def test_a_home_that_gives_nothing_of_use_is_left_out_as_if_it_were_away(
    gone: tuple[list[float], int] | None,
) -> None:
    without = {node: told for node, told in HONEST.items() if node != 2}
    sound = [one for one in _asked(HONEST | {2: gone}) if one.metadata.src_node_id != 2]
    np.testing.assert_array_equal(_mean(sound), _mean(_asked(without)))


def test_answers_to_other_questions_are_left_as_they_came() -> None:
    for one in _asked(HONEST, kind="evaluate"):
        told = HONEST[one.metadata.src_node_id]
        assert told is not None
        assert read_flat(LAYOUT, content_of(one)[0]).tolist() == told[0]
