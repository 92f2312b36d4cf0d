"""The order of batches, drawn on the device that trains: the processor's, number for number.

On a core the orders of 20 000 homes of 128 rows take longer than a GPU needs to train them. They
are whole numbers, sorted, so where they are drawn changes nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedhome import rng
from fedhome.simulations.engines.compute_device import Placement

_LEAST: Final = -(1 << 63)  # torch sorts whole numbers with a sign: this turns one order into both


def orders_there(
    placement: Placement,
    keys: NDArray[np.uint64],
    begin: NDArray[np.int64],
    counts: NDArray[np.int64],
    *,
    stream: int,
    epochs: int,
) -> Tensor:
    """Return absolute rows of the fleet on the device, int64 ``[epochs, homes, most rows]``.

    What lies behind a home's own rows is padding, and names a row as well.

    Args:
        placement: The device.
        keys: The homes' keys, uint64 ``[homes]``.
        begin: The fleet's first row of each home, int64 ``[homes]``.
        counts: Rows of each home, int64 ``[homes]``.
        stream: Names the order of batches: the number of the round.
        epochs: Passes over each home's rows.
    """
    width = int(counts.max(initial=0))
    rows = torch.arange(width, device=placement.device)
    own = rows < placement.put(np.ascontiguousarray(counts))[:, None]
    first = placement.put(np.ascontiguousarray(begin))[:, None]
    orders = []
    for epoch in range(epochs):
        key = placement.put(rng.epoch_keys(keys, stream, epoch).view(np.int64))
        drawn = _mixed(key[:, None] + rows * _signed(int(rng.GOLDEN)))
        packed = (drawn & ~int(rng.ROW_MASK)) | rows
        packed = torch.where(own, packed ^ _LEAST, -(_LEAST + 1))
        order = packed.sort(dim=1).values.bitwise_and_(int(rng.ROW_MASK))
        orders.append(torch.where(own, order, 0).add_(first))
    return torch.stack(orders)


def _mixed(value: Tensor) -> Tensor:
    """Return :func:`fedhome.rng.mix` of numbers without a sign, held in such with one."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ _shifted(value, shift)) * _signed(factor)
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, by: int) -> Tensor:
    return (value >> by) & ((1 << (64 - by)) - 1)  # no sign comes in from above


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
