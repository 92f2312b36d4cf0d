"""A model that came in a file is tried before anybody uses it: what cannot compute is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from fedhome.data.series.seasons import SEASONS
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import InputRows
from fedhome.learning.tasks.statements import ENCODINGS
from fedhome.personal.own_module import OwnModule
from fedhome.personal.predictor import Predictor
from fedhome.plan.step_rule import Rule

_QUARTERS = 4

UNREADABLE = (
    *(KeyError, IndexError, ValueError, TypeError, AttributeError),
    *(ArithmeticError, RecursionError),
)
"""What comes of bytes that are no model, where they are taken for one."""


def check_computes(found: Mapping[str, Any], indicators: Sequence[str]) -> None:
    """Refuse what is no model: it states something of a row of zeros, of the right shape.

    A module of somebody's own is not tried: that would be to run it.

    Args:
        found: Arguments of :class:`Predictor`, as they came, but for those that a plan says.
        indicators: Features of which a number says whether they were missing.

    Raises:
        ValueError: It is none; or another of :data:`UNREADABLE`.
    """
    scaling, by = found["scaling"], found["by"]
    numbers = [found["unit"], found["level"], *found["weights"].values()]
    if not isinstance(by, Reach):
        numbers.append(by)
    width = len(scaling.features)
    arrays = (scaling.medians, scaling.middle, scaling.spread)
    fits = all(map(_is_number, numbers))
    fits = fits and all(isinstance(name, str) for name in (found["home"], *scaling.features))
    fits = fits and found["targets"] in ENCODINGS and all(one.shape == (width,) for one in arrays)
    fits = fits and scaling.relative.shape in ((0,), (width,))
    fits = fits and (found["targets"] == "continuous" or not found["changes"])
    fits = fits and (found["changes"] or not scaling.relative.any())
    fits = fits and set(indicators) <= set(scaling.features) and width > 0
    fits = fits and bool(found["weights"]) and found["experts"].keys() <= found["weights"].keys()
    if isinstance(by, Reach):
        shape = by.low.shape
        fits = fits and found["targets"] == "continuous" and by.high.shape == shape
        fits = fits and len(shape) in (1, 2) and shape[0] == _QUARTERS
    else:
        fits = fits and found["targets"] != "continuous" and by > 0
    if not fits:
        raise ValueError(width)
    if any(isinstance(one, OwnModule) for one in (*found["experts"].values(), found["naive"])):
        return
    predictor = Predictor(
        target="", target_unit="", classes=(), indicators=tuple(indicators), **found
    )
    row = InputRows(
        np.zeros((1, width + len(indicators)), np.float32), np.zeros(1), np.zeros((1, len(SEASONS)))
    )
    with np.errstate(all="ignore"):
        stated = predictor.state(row)
    outputs = by.low.shape[1:] or (1,) if isinstance(by, Reach) else stated.shape[1:]
    if stated.shape != (1, *outputs) or 0 in outputs:
        raise ValueError(stated.shape)


def check_told(told: Mapping[str, Any]) -> None:
    """Refuse what a file tells of a model besides, where it is of another kind.

    Args:
        told: What its header tells of the home.

    Raises:
        ValueError: It is; or another of :data:`UNREADABLE`.
    """
    words = all(isinstance(told[name], str) for name in ("time_zone", "run", "score"))
    counts = all(type(told[name]) is int for name in ("rows", "fitted_until"))
    scores = all(isinstance(one, int | float) for one in told["scores"].values())
    own = told.get("rules", {})
    rules = isinstance(own, dict) and set(own.values()) <= set(get_args(Rule))
    if not (words and counts and scores and rules):
        raise ValueError(told["home"])


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
