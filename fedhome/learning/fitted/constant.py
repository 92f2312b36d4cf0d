"""What states the same of every row: a home's mean, or how often each class came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.tasks.segments import Floats

if TYPE_CHECKING:
    from fedhome.learning.fitted import InputRows


@dataclass(frozen=True)
class Constant:
    """A statement of no row in particular.

    Args:
        values: The statement ``[outputs]``.
    """

    values: Floats

    def state(self, rows: InputRows) -> Floats:
        """Return it for each row, ``[rows, outputs]``."""
        return np.repeat(self.values[None], len(rows.x), axis=0)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that it is, by name."""
        return {"values": self.values}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Constant:
        """Return one from its arrays."""
        return cls(np.asarray(arrays["values"], np.float64))
