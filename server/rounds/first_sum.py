"""What a strategy was given in a run's first sum, to be given again for homes at another rate.

Homes' way is taken to be straight: at three times the rate each update is three times as long. What
a strategy makes of that is its own: the mean goes three times as far, an adaptive one (``fedadam``)
hardly farther, one that cuts updates off (``dp-server-fixed``) as far as it allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fedhome.flower.messages import (
    EXAMPLES,
    array_record,
    content_of,
    read_flat,
    reply,
    sums_suffice,
)
from fedhome.plan.settings import StrategySettings
from fedhome.questions.question_table import TRAIN
from fedhome.wire.layout import Layout

_Metrics = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FirstSum:
    """Replies that a strategy was given.

    Args:
        nodes: Whose replies they are.
        metrics: What each says beside its parameters.
        ends: The parameters of each, float32 ``[replies, size]``.
    """

    nodes: list[int]
    metrics: list[_Metrics]
    ends: NDArray[np.float32]

    @classmethod
    def of(cls, replies: Sequence[Message], layout: Layout) -> FirstSum:
        """Return what replies hold.

        Args:
            replies: Sound replies to a training.
            layout: Their parameters' layout.
        """
        return cls(
            nodes=[one.metadata.src_node_id for one in replies],
            metrics=[dict(_metrics_of(one)) for one in replies],
            ends=np.stack([read_flat(layout, content_of(one)[0]) for one in replies]),
        )

    def folded(self) -> FirstSum:
        """Return the same as one reply, for a strategy to which means are enough.

        A home of many would be kept else, each with a model of its own.
        """
        weights = np.array([one[EXAMPLES] for one in self.metrics], np.float64)
        names = [name for name in self.metrics[0] if name != EXAMPLES]
        means = {
            name: np.average([one[name] for one in self.metrics], axis=0, weights=weights).tolist()
            for name in names
        }
        return FirstSum(
            nodes=self.nodes[:1],
            metrics=[{EXAMPLES: float(weights.sum()), **means}],
            ends=np.average(self.ends, axis=0, weights=weights).astype(np.float32)[None],
        )

    def replies(
        self, start: NDArray[np.float32], layout: Layout, *, further: float
    ) -> list[Message]:
        """Return replies of homes that had gone as many times as far.

        Args:
            start: The model from which they trained, ``[size]``.
            layout: Its layout.
            further: How many times.
        """
        begin = start.astype(np.float64)
        answers = []
        for node, metrics, end in zip(self.nodes, self.metrics, self.ends, strict=True):
            moved = (begin + further * (end - begin)).astype(np.float32)
            question = Message(RecordDict(), message_type=TRAIN, dst_node_id=node)
            answers.append(reply(question, metrics, array_record(layout, moved)))
        return answers

    def put(self) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Return it as JSON data and an array, for a checkpoint."""
        return {"nodes": self.nodes, "metrics": self.metrics}, self.ends

    @classmethod
    def take(cls, record: dict[str, Any], ends: NDArray[Any]) -> FirstSum:
        """Return what :meth:`put` gave."""
        return cls(ends=ends.astype(np.float32, copy=False), **record)


def means_suffice(settings: StrategySettings, strategy: Strategy) -> bool:
    """Return whether a plan's strategy needs no more of homes than means.

    Args:
        settings: What the plan says of it.
        strategy: The strategy.
    """
    if settings.works_on == "auto":
        return sums_suffice(strategy)
    return settings.works_on == "sums"


def _metrics_of(answer: Message) -> MetricRecord:
    return next(one for one in answer.content.values() if isinstance(one, MetricRecord))
