"""What homes add up in the end: how they mix, and how the models score in them.

A histogram says more than a mean, and in a small fleet too much: in a sum over five homes, 80 steps
of the score are the list of their scores. So its bins are as coarse as the cohort: no bin is
expected to hold fewer than the plan's fewest homes. Where that leaves too few bins there is none,
and of the scores there are the sums alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import UpdateError
from fedhome.plan.settings import PersonaliseSettings
from fedhome.questions.contributions import Terms, flag_of, one_hot
from fedhome.questions.responses import Columns, QuestionContext
from fedhome.run.compared_models import ALONE, EXPERTS, FEDERATED, MODELS, models_of
from fedhome.secagg.scalars import Scalar

KEY = "bins"
"""Where an outcome's settings say into how many bins scores from -1 to 1 fall."""
MOST_BINS, FEWEST_BINS = 80, 4
WORDS: Final = {
    "seasonal": "of what was a step, a day, a week or a year ago",
    "linear": "of a linear model fitted alone",
    "trees": "of trees fitted alone",
    "local": "of the network learnt alone, tuned by the home's own rows",
    "settings": "of the network learnt alone as suits the whole fleet",
    "alone": "of that one of these which was best on the home's validation rows",
    "global": "of the fleet's model, and whether that is surely better or worse than alone",
    "tuned": "of the fleet's model adapted to this home, and the same",
    "personalised": "of what the home ends with, and the same",
}
"""What each model's numbers are the score of."""
CALLED: Final = {
    "baseline": "no learning",
    "naive": "what was a step, a day, a week or a year ago",
    "seasonal": "what was a step, a day, a week or a year ago",
    "linear": "a linear model",
    "trees": "a model of trees",
    "local": "a network tuned by its own rows",
    "settings": "a network trained as suits the whole fleet",
    "alone": "the best model alone",
    "global": "the fleet's model",
    "tuned": "the fleet's model adapted to this home",
    "personalised": "what the home ends with",
}
"""What models and experts are called where people are told of a number."""


def bins_for(homes: int, *, cohort: int) -> int:
    """Return into how many bins scores may fall; 0: there is no histogram.

    Args:
        homes: Fewest homes in the sum.
        cohort: How many of them a bin is expected to hold at least.
    """
    bins = min(MOST_BINS, homes // cohort)
    return bins if bins >= FEWEST_BINS else 0


def fewest_homes(settings: Mapping[str, Any], cohort: int) -> int:
    """Return how many homes must be in a sum whose question came with these settings.

    Args:
        settings: The settings.
        cohort: How many homes a bin is expected to hold at least.

    Raises:
        UpdateError: Settings that cannot be.
    """
    return _bins(settings) * cohort


def outcome_scalars(
    config: Mapping[str, Any], personalise: PersonaliseSettings
) -> tuple[Scalar, ...]:
    """Return flags of how a home mixes and scores, the scores, and the weights.

    Args:
        config: The settings that came with the question.
        personalise: The plan's settings of personalisation.

    Raises:
        UpdateError: Settings that cannot be.
    """
    opponents = personalise.opponents
    return (*_flags(_bins(config), opponents), *_scores(opponents), *_WEIGHTS)


def meaning_of(number: str) -> str:
    """Return what a number of an outcome says, in words.

    Args:
        number: Its name, as `outcome_scalars` has it.

    Raises:
        UpdateError: An outcome has no such number.
    """
    stem, _, part = number.partition("-")
    about = _OF_HOMES.get(stem)
    model = "local" if stem == "null" else stem
    if about is not None:
        model = part
    elif part.isdigit():
        about = "whether the score of {} on its test rows falls into this step"
    else:
        about = _OF_MODELS.get(part)
    if about is None or model not in CALLED:
        raise UpdateError(f"an outcome has no number {number!r}")
    other = "itself after other batches," if stem == "null" else CALLED["alone"]
    return about.format(CALLED[model], other)


_OF_HOMES: Final = {
    "expert": "whether {} weighs most in the home's mixture",
    "best": "whether {} was best alone",
    "weight": "the weight of {} in the home's mixture",
}
_OF_MODELS: Final = {
    "hurt": "whether {} is surely worse than {} on its test rows",
    "helped": "whether {} is surely better than {} on its test rows",
    "score": "the score of {} on its test rows, itself, raised by 1",
}


def flags_alone(scalars: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Return the flags among an outcome's numbers: where homes add noise, these are all."""
    return tuple(scalar for scalar in scalars if scalar.bits == 1)


def _bins(settings: Mapping[str, Any]) -> int:
    bins = settings.get(KEY)
    if type(bins) is not int or not 0 <= bins <= MOST_BINS:
        raise UpdateError(f"an outcome was asked for with {KEY} {bins!r}, not 0 to {MOST_BINS}")
    return bins


def _flags(bins: int, opponents: Collection[str]) -> tuple[Scalar, ...]:
    names = [f"expert-{name}" for name in EXPERTS] + [f"best-{name}" for name in ALONE]
    names += [f"{model}-{number}" for model in models_of(opponents) for number in range(bins)]
    judged = [*FEDERATED, *(["null"] if "local" in opponents else [])]
    names += [f"{one}-{told}" for one in judged for told in ("hurt", "helped")]
    return tuple(flag_of(name) for name in names)


def _scores(opponents: Collection[str]) -> tuple[Scalar, ...]:
    """Return sums of scores, each one higher: so a home that has none adds nothing."""
    return tuple(
        Scalar(f"{model}-score", 0.0, 2.0, weighted=False) for model in models_of(opponents)
    )


_WEIGHTS = tuple(Scalar(f"weight-{name}", 0.0, 1.0, weighted=False) for name in EXPERTS)
FLAGS_SET: Final = 2 + len(MODELS) + len(FEDERATED) + 1
"""How many flags a home sets at most."""


def outcome_terms(
    columns: Columns, update: NDArray[np.float32] | None, given: QuestionContext
) -> Terms:
    """Return what homes add up in the end, each counted once.

    Args:
        columns: What each home says of its models.
        update: Nothing: the question trains nothing that leaves a home.
        given: What they were asked with.

    Raises:
        UpdateError: Settings that cannot be.
    """
    del update
    bins = _bins(given.config)
    parts = [
        one_hot(columns["expert"], range(len(EXPERTS))),
        one_hot(columns["best"], range(len(ALONE))),
    ]
    scores = []
    opponents = given.plan.personalise.opponents
    for model in models_of(opponents):
        known = np.nan_to_num(np.clip(columns[f"{model}.{given.score}"], -1.0, 1.0), nan=-1.0) + 1.0
        scores.append(known[:, None])
        if bins:
            parts.append(one_hot(np.floor(known / 2.0 * bins).astype(int), range(bins)))
    verdicts = [columns[f"verdict.{model}"] for model in FEDERATED]
    verdicts += [columns["null"]] if "local" in opponents else []
    parts += [np.stack([told < 0, told > 0], axis=1).astype(np.float64) for told in verdicts]
    weights = [columns[f"weight.{name}"][:, None] for name in EXPERTS]
    numbers = np.concatenate([*parts, *scores, *weights], axis=1)
    return Terms(np.ones(len(numbers), np.int64), numbers)


def score_counts(
    sums: NDArray[np.float64], bins: int, opponents: Collection[str] = ALONE
) -> dict[str, Any]:
    """Return what counts of an outcome say: all that a server learns of the homes' scores.

    Args:
        sums: Counts over all homes, float64 ``[scalars]``, in the order of the outcome's scalars;
            with noise the flags alone.
        bins: Into how many bins scores fell.
        opponents: What the plan holds its fleet against.

    Returns:
        ``homes``; ``experts``: in how many homes which expert weighs most; ``weights``: the mean
        weight of each, None with noise; ``best``: in how many homes which model was best alone;
        ``null``: the shares of homes in which the same model trained twice "hurt" and "helped",
        where homes train one alone;
        ``models``: for each, mean, median and 10th percentile of the score (clipped to -1 and 1;
        the latter two by linear interpolation within a bin, None without bins), and of a fleet's
        models the shares hurt and helped against the best alone. Counts with noise may be below
        zero and not add up: they are taken as zero, and as shares of what they do add up to.
    """
    scalars = (*_flags(bins, opponents), *_scores(opponents), *_WEIGHTS)
    names = [scalar.name for scalar in scalars]
    named = {name: max(0.0, float(value)) for name, value in zip(names, sums, strict=False)}
    homes = sum(round(named[f"expert-{name}"]) for name in EXPERTS)

    def shares(stem: str) -> dict[str, float]:
        return {
            kind: min(1.0, round(named[f"{stem}-{kind}"]) / max(1, homes))
            for kind in ("hurt", "helped")
        }

    models: dict[str, dict[str, float | None]] = {}
    for model in models_of(opponents):
        counts = np.array(
            [round(named[f"{model}-{number}"]) for number in range(bins)], dtype=float
        )
        score = named.get(f"{model}-score")
        models[model] = {
            "mean": _mean(counts) if score is None else score / max(1, homes) - 1.0,
            "median": _quantile(counts, 0.5),
            "p10": _quantile(counts, 0.1),
        }
        if model in FEDERATED:
            models[model] |= shares(model)
    weights = {name: named.get(f"weight-{name}") for name in EXPERTS}
    return {
        "homes": homes,
        "experts": {name: round(named[f"expert-{name}"]) for name in EXPERTS},
        "weights": {
            name: None if sum_ is None else sum_ / max(1, homes) for name, sum_ in weights.items()
        },
        "best": {name: round(named[f"best-{name}"]) for name in ALONE},
        **({"null": shares("null")} if "local" in opponents else {}),
        "models": models,
    }


def _edges(bins: int) -> NDArray[np.float64]:
    return np.linspace(-1.0, 1.0, bins + 1)


def _mean(counts: NDArray[np.float64]) -> float | None:
    if not counts.size:
        return None
    edges = _edges(counts.size)
    return float(counts @ (edges[:-1] + edges[1:]) / 2 / max(1.0, counts.sum()))


def _quantile(counts: NDArray[np.float64], share: float) -> float | None:
    """Return the score below which a share of the homes lies; None without a histogram."""
    if not counts.size:
        return None
    below = np.concatenate([[0.0], np.cumsum(counts)])
    return float(np.interp(share * below[-1], below, _edges(counts.size)))
