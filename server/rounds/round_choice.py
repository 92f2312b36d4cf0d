"""Which of its rounds a run ends with, and when no better one is to be expected."""

from __future__ import annotations

import math

from fedhome.plan.judged_rounds import judged_every, patience_of, rounds_of_evaluation
from fedhome.plan.private_plan import is_private
from fedhome.plan.settings import Plan
from fedhome.server.rounds.checkpoint import Checkpoint


class RoundChoice:
    """How a run's rounds are held against each other.

    Args:
        plan: The plan.
        warm: Whether the run began with another one's model. Its rounds are not judged: what it
            ends with is held against the release by the model as it is. They can be told apart by
            that where the same homes are asked in each, and what they say has no noise.

    Attributes:
        judges: Whether rounds are judged by their adapted models.
        by_tests: Whether the loss of the models as they are decides, when or with which to end.
    """

    def __init__(self, plan: Plan, *, warm: bool) -> None:
        self._plan = plan
        self.judges = judged_every(plan) > 0 and not warm
        alike = plan.rounds.evaluate_fraction == 1 and not is_private(plan)
        tells_best = self.judges or (warm and alike)
        self._stops_after = patience_of(plan, picks=tells_best)
        self._wanted = tells_best or self._stops_after is not None
        self.by_tests = self._wanted and not self.judges

    def picks(self, state: Checkpoint) -> bool:
        """Return whether the run ends with its best model, and not with its last one."""
        return self._wanted and math.isfinite(state.best_loss)

    def learn(self, state: Checkpoint, loss: float | None, *, vain: bool) -> None:
        """Hold a round against the best so far.

        Args:
            state: The run after the round.
            loss: Of its model; None: nobody knows whether it is better, and it is no round in vain.
            vain: Whether a round that is no better counts as one in vain.
        """
        if loss is None:
            return
        if loss < state.best_loss:
            state.best, state.best_loss = state.flat, loss
            state.best_round, state.stale = state.round, 0
        elif vain:
            since = max(state.best_round, state.trials.get("over", 0))
            tested = state.stale + rounds_of_evaluation(self._plan, state.round)
            state.stale = state.round - since if self.judges else tested

    def stops(self, state: Checkpoint) -> bool:
        """Return whether enough rounds have brought no better one."""
        return self._stops_after is not None and state.stale >= self._stops_after
