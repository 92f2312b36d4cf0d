"""After the last round: the homes personalise the model, and say what they gained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedhome.errors import RoundError
from fedhome.events import EventLog
from fedhome.flower import ARRAYS, CONFIG, EXAMPLES, array_record
from fedhome.learning.answers import OUTCOME, TRIAL
from fedhome.learning.personalise import CHOICES, choose
from fedhome.plan import Plan
from fedhome.results import MODELS
from fedhome.update import Layout
from server.replies import sound_replies

_WHOLE = ("chosen", "examples-train", "examples-validation", EXAMPLES)


def personalise(
    *,
    plan: Plan,
    grid: Grid,
    layout: Layout,
    flat: NDArray[np.float32],
    score: str,
    log: EventLog,
    name_of: Callable[[int], str],
) -> list[dict[str, Any]]:
    """Let every home personalise the model, and return the rows of the table of homes.

    Args:
        plan: The plan.
        grid: How messages travel.
        layout: Layout of the parameters.
        flat: The global parameters, float32 ``[size]``.
        score: Name of the task's primary score.
        log: The run's log.
        name_of: The name of the home behind a node.

    Raises:
        RoundError: No home answered.
    """
    settings = plan.personalise
    model = array_record(layout, flat)
    tried = len(settings.rates) * (1 + settings.epochs)
    told = _ask(
        TRIAL,
        model,
        {},
        lambda metrics: _trial_fault(metrics, tried),
        plan=plan,
        grid=grid,
        log=log,
    )
    changes = np.mean([metrics["changes"] for metrics in told.values()], axis=0)
    rate, epochs = choose(changes.reshape(len(settings.rates), -1), settings.rates)
    log.append("personalisation-chosen", rate=rate, epochs=epochs, homes=len(told))
    ended = _ask(
        OUTCOME,
        model,
        {"rate": rate, "epochs": epochs},
        lambda metrics: _outcome_fault(metrics, score),
        plan=plan,
        grid=grid,
        log=log,
    )
    return [
        row
        for node, metrics in sorted(ended.items())
        for row in _rows(name_of(node), metrics, score)
    ]


def _ask(
    kind: str,
    model: ArrayRecord,
    config: Mapping[str, float | int],
    fault: Callable[[MetricRecord], str],
    *,
    plan: Plan,
    grid: Grid,
    log: EventLog,
) -> dict[int, MetricRecord]:
    content = RecordDict({ARRAYS: model, CONFIG: ConfigRecord(dict(config))})
    asked = [
        Message(content=content, message_type=kind, dst_node_id=node)
        for node in grid.get_node_ids()
    ]
    replies = list(grid.send_and_receive(asked, timeout=plan.rounds.deadline_s))
    sound = sound_replies(replies, asked=asked, layout=None, max_examples=plan.rounds.max_examples)
    told: dict[int, MetricRecord] = {}
    dropped = list(sound.dropped)
    for message in sound.replies:
        metrics = next(iter(message.content.metric_records.values()))
        node = message.metadata.src_node_id
        if reason := fault(metrics):
            dropped.append((node, reason))
        else:
            told[node] = metrics
    for node, reason in dropped:
        log.append("reply-dropped", stage=kind, node=node, reason=reason)
    if not told:
        reasons = sorted({reason for _, reason in dropped})
        raise RoundError(
            f"no home answered {kind}: {'; '.join(reasons[:3]) or 'all were silent'}",
            hint="the global model is kept in the run's folder",
        )
    return told


def _trial_fault(metrics: MetricRecord, tried: int) -> str:
    changes = metrics.get("changes")
    if isinstance(changes, list) and len(changes) == tried:
        return ""
    return f"its changes are not {tried} numbers: was the home given another plan?"


def _outcome_fault(metrics: MetricRecord, score: str) -> str:
    wanted = {f"{model}.{score}" for model in MODELS}
    if missing := wanted - set(metrics):
        return f"it lacks {', '.join(sorted(missing))}"
    if any(not isinstance(metrics[name], int | float) for name in metrics):
        return "one of its metrics is not a single number"
    if any(not isinstance(metrics.get(name), int) for name in _WHOLE):
        return f"{', '.join(_WHOLE)} are not all whole numbers"
    if metrics["chosen"] not in range(len(CHOICES)):
        return f"its chosen is none of 0 to {len(CHOICES) - 1}"
    return ""


def _rows(home: str, metrics: MetricRecord, score: str) -> list[dict[str, Any]]:
    chosen = CHOICES[_whole(metrics, "chosen")]
    counts = {
        "examples_train": _whole(metrics, "examples-train"),
        "examples_validation": _whole(metrics, "examples-validation"),
        "examples_test": _whole(metrics, "num-examples"),
    }
    rows = []
    for model in MODELS:
        own: dict[str, Any] = {
            name.removeprefix(f"{model}."): value
            for name, value in metrics.items()
            if name.startswith(f"{model}.")
        }
        own |= {"score": own[score], "loss": own.get("loss")}
        rows.append({"home": home, "model": model, **own, "chosen": chosen, **counts})
    return rows


def _whole(metrics: MetricRecord, name: str) -> int:
    value = metrics[name]
    assert isinstance(value, int)
    return value
