"""A linear model: numbers within a range, or probabilities of classes by the softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.tasks.segments import Floats

if TYPE_CHECKING:
    from fedhome.learning.fitted import InputRows


_MOST_OUTPUTS = 1 << 16


@dataclass(frozen=True)
class Line:
    """A line, or a line for each class.

    Args:
        slopes: ``[features, columns]``: one column of numbers, else one for each class that was
            seen.
        levels: The same at inputs of 0, ``[columns]``.
        within: Least and greatest number that is stated ``[2]``; of classes without meaning.
        classes: Where the columns' classes stand in a statement; empty: it states numbers.
        outputs: Numbers in a statement; with a single one for two classes it is that of class 1.
    """

    slopes: Floats
    levels: Floats
    within: Floats
    classes: NDArray[np.int64]
    outputs: int

    def state(self, rows: InputRows) -> Floats:
        """Return what it states of rows, ``[rows, outputs]``."""
        values = np.asarray(rows.x, np.float64) @ self.slopes + self.levels
        if not len(self.classes):
            return np.repeat(np.clip(values, *self.within), self.outputs, axis=1)
        raised = np.exp(values - values.max(axis=1, keepdims=True))
        return placed(raised / raised.sum(axis=1, keepdims=True), self.classes, self.outputs)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that it is, by name."""
        return {
            "slopes": self.slopes,
            "levels": self.levels,
            "within": self.within,
            "classes": self.classes,
            "outputs": np.array([self.outputs]),
        }

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Line:
        """Return one from its arrays."""
        return cls(
            np.asarray(arrays["slopes"], np.float64),
            np.asarray(arrays["levels"], np.float64),
            np.asarray(arrays["within"], np.float64),
            np.asarray(arrays["classes"], np.int64),
            number_of_outputs(int(arrays["outputs"][0])),
        )


def number_of_outputs(told: int) -> int:
    """Return how many numbers a statement has, as a file says.

    Raises:
        ValueError: No task has so many: to state so much would take the machine's memory.
    """
    if not 1 <= told <= _MOST_OUTPUTS:
        raise ValueError(told)
    return told


def placed(shares: Floats, classes: NDArray[np.int64], outputs: int) -> Floats:
    """Return probabilities of the classes that were seen as a statement of all classes.

    Args:
        shares: ``[rows, seen]``.
        classes: Which classes these are.
        outputs: Numbers in a statement; 1: the probability of class 1.

    Returns:
        ``[rows, outputs]``.
    """
    whole = np.zeros((len(shares), max(outputs, 2)))
    whole[:, classes] = shares
    return whole if outputs > 1 else whole[:, 1:]
