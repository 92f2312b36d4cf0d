"""A home's model of several horizons, seen at one of them; and what is predicted at all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.errors import PlanError, RunError
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Fitted, Neighbours, Perceptron, PerHorizon, Seasonal
from fedhome.plan.data_settings import Span
from fedhome.plan.time_steps import step_seconds

if TYPE_CHECKING:
    from fedhome.learning.fitted import InputRows
    from fedhome.learning.tasks.segments import Floats
    from fedhome.personal.model import PersonalModel

_Model = TypeVar("_Model", bound="PersonalModel")


class Predictions(NamedTuple):
    """What is predicted, and what stands behind it.

    ``table`` is as of :meth:`PersonalModel.predict`; ``known`` what came, in the target's unit (of
    classes their numbers), NaN where it has not come, float64 ``[rows]``; ``filled`` says of each
    input that lacks readings where, ``[rows]``; ``notes`` is what was converted, taken for granted
    or left out of the readings, in plain sentences.
    """

    table: pa.Table
    known: NDArray[np.float64]
    filled: Mapping[str, NDArray[np.bool_]]
    notes: tuple[str, ...] = ()


class OneOutput(NamedTuple):
    """One output of a model that cannot be cut: it states all of them, and one is taken.

    ``whole`` is the model, ``place`` the output's number from 0.
    """

    whole: Fitted
    place: int

    def state(self, rows: InputRows) -> Floats:
        """Return what it states of rows, ``[rows, 1]``."""
        return self.whole.state(rows)[:, [self.place]]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that the whole model is, by name: the one output is read off it."""
        return self.whole.arrays()


def at_horizon(model: _Model, horizon: Span) -> _Model:
    """Return a model as it predicts one of its horizons; one of a single horizon is itself.

    Args:
        model: The model.
        horizon: The horizon, as the plan writes it, or the same length otherwise.

    Raises:
        RunError: It has no such horizon.
    """
    data = model.plan.data
    known = data.several or (str(1 if data.horizon is None else data.horizon),)
    found = [place for place, one in enumerate(known) if _same(one, str(horizon))]
    if not found:
        raise RunError(
            f"the model of {model.home!r} predicts no horizon {str(horizon)!r}",
            hint=f"its plan names {', '.join(known)}: data.horizon",
        )
    if not isinstance(data.horizon, tuple):
        return model
    (place,) = found
    own = data.model_copy(update={"horizon": data.horizon[0]})
    by = model.by
    return replace(
        model,
        plan=model.plan.model_copy(update={"data": own}),
        experts={name: one_output(expert, place) for name, expert in model.experts.items()},
        naive=one_output(model.naive, place),
        by=Reach(by.low[:, place], by.high[:, place]) if isinstance(by, Reach) else by,
        ahead=data.horizon[place],
    )


def one_output(model: Fitted, place: int) -> Fitted:
    """Return a model of several horizons as it states one of them.

    Args:
        model: The model.
        place: Which horizon, from 0.
    """
    if isinstance(model, PerHorizon):
        return model.each[place]
    if isinstance(model, Perceptron):
        return _cut(model, place)
    if isinstance(model, Neighbours):
        network, truth = _cut(model.network, place), model.truth[:, [place]]
        return replace(model, network=network, truth=truth)
    if isinstance(model, Seasonal):
        return replace(model, outputs=1)
    return OneOutput(model, place)


def _cut(network: Perceptron, place: int) -> Perceptron:
    """Return a network with one unit of its last layer alone."""
    weight, bias = list(network.layers)[-2:]
    last = {name: network.layers[name][[place]].copy() for name in (weight, bias)}
    return Perceptron({**network.layers, **last}, network.grouped)


def _same(one: str, other: str) -> bool:
    """Return whether two horizons are written alike, or are the same length of time."""
    if one == other:
        return True
    try:
        return step_seconds(one) == step_seconds(other)
    except PlanError:
        return False


def beside_each_other(each: Sequence[Predictions], horizons: Sequence[str]) -> Predictions:
    """Return what is predicted at several horizons as one, in the order of time, then of horizons.

    Args:
        each: What is predicted at each.
        horizons: Their names; they become the table's second column.
    """
    tables = [
        one.table.add_column(1, "horizon", pa.array([name] * one.table.num_rows))
        for one, name in zip(each, horizons, strict=True)
    ]
    whole = pa.concat_tables(tables)
    order = np.argsort(whole.column(0).cast("int64").to_numpy(), kind="stable")
    names = list(dict.fromkeys(name for one in each for name in one.filled))
    filled = {
        name: np.concatenate(
            [one.filled.get(name, np.zeros(one.table.num_rows, np.bool_)) for one in each]
        )[order]
        for name in names
    }
    known = np.concatenate([one.known for one in each])[order]
    notes = tuple(dict.fromkeys(note for one in each for note in one.notes))
    return Predictions(whole.take(pa.array(order)), known, filled, notes)
