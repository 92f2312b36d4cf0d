"""After the last round: the homes personalise the model, and say what they gained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import MetricRecord
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.errors import RoundError
from fedhome.flower.messages import EXAMPLES, array_record
from fedhome.learning.alone.pass_counts import AloneWay, passes_of, ways_of
from fedhome.learning.mixture import (
    BOUND,
    FIRST_STRENGTH,
    STRENGTHS,
    best_weights,
    entries,
    full,
    knowing_nothing,
    steadied,
    upper,
)
from fedhome.learning.personalise import choose
from fedhome.plan.judged_rounds import adaptation_of
from fedhome.plan.private_plan import is_private
from fedhome.plan.settings import PersonaliseSettings, Plan
from fedhome.questions.blend_settings import (
    ALONE_BATCH,
    ALONE_EPOCHS,
    ALONE_RATE,
    HOMES,
    MATRIX,
    STRENGTH,
)
from fedhome.questions.contributions import trial_sizes
from fedhome.questions.outcomes import KEY, score_counts
from fedhome.questions.question_table import BLEND, OUTCOME, SHRINK, TRIAL
from fedhome.run.compared_models import (
    ALONE,
    EXPERTS,
    FEDERATED,
    MODELS,
    VERDICTS,
    WORST_ERROR,
    models_of,
)
from fedhome.run.events import EventLog
from fedhome.server.rounds.model_questions import ModelQuestions
from fedhome.server.rounds.patience import Patience
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.wire.layout import Layout

_WHOLE = ("expert", "best", "examples-train", "examples-validation", EXAMPLES)
_NAMED = 5  # homes in a sentence
_EQUAL = 1e-9  # of an error: rounding is no difference


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
    looked_at: Sequence[int] | None = None,
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
        looked_at: Nodes of the homes that are asked; None: all.

    Raises:
        RoundError: No home answered, also when it was repeated.
    """
    questions = ModelQuestions(
        plan=plan,
        grid=grid,
        log=log,
        model=array_record(layout, flat),
        round=plan.rounds.count,
        patience=patience,
        nodes=looked_at,
        name_of=name_of,
    )
    models = models_of(plan.personalise.opponents)
    chosen = _fleets_choice(questions, plan, log)
    observe = None
    if isinstance(grid, SecureGrid):
        bins = grid.bins_of_scores()
        chosen[KEY] = bins
        counted = questions.ask(OUTCOME, chosen, lambda metrics: _list_fault(metrics, "counts"))
        summed = np.sum([metrics["counts"] for metrics in counted.values()], axis=0)
        noise = grid.noise_of_counts(OUTCOME, chosen)
        counts = score_counts(summed, bins, plan.personalise.opponents)
        log.append("scores-counted", score=score, **counts, **noise)
        # The server knows no more than this. A simulation may look at its own homes.
        observe = grid.observe
        if observe is None:
            return []
    outcomes = questions.ask(
        OUTCOME, chosen, lambda metrics: _outcome_fault(metrics, score, models), observe=observe
    )
    rows = [
        row
        for node, metrics in sorted(outcomes.items())
        for row in _rows(name_of(node), metrics, score, models)
    ]
    for note in _not_finite(rows):
        log.append("note", text=note)
    return rows


def _fleets_choice(questions: ModelQuestions, plan: Plan, log: EventLog) -> dict[str, Any]:
    """Return the settings of an outcome: how homes adapt and mix, and how they compare."""
    own = plan.personalise
    experts = len(own.experts)
    if is_private(plan):  # noise over so many ways to adapt would choose at random
        adapted = adaptation_of(plan)
        rate, epochs = adapted["rate"], adapted["epochs"]
        way, passes, homes = AloneWay(ways_of(own)[0].batch, rate), epochs, 0
        matrix, strength = knowing_nothing(experts), FIRST_STRENGTH
    else:
        (rate, epochs), (way, passes), homes = _trial(questions, own)
        adapting = {"rate": rate, "epochs": epochs}
        matrix, mixed = _blend(questions, adapting, experts, log)
        shrinking = {**adapting, MATRIX: upper(matrix).tolist(), HOMES: mixed}
        strength = _shrink(questions, shrinking, log) if mixed else FIRST_STRENGTH
    log.append(
        "personalisation-chosen",
        rate=rate,
        epochs=epochs,
        homes=homes,
        weights=dict(zip(own.experts, best_weights(steadied(matrix)).tolist(), strict=True)),
        matrix=upper(matrix).tolist(),
        strength=strength,
        alone={"rate": way.rate, "epochs": passes, "batch": way.batch},
    )
    return {
        "rate": rate,
        "epochs": epochs,
        MATRIX: upper(matrix).tolist(),
        STRENGTH: strength,
        ALONE_RATE: way.rate,
        ALONE_EPOCHS: passes,
        ALONE_BATCH: way.batch,
    }


def _trial(
    questions: ModelQuestions, settings: PersonaliseSettings
) -> tuple[tuple[float, int], tuple[AloneWay, int], int]:
    """Return how it suits the fleet to adapt, and to train alone, and how many homes tried."""
    adapting, alone = trial_sizes(settings)
    trials = questions.ask(
        TRIAL, {}, lambda metrics: _list_fault(metrics, "changes", adapting + alone)
    )
    changes = _mean(trials, "changes")
    rates, ways, passes = settings.rates, ways_of(settings), passes_of(settings)
    tuning = choose(changes[:adapting].reshape(len(rates), -1), rates)
    if not alone:  # nobody trains so
        return tuning, (ways[0], 0), _homes_behind(trials)
    way, place = choose(changes[adapting:].reshape(len(ways), -1), ways)
    return tuning, (way, passes[place]), _homes_behind(trials)


def _blend(
    questions: ModelQuestions, adapting: Mapping[str, Any], experts: int, log: EventLog
) -> tuple[NDArray[np.float64], int]:
    """Return how experts' errors go together over the fleet, and over how many homes.

    Under masks, homes that went away since they tested the model may be too many, or too few, for
    a sum over the others. Then each expert is worth the same, as where nobody is asked, and the log
    says so.

    Raises:
        RoundError: In the clear, no home answered.
    """
    count = entries(experts)
    try:
        replies = questions.ask(BLEND, adapting, lambda m: _list_fault(m, "errors", count))
    except RoundError as error:
        if not isinstance(questions.grid, SecureGrid):
            raise
        log.append(
            "note",
            text="how experts' errors go together in the fleet is not learnt, and each is taken "
            f"to be worth the same: {error.message}",
        )
        return knowing_nothing(experts), 0
    values = np.clip(_mean(replies, "errors"), -BOUND, BOUND)
    # Mended, an entry at the bound may lie beyond it by rounding, and homes would refuse it.
    return np.clip(full(values.tolist(), experts), -BOUND, BOUND), _homes_behind(replies)


def _shrink(questions: ModelQuestions, settings: Mapping[str, Any], log: EventLog) -> float:
    """Return how strongly homes' weights are to be pulled towards the fleet's.

    Under masks, homes that went away since they said how experts err may be too many, or too few,
    for a sum over the others. Then it is what it is where nobody is asked, and the log says so.

    Raises:
        RoundError: In the clear, no home answered.
    """
    try:
        replies = questions.ask(
            SHRINK, settings, lambda m: _list_fault(m, "errors", len(STRENGTHS))
        )
    except RoundError as error:
        if not isinstance(questions.grid, SecureGrid):
            raise
        log.append(
            "note",
            text=f"how far homes follow the fleet's mixture is not learnt, and taken to be "
            f"{FIRST_STRENGTH:g}: {error.message}",
        )
        return FIRST_STRENGTH
    errors = _mean(replies, "errors")
    least = float(errors.min())
    if float(errors.max()) <= least * (1 + _EQUAL):
        # No home had blocks to leave out: all take the fleet's weights, whatever the pull. One that
        # has more rows than they, later or when it joins, is not held by a pull that nobody tried.
        return FIRST_STRENGTH
    # Of those that are as good the strongest: where nothing can be told, homes follow the fleet.
    return max(s for s, e in zip(STRENGTHS, errors, strict=True) if e <= least * (1 + _EQUAL))


def _mean(replies: Mapping[int, MetricRecord], name: str) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.average(
        [metrics[name] for metrics in replies.values()],
        axis=0,
        weights=[_whole(metrics, EXAMPLES) for metrics in replies.values()],
    )
    return mean


def _homes_behind(replies: Mapping[int, MetricRecord]) -> int:
    return sum(_whole(metrics, EXAMPLES) for metrics in replies.values())


def _list_fault(metrics: MetricRecord, name: str, count: int | None = None) -> str:
    values = metrics.get(name)
    if isinstance(values, list) and values and count in (None, len(values)):
        return ""
    many = "" if count is None else f"{count} "
    return f"its {name} are not {many}numbers: was the home given another plan?"


def _outcome_fault(metrics: MetricRecord, score: str, models: Sequence[str]) -> str:
    expected = {f"{model}.{score}" for model in models}
    expected |= {f"verdict.{model}" for model in FEDERATED} | {f"weight.{one}" for one in EXPERTS}
    if missing := expected - set(metrics):
        return f"it lacks {', '.join(sorted(missing))}"
    if any(not isinstance(metrics[name], int | float) for name in metrics):
        return "one of its metrics is not a single number"
    whole = (*_WHOLE, "null") if "local" in models else _WHOLE
    if any(not isinstance(metrics.get(name), int) for name in whole):
        return f"{', '.join(whole)} are not all whole numbers"
    for name, known in (("expert", EXPERTS), ("best", ALONE)):
        if metrics[name] not in range(len(known)):
            return f"its {name} is none of 0 to {len(known) - 1}"
    told = [metrics[f"verdict.{model}"] for model in FEDERATED]
    told += [metrics["null"]] if "local" in models else []
    return "" if set(told) <= {-1, 0, 1} else "one of its verdicts is none of -1, 0 and 1"


def _rows(
    home: str, metrics: MetricRecord, score: str, models: Sequence[str]
) -> list[dict[str, Any]]:
    counts = {
        "examples_train": _whole(metrics, "examples-train"),
        "examples_validation": _whole(metrics, "examples-validation"),
        "examples_test": _whole(metrics, "num-examples"),
    }
    about = {"expert": EXPERTS[_whole(metrics, "expert")], "best": ALONE[_whole(metrics, "best")]}
    rows = []
    for model in models:
        own: dict[str, Any] = {
            name.removeprefix(f"{model}."): None if value == WORST_ERROR else value
            for name, value in metrics.items()
            if name.startswith(f"{model}.")
        }
        own |= {"score": own[score]}
        told = VERDICTS[_whole(metrics, "null") + 1] if model == "local" else None
        if model in FEDERATED:
            told = VERDICTS[int(metrics[f"verdict.{model}"]) + 1]  # type: ignore[arg-type]
        if model == "personalised":
            own |= {f"weight_{one}": metrics[f"weight.{one}"] for one in EXPERTS}
        rows.append({"home": home, "model": model, **own, "verdict": told, **about, **counts})
    return rows


def _not_finite(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield which models were not finite in which homes, a sentence for each model."""
    for model in MODELS:
        homes = [row["home"] for row in rows if row["model"] == model and row["loss"] is None]
        if homes:
            named = ", ".join(homes[:_NAMED]) + (" and others" if len(homes) > _NAMED else "")
            yield (
                f"the {model} model's numbers were not finite in {counted(len(homes), 'home')}: "
                f"{named}; its score there counts as the worst: lower train.learning_rate, or "
                "set train.clip_norm"
            )


def _whole(metrics: MetricRecord, name: str) -> int:
    value = metrics[name]
    assert isinstance(value, int)
    return value
