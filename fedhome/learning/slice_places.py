"""Where the parameters of a small model lie in the fleet's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedhome.wire.layout import Layout


@dataclass(frozen=True)
class SlicePlaces:
    """Where they lie.

    Args:
        layout: Layout of the fleet's model.
        places: Place of each parameter there, int64 ``[own size]``, no two the same.
    """

    layout: Layout
    places: NDArray[np.int64]

    def of_whole(self, whole: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one's own of the fleet's parameters, ``[..., size]`` to ``[..., own size]``."""
        return whole[..., self.places]

    def in_whole(self, whole: NDArray[np.float32], own: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the fleet's parameters with homes' own in their places.

        Args:
            whole: The fleet's, float32 ``[size]``.
            own: The homes', float32 ``[homes, own size]``.

        Returns:
            float32 ``[homes, size]``; elsewhere it is what came, bit for bit.
        """
        laid = np.repeat(whole[None], len(own), axis=0)
        laid[:, self.places] = own
        return laid
