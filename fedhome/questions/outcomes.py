"""What homes add up in the end: which model each keeps, and how the models score in them.

A histogram says more than a mean, and in a small fleet too much: in a sum over five homes, 80 steps
of the score are the list of their scores. So its bins are as coarse as the cohort: no bin is
expected to hold fewer than the plan's fewest homes. Where that leaves too few bins there is none,
and of the scores there are the sums alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import UpdateError
from fedhome.questions.contributions import Terms, flag_of, one_hot
from fedhome.questions.responses import Columns, QuestionContext
from fedhome.run.compared_models import CHOICES, MODELS
from fedhome.secagg.scalars import Scalar

KEY = "bins"
"""Where an outcome's settings say into how many bins scores from -1 to 1 fall."""
MOST_BINS, FEWEST_BINS = 80, 4
MARGIN = 0.005
"""Differences of score up to this count as equal, as in :func:`fedhome.run.results.summary`."""


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


def outcome_scalars(config: Mapping[str, Any], tried: int) -> tuple[Scalar, ...]:
    """Return flags of what a home keeps and how it scores, and the scores.

    Args:
        config: The settings that came with the question.
        tried: How many numbers a trial of personalisation gives.

    Raises:
        UpdateError: Settings that cannot be.
    """
    del tried
    return (*_flags(_bins(config)), *(_score(model) for model in MODELS))


def meaning_of(number: str) -> str:
    """Return what a number of an outcome says, in words.

    Args:
        number: Its name, as `outcome_scalars` has it.

    Raises:
        UpdateError: An outcome has no such number.
    """
    stem, _, part = number.partition("-")
    if stem == "chosen":
        return f"whether the home keeps the {part} model"
    said = {
        "hurt": "is worse than the local one's",
        "helped": "is better than the local one's",
        "score": "itself, raised by 1",
    }.get(part)
    if part.isdigit():
        return f"whether the {stem} model's score on its test rows falls into this step"
    if said is None:
        raise UpdateError(f"an outcome has no number {number!r}")
    score = f"the {stem} model's score on its test rows"
    return f"{score}, {said}" if part == "score" else f"whether {score} {said}"


def flags_alone(scalars: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Return the flags among an outcome's numbers: where homes add noise, these are all."""
    return tuple(scalar for scalar in scalars if scalar.bits == 1)


def _bins(settings: Mapping[str, Any]) -> int:
    bins = settings.get(KEY)
    if type(bins) is not int or not 0 <= bins <= MOST_BINS:
        raise UpdateError(f"an outcome was asked for with {KEY} {bins!r}, not 0 to {MOST_BINS}")
    return bins


def _flags(bins: int) -> tuple[Scalar, ...]:
    names = [f"chosen-{choice}" for choice in CHOICES]
    for model in MODELS:
        names += [f"{model}-{number}" for number in range(bins)]
        if model != "local":
            names += [f"{model}-hurt", f"{model}-helped"]
    return tuple(flag_of(name) for name in names)


def _score(model: str) -> Scalar:
    """Return the sum of scores, each one higher: so a home that has none adds nothing."""
    return Scalar(f"{model}-score", 0.0, 2.0, weighted=False)


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
    bins, local = _bins(given.config), columns[f"local.{given.score}"]
    parts, scores = [one_hot(columns["chosen"], range(len(CHOICES)))], []
    for model in MODELS:
        values = columns[f"{model}.{given.score}"]
        known = np.nan_to_num(np.clip(values, -1.0, 1.0), nan=-1.0) + 1.0
        scores.append(known[:, None])
        if bins:
            parts.append(one_hot(np.floor(known / 2.0 * bins).astype(int), range(bins)))
        if model != "local":
            gap = values - local
            flags = np.stack([gap < -MARGIN, gap > MARGIN], axis=1)
            parts.append(flags.astype(np.float64))
    numbers = np.concatenate([*parts, *scores], axis=1)
    return Terms(np.ones(len(numbers), np.int64), numbers)


def score_counts(sums: NDArray[np.float64], bins: int) -> dict[str, Any]:
    """Return what counts of an outcome say: all that a server learns of the homes' scores.

    Args:
        sums: Counts over all homes, float64 ``[scalars]``, in the order of the outcome's scalars;
            with noise the flags alone.
        bins: Into how many bins scores fell.

    Returns:
        ``homes``; ``chosen``: how many homes kept which model; ``models``: for each, mean, median
        and 10th percentile of the score (clipped to -1 and 1; the latter two by linear
        interpolation within a bin, None without bins), and the shares hurt and helped against
        local-only. Counts with noise may be below zero and not add up: they are taken as zero, and
        as shares of what they do add up to.
    """
    names = [scalar.name for scalar in (*_flags(bins), *(_score(model) for model in MODELS))]
    named = {name: max(0.0, float(value)) for name, value in zip(names, sums, strict=False)}
    homes = sum(round(named[f"chosen-{choice}"]) for choice in CHOICES)
    models: dict[str, dict[str, float | None]] = {}
    for model in MODELS:
        counts = np.array(
            [round(named[f"{model}-{number}"]) for number in range(bins)], dtype=float
        )
        score = named.get(f"{model}-score")
        models[model] = {
            "mean": _mean(counts) if score is None else score / max(1, homes) - 1.0,
            "median": _quantile(counts, 0.5),
            "p10": _quantile(counts, 0.1),
        }
        if model != "local":
            models[model] |= {
                kind: min(1.0, round(named[f"{model}-{kind}"]) / max(1, homes))
                for kind in ("hurt", "helped")
            }
    return {
        "homes": homes,
        "chosen": {choice: round(named[f"chosen-{choice}"]) for choice in CHOICES},
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
