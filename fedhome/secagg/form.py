"""What one masked vector holds: the weight, a few scalars, and the update, packed into words.

The sum over homes is exact. So a simulation may add up what homes would have sent and get,
bit for bit, what the protocol opens: `Form.total` is that sum.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import ParameterError, SumError, WireError
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.packing import Packing
from fedhome.secagg.scalars import Scalar, Scalars

_EXACT = 1 << 24  # whole numbers up to here add up exactly in float32
_MOST_SCALARS = 1024
_NAME_BYTES = 64
_ROUNDING = 1e-6  # of float32, in which homes scale

Words = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Total:
    """What a sum over homes amounts to.

    Args:
        weight: Sum of the homes' weights.
        values: Each scalar's weighted mean, or its sum over homes, by name.
        mean: The weighted mean update, float64 ``[elements]``.
    """

    weight: int
    values: dict[str, float]
    mean: NDArray[np.float64]


@dataclass(frozen=True)
class Form:
    """The layout of a masked vector: homes and server must agree on every field.

    Args:
        elements: Elements of an update; 0 where only scalars are summed.
        layout: SHA-256 of the parameters' names and shapes, 32 bytes.
        fixed: How elements become integers.
        scalars: The numbers that travel beside the weight.
        homes: The most homes in one sum.

    Raises:
        ParameterError: A field outside its range, or sums that could wrap.
    """

    elements: int
    layout: bytes
    fixed: FixedPoint
    scalars: tuple[Scalar, ...]
    homes: int

    def __post_init__(self) -> None:
        if not 0 <= self.elements < 1 << 40 or len(self.layout) != 32:  # noqa: PLR2004
            raise ParameterError(
                f"no form of {self.elements} elements and a layout hash of "
                f"{len(self.layout)} bytes",
                reason="encoding",
            )
        # An impossible form is refused when it is made, not in the round that uses it.
        Packing.of(self.fixed.bits, self.homes)
        Scalars(self.scalars, self.fixed.bits, self.fixed.weight_cap)

    @cached_property
    def packing(self) -> Packing:
        """How elements lie in words."""
        return Packing.of(self.fixed.bits, self.homes)

    @cached_property
    def _scalars(self) -> Scalars:
        return Scalars(self.scalars, self.fixed.bits, self.fixed.weight_cap)

    @cached_property
    def scalar_elements(self) -> int:
        """How many elements the weight and the scalars take, ahead of the update's."""
        return self._scalars.elements

    @cached_property
    def words(self) -> int:
        """Words of a masked vector."""
        return self.packing.words(self.scalar_elements + self.elements)

    def encode(
        self,
        updates: NDArray[np.float32] | None,
        weights: NDArray[np.int64],
        values: NDArray[np.float64],
        keys: Sequence[bytes],
    ) -> Words:
        """Return what each home sends, before it is masked.

        A home's words depend on its own row of every argument alone.

        Args:
            updates: float32 ``[homes, elements]``; None where the form has no elements.
            weights: int64 ``[homes]``: examples of each home.
            values: float64 ``[homes, scalars]``.
            keys: 32 bytes a home, for rounding (see `FixedPoint.quantise`); unused where the
                form has no elements.

        Returns:
            Unsigned ``[homes, words]``.

        Raises:
            ParameterError: Shapes that do not belong together, or a weight below zero.
            UpdateError: An update that is not float32 or not finite.
        """
        weights = self.fixed.cap(weights)
        packed = np.zeros((len(weights), self.words), self.packing.dtype)
        self.packing.put(packed, 0, self._scalars.encode(values, weights))
        for homes, part, block in self._blocks(updates, weights, keys, len(weights)):
            self.packing.put(packed[homes], self.scalar_elements + part.start, block)
        return packed

    def total(
        self,
        updates: NDArray[np.float32] | None,
        weights: NDArray[np.int64],
        values: NDArray[np.float64],
        keys: Sequence[bytes],
    ) -> Words:
        """Return the wrapping sum of what `encode` returns, without holding all of it.

        Args:
            updates: As in `encode`.
            weights: As in `encode`.
            values: As in `encode`.
            keys: As in `encode`.

        Returns:
            Unsigned ``[words]``.

        Raises:
            ParameterError: As in `encode`, or more homes than the form allows.
            UpdateError: As in `encode`.
        """
        weights = self.fixed.cap(weights)
        return self.total_of_sums(self.element_sums(updates, weights, keys), weights, values)

    def element_sums(
        self,
        updates: NDArray[np.float32] | None,
        weights: NDArray[np.int64],
        keys: Sequence[bytes],
    ) -> NDArray[np.float64]:
        """Return the sum over homes of what `FixedPoint.quantise` returns, float64 ``[elements]``.

        Args:
            updates: As in `encode`.
            weights: As in `encode`.
            keys: As in `encode`.

        Raises:
            ParameterError: As in `encode`.
            UpdateError: As in `encode`.
        """
        sums = np.zeros(self.elements)  # whole, below 2^53: exact
        most = max(1, _EXACT // self.fixed.most)
        for _, part, block in self._blocks(updates, weights, keys, most):
            sums[part] += np.add.reduce(block, axis=0)
        return sums

    def total_of_sums(
        self,
        sums: NDArray[np.signedinteger[Any]] | NDArray[np.floating[Any]],
        weights: NDArray[np.int64],
        values: NDArray[np.float64],
    ) -> Words:
        """Return what `total` returns, given the sums of the elements.

        Args:
            sums: What `element_sums` returns, or the sum of its results for disjoint sets of homes.
            weights: As in `encode`, of all homes.
            values: As in `encode`, of all homes.

        Raises:
            ParameterError: As in `encode`, or more homes than the form allows.
        """
        count = len(weights)
        if count > self.homes:
            raise ParameterError(
                f"{count} homes came for a sum of at most {self.homes}", reason="wraps"
            )
        scalars = self._scalars.encode(values, self.fixed.cap(weights)).sum(axis=0)
        packed = np.zeros(self.words, self.packing.dtype)
        self.packing.put(packed, 0, scalars, homes=count)
        self.packing.put(packed, self.scalar_elements, sums, homes=count)
        return packed

    def decode(self, total: Words, homes: int) -> Total:
        """Return what a sum over homes amounts to.

        Args:
            total: Sum of the homes' words, unsigned ``[words]``.
            homes: How many homes were summed.

        Raises:
            ParameterError: Words of another form, or more homes than it allows.
            SumError: ``beyond``: homes that keep to the protocol cannot have added this up.
        """
        sums = self.packing.unpack(
            total, elements=self.scalar_elements + self.elements, homes=homes
        )
        weight, values = self._scalars.decode(sums[: self.scalar_elements], homes)
        self._check_elements(sums[self.scalar_elements :], weight, homes)
        return Total(weight, values, self.fixed.mean(sums[self.scalar_elements :], weight))

    def _check_elements(self, sums: NDArray[np.int64], weight: int, homes: int) -> None:
        """Refuse an update that homes of this weight cannot have added up.

        A home of weight w adds at most ``clip * w / step`` to an element, and at most one more by
        rounding; by an L2 clip the length of the whole is bounded alike.
        """
        if not sums.size:
            return
        most = self.fixed.clip * weight / self.fixed.step + homes
        size, what = float(np.abs(sums).max()), "a number"
        if size <= most and self.fixed.norm == "l2":
            size, what = float(np.linalg.norm(sums.astype(np.float64))), "the length"
            most += homes * (math.sqrt(sums.size) - 1)
        if size > most * (1 + _ROUNDING):
            raise SumError(
                f"{what} of an opened sum is {size / max(most, 1e-99):.3g} times what {homes} "
                "homes that keep to the protocol can add: one of them does not",
                reason="beyond",
                hint="the sum is not used; with aggregation.groups above 1 only its group is lost",
            )

    def _blocks(
        self,
        updates: NDArray[np.float32] | None,
        weights: NDArray[np.int64],
        keys: Sequence[bytes],
        most_homes: int,
    ) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
        shape = (len(weights), 0) if updates is None else updates.shape
        if shape != (len(weights), self.elements):
            raise ParameterError(
                f"updates {list(shape)} are not those of {len(weights)} homes with "
                f"{self.elements} elements",
                reason="shapes",
            )
        if updates is None or not self.elements:
            return iter(())
        return self.fixed.blocks(updates, weights, keys, most_homes=most_homes)

    def to_plain(self) -> tuple[Any, ...]:
        """Return the form as integers, strings, bytes and tuples of these."""
        scalars = tuple(
            (s.name, _float_bytes(s.low), _float_bytes(s.high), int(s.weighted), s.bits)
            for s in self.scalars
        )
        fixed = self.fixed
        return (
            self.elements,
            self.layout,
            (fixed.bits, _float_bytes(fixed.clip), fixed.norm, fixed.weight_cap),
            scalars,
            self.homes,
        )

    @classmethod
    def from_plain(cls, plain: object) -> Form:
        """Return the form that `to_plain` wrote.

        Raises:
            WireError: Anything else.
        """
        try:
            return cls._read(plain)
        except ParameterError as error:
            raise WireError(
                f"a form came that cannot be: {error.message}", reason="form"
            ) from error

    @classmethod
    def _read(cls, plain: object) -> Form:
        elements, layout, fixed, scalars, homes = _fields(plain, int, bytes, list, list, int)
        if len(scalars) > _MOST_SCALARS:
            raise _refused(f"more than {_MOST_SCALARS} scalars")
        bits, clip, norm, weight_cap = _fields(fixed, int, bytes, str, int)
        parsed = []
        for item in scalars:
            name, low, high, weighted, grid = _fields(item, str, bytes, bytes, int, int)
            if weighted not in (0, 1) or len(name.encode()) > _NAME_BYTES:
                raise _refused("a scalar with a long name or of no kind")
            parsed.append(Scalar(name, _float(low), _float(high), bool(weighted), grid))
        return cls(
            elements, layout, FixedPoint(bits, _float(clip), norm, weight_cap), tuple(parsed), homes
        )


def _fields(plain: object, *kinds: type) -> list[Any]:
    if not isinstance(plain, list | tuple) or len(plain) != len(kinds):
        raise _refused("another number of fields")
    for value, kind in zip(plain, kinds, strict=True):
        if type(value) is not kind and not (kind is list and type(value) is tuple):
            raise _refused("a field of another type")
    return list(plain)


def _float_bytes(value: float) -> bytes:
    return struct.pack(">d", value)


def _float(value: bytes) -> float:
    if len(value) != 8:  # noqa: PLR2004
        raise _refused("a number that has not 8 bytes")
    return float(struct.unpack(">d", value)[0])


def _refused(what: str) -> WireError:
    return WireError(f"a form came with {what}", reason="form")
