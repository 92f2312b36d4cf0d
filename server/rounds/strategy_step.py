"""What a strategy makes of replies, and what it is told before: the same in rounds and attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp.strategy import FedAvgM, Strategy
from numpy.typing import NDArray

from fedhome import rng
from fedhome.errors import FedHomeError
from fedhome.flower.messages import content_of, read_flat
from fedhome.flower.strategy_layers import layers_of
from fedhome.learning.methods import METHODS, method_of
from fedhome.plan.settings import Plan
from fedhome.questions.train_config import HEARD
from fedhome.run.events import EventLog
from fedhome.server.rounds.strategy_answers import messages_to_homes, model_and_metrics
from fedhome.wire.layout import Layout


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
        """
        with rng.pinned_globals(self._plan.seed, "aggregate", number):
            answer = self.strategy.aggregate_train(counted, replies)
        summed, metrics = model_and_metrics(self.strategy, answer)
        if summed is None:
            why = "the strategy gave no model"
        else:
            try:
                return read_flat(self.layout, summed, cast=True), metrics
            except FedHomeError as error:
                why = error.message
        self._log.append("round-unused", round=number, reason=why)
        return None, None
