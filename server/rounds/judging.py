"""Which round's model is best as homes make it their own: they say so between the rounds.

A model that many rounds have trained is often worse as it is, and better once each home has adapted
it. So it is judged by the loss that homes have on validation rows after an adaptation that is the
same in all rounds and in all homes: a sixth of the passes that the plan allows, at the first of its
rates. What suits the fleet best is found out once, at the end.

Source: Wang et al., "Federated evaluation of on-device personalization", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flwr.app import MetricRecord

from fedhome.errors import RoundError
from fedhome.flower.messages import EXAMPLES
from fedhome.plan.judged_rounds import adaptation_of
from fedhome.questions.question_table import ADAPTED
from fedhome.questions.settings import ROUND
from fedhome.run.events import EventLog
from fedhome.server.rounds.model_questions import ModelQuestions

NOT_JUDGED = (
    "rounds.judge_every has no effect here: a run that begins with another one's model keeps the "
    "round that is best as it is, since the release in use is held against that"
)


def judged_loss(questions: ModelQuestions, number: int) -> float | None:
    """Return homes' mean validation loss with a round's model, adapted to each; None: unknown.

    Args:
        questions: Asks about the model.
        number: The round.
    """
    plan, log = questions.plan, questions.log
    settings = {**adaptation_of(plan), ROUND: number}
    try:
        answers = questions.ask(ADAPTED, settings, _fault)
    except RoundError as error:
        _tell(log, number, error.message)
        return None
    rows = [(_number(one, EXAMPLES), _number(one, "loss")) for one in answers.values()]
    total = sum(weight for weight, _ in rows)
    loss = sum(weight * loss for weight, loss in rows) / total if total else math.nan
    if not math.isfinite(loss):
        _tell(log, number, "the losses that homes tell add up to no number")
        return None
    log.append("model-judged", round=number, loss=loss, **adaptation_of(plan))
    return loss


def _tell(log: EventLog, number: int, why: str) -> None:
    log.append("note", text=f"round {number} is not judged, and so not kept as the best: {why}")


def _fault(metrics: Mapping[str, Any]) -> str:
    lacking = [
        name for name in (EXAMPLES, "loss") if not isinstance(metrics.get(name), int | float)
    ]
    return f"it lacks {', '.join(lacking)}" if lacking else ""


def _number(metrics: MetricRecord, name: str) -> float:
    value = metrics[name]
    assert isinstance(value, int | float)
    return float(value)
