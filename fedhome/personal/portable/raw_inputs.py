"""What an exported model takes and gives: plain numbers in units, in an order that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from fedhome.data.series.local_time import CALENDAR
from fedhome.data.series.scaling import SILENT
from fedhome.data.series.windows import is_own
from fedhome.learning.tasks.segments import Floats
from fedhome.personal.model import PersonalModel
from fedhome.personal.predictor import Role

_OUR_DAYS_S = 1_700_000_000  # a moment of our days, Unix time in s
_MISSING_EACH = 3  # rows of which one lacks an input


class RawInput(NamedTuple):
    """One number that an exported model takes.

    ``name`` says what it is, ``unit`` in which unit it comes (empty: none is known), ``about`` when
    it is read and what stands for it where it is missing, ``role`` what a model does with it, and
    ``number`` of which feature or season it is.
    """

    name: str
    unit: str
    about: str
    role: Role
    number: int = 0


def inputs_of(model: PersonalModel) -> tuple[RawInput, ...]:
    """Return what an exported model takes, in its order.

    The features come first, in the model's own order; then for each of ``data.indicators`` whether
    its reading was missing; then what forecasts without learning need; last the moment, where the
    band depends on it.

    Args:
        model: The model.
    """
    return tuple(_inputs(model))


def _inputs(model: PersonalModel) -> Iterator[RawInput]:
    data, scaling = model.plan.data, model.scaling
    units = {spec.name: spec.unit for spec in data.inputs or ()}
    ahead = f"{data.horizon}"
    if isinstance(data.horizon, int):
        ahead = "one step" if data.horizon == 1 else f"{data.horizon} steps"
    # Of several horizons inputs are counted from the nearest, whichever is predicted.
    moment = "the predicted moment" if model.ahead is None else f"the moment {ahead} ahead"
    before = f"{ahead} before {moment}" if data.series else "in the row"
    said = {
        "indicator": "1 if there was no reading of it then, also where an older one is given; "
        "else 0",
        "last": f"its newest reading, {before}; NaN: nothing can be said"
        + ("" if model.changes else " without learning"),
        "season": "before the predicted moment (a year: of days and weeks 364 days); NaN: the "
        "newest reading stands in",
        "moment": f"{moment}, Unix time (UTC): the band depends on the time of day",
    }
    own = {"last": model.target_unit, "season": model.target_unit, "moment": "s"}
    for name, role, number in model.predictor.slots:
        if role != "feature":
            yield RawInput(name, own.get(role, ""), said[role], role, number)
            continue
        median = f"NaN: taken as {scaling.medians[number]:.6g}"
        if name in CALENDAR:
            yield RawInput(name, "", f"of the local time of {moment}", role, number)
        elif name in units:
            yield RawInput(name, units[name], f"read {before}; {median}", role, number)
        elif " is " in name:
            yield RawInput(name, "", f"1 if so, else 0; read {before}", role, number)
        else:
            counted = f"counted from {moment}; {median}"
            yield RawInput(name, model.target_unit, counted, role, number)


def own_name(model: PersonalModel) -> str:
    """Return what a model's file, and the names in it, are called: the home, and which horizon.

    Args:
        model: The model.
    """
    return model.home if model.ahead is None else f"{model.home} {model.ahead}"


PROBED: Final = 16
"""Rows that an exported model is tested on."""


def probe(model: PersonalModel, rows: int = PROBED) -> Floats:
    """Return rows to test an export on: drawn about what is usual, not the home's readings.

    Args:
        model: The model.
        rows: How many; of three, one lacks an input.

    Returns:
        ``[rows, inputs]``; the same model gives the same.
    """
    draw = np.random.default_rng(0)
    scaling, inputs = model.scaling, inputs_of(model)
    spread = np.where(scaling.spread < SILENT, scaling.spread, 1.0)
    raw = np.empty((rows, len(inputs)))
    for place, one in enumerate(inputs):
        drawn = draw.normal(size=rows)
        if one.role == "feature":
            raw[:, place] = scaling.medians[one.number] + spread[one.number] * drawn
            if " is " in one.name:
                raw[:, place] = drawn > 0
        elif one.role == "indicator":
            raw[:, place] = drawn > 1
        elif one.role == "moment":
            raw[:, place] = _OUR_DAYS_S + np.arange(rows) * 5 * 3600
        else:
            raw[:, place] = model.level + model.unit * drawn
    if model.changes:
        _about_a_level(model, raw)
    features = len(scaling.features)
    for row in range(1, rows, _MISSING_EACH):
        raw[row, draw.integers(features)] = np.nan
        seasons = [place for place, one in enumerate(inputs) if one.role == "season"]
        raw[row, seasons] = np.nan
    return raw


def _about_a_level(model: PersonalModel, raw: Floats) -> None:
    """Move the target's readings, drawn about 0, to where they usually are."""
    scaling, roles = model.scaling, np.array([one.role for one in inputs_of(model)])
    relative = np.flatnonzero(scaling.relative)
    levels = [
        float(median)
        for name, median, far in zip(
            scaling.features, scaling.medians, scaling.relative, strict=True
        )
        if is_own(name, model.target) and not far
    ]
    raw[:, np.isin(roles, ["last", "season"])] += levels[0] if levels else 0.0
    raw[:, relative] += raw[:, roles == "last"]
