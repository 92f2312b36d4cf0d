"""exp and log for vectors, to within about one unit in the last place of a float32.

Own series rather than the C library's: the library would be called lane by lane, and its
results differ from system to system.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from llvmlite import ir

from fedhome.learning.fused.emit import I32, Emitter, Value

_LN2 = math.log(2.0)
# ln 2 in two parts: few enough bits in the first that n * first is exact for every n here.
_LN2_HIGH = float(Fraction(round(_LN2 * 2**9), 2**9))
_LN2_LOW = _LN2 - _LN2_HIGH
_SMALLEST = -87.0  # exp of less than this is taken as 0
_LARGEST = 88.0
_SQRT_HALF_BITS = 0x3F3504F3  # sqrt(0.5) as a float32


def _series(e: Emitter, x: Value, coefficients: Sequence[float]) -> Value:
    """``coefficients[0] + coefficients[1] * x + ...``."""
    result = e.number(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = e.fma(result, x, e.number(coefficient))
    return result


def exp(e: Emitter, x: Value) -> Value:
    """Exponential of a vector of float32; more than 88 counts as 88, NaN stays NaN."""
    b = e.builder
    low, high = e.number(_SMALLEST), e.number(_LARGEST)
    # Ordered comparisons turn NaN into a bound, so that the conversion to int is defined.
    safe = b.select(b.fcmp_ordered(">", x, low), x, low)
    safe = b.select(b.fcmp_ordered("<", safe, high), safe, high)
    scaled = b.fmul(safe, e.number(1.0 / _LN2))
    power = e.call("llvm.floor", b.fadd(scaled, e.number(0.5)))
    rest = e.fma(power, e.number(-_LN2_HIGH), safe)
    rest = e.fma(power, e.number(-_LN2_LOW), rest)
    grown = _series(e, rest, [1.0 / math.factorial(n) for n in range(8)])
    integers = ir.VectorType(I32, e.tile.lanes)
    exponent = b.fptosi(power, integers)
    bits = b.shl(b.add(exponent, _integers(e, 127)), _integers(e, 23))
    result = b.fmul(grown, b.bitcast(bits, e.vector))
    result = b.select(b.fcmp_ordered("<", x, low), e.number(0.0), result)
    return b.select(b.fcmp_unordered("uno", x, x), x, result)


def log(e: Emitter, x: Value) -> Value:
    """Natural logarithm of a vector of normal positive float32; NaN stays NaN."""
    b = e.builder
    bits = b.bitcast(x, ir.VectorType(I32, e.tile.lanes))
    # x = m * 2^n with m from sqrt(1/2) to sqrt(2): there the series below converges fast.
    shifted = b.sub(bits, _integers(e, _SQRT_HALF_BITS))
    power = b.ashr(shifted, _integers(e, 23))
    mantissa = b.bitcast(b.sub(bits, b.shl(power, _integers(e, 23))), e.vector)
    reduced = b.fsub(mantissa, e.number(1.0))
    ratio = b.fdiv(reduced, b.fadd(mantissa, e.number(1.0)))
    result = _twice_artanh(e, ratio, terms=6)
    result = e.fma(b.sitofp(power, e.vector), e.number(_LN2), result)
    return b.select(b.fcmp_unordered("uno", x, x), x, result)


def log1p(e: Emitter, x: Value) -> Value:
    """Logarithm of 1 + x for a vector of float32 from 0 to 1; NaN stays NaN."""
    ratio = e.builder.fdiv(x, e.builder.fadd(x, e.number(2.0)))
    return _twice_artanh(e, ratio, terms=9)


def _twice_artanh(e: Emitter, x: Value, *, terms: int) -> Value:
    """log((1 + x) / (1 - x))."""
    square = e.builder.fmul(x, x)
    return e.builder.fmul(x, _series(e, square, [2.0 / (2 * n + 1) for n in range(terms)]))


def _integers(e: Emitter, value: int) -> Value:
    lanes = e.tile.lanes
    return ir.Constant(ir.VectorType(I32, lanes), [ir.Constant(I32, value)] * lanes)
