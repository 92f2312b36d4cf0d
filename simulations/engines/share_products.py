"""Proofs of shares, and what shares come to in their check, without arrays of all products.

They are those of :func:`fedhome.secagg.sharing.combined`, number by number. **For simulations
only**, which make hundreds in each sum. Where no machine code may be made there is none of it.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from fedhome.errors import EngineError
from fedhome.learning.fused.compiler import host_tile, machine_code
from fedhome.learning.fused.emit import I64, POINTER, Emitter, Value
from fedhome.secagg.shamir import LIMBS, PRIME
from fedhome.secagg.sharing import CHECKS, SHARE_NUMBERS

_FACTORS = CHECKS * LIMBS  # of one secret
_BITS = PRIME.bit_length()


class ShareProducts:
    """The compiled function."""

    def __init__(self) -> None:
        module = ir.Module("share_products")
        kinds = [POINTER] * 3 + [I64] * 3
        _write_combine(Emitter(module, host_tile(), "combine", kinds, exported=True))
        self._engine = machine_code(str(module))  # owns the code
        signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 3)
        self._combine = signature(self._engine.get_function_address("combine"))

    def combined(self, numbers: NDArray[np.int64], factors: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what :func:`fedhome.secagg.sharing.combined` does.

        Args:
            numbers: int64 ``[rows, secrets, 13]``, below the prime.
            factors: int64 ``[rows or 1, secrets, CHECKS, 9]``, likewise.
        """
        rows, secrets, width = numbers.shape
        common = len(factors) == 1
        assert width == SHARE_NUMBERS
        assert factors.shape == (1 if common else rows, secrets, CHECKS, LIMBS)
        assert numbers.dtype == factors.dtype == np.int64
        numbers, factors = np.ascontiguousarray(numbers), np.ascontiguousarray(factors)
        made = np.empty((rows, secrets, CHECKS), np.int64)
        places = numbers.ctypes.data, factors.ctypes.data, made.ctypes.data
        self._combine(*places, rows, secrets, 0 if common else secrets * _FACTORS)
        return made


@cache
def share_products_if_any() -> ShareProducts | None:
    """Return the compiled function; None where no machine code may be made."""
    try:
        return ShareProducts()
    except EngineError:
        return None


def _write_combine(e: Emitter) -> None:
    """``combine(numbers, factors, made, rows, secrets, factors between rows)``."""
    b = e.builder
    numbers, factors, made, rows, secrets, between = e.arguments
    prime, bits = ir.Constant(I64, PRIME), ir.Constant(I64, _BITS)

    def folded(number: Value) -> Value:
        """Return the same modulo the prime, as 2^31 counts as 1."""
        return b.add(b.and_(number, prime), b.lshr(number, bits))

    def one_row(row: Value, _: list[Value]) -> list[Value]:
        of_row = e.at(factors, e.times(row, between), I64)

        def one_secret(secret: Value, _: list[Value]) -> list[Value]:
            place = e.add(e.times(row, secrets), secret)
            own = e.at(numbers, e.times(place, SHARE_NUMBERS), I64)
            by = e.at(of_row, e.times(secret, _FACTORS), I64)
            to = e.at(made, e.times(place, CHECKS), I64)
            limbs = [e.load(own, limb, I64) for limb in range(LIMBS)]
            for check in range(CHECKS):
                total = e.load(own, LIMBS + check, I64)
                for number, limb in enumerate(limbs):
                    product = b.mul(limb, e.load(by, check * LIMBS + number, I64))  # below 2^62
                    total = b.add(total, folded(product))  # ten below 2^32
                once = folded(total)  # below twice the prime
                less = b.sub(once, prime)
                fits = b.icmp_signed("<", once, prime)
                e.store(b.select(fits, once, less), to, check, I64)
            return []

        e.loop(secrets, one_secret)
        return []

    e.loop(rows, one_row)
    b.ret_void()
