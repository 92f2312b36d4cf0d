"""The report's table of horizons: what each model is worth at each, where a plan names several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fedhome.run.compared_models import MODELS, with_meaning
from fedhome.run.horizon_scores import horizon_scores
from fedhome.server.report.number_words import NOTHING, number
from fedhome.server.report.run_results import RunResults


class HorizonsTable(NamedTuple):
    """What a run came to at each horizon.

    ``metric`` is what is scored, ``horizons`` are names of columns; a row begins with a model's.
    """

    metric: str
    horizons: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def horizons_table(run: RunResults) -> HorizonsTable | None:
    """Return a run's table; None where it had one horizon, or where no home's scores are known.

    Args:
        run: The run.
    """
    found = None if run.homes is None else horizon_scores(run.homes, run.score_name)
    if found is None:
        return None
    rows = [
        (with_meaning(model), *map(number, found.models[model]))
        for model in MODELS
        if model in found.models
    ]
    if found.coverage:
        shares = (NOTHING if math.isnan(share) else f"{share:.0%}" for share in found.coverage)
        rows.append(("Bands of 80 % hold", *shares))
    return HorizonsTable(found.metric, found.horizons, rows)
