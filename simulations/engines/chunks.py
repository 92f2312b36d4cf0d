"""Some homes of a cohort after training, wherever their parameters lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Chunk:
    """Some homes after training.

    Args:
        homes: Their positions in the cohort, int64 ``[homes]``.
        params: Parameters float32 ``[homes, size]``, in this machine's memory or on a device.
        losses: Training loss of the last pass, float64 ``[homes]``.
        take: Brings a tensor back from the device; None: ``params`` are here.
    """

    def __init__(
        self,
        homes: NDArray[np.int64],
        params: NDArray[np.float32] | Tensor,
        losses: NDArray[np.float64],
        *,
        take: Callable[[Tensor], NDArray[Any]] | None = None,
    ) -> None:
        self.homes, self.losses = homes, losses
        self._take = take
        self.there = params if isinstance(params, Tensor) else None
        self._here = None if isinstance(params, Tensor) else params

    @property
    def params(self) -> NDArray[np.float32]:
        """The parameters here; they are brought back when first asked for."""
        if self._here is None:
            assert self.there is not None
            assert self._take is not None
            self._here = self._take(self.there)
        return self._here
