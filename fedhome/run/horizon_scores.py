"""Scores at each of several horizons, from a run's table of homes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fedhome.run.compared_models import AT


class HorizonScores(NamedTuple):
    """Means over homes at each horizon.

    ``metric`` is what is scored, ``horizons`` their names, the nearest first; ``models`` holds the
    score of each model at each of them, NaN where no home has one; ``coverage`` the share of test
    rows that the bands of 80 % hold, empty where there are none.
    """

    metric: str
    horizons: tuple[str, ...]
    models: Mapping[str, tuple[float, ...]]
    coverage: tuple[float, ...]


def horizon_scores(homes: pa.Table, score: str) -> HorizonScores | None:
    """Return how models did at each horizon; None where the run had a single one.

    Args:
        homes: One row for each home and model.
        score: The run's score, or that of one horizon.
    """
    metric = score.partition(AT)[0]
    before = f"{metric}{AT}"
    horizons = [n.removeprefix(before) for n in homes.column_names if n.startswith(before)]
    if not horizons:
        return None
    of = np.array(homes["model"].to_pylist())

    def means(name: str, model: str) -> tuple[float, ...]:
        columns = (f"{name}{AT}{one}" for one in horizons)
        values = [
            homes[column].to_numpy()[of == model] if column in homes.column_names else np.empty(0)
            for column in columns
        ]
        known = [one[np.isfinite(one)] for one in values]
        return tuple(float(one.mean()) if len(one) else np.nan for one in known)

    coverage = means("coverage", "personalised")
    return HorizonScores(
        metric,
        tuple(horizons),
        {str(model): means(metric, model) for model in dict.fromkeys(of.tolist())},
        coverage if np.isfinite(coverage).any() else (),
    )
