"""From what a home ended a run with to a model that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples
from fedhome.learning.fitted import Fitted, Perceptron
from fedhome.learning.learning_setup import LearningSetup
from fedhome.learning.methods import method_of
from fedhome.learning.personalise.home_end import HomeEnd
from fedhome.personal.model import PersonalModel
from fedhome.personal.own_module import OwnModule
from fedhome.plan.own_reading import NOTHING_OWN
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.plan.step_rule import Rule
from fedhome.wire.layout import Layout


def personal_model(
    end: HomeEnd,
    *,
    plan: Plan,
    learning: LearningSetup,
    examples: HomeExamples,
    time_zone: str,
    rules: Mapping[str, Rule],
    reading: Mapping[str, Any] = NOTHING_OWN,
    run: str = "",
    scores: Mapping[str, float] | None = None,
) -> PersonalModel:
    """Return a home's model.

    Args:
        end: What the home ended with.
        plan: The plan, which names its inputs.
        learning: What the home learnt with.
        examples: The home's examples, as they were cut from its readings.
        time_zone: The home's zone.
        rules: How its readings become one a step, where the plan's rules do not hold for it.
        reading: How its files are read, where that differs from the plan.
        run: What it came from.
        scores: Of ``personalised`` and ``baseline`` on test rows.
    """
    assert examples.scaling is not None, "examples that were cut from a table say how"
    experts = {
        name: _fitted(model, plan, learning)
        for name, model in end.models.items()
        if model is not None
    }
    return PersonalModel(
        home=examples.home,
        plan=plan,
        targets=learning.task.kind.targets,
        scaling=examples.scaling,
        unit=examples.unit,
        level=examples.middle,
        changes=bool(len(examples.anchors)),
        weights=end.weights,
        experts=experts,
        naive=end.naive,
        by=end.by,
        blend=end.fleet,
        time_zone=time_zone,
        rules=rules,
        reading=reading,
        rows=sum(examples.counts[:2]),
        run=run,
        score=learning.task.score,
        scores=dict(scores or {}),
        fitted_until=_fitted_until(examples, by_class=plan.data.split_by == "class"),
    )


def _fitted_until(examples: HomeExamples, *, by_class: bool) -> int:
    """Return the last moment that models were fitted to, or the last such row; never too early."""
    if len(examples.time_s):
        last = int(examples.time_s[examples.rows("train+validation")].max())
        return last + examples.reach_s
    return examples.tally.rows - (0 if by_class else examples.counts[2]) - 1


def _fitted(model: NDArray[np.float32] | Fitted, plan: Plan, learning: LearningSetup) -> Fitted:
    if not isinstance(model, np.ndarray):
        return model
    return network_of(plan, learning.layout, model)


def network_of(plan: Plan, layout: Layout, flat: NDArray[np.float32]) -> Fitted:
    """Return the plan's network with some parameters; one of ours runs without torch.

    Args:
        plan: The plan.
        layout: Names and shapes of the parameters.
        flat: The parameters, float32 ``[size]``.
    """
    if plan.model.name != "mlp":
        return OwnModule(plan.to_toml(), flat, layout.hash if is_sliced(plan) else "")
    layers = method_of(plan.method).plain(layout.unflatten(flat))
    return Perceptron.in_order(layers, grouped=plan.model.norm == "group")
