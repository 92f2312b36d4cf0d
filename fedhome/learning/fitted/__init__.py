"""What was fitted to a home's rows, as plain arrays: it states without what it was fitted with.

Nothing here needs torch or scikit-learn, and nothing is pickled: a model is arrays by name and a
word for its kind. Every kind is one file and one row of the table here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.fitted.constant import Constant
from fedhome.learning.fitted.line import Line
from fedhome.learning.fitted.neighbours import Neighbours
from fedhome.learning.fitted.per_horizon import PerHorizon, at_one
from fedhome.learning.fitted.perceptron import Perceptron
from fedhome.learning.fitted.seasonal import Seasonal
from fedhome.learning.fitted.trees import Trees
from fedhome.learning.tasks.segments import Floats
from fedhome.plugins import look_up

__all__ = [
    "KINDS",
    "Constant",
    "Fitted",
    "InputRows",
    "Line",
    "Neighbours",
    "PerHorizon",
    "Perceptron",
    "Seasonal",
    "Trees",
    "at_one",
]


class InputRows(NamedTuple):
    """Rows to state something of.

    ``x`` are inputs as models take them, float32 ``[rows, features]``; ``last`` what a forecast
    without learning says, in the unit that targets are learnt in, ``[rows]``; ``seasons`` what a
    series was some seasons earlier, in the same, ``[rows, seasons]``, NaN where nothing was read;
    of several horizons ``[rows, seasons, horizons]``.
    """

    x: NDArray[np.float32]
    last: Floats
    seasons: Floats


class Fitted(Protocol):
    """A fitted model of any kind."""

    def state(self, rows: InputRows) -> Floats:
        """Return what it states of rows, ``[rows, outputs]``."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that it is, by name."""


Reader = Callable[[Mapping[str, NDArray[Any]]], Fitted]

KINDS: Mapping[str, Reader] = {
    "constant": Constant.of,
    "line": Line.of,
    "neighbours": Neighbours.of,
    "perceptron": Perceptron.of,
    "perhorizon": PerHorizon.of,
    "seasonal": Seasonal.of,
    "trees": Trees.of,
}
"""From a kind's arrays back to the model."""


def kind_of(fitted: Fitted) -> str:
    """Return the word for a model's kind."""
    return type(fitted).__name__.lower()


def read(kind: str, arrays: Mapping[str, NDArray[Any]]) -> Fitted:
    """Return a model from its arrays.

    Args:
        kind: The word for its kind.
        arrays: What :meth:`Fitted.arrays` gave.

    Raises:
        PluginError: There is no such kind.
        KeyError: An array is missing.
    """
    return look_up(KINDS, kind, "kind of a fitted model")(arrays)
