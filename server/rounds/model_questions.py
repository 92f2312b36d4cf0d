"""Questions to all homes about one model, repeated while that may be of use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fedhome.errors import RoundError
from fedhome.flower.messages import ARRAYS, CONFIG
from fedhome.plan.settings import Plan
from fedhome.questions.settings import INPUTS, inputs_hash
from fedhome.run.absent import DROPPED
from fedhome.run.events import EventLog
from fedhome.server.rounds.patience import Patience
from fedhome.server.rounds.replies import sound_replies
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.rounds.sum_journal import MOST_TRIES


@dataclass(frozen=True, kw_only=True)
class ModelQuestions:
    """Questions to all homes about one model.

    Args:
        plan: The plan.
        grid: How messages travel.
        log: The run's log.
        model: The model.
        round: The round that waiting is told of.
        patience: Waits for homes, and before a question is repeated; None: it is asked once.
        nodes: Who is asked; None: all homes.
        name_of: The name of the home behind a node.
    """

    plan: Plan
    grid: Grid
    log: EventLog
    model: ArrayRecord
    round: int
    patience: Patience | None
    name_of: Callable[[int], str]
    nodes: Sequence[int] | None = None

    def ask(
        self,
        kind: str,
        config: Mapping[str, Any],
        fault: Callable[[MetricRecord], str],
        *,
        observe: Callable[[list[Message]], Iterable[Message]] | None = None,
    ) -> dict[int, MetricRecord]:
        """Ask, and return the sound answers by node; repeat it while that may be of use.

        Raises:
            RoundError: There is none.
        """
        while True:
            if self.patience is not None:
                self.patience.await_homes(self.round)
            try:
                answers = self._ask_once(kind, config, fault, observe=observe)
            except RoundError as error:
                if self.patience is None or self._over(self.patience):
                    raise  # homes answer no more about this model
                self.patience.pause(self.round, homes=0, needed=1, reason=error.message)
            else:
                if self.patience is not None:
                    self.patience.held()
                return answers

    def _over(self, patience: Patience) -> bool:
        """Whether homes answer no more about this model: to ask again would cost time alone."""
        grid = self.grid
        spoilt = isinstance(grid, SecureGrid) and grid.sums.over
        return spoilt or patience.failures + 1 >= MOST_TRIES

    def _ask_once(
        self,
        kind: str,
        config: Mapping[str, float | int],
        fault: Callable[[MetricRecord], str],
        *,
        observe: Callable[[list[Message]], Iterable[Message]] | None,
    ) -> dict[int, MetricRecord]:
        settings = ConfigRecord(dict(config))
        settings[INPUTS] = inputs_hash(self.plan)
        content = RecordDict({ARRAYS: self.model, CONFIG: settings})
        messages = [
            Message(content=content, message_type=kind, dst_node_id=node)
            for node in (self.grid.get_node_ids() if self.nodes is None else self.nodes)
        ]
        rounds = self.plan.rounds
        if observe is not None:
            replies = observe(messages)
        else:
            replies = self.grid.send_and_receive(messages, timeout=rounds.deadline_s)
        sound = sound_replies(replies, sent=messages, layout=None, max_examples=rounds.max_examples)
        metrics_by_node: dict[int, MetricRecord] = {}
        dropped = list(sound.dropped)
        for message in sound.replies:
            metrics = next(iter(message.content.metric_records.values()))
            node = message.metadata.src_node_id
            if reason := fault(metrics):
                dropped.append((node, reason))
            else:
                metrics_by_node[node] = metrics
        for node, reason in dropped:
            self.log.append(DROPPED, stage=kind, home=self.name_of(node), reason=reason)
        if not metrics_by_node:
            reasons = sorted({reason for _, reason in dropped})
            raise RoundError(
                f"no home answered {kind}: {'; '.join(reasons[:3]) or 'all were silent'}",
                hint="the global model is kept in the run's folder",
            )
        return metrics_by_node
