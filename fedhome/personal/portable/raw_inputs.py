"""What an exported model takes and gives: plain numbers in units, in an order that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import numpy as np

from fedhome.data.series.local_time import CALENDAR
from fedhome.data.series.scaling import beside
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import InputRows, Seasonal
from fedhome.learning.tasks.segments import Floats
from fedhome.personal.model import PersonalModel

Role = Literal["feature", "indicator", "last", "season", "moment"]

_SEASONS = ("one day before", "seven days before")
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
    data, names = model.plan.data, model.scaling.features
    units = {spec.name: spec.unit for spec in data.inputs or ()}
    series = bool(data.series)
    ahead = f"{data.horizon}"
    if isinstance(data.horizon, int):
        ahead = "one step" if data.horizon == 1 else f"{data.horizon} steps"
    before = f"{ahead} before the predicted moment" if series else "in the row"
    for number, name in enumerate(names):
        median = f"NaN: taken as {model.scaling.medians[number]:.6g}"
        if name in CALENDAR:
            said = "of the local time of the predicted moment"
            yield RawInput(name, "", said, "feature", number)
        elif name in units:
            yield RawInput(name, units[name], f"read {before}; {median}", "feature", number)
        elif " is " in name:
            yield RawInput(name, "", f"1 if so, else 0; read {before}", "feature", number)
        else:
            said = f"counted from the predicted moment; {median}"
            yield RawInput(name, model.target_unit, said, "feature", number)
    for name in data.indicators or ():
        said = "1 if there was no reading of it then, also where an older one is given; else 0"
        yield RawInput(f"{name} is missing", "", said, "indicator", names.index(name))
    seasons = {
        one.season for one in (*model.experts.values(), model.naive) if isinstance(one, Seasonal)
    }
    if seasons:
        said = f"its newest reading, {before}; NaN: nothing can be said without learning"
        yield RawInput(f"{model.target} last", model.target_unit, said, "last")
    for season in sorted(seasons - {0}):
        said = "before the predicted moment; NaN: the newest reading stands in"
        name = f"{model.target} {_SEASONS[season - 1]}"
        yield RawInput(name, model.target_unit, said, "season", season)
    if _by_quarters(model):
        said = "the predicted moment, Unix time (UTC): the band depends on the time of day"
        yield RawInput("moment", "s", said, "moment")


def _by_quarters(model: PersonalModel) -> bool:
    return isinstance(model.by, Reach) and any(len(set(side.tolist())) > 1 for side in model.by)


def outputs_of(model: PersonalModel) -> tuple[str, ...]:
    """Return what an exported model gives: value, low and high, or each class's name.

    Args:
        model: The model.
    """
    if isinstance(model.by, Reach):
        return ("value", "low", "high")
    return model.classes or ("0", "1")


def predicted_from(model: PersonalModel, raw: Floats) -> Floats:
    """Return what a model gives for numbers such as its exports take; they are tested by it.

    Args:
        model: The model.
        raw: ``[rows, inputs]``, as of :func:`inputs_of`; what is not finite is missing.

    Returns:
        ``[rows, outputs]``, as of :func:`outputs_of`: in the target's unit, or probabilities.
    """
    inputs = inputs_of(model)
    raw = np.where(np.isfinite(raw), raw, np.nan)
    x = raw[:, : len(model.scaling.features)]
    columns = dict(zip(inputs, raw.T, strict=True))
    filled = {
        model.scaling.features[one.number]: (column != 0) | np.isnan(x[:, one.number])
        for one, column in columns.items()
        if one.role == "indicator"
    }
    last, seasons = np.full(len(raw), np.nan), np.full((len(raw), len(_SEASONS)), np.nan)
    moment = np.zeros(len(raw))
    for one, column in columns.items():
        if one.role == "last":
            last = (column - model.level) / model.unit
        elif one.role == "season":
            seasons[:, one.number - 1] = (column - model.level) / model.unit
        elif one.role == "moment":
            moment = column
    scaled = beside(model.scaling.apply(x), filled, model.plan.data.indicators or ())
    mixed = model.state(InputRows(scaled, last, seasons))
    if isinstance(model.by, Reach):
        known = np.where(np.isnan(moment), 0, moment)
        value = mixed[:, 0]
        reach = [value + side + 0 * moment for side in model.by.at(known.astype(np.int64))]
        return np.stack([value, *reach], axis=1) * model.unit + model.level
    return mixed if mixed.shape[1] > 1 else np.concatenate([1 - mixed, mixed], axis=1)


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
    raw = np.empty((rows, len(inputs)))
    for place, one in enumerate(inputs):
        drawn = draw.normal(size=rows)
        if one.role == "feature":
            raw[:, place] = scaling.medians[one.number] + scaling.spread[one.number] * drawn
            if " is " in one.name:
                raw[:, place] = drawn > 0
        elif one.role == "indicator":
            raw[:, place] = drawn > 1
        elif one.role == "moment":
            raw[:, place] = _OUR_DAYS_S + np.arange(rows) * 5 * 3600
        else:
            raw[:, place] = model.level + model.unit * drawn
    features = len(scaling.features)
    for row in range(1, rows, _MISSING_EACH):
        raw[row, draw.integers(features)] = np.nan
        seasons = [place for place, one in enumerate(inputs) if one.role == "season"]
        raw[row, seasons] = np.nan
    return raw
