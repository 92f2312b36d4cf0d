"""What a series was a step, or some seasons, ago."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.fitted.line import number_of_outputs
from fedhome.learning.tasks.segments import Floats

if TYPE_CHECKING:
    from fedhome.learning.fitted import InputRows


@dataclass(frozen=True)
class Seasonal:
    """A forecast without learning.

    Args:
        season: Which season, from 1; 0: the last reading.
        outputs: Numbers in a statement.
    """

    season: int = 0
    outputs: int = 1

    def state(self, rows: InputRows) -> Floats:
        """Return what was then, ``[rows, outputs]``; the last reading where nothing was read."""
        stated = np.asarray(rows.last, np.float64)
        if self.season:
            before = np.asarray(rows.seasons[:, self.season - 1], np.float64)
            stated = np.where(np.isnan(before), stated, before)
        return np.repeat(stated[:, None], self.outputs, axis=1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that it is, by name."""
        return {"season": np.array([self.season, self.outputs], np.int64)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Seasonal:
        """Return one from its arrays."""
        season, outputs = np.asarray(arrays["season"], np.int64).tolist()
        return cls(season, number_of_outputs(outputs))
