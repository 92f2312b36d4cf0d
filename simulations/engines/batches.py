"""Which rows make the batches of a chunk, laid out before the first step.

A step that had to ask which rows come next would hold up a GPU. So all steps of a pass are laid
out here, brought over in one copy, and cut there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedhome import rng

_NO_MASK = np.empty(0, np.float32)

Put = Callable[[NDArray[Any]], Tensor]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which rows a chunk trains on, and in which order.

    Args:
        orders: For each pass, absolute rows of the fleet int64 ``[homes, max(counts)]``;
            what lies behind a home's own rows is padding.
        counts: Rows of each home, int64 ``[homes]``, not rising.
        keys: For each pass, each home's key, uint64 ``[homes]``.
        there: The orders where they are trained by, int64 ``[passes, homes, max(counts)]``;
            None: they are still to be brought over. ``orders`` may be empty where they are not.
    """

    orders: list[NDArray[np.int64]]
    counts: NDArray[np.int64]
    keys: list[NDArray[np.uint64]]
    there: Tensor | None = None

    def of(self, homes: slice, shift: NDArray[np.int64] | None = None) -> Rows:
        """Return those of some homes, among other rows.

        Args:
            homes: Which.
            shift: What is added to each home's rows, int64 ``[homes]``; None: nothing.
        """
        assert shift is None or self.there is None, "rows on the device are those of the fleet"
        counts = self.counts[homes]
        most = int(counts.max(initial=0))
        orders = [order[homes, :most] for order in self.orders]
        if shift is not None:
            orders = [order + shift[:, None] for order in orders]
        there = None if self.there is None else self.there[:, homes, :most]
        return Rows(
            orders=orders, counts=counts, keys=[key[homes] for key in self.keys], there=there
        )


class Step(NamedTuple):
    """One step of a pass.

    Args:
        first: First row of the homes' order.
        active: Homes that have a batch: the first of the chunk.
        rows: Rows of a home's batch.
        here: How many of them count, int64 ``[active]``.
        masked: Whether some do not.
    """

    first: int
    active: int
    rows: int
    here: NDArray[np.int64]
    masked: bool


class Draw(NamedTuple):
    """What a step is given, on the device.

    Args:
        step: Which step it is.
        rows: Rows of the fleet, int64 ``[active * rows]``; padding repeats some row.
        mask: float32 ``[active, rows]``, 0 for padding; empty where nothing is masked.
        key: int64 ``[active]``; zeros where nothing is drawn from it.
        weight: How many rows count, float64 ``[active]``.
    """

    step: Step
    rows: Tensor
    mask: Tensor
    key: Tensor
    weight: Tensor


class Schedule:
    """All steps of a chunk.

    Args:
        rows: Which rows, in which order.
        batch_size: Most rows of a batch.
        put: Brings an array to the device.
        draws: Whether a step draws from its key.
        powers: Whether short batches are padded to a power of two, for a kernel that prepares
            each shape; else every batch is masked, for one that treats all alike.
    """

    def __init__(self, rows: Rows, batch_size: int, *, put: Put, draws: bool, powers: bool) -> None:
        self._rows = rows
        self._put = put
        self._draws = draws
        self.steps = _steps(rows.counts, batch_size, powers=powers)
        self._masks = _over(put, [_mask(step) for step in self.steps])
        self._weights = _over(put, [step.here for step in self.steps], np.float64)
        none = put(np.zeros(len(rows.counts), np.int64))
        self._no_keys = [none[: step.active] for step in self.steps]

    def passes(self) -> Iterator[list[Draw]]:
        """Bring pass after pass over, all steps of one at once."""
        rows = self._rows
        for order, keys in zip(rows.orders, rows.keys, strict=True):
            drawn = _over(self._put, [_drawn(order, step) for step in self.steps])
            own = self._no_keys
            if self._draws:
                each = enumerate(self.steps)
                own = _over(self._put, [rng.step_keys(keys[: t.active], n) for n, t in each])
            parts = zip(self.steps, drawn, self._masks, own, self._weights, strict=True)
            yield [Draw(*part) for part in parts]


def _steps(counts: NDArray[np.int64], size: int, *, powers: bool) -> list[Step]:
    steps = []
    for first in range(0, int(counts.max(initial=0)), size):
        active = int(np.searchsorted(-counts, -first))  # homes with rows left
        here = np.minimum(counts[:active] - first, size)
        most = int(here[0])
        rows = min(size, 1 << (most - 1).bit_length()) if powers else most
        steps.append(Step(first, active, rows, here, not powers or int(here[-1]) < rows))
    return steps


def _mask(step: Step) -> NDArray[np.float32]:
    if not step.masked:
        return _NO_MASK
    inside: NDArray[np.bool_] = np.arange(step.rows) < step.here[:, None]
    return inside.astype(np.float32)


def _drawn(order: NDArray[np.int64], step: Step) -> NDArray[np.int64]:
    """Return which rows a step is made of ``[active * rows]``; padding repeats some row."""
    drawn = order[: step.active, step.first : step.first + step.rows]
    if not step.masked:
        return drawn.ravel()
    padded = np.repeat(order[: step.active, :1], step.rows, axis=1)
    inside = np.arange(drawn.shape[1]) < step.here[:, None]
    np.copyto(padded[:, : drawn.shape[1]], drawn, where=inside)
    return padded.ravel()


def _over(put: Put, parts: Sequence[NDArray[Any]], dtype: Any = None) -> list[Tensor]:
    """Bring arrays over as one, and cut it again."""
    if not parts:
        return []
    whole = put(np.concatenate([part.ravel() for part in parts], dtype=dtype))
    cut = torch.split(whole, [part.size for part in parts])
    if all(part.ndim == 1 for part in parts):
        return list(cut)
    return [piece.view(part.shape) for piece, part in zip(cut, parts, strict=True)]
