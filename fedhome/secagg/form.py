"""What one masked vector holds: the weight, a few scalars, and the update, packed into words.

The sum over homes is exact. So a simulation may add up what homes would have sent and get,
bit for bit, what the protocol opens: `Form.total` is that sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import ParameterError, WireError
from fedhome.privacy.discrete_gaussian import DiscreteGaussian
from fedhome.privacy.noise import Noise
from fedhome.secagg.bounds import TAIL, check_elements
from fedhome.secagg.fixedpoint import FixedPoint, lengths
from fedhome.secagg.form_fields import fields_of, plain_of
from fedhome.secagg.packing import Packing
from fedhome.secagg.scalars import Scalar, Scalars

_EXACT = 1 << 24  # whole numbers up to here add up exactly in float32
_MOST_LENGTH = 1e30  # of an update that is clipped: the scale stays far from float32's smallest

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
        noise: What each home adds to every number but its weight; None: nothing.

    Raises:
        ParameterError: A field outside its range, or sums that could wrap.
    """

    elements: int
    layout: bytes
    fixed: FixedPoint
    scalars: tuple[Scalar, ...]
    homes: int
    noise: Noise | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.elements < 1 << 40 or len(self.layout) != 32:  # noqa: PLR2004
            raise ParameterError(
                f"no form of {self.elements} elements and a layout hash of "
                f"{len(self.layout)} bytes",
                reason="encoding",
            )
        # An impossible form is refused when it is made, not in the round that uses it.
        Packing.of(self._lane_bits, self.homes)
        if self.noise is not None:
            self._check_noisy()
        Scalars(self.scalars, self.fixed.bits, self.fixed.weight_cap)

    @cached_property
    def packing(self) -> Packing:
        """How elements lie in words."""
        return Packing.of(self._lane_bits, self.homes)

    @property
    def _lane_bits(self) -> int:
        fixed = self.fixed
        return fixed.bits if self.noise is None else self.noise.bits(fixed.most)

    @property
    def noisy_elements(self) -> int:
        """How many elements carry noise, where there is any: all but the weight's."""
        return self.scalar_elements - self._scalars.digits[0] + self.elements

    def _check_noisy(self) -> None:
        """Refuse a form with numbers that noise does not hide.

        A number of several digits would show in how its digits add up; a weight carries no noise.
        """
        digits = Scalars(self.scalars, self.fixed.bits, self.fixed.weight_cap).digits
        if self.fixed.weight_cap != 1 or self.fixed.norm != "l2" or max(digits) > 1:
            raise ParameterError(
                "with noise, homes count once each, updates are clipped in l2, and every number "
                "beside them is one element",
                reason="noise",
            )

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
        noise_keys: Sequence[bytes] = (),
    ) -> Words:
        """Return what each home sends, before it is masked.

        A home's words depend on its own row of every argument alone.

        Args:
            updates: float32 ``[homes, elements]``; None where the form has no elements.
            weights: int64 ``[homes]``: examples of each home.
            values: float64 ``[homes, scalars]``.
            keys: 32 bytes a home, for rounding (see `FixedPoint.quantise`); unused where the
                form has no elements.
            noise_keys: 32 bytes a home, where the form has noise. **A home's is secret**, drawn by
                the operating system for this one sum; elsewhere than in a simulation.

        Returns:
            Unsigned ``[homes, words]``.

        Raises:
            ParameterError: Shapes that do not belong together, or a weight below zero.
            UpdateError: An update that is not float32 or not finite; with noise such a home
                contributes zeros, since that it failed would tell of its readings.
        """
        weights = self.fixed.cap(weights)
        packed = np.zeros((len(weights), self.words), self.packing.dtype)
        self.packing.put(packed, 0, self._scalars.encode(values, weights))
        for homes, part, block in self._blocks(updates, weights, keys, len(weights)):
            self.packing.put(packed[homes], self.scalar_elements + part.start, block)
        for row, key in zip(packed, self._noise_keys(noise_keys, len(weights)), strict=False):
            self.packing.add(row, self._first_noisy, self._noise([key], self.noisy_elements))
        return packed

    def total(
        self,
        updates: NDArray[np.float32] | None,
        weights: NDArray[np.int64],
        values: NDArray[np.float64],
        keys: Sequence[bytes],
        noise_keys: Sequence[bytes] = (),
    ) -> Words:
        """Return the wrapping sum of what `encode` returns, without holding all of it.

        Args:
            updates: As in `encode`.
            weights: As in `encode`.
            values: As in `encode`.
            keys: As in `encode`.
            noise_keys: As in `encode`.

        Returns:
            Unsigned ``[words]``.

        Raises:
            ParameterError: As in `encode`, or more homes than the form allows.
            UpdateError: As in `encode`.
        """
        weights = self.fixed.cap(weights)
        sums = self.element_sums(updates, weights, keys)
        noise = self.noise_sums(noise_keys, len(weights))
        return self.total_of_sums(sums, weights, values, noise)

    def noise_sums(self, noise_keys: Sequence[bytes], homes: int) -> NDArray[np.int64]:
        """Return the sum of these homes' noise, int64 ``[noisy_elements]``; zeros without noise.

        Args:
            noise_keys: As in `encode`.
            homes: How many homes there are.

        Raises:
            ParameterError: Another number of keys than of homes.
        """
        return self._noise(self._noise_keys(noise_keys, homes), self.noisy_elements)

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
        noise: NDArray[np.int64] | None = None,
    ) -> Words:
        """Return what `total` returns, given the sums of the elements.

        Args:
            sums: What `element_sums` returns, or the sum of its results for disjoint sets of homes.
            weights: As in `encode`, of all homes.
            values: As in `encode`, of all homes.
            noise: What `noise_sums` returns for all homes; needed where the form has noise.

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
        if self.noise is not None:
            if noise is None or noise.shape != (self.noisy_elements,):
                raise _noiseless()
            self.packing.add(packed, self._first_noisy, noise)
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
        slack = 0.0 if self.noise is None else TAIL * self.noise.sigma * math.sqrt(homes)
        weight, values = self._scalars.decode(sums[: self.scalar_elements], homes, slack=slack)
        elements = sums[self.scalar_elements :]
        check_elements(self.fixed, elements, weight=weight, homes=homes, slack=slack)
        return Total(weight, values, self.fixed.mean(elements, weight))

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
        if self.noise is not None:
            updates = _tamed(updates)
        return self.fixed.blocks(updates, weights, keys, most_homes=most_homes)

    @property
    def _first_noisy(self) -> int:
        return self._scalars.digits[0]

    def _noise_keys(self, keys: Sequence[bytes], homes: int) -> Sequence[bytes]:
        if self.noise is None:
            return ()
        if len(keys) != homes or any(len(key) != 32 for key in keys):  # noqa: PLR2004
            raise _noiseless()
        return keys

    def _noise(self, keys: Sequence[bytes], count: int) -> NDArray[np.int64]:
        if self.noise is None:
            return np.zeros(count, np.int64)
        return DiscreteGaussian.of(self.noise.sigma).sum(keys, count)

    def to_plain(self) -> tuple[Any, ...]:
        """Return the form as integers, strings, bytes and tuples of these."""
        fields = (self.elements, self.layout, self.fixed, self.scalars, self.homes, self.noise)
        return plain_of(fields)

    @classmethod
    def from_plain(cls, plain: object) -> Form:
        """Return the form that `to_plain` wrote.

        Raises:
            WireError: Anything else.
        """
        try:
            return cls(*fields_of(plain))
        except ParameterError as error:
            raise WireError(
                f"a form came that cannot be: {error.message}", reason="form"
            ) from error


def _tamed(updates: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return updates with zeros for those that cannot be clipped: not finite, or as good as not."""
    with np.errstate(over="ignore", invalid="ignore"):
        fine = lengths(updates) < _MOST_LENGTH
    return updates if fine.all() else np.where(fine[:, None], updates, np.float32(0))


def _noiseless() -> ParameterError:
    return ParameterError(
        "a sum with noise was encoded without the noise of each home", reason="noise"
    )
