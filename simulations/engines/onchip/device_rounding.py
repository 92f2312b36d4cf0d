"""Sums of rounded updates on the GPU that trained them: whole numbers, the processor's bit for bit.

The updates stay there; what comes back is one sum a chunk, and how large each home's update was.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedhome.errors import EngineError
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.simulations.engines.compute_device import Placement
from fedhome.simulations.engines.onchip import rounding_program
from fedhome.simulations.engines.onchip.triton_text import MISSING, function_of, is_installed

_GROUPS: Final = 128  # of homes, each added up by programs of its own
_TRIED: Final = FixedPoint(9, 0.05, "linf", 100)
EXACT: Final = {"enable_fp_fusion": False}
"""What Triton is told: a product and a sum in one step round otherwise than the processor."""
_found: WeakKeyDictionary[Placement, str] = WeakKeyDictionary()  # a placement holds its examples


class DeviceRounding:
    """Rounds and adds up where updates are.

    Args:
        placement: Where.
    """

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._table = placement.put(rounding_program.table())

    def largest(self, params: Tensor, start: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the greatest change of each home's parameters, float32 ``[homes]``.

        Args:
            params: Parameters float32 ``[homes, size]``, on the device.
            start: What homes started from, float32 ``[size]``.

        Returns:
            Not finite where any change is not.
        """
        changes = params - self._placement.put(start)
        return self._placement.take(changes.abs_().amax(dim=1))

    def sums(
        self,
        fixed: FixedPoint,
        params: Tensor,
        start: NDArray[np.float32],
        weights: NDArray[np.int64],
        keys: Sequence[bytes],
        *,
        largest: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        """Return the sum over homes of what ``fixed.quantise`` makes of ``params - start``.

        Args:
            fixed: How updates are rounded, with norm "linf".
            params: Parameters float32 ``[homes, size]``, on the device; every change is finite.
            start: What homes started from, float32 ``[size]``.
            weights: Weight of each home, int64 ``[homes]``.
            keys: Key of each home's rounding.
            largest: What `largest` says of these; None: it is asked.

        Returns:
            int64 ``[size]``.
        """
        put, (homes, size) = self._placement.put, params.shape
        if not homes:
            return np.zeros(size, np.int64)
        if largest is None:
            largest = self.largest(params, start)
        scale, bound = fixed.scales(weights, largest)
        each = -(-homes // _GROUPS)
        groups = -(-homes // each)
        sums = put(np.zeros((groups, size), np.int64))
        blocks = -(-size // (4 * rounding_program.LANES))
        _program()[(blocks, groups)](
            params.contiguous(),
            put(start),
            put(scale),
            put(bound),
            put(rounding_program.round_keys(keys)),
            self._table,
            sums,
            homes,
            size,
            each,
            **EXACT,
        )
        return self._placement.take(sums.sum(dim=0))


@cache
def _program() -> Any:
    return function_of(rounding_program.text(), "add_rounded", "rounding")


def rounding_there(placement: Placement) -> DeviceRounding | None:
    """Return what rounds updates where they were trained; None where that is not possible."""
    return None if why_not_there(placement) else DeviceRounding(placement)


def why_not_there(placement: Placement) -> str:
    """Return why updates cannot be rounded where they were trained; empty where they can.

    Where they can is tried out once: a sum there has to be the processor's.
    """
    if not placement.elsewhere:
        return "it is written for a GPU"
    if placement.device.type != "cuda" and not os.environ.get("TRITON_INTERPRET"):
        return f"it is written for CUDA, not for {placement.device.type}"
    if not is_installed():
        return MISSING
    if placement not in _found:
        _found[placement] = _why_not_right(placement)
    return _found[placement]


def _why_not_right(placement: Placement) -> str:
    drawn, homes, size = np.random.default_rng(1), 3, 70
    start = drawn.normal(size=size).astype(np.float32)
    params = start + drawn.normal(scale=0.1, size=(homes, size)).astype(np.float32)
    weights = np.array([30, 200, 7])
    keys = [drawn.bytes(32) for _ in range(homes)]
    expected = _TRIED.quantise(params - start, weights, keys).sum(axis=0, dtype=np.int64)
    try:
        with placement.explained():
            there = placement.put(params)
            found = DeviceRounding(placement).sums(_TRIED, there, start, weights, keys)
    except EngineError as error:
        return f"it fails on this GPU ({error.message})"
    except Exception as error:  # noqa: BLE001 - a compiler may raise anything; it is told
        return f"it does not compile for this GPU ({type(error).__name__})"
    return "" if np.array_equal(found, expected) else "on this GPU it gives another sum"
