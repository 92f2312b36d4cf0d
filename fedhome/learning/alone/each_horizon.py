"""A model alone for each of several horizons: each is fitted as if there were no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fedhome.learning.alone.own_rows import FittedAlone, OwnRows
from fedhome.learning.fitted import Fitted, PerHorizon

Fitter = Callable[[OwnRows], FittedAlone]


def fitted_alone(fit: Fitter, rows: OwnRows) -> FittedAlone:
    """Return what models state of a home's rows, and what they are, one for each horizon.

    Args:
        fit: What fits one; of a single horizon it is called as it is.
        rows: The home's rows.
    """
    if not rows.several:
        return fit(rows)
    each = [fit(_at_one(rows, place)) for place in range(rows.outputs)]
    models: list[Fitted] = [one.model for one in each if one.model is not None]
    return FittedAlone(
        np.concatenate([one.validation for one in each], axis=1),
        np.concatenate([one.test for one in each], axis=1),
        np.concatenate([one.by_others for one in each], axis=1),
        PerHorizon(tuple(models)) if len(models) == len(each) else None,
    )


def _at_one(rows: OwnRows, place: int) -> OwnRows:
    train, validation, test = (part[:, [place]] for part in rows.y)
    return replace(rows, outputs=1, y=(train, validation, test))
