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
        scale: How many times the fleet's each of one's own is, float32 ``[own size]``, none of
            them 0; None: as large.
    """

    layout: Layout
    places: NDArray[np.int64]
    scale: NDArray[np.float32] | None = None

    def in_round(self, number: int) -> SlicePlaces:
        """Return where they lie in a round, by its number from 1: here always the same."""
        del number
        return self

    def covered(self, whole: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return which of the fleet's numbers these devices train, given all of them ``[size]``."""
        del whole
        return self.places

    def of_whole(self, whole: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one's own of the fleet's parameters, ``[..., size]`` to ``[..., own size]``."""
        own = whole[..., self.places]
        return own if self.scale is None else own * self.scale

    def in_whole(self, whole: NDArray[np.float32], own: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the fleet's parameters with homes' own in their places.

        Args:
            whole: The fleet's, float32 ``[size]``.
            own: The homes', float32 ``[homes, own size]``.

        Returns:
            float32 ``[homes, size]``; elsewhere it is what came, bit for bit.
        """
        laid = np.repeat(whole[None], len(own), axis=0)
        laid[:, self.places] = own if self.scale is None else own / self.scale
        return laid

    def changed(
        self, whole: NDArray[np.float32], own: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what devices changed of the fleet's parameters: `covered`, and by how much.

        Args:
            whole: The fleet's before, float32 ``[size]``.
            own: The devices' mean after, float64 ``[own size]``.
        """
        change = own - self.of_whole(whole)
        return self.places, change if self.scale is None else change / self.scale
