"""After the last round: the homes personalise the model, and say what they gained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedhome.errors import RoundError
from fedhome.flower.messages import ARRAYS, CONFIG, EXAMPLES, array_record
from fedhome.learning.personalise import choose
from fedhome.plan.private_plan import is_private
from fedhome.plan.settings import Plan
from fedhome.questions.outcomes import KEY, score_counts
from fedhome.questions.question_table import OUTCOME, TRIAL
from fedhome.questions.settings import INPUTS, inputs_hash
from fedhome.run.compared_models import CHOICES, MODELS
from fedhome.run.events import EventLog
from fedhome.server.rounds.patience import Patience
from fedhome.server.rounds.replies import sound_replies
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.rounds.sum_journal import MOST_TRIES
from fedhome.wire.layout import Layout

_PRIVATE_SHARE = 3
"""With noise homes adapt for one in this many of ``personalise.epochs``, at the first rate."""
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
    patience: Patience | None = None,
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
        patience: Waits for homes, and before a question is repeated; None: it is asked once.

    Raises:
        RoundError: No home answered, also when it was repeated.
    """
    settings = plan.personalise
    questions = _FinalQuestions(
        plan=plan, grid=grid, log=log, model=array_record(layout, flat), patience=patience
    )
    if is_private(plan):  # noise over so many ways to adapt would choose at random
        rate, epochs = settings.rates[0], max(1, settings.epochs // _PRIVATE_SHARE)
        log.append("personalisation-chosen", rate=rate, epochs=epochs, homes=0)
    else:
        rate, epochs = _fleets_choice(questions, plan, log)
    chosen: dict[str, float | int] = {"rate": rate, "epochs": epochs}
    observe = None
    if isinstance(grid, SecureGrid):
        bins = grid.bins_of_scores()
        chosen[KEY] = bins
        counted = questions.ask(OUTCOME, chosen, _counts_fault)
        summed = np.sum([metrics["counts"] for metrics in counted.values()], axis=0)
        noise = grid.noise_of_counts(OUTCOME, chosen)
        log.append("scores-counted", score=score, **score_counts(summed, bins), **noise)
        # The server knows no more than this. A simulation may look at its own homes.
        observe = grid.observe
        if observe is None:
            return []
    outcomes = questions.ask(
        OUTCOME, chosen, lambda metrics: _outcome_fault(metrics, score), observe=observe
    )
    return [
        row
        for node, metrics in sorted(outcomes.items())
        for row in _rows(name_of(node), metrics, score)
    ]


def _fleets_choice(questions: _FinalQuestions, plan: Plan, log: EventLog) -> tuple[float, int]:
    """Return rate and epochs that suit the fleet, by a trial in every home."""
    settings = plan.personalise
    tried = len(settings.rates) * (1 + settings.epochs)
    trials = questions.ask(TRIAL, {}, lambda metrics: _trial_fault(metrics, tried))
    changes = np.average(
        [metrics["changes"] for metrics in trials.values()],
        axis=0,
        weights=[_whole(metrics, EXAMPLES) for metrics in trials.values()],
    )
    rate, epochs = choose(changes.reshape(len(settings.rates), -1), settings.rates)
    log.append("personalisation-chosen", rate=rate, epochs=epochs, homes=_trial_homes(trials))
    return rate, epochs


@dataclass(frozen=True, kw_only=True)
class _FinalQuestions:
    """Questions to all homes about the final model."""

    plan: Plan
    grid: Grid
    log: EventLog
    model: ArrayRecord
    patience: Patience | None

    def ask(
        self,
        kind: str,
        config: Mapping[str, float | int],
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
                self.patience.await_homes(self.plan.rounds.count)
            try:
                answers = self._ask_once(kind, config, fault, observe=observe)
            except RoundError as error:
                if self.patience is None or self.patience.failures + 1 >= MOST_TRIES:
                    raise  # homes answer no more about this model
                last = self.plan.rounds.count
                self.patience.pause(last, homes=0, needed=1, reason=error.message)
            else:
                if self.patience is not None:
                    self.patience.held()
                return answers

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
            for node in self.grid.get_node_ids()
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
            self.log.append("reply-dropped", stage=kind, node=node, reason=reason)
        if not metrics_by_node:
            reasons = sorted({reason for _, reason in dropped})
            raise RoundError(
                f"no home answered {kind}: {'; '.join(reasons[:3]) or 'all were silent'}",
                hint="the global model is kept in the run's folder",
            )
        return metrics_by_node


def _trial_homes(trials: Mapping[int, MetricRecord]) -> int:
    return sum(_whole(metrics, EXAMPLES) for metrics in trials.values())


def _counts_fault(metrics: MetricRecord) -> str:
    counts = metrics.get("counts")
    return "" if isinstance(counts, list) and counts else "it has no counts"


def _trial_fault(metrics: MetricRecord, tried: int) -> str:
    changes = metrics.get("changes")
    if isinstance(changes, list) and len(changes) == tried:
        return ""
    return f"its changes are not {tried} numbers: was the home given another plan?"


def _outcome_fault(metrics: MetricRecord, score: str) -> str:
    expected = {f"{model}.{score}" for model in MODELS}
    if missing := expected - set(metrics):
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
