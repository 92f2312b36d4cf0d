"""Replies of devices that carry slices, so that a strategy's mean over all is the whole model.

A strategy takes the mean over all homes. A place that few of them carry has to move by the mean of
those few: so what a home changed there is made larger by the weight of all homes over the weight of
those that carry it. What a home changed where it carries nothing counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedhome.errors import FedHomeError
from fedhome.flower.grid_around import GridAround
from fedhome.flower.messages import EXAMPLES, array_record, content_of, read_flat
from fedhome.learning.slice_places import SlicePlaces
from fedhome.questions.question_table import TRAIN
from fedhome.questions.train_config import TrainConfig
from fedhome.server.rounds.replies import sound_replies
from fedhome.wire.layout import Layout


def integrate_replies(
    sent: Message,
    replies: Collection[Message],
    *,
    layout: Layout,
    carried: Sequence[SlicePlaces],
) -> None:
    """Change replies to a training so that their mean is the integrated model.

    A reply whose numbers are not finite, or cannot be read, is left as it is.

    Args:
        sent: One of the messages that asked for it.
        replies: The replies, which are changed in place.
        layout: Layout of the whole model.
        carried: What each of these homes trains of it.
    """
    arrays, config = content_of(sent)
    start, number = read_flat(layout, arrays), TrainConfig.of(config).round
    fine: list[tuple[Message, NDArray[np.float32], float, NDArray[np.int64]]] = []
    weight, total = np.zeros(len(start)), 0.0
    for reply, places in zip(replies, carried, strict=True):
        learnt = _learnt(reply, layout)
        if learnt is not None:
            params, own = learnt
            covered = places.in_round(number).covered(start)
            fine.append((reply, params, own, covered))
            weight[covered] += own
            total += own
    larger = np.divide(total, weight, out=np.zeros(len(start)), where=weight > 0)
    for reply, params, _, covered in fine:
        moved = start.astype(np.float64)
        moved[covered] += larger[covered] * (params[covered] - start[covered].astype(np.float64))
        name = next(n for n, one in reply.content.items() if isinstance(one, ArrayRecord))
        reply.content[name] = array_record(layout, moved.astype(np.float32), lazy=True)


def _learnt(reply: Message, layout: Layout) -> tuple[NDArray[np.float32], float] | None:
    """Return what a reply says that a home learnt, and its weight; None where that is of no use."""
    if reply.has_error():
        return None
    records = list(reply.content.values())
    try:
        (arrays,) = [one for one in records if isinstance(one, ArrayRecord)]
        (metrics,) = [one for one in records if isinstance(one, MetricRecord)]
        params = read_flat(layout, arrays)
    except (FedHomeError, ValueError):
        return None
    weight = metrics.get(EXAMPLES)
    if not isinstance(weight, int | float) or not np.isfinite(params).all():
        return None
    return params, float(weight)


class SlicedRepliesGrid(GridAround):
    """Any grid whose homes answer one by one, each with its slice of the model.

    A device may carry less than its tier has, until its owner has signed that. It has then changed
    nothing in the rest, and counts there as if it did not carry it.

    Args:
        grid: The grid.
        layout: Layout of the whole model.
        carried: What each tier trains of it, from the smallest; each lies within the next.
        tier_of: Returns the number of the tier of the home behind a node.
        most_examples: Greatest number of examples that a home may claim.
        tell_less: Told once of a node whose home carries less: the tier that it counts as.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        layout: Layout,
        carried: Sequence[SlicePlaces],
        tier_of: Callable[[int], int],
        most_examples: int,
        tell_less: Callable[[int, int], object],
    ) -> None:
        super().__init__(grid)
        self._layout, self._carried, self._tier_of = layout, carried, tier_of
        self._most_examples = most_examples
        self._tell_less, self._told = tell_less, set[int]()

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return what came in time; after training for all homes at once."""
        sent = list(messages)
        came = list(self.grid.send_and_receive(sent, timeout=timeout))
        asked = {one.metadata.message_id: place for place, one in enumerate(sent)}
        # Not as they came: a sum of floats depends on its order, and a run then on the network.
        replies = sorted(
            came, key=lambda reply: asked.get(reply.metadata.reply_to_message_id, len(sent))
        )
        if not sent or sent[0].metadata.message_type != TRAIN:
            return replies
        sound = sound_replies(
            replies, sent=sent, layout=self._layout, max_examples=self._most_examples
        ).replies
        nodes = [
            sent[asked[one.metadata.reply_to_message_id]].metadata.dst_node_id for one in sound
        ]
        tiers = [self._tier(sent[0], one, node) for one, node in zip(sound, nodes, strict=True)]
        carried = [self._carried[tier] for tier in tiers]
        integrate_replies(sent[0], sound, layout=self._layout, carried=carried)
        return replies

    def _tier(self, sent: Message, reply: Message, node: int) -> int:
        """Return the largest tier of those of a home in whose part it has changed anything."""
        arrays, config = content_of(sent)
        start, number = read_flat(self._layout, arrays), TrainConfig.of(config).round
        changed = np.flatnonzero(read_flat(self._layout, content_of(reply)[0]) != start)
        signed = tier = self._tier_of(node)
        while (
            tier and np.isin(changed, self._carried[tier - 1].in_round(number).covered(start)).all()
        ):
            tier -= 1
        if tier < signed and node not in self._told:
            self._told.add(node)
            self._tell_less(node, tier)
        return tier
