"""Some homes of a cohort after training, wherever their parameters lie."""

from __future__ import annotations

import threading
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
        self.homes, self._losses = homes, losses
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

    @property
    def losses(self) -> NDArray[np.float64]:
        """Training losses of the last pass."""
        return self._losses

    @property
    def groups(self) -> list[slice]:
        """Homes that are added up together: which they are depends on no number of cores."""
        return [slice(0, len(self.homes))]

    def summed(self, shares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return each group's parameters here, times shares, as a sum: float32 ``[groups, size]``.

        Args:
            shares: ``[homes]``.
        """
        params = self.params
        return np.stack([shares[some] @ params[some] for some in self.groups])


class LateChunk(Chunk):
    """Some homes that train when somebody asks: where a sum will do, none is ever held alone.

    Args:
        homes: Their positions in the cohort, int64 ``[homes]``.
        train: Trains them, and returns parameters ``[homes, size]`` and losses.
        train_sum: Trains them and adds up, given shares ``[homes]``: sums ``[groups, size]`` and
            losses.
        each: Homes of a group.
    """

    def __init__(
        self,
        homes: NDArray[np.int64],
        train: Callable[[], tuple[NDArray[np.float32], NDArray[np.float64]]],
        train_sum: Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float64]]],
        *,
        each: int,
    ) -> None:
        super().__init__(homes, np.empty((0, 0), np.float32), np.empty(0))
        self._train, self._train_sum, self._each = train, train_sum, each
        self._here: NDArray[np.float32] | None = None
        self._trained = False

    @property
    def params(self) -> NDArray[np.float32]:
        """The parameters; homes train when they are first asked for."""
        if self._here is None:
            self._here = self._train_each()
        return self._here

    @property
    def losses(self) -> NDArray[np.float64]:
        """Training losses of the last pass."""
        if not self._trained:
            self._here = self._train_each()
        return self._losses

    @property
    def groups(self) -> list[slice]:
        """Homes that are added up together."""
        homes, each = len(self.homes), self._each
        return [slice(first, min(first + each, homes)) for first in range(0, homes, each)]

    def summed(self, shares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Train, and return the sums; float32 throughout, in the homes' order."""
        if self._here is not None:
            return super().summed(shares)
        total, self._losses = self._train_sum(shares)
        self._trained = True
        return total

    def _train_each(self) -> NDArray[np.float32]:
        params, self._losses = self._train()
        self._trained = True
        return params


def begun(
    start: NDArray[np.float32],
    some: NDArray[np.int64],
    own: threading.local,
    *,
    size: int,
    into: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Return what some homes begin with, float32 ``[homes, size]``, where they are to train.

    Args:
        start: It, ``[size]`` for all or ``[homes of the cohort, size]``.
        some: The homes' positions in the cohort.
        own: A thread's own memory, used again: new one is slower to write to.
        size: Most homes of a chunk, as a rule.
        into: Where homes that stand side by side train, ``[homes of the cohort, size]``.
    """
    if into is not None and np.all(np.diff(some) == 1):
        params = into[some[0] : some[-1] + 1]
    else:
        if not hasattr(own, "room") or len(own.room) < len(some):
            own.room = np.empty((max(size, len(some)), start.shape[-1]), np.float32)
        params = own.room[: len(some)]
    params[:] = start if start.ndim == 1 else start[some]
    return params
