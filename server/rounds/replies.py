"""Which replies may reach a strategy: one malformed reply must never end a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import Grid

from fedhome.errors import FedHomeError, UpdateError
from fedhome.flower.broadcast import Broadcast
from fedhome.flower.messages import EXAMPLES, error_of, read_flat
from fedhome.printable import brief
from fedhome.wire.layout import Layout

_Record = TypeVar("_Record", ArrayRecord, MetricRecord)


@dataclass(frozen=True, kw_only=True)
class SoundReplies:
    """The replies of a round that can be used.

    Args:
        replies: The usable replies.
        homes: How many homes they represent.
        dropped: Node and reason of each that was left out.
    """

    replies: list[Message]
    homes: int
    dropped: list[tuple[int, str]]


def sound_replies(
    replies: Iterable[Message],
    *,
    sent: Iterable[Message],
    layout: Layout | None,
    max_examples: int,
    homes_behind: Callable[[Message], int] | None = None,
) -> SoundReplies:
    """Leave out errors, strangers, duplicates, other layouts and numbers that are not finite.

    Args:
        replies: What came.
        sent: The messages that were sent. A reply is matched to the message that it answers:
            Flower's error reply for a dead node comes from node 1.
        layout: Layout that updates must have; None where only metrics are expected.
        max_examples: Greatest number of examples that a home may claim; more is cut off.
        homes_behind: How many homes a reply stands for; None: one each.
    """
    node_of = _nodes_of(sent)
    good: list[Message] = []
    dropped: list[tuple[int, str]] = []
    seen: set[str] = set()
    for message in replies:
        name = message.metadata.reply_to_message_id
        asked = node_of(name)
        node = message.metadata.src_node_id if asked is None else asked
        behind = homes_behind(message) if homes_behind else 1
        try:
            if asked is None or name in seen:
                raise UpdateError("it answers no message of this round that is still open")
            seen.add(name)
            _check(message, layout, max_examples * behind)
        except FedHomeError as error:
            dropped.append((node, brief(error.message)))  # with names that the home chose
        else:
            good.append(message)
    good, odd = _of_one_kind(good)
    dropped += [(_known(node_of, message), "its metrics differ") for message in odd]
    homes = sum(homes_behind(message) if homes_behind else 1 for message in good)
    return SoundReplies(replies=good, homes=homes, dropped=dropped)


def _nodes_of(sent: Iterable[Message]) -> Callable[[str], int | None]:
    """Return what finds whom a message was for, by its identifier."""
    if isinstance(sent, Broadcast):
        return sent.node_of
    nodes = {m.metadata.message_id: m.metadata.dst_node_id for m in sent}

    def node_of(name: str) -> int | None:
        return nodes.get(name)

    return node_of


def _known(node_of: Callable[[str], int | None], reply: Message) -> int:
    node = node_of(reply.metadata.reply_to_message_id)
    assert node is not None, "it answers a message that was sent"
    return node


def counts_of(sound: SoundReplies, asked: int, *, grid: Grid, parameters: int) -> dict[str, int]:
    """Return how many homes took part in a round, as columns of its row.

    Args:
        sound: The usable replies.
        asked: How many homes were asked.
        grid: Knows how many of them were late, and how many answered in sums that were not opened.
        parameters: Of the model.
    """
    payload = 4 * parameters
    late = int(getattr(grid, "late", 0))
    answered = sound.homes + int(getattr(grid, "unopened", 0))
    return {
        "homes_answered": answered,
        # Of a sum that was opened before, more homes may be in it than are there now.
        "homes_dropped": max(0, asked - answered - late),
        "homes_late": late,
        "bytes_up": payload * (sound.homes + len(sound.dropped)),
        "bytes_down": payload * asked,
    }


def _check(message: Message, layout: Layout | None, max_examples: int) -> None:
    if message.has_error():
        raise UpdateError(error_of(message))
    arrays, metrics = _records(message, ArrayRecord), _records(message, MetricRecord)
    if len(metrics) != 1 or len(arrays) != (layout is not None):
        raise UpdateError(f"it holds {len(arrays)} array and {len(metrics)} metric records")
    if layout is not None:
        read_flat(layout, arrays[0])
    _check_metrics(metrics[0])
    examples = metrics[0].get(EXAMPLES)
    if not isinstance(examples, int | float) or examples <= 0:
        raise UpdateError(f"its {EXAMPLES} is not a positive number")
    if examples > max_examples:
        metrics[0][EXAMPLES] = max_examples


def _records(message: Message, kind: type[_Record]) -> list[_Record]:
    # RecordDict.array_records and its like build and check a dictionary at every call, which
    # cost as much as training a small model.
    return [record for record in message.content.values() if isinstance(record, kind)]


def _check_metrics(metrics: MetricRecord) -> None:
    for name, value in metrics.items():
        if not (
            all(map(math.isfinite, value)) if isinstance(value, list) else math.isfinite(value)
        ):
            raise UpdateError(f"its metric {name!r} is not finite")


def _of_one_kind(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """Keep the replies whose metrics have the names that most have: strategies demand it."""

    def kind(message: Message) -> tuple[str, ...]:
        return tuple(sorted(_records(message, MetricRecord)[0]))

    kinds = Counter(kind(message) for message in messages)
    if len(kinds) < 2:  # noqa: PLR2004
        return messages, []
    usual = kinds.most_common(1)[0][0]
    return (
        [message for message in messages if kind(message) == usual],
        [message for message in messages if kind(message) != usual],
    )
