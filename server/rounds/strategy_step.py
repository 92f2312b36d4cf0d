"""What a strategy makes of replies, and what it is told before: the same in rounds and attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp.strategy import FedAvgM, Strategy
from numpy.typing import NDArray

from fedhome import rng
from fedhome.errors import FedHomeError, RoundError
from fedhome.flower.messages import content_of, read_flat
from fedhome.flower.strategy_layers import layers_of
from fedhome.learning.methods import METHODS, method_of
from fedhome.plan.settings import Plan
from fedhome.questions.train_config import HEARD
from fedhome.run.events import EventLog
from fedhome.server.rounds.strategy_answers import (
    finite_number,
    messages_to_homes,
    metrics_alone,
    model_and_metrics,
)
from fedhome.wire.layout import Layout

UNTESTED: Mapping[str, float | None] = {"validation_loss": None, "validation_score": None}
"""What is known of a model that no home tests as it is."""
_MOST_UNREADABLE = 5  # models in a row that cannot be taken, after which a run ends


class StrategyStep:
    """A strategy's step.

    Args:
        plan: The plan.
        strategy: Its strategy.
        layout: Layout of the parameters.
        log: The run's log.
    """

    def __init__(self, plan: Plan, strategy: Strategy, layout: Layout, log: EventLog) -> None:
        self.strategy, self.layout = strategy, layout
        self._plan, self._log = plan, log
        self._told = set[str]()
        self._unreadable = 0

    def follow(self, arrays: ArrayRecord) -> None:
        """Let a strategy that reckons from a model of its own reckon from the one that homes get.

        Flower's ``FedAvgM`` takes the first model that it sees, and its own ones from then on; the
        run's are others where the server goes farther or less far than it says.

        Args:
            arrays: The model that homes are about to be sent.
        """
        for layer in layers_of(self.strategy):
            if isinstance(layer, FedAvgM) and layer.current_arrays is not None:
                layer.current_arrays = arrays

    def asks(self, answer: object) -> Sequence[Message]:
        """Return the messages by which a strategy asks homes to train, checked.

        What they tell homes that no home listens to is told once.

        Args:
            answer: What its ``configure_train`` returned.

        Raises:
            PluginError: They are no messages.
        """
        messages = messages_to_homes(self.strategy, answer, of="configure_train")
        settings = content_of(messages[0])[1] if messages else ConfigRecord()
        method = method_of(self._plan.method)
        heard = {key for one in (type(method), *METHODS.values()) for key in one.told_by} | HEARD
        if unheard := sorted({*settings} - heard - self._told):
            self._told.update(unheard)
            listens = ", ".join(sorted(method.told_by)) or "none"
            self._log.append(
                "note",
                text=f"the strategy tells homes {', '.join(unheard)}, which has no effect: no home "
                "listens to it. A method listens to what its told_by names (docs/methods.md); that "
                f"of the plan, {type(method).__name__}, to {listens}",
            )
        return messages

    def take(
        self, number: int, replies: Sequence[Message], *, counted: int
    ) -> tuple[NDArray[np.float32] | None, Mapping[str, object] | None]:
        """Return the model that a strategy makes of replies ``[size]``, or None, and its metrics.

        Args:
            number: The run's round.
            replies: What it is given.
            counted: The round that the strategy is told.

        Raises:
            PluginError: What it gives is no model and no metrics.
            RoundError: It gave models that cannot be taken in a few rounds in a row.
        """
        with rng.pinned_globals(self._plan.seed, "aggregate", number):
            answer = self.strategy.aggregate_train(counted, replies)
        summed, metrics = model_and_metrics(self.strategy, answer)
        if summed is None:
            why = "the strategy gave no model"
        else:
            try:
                flat = read_flat(self.layout, summed, cast=True)
            except FedHomeError as error:
                why = f"the strategy's model cannot be taken: {error.message}"
                self._unreadable += 1
            else:
                self._unreadable = 0
                return flat, metrics
        self._log.append("round-unused", round=number, reason=why)
        if self._unreadable >= _MOST_UNREADABLE:
            raise RoundError(
                f"round {number}: {why}; this has happened {self._unreadable} times in a row",
                hint=f"look at what {type(self.strategy).__name__}.aggregate_train returns: arrays "
                "of the shapes and names of those that homes sent, without NaN",
            )
        return None, None

    def tested(
        self, replies: Sequence[Message], *, counted: int, decides: bool
    ) -> dict[str, float | None]:
        """Return what a strategy makes of homes' tests: ``validation_loss``, ``validation_score``.

        Args:
            replies: What it is given; none where nobody answered.
            counted: The round that the strategy is told.
            decides: Whether the loss decides when the run ends, or with which model. Then it is
                told, once, if the strategy gives none.

        Raises:
            PluginError: What it gives is no metrics.
        """
        metrics: Mapping[str, object] | None = None
        if replies:
            answer = self.strategy.aggregate_evaluate(counted, replies)
            metrics = metrics_alone(self.strategy, answer)
        loss = finite_number(metrics, "loss")
        if replies and loss is None and decides and "loss" not in self._told:
            self._told.add("loss")
            self._log.append(
                "note",
                text=f"{type(self.strategy).__name__}.aggregate_evaluate gives no finite number as "
                '"loss": such rounds neither end the run early (rounds.patience) nor are picked',
            )
        return {"validation_loss": loss, "validation_score": finite_number(metrics, "score")}
