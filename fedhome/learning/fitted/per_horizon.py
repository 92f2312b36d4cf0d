"""A model for each of several horizons, side by side: each is one of another kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.tasks.segments import Floats

if TYPE_CHECKING:
    from fedhome.learning.fitted import Fitted, InputRows

_MOST = 1 << 10  # horizons: a file that names more is none of ours


@dataclass(frozen=True)
class PerHorizon:
    """What states something of each horizon.

    Args:
        each: The models, in the order of the horizons; each states one number of a row.
    """

    each: tuple[Fitted, ...]

    def state(self, rows: InputRows) -> Floats:
        """Return what they state of rows, ``[rows, horizons]``."""
        return np.concatenate(
            [model.state(at_one(rows, place)) for place, model in enumerate(self.each)], axis=1
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that they are, by name."""
        from fedhome.learning.fitted import kind_of  # noqa: PLC0415 - its table names this kind

        kinds = "\n".join(kind_of(model) for model in self.each)
        found: dict[str, NDArray[Any]] = {"kinds": np.frombuffer(kinds.encode(), np.uint8)}
        for place, model in enumerate(self.each):
            found |= {f"{place:03d} {name}": values for name, values in model.arrays().items()}
        return found

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> PerHorizon:
        """Return them from their arrays.

        Raises:
            ValueError: So many are none of ours, or one holds others again.
            PluginError: There is no such kind.
            KeyError: An array is missing.
        """
        from fedhome.learning.fitted import kind_of, read  # noqa: PLC0415 - as above

        kinds = np.asarray(arrays["kinds"], np.uint8).tobytes().decode().split("\n")
        if len(kinds) > _MOST or kind_of(cls(())) in kinds:
            raise ValueError(len(kinds))
        each = []
        for place, kind in enumerate(kinds):
            own = {
                name.partition(" ")[2]: name for name in arrays if name.startswith(f"{place:03d} ")
            }
            each.append(read(kind, {name: arrays[whole] for name, whole in own.items()}))
        return cls(tuple(each))


def at_one(rows: InputRows, place: int) -> InputRows:
    """Return rows as a model of one of several horizons takes them.

    Args:
        rows: The rows; seasons are ``[rows, seasons, horizons]``, or the same for all.
        place: Which horizon, from 0.
    """
    several = rows.seasons.ndim > 2  # noqa: PLR2004
    return rows._replace(seasons=rows.seasons[:, :, place] if several else rows.seasons)
