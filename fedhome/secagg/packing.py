"""Small signed integers side by side in machine words, so that sums of words are sums of each.

A masked vector is added word by word and wraps. A lane must therefore hold the sum of all
homes, not of one: ``bits + ceil(log2(homes))`` bits, or the plan is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import ParameterError


class _Lanes(NamedTuple):
    """Bits of a lane, how many share a word, and the word."""

    width: int
    a_word: int
    word: type[np.unsignedinteger[Any]]


_LANES: Final[Mapping[str, _Lanes]] = {  # from the fewest bytes for an element to the most
    "u8": _Lanes(8, 1, np.uint8),
    "u10x6": _Lanes(10, 6, np.uint64),
    "u12x5": _Lanes(12, 5, np.uint64),
    "u16": _Lanes(16, 1, np.uint16),
    "u21x3": _Lanes(21, 3, np.uint64),
    "u32": _Lanes(32, 1, np.uint32),
}
_SIGNED: Final = {"u8": np.int8, "u16": np.int16, "u32": np.int32}


@dataclass(frozen=True)
class Packing:
    """How elements lie in words.

    ``u8``, ``u16`` and ``u32`` hold one element a word, in two's complement. The others hold
    several in a word of 64 bits, such as ``u21x3`` three: word ``i`` of ``n`` has the elements
    ``i``, ``i + n`` and ``i + 2n``, lowest bits first, each raised by ``2^(bits-1)`` so that no
    lane is negative and none carries into the next.

    Args:
        name: ``u8``, ``u10x6``, ``u12x5``, ``u16``, ``u21x3`` or ``u32``.
        bits: Bits of one element of one home, with its sign.
        homes: The most homes in one sum.

    Raises:
        ParameterError: A sum of that many homes could wrap.
    """

    name: str
    bits: int
    homes: int

    def __post_init__(self) -> None:
        if self.name not in _LANES or self.bits < 2 or self.homes < 1:  # noqa: PLR2004 - a sign and a digit
            raise ParameterError(
                f"no lanes {self.name!r} of {self.bits} bits for {self.homes} homes",
                reason="lanes",
            )
        if _needed(self.bits, self.homes) > self._lanes.width:
            raise _wraps(self.bits, self.homes)

    @classmethod
    def of(cls, bits: int, homes: int) -> Packing:
        """Return the lanes that take the fewest bytes.

        Raises:
            ParameterError: Even 32 bits do not hold the sum.
        """
        for name, lanes in _LANES.items():
            if _needed(bits, homes) <= lanes.width:
                return cls(name, bits, homes)
        raise _wraps(bits, homes)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Type of a word."""
        return np.dtype(self._lanes.word)

    @property
    def _lanes(self) -> _Lanes:
        return _LANES[self.name]

    def words(self, elements: int) -> int:
        """Return how many words hold ``elements`` elements."""
        return -(-elements // self._lanes.a_word)

    def pack(self, q: NDArray[np.int32]) -> NDArray[np.unsignedinteger[Any]]:
        """Return elements as words.

        Args:
            q: int32 ``[..., elements]``, each below ``2^(bits-1)`` in size.

        Returns:
            Unsigned ``[..., words]``.
        """
        packed = np.zeros((*q.shape[:-1], self.words(q.shape[-1])), self.dtype)
        self.put(packed, 0, q)
        return packed

    def put(
        self,
        words: NDArray[np.unsignedinteger[Any]],
        start: int,
        q: NDArray[np.signedinteger[Any]] | NDArray[np.floating[Any]],
        *,
        homes: int = 1,
    ) -> None:
        """Write elements ``start`` to ``start + n`` into words that are still zero there.

        Args:
            words: Unsigned ``[..., words]``, written in place.
            start: Number of the first element.
            q: ``[..., n]`` whole numbers (also as floats), of one home or summed over several.
            homes: Over how many homes the elements are summed.
        """
        end = start + q.shape[-1]
        if self.name in _SIGNED:
            whole = words[..., start:end].view(_SIGNED[self.name])
            np.copyto(whole, q, casting="unsafe")
            return
        size = words.shape[-1]
        raised = homes << (self.bits - 1)
        while start < end:
            lane, first = divmod(start, size)
            count = min(end - start, size - first)
            part = (q[..., :count] + raised).astype(np.uint64)
            words[..., first : first + count] |= part << np.uint64(lane * self._lanes.width)
            q, start = q[..., count:], start + count

    def add(
        self,
        words: NDArray[np.unsignedinteger[Any]],
        start: int,
        numbers: NDArray[np.int64],
    ) -> None:
        """Add whole numbers to elements from ``start`` on, wrapping as sums of words wrap.

        What is added at homes and what is added to their sum comes to the same words.

        Args:
            words: Unsigned ``[words]``, changed in place.
            start: Number of the first element.
            numbers: int64 ``[n]``.
        """
        end = start + len(numbers)
        if self.name in _SIGNED:
            words[start:end] += numbers.astype(self.dtype)
            return
        size = len(words)
        while start < end:
            lane, first = divmod(start, size)
            count = min(end - start, size - first)
            part = numbers[:count].view(np.uint64)
            words[first : first + count] += part << np.uint64(lane * self._lanes.width)
            numbers, start = numbers[count:], start + count

    def unpack(
        self, total: NDArray[np.unsignedinteger[Any]], *, elements: int, homes: int
    ) -> NDArray[np.int64]:
        """Return the exact sums from summed words.

        Args:
            total: Unsigned ``[words]``: the wrapping sum of packed vectors.
            elements: How many elements the words hold.
            homes: How many packed vectors were summed.

        Returns:
            int64 ``[elements]``.

        Raises:
            ParameterError: Words of another type or number, or more homes than the lanes hold.
        """
        if total.dtype != self.dtype or total.shape != (self.words(elements),):
            raise ParameterError(
                f"{elements} elements do not lie in {total.dtype} {list(total.shape)} "
                f"as lanes {self.name}",
                reason="lanes",
            )
        if not 0 <= homes <= self.homes:
            raise _wraps(self.bits, homes)
        if self.name in _SIGNED:
            return total.view(_SIGNED[self.name]).astype(np.int64)
        size, width = total.shape[0], self._lanes.width
        mask = np.uint64((1 << width) - 1)
        sums = np.empty(self._lanes.a_word * size, np.uint64)
        for lane in range(self._lanes.a_word):
            part = sums[lane * size : (lane + 1) * size]
            np.right_shift(total, np.uint64(lane * width), out=part)
        sums &= mask
        return sums[:elements].view(np.int64) - (homes << (self.bits - 1))


def _needed(bits: int, homes: int) -> int:
    """Bits of a sum of ``homes`` elements: bits + ceil(log2(homes))."""
    return bits + (homes - 1).bit_length()


def _wraps(bits: int, homes: int) -> ParameterError:
    return ParameterError(
        f"the sum of {homes} elements of {bits} bits needs {_needed(bits, homes)}, "
        "more than the lanes have: it would wrap",
        reason="wraps",
        hint="use fewer bits, or split the round into groups",
    )
