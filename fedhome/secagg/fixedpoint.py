"""Updates as small integers that add up exactly: clipping and stochastic rounding.

Source: Gupta et al., "Deep learning with limited numerical precision", ICML 2015, section 3
(stochastic rounding): the rounded number is the true one on average, so errors of many homes
cancel instead of adding up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from fedhome.errors import ParameterError, UpdateError

_BLOCK = 1 << 15  # elements at a time: three temporaries of 128 KB stay in the L2 cache
_FOLD = 1024  # partial sums of a norm
_CTR = modes.CTR(bytes(16))
_UNIT = np.float32(1 << 24)
_FEW = 8  # steps: by sixteen bits, homes' ordinary numbers are some twenty and more
NORMS = ("linf", "l2")


@dataclass(frozen=True)
class FixedPoint:
    """How one home's weighted update becomes integers of ``bits`` bits.

    Args:
        bits: Bits of an element with its sign, 2 to 24 (float32 holds no more).
        clip: Greatest size of an update: of its greatest element (``linf``) or of its length
            (``l2``). A larger one is shortened as a whole. Were each element cut by itself, a clip
            far too small would leave but signs, times a home's weight: one sum would tell each
            home's.
        norm: ``linf`` or ``l2``.
        weight_cap: Greatest weight of a home; a greater one counts as this.

    Raises:
        ParameterError: A setting outside its range.
    """

    bits: int
    clip: float
    norm: str
    weight_cap: int

    def __post_init__(self) -> None:
        for name, fits in (
            ("bits", 2 <= self.bits <= 24),  # noqa: PLR2004
            ("clip", 1e-20 <= self.clip <= 1e20),  # noqa: PLR2004 - far inside float32's range
            ("norm", self.norm in NORMS),
            ("weight_cap", 1 <= self.weight_cap < 1 << 31),
        ):
            if not fits:
                raise ParameterError(
                    f"{name} = {getattr(self, name)!r} is outside its range", reason="encoding"
                )

    @property
    def most(self) -> int:
        """The greatest integer that is sent: 2^(bits-1) - 1."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        """What one unit of the sum stands for, in units of weight times update."""
        return self.clip * self.weight_cap / self.most

    def cap(self, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the weights that count, int64 ``[homes]``.

        Raises:
            ParameterError: A weight that is no integer, or below zero.
        """
        if weights.dtype.kind != "i" or int(weights.min(initial=0)) < 0:
            raise ParameterError(
                "a home's weight is no whole number, or below zero", reason="weight"
            )
        return np.minimum(weights, self.weight_cap)

    def is_coarse(
        self, updates: NDArray[np.float32], weights: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return of each home whether steps are so coarse that its rounding has to be its secret.

        They are where most of its numbers that are not zero come to a few steps: rounding that
        others can work out then tells in the sum whose they are. Where one home alone would round
        up, it shows whether that one did. Few bits make steps coarse, a clip or a weight far too
        great, and a small clip together with a great weight: so the numbers themselves are looked
        at.

        Args:
            updates: float32 ``[homes, elements]``.
            weights: int64 ``[homes]``.

        Raises:
            ParameterError: As in `cap`.
        """
        scale, _ = self.scales(weights, self.sizes(updates))
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
            steps = np.abs(updates) * scale[:, None]
        few = ((steps > 0) & (steps < _FEW)).sum(axis=1)
        return np.asarray(2 * few > (steps > 0).sum(axis=1), np.bool_)

    def sizes(self, updates: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Return the size of each update, ``[homes]``: what is held against the clip."""
        return lengths(updates) if self.norm == "l2" else greatest(updates)

    def scales(
        self, weights: NDArray[np.int64], sizes: NDArray[np.floating[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return how many steps a unit of each home's update is, and how many it has at most.

        Args:
            weights: int64 ``[homes]``.
            sizes: What `sizes` says of the updates, ``[homes]``.

        Returns:
            float32 ``[homes]`` each.

        Raises:
            ParameterError: As in `cap`.
        """
        plain = self.cap(weights) / self.step
        shrink = np.minimum(1.0, self.clip / np.maximum(sizes.astype(np.float64), 1e-99))
        bound = np.float32(self.clip) * plain.astype(np.float32)
        return (plain * shrink).astype(np.float32), np.minimum(bound, np.float32(self.most))

    def quantise(
        self, updates: NDArray[np.float32], weights: NDArray[np.int64], keys: Sequence[bytes]
    ) -> NDArray[np.int32]:
        """Return each home's weighted update in steps, clipped and stochastically rounded.

        What a home gets depends on its own row, weight and key alone.

        Args:
            updates: float32 ``[homes, elements]``.
            weights: int64 ``[homes]``.
            keys: 32 bytes a home. They decide rounding and nothing else. No secret where steps are
                fine (`is_coarse`), but never used twice for the same home, or its rounding errors
                would not be independent.

        Returns:
            int32 ``[homes, elements]``, within ``±most``.

        Raises:
            ParameterError: Shapes that do not belong together, or a weight below zero.
            UpdateError: An update that is not float32 or not finite.
        """
        rounded = np.empty(updates.shape, np.int32)
        for homes, part, block in self.blocks(updates, weights, keys):
            np.copyto(rounded[homes, part], block, casting="unsafe")
        return rounded

    def blocks(
        self,
        updates: NDArray[np.float32],
        weights: NDArray[np.int64],
        keys: Sequence[bytes],
        *,
        most_homes: int | None = None,
    ) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
        """Yield what `quantise` returns block by block, in one buffer that is used again.

        The arithmetic, which a compiled kernel may repeat exactly: ``x = float32(update * scale)``
        with ``scale = float32(weight / step * min(1, clip / size))``, all but the casts in float64,
        ``size`` as of `sizes`; ``x`` clamped to ``float32(clip) * float32(weight / step)``, at most
        ``most``; ``f = floor(x)``; one more where ``(x - f) * 2^24 > u``. Of element ``i``, ``u``
        is the top 24 bits of word ``i`` (little-endian, 32 bits) of the AES-256-CTR keystream under
        the home's key, from counter zero.

        Args:
            updates: As in `quantise`.
            weights: As in `quantise`.
            keys: As in `quantise`.
            most_homes: The most homes in a block.

        Yields:
            Homes, elements, and the whole numbers of that block, float32 ``[homes, elements]``.

        Raises:
            ParameterError: As in `quantise`.
            UpdateError: As in `quantise`, before the block that holds it.
        """
        homes, elements = _check(updates, weights, keys)
        weights = self.cap(weights)
        rows = max(1, min(_BLOCK // max(elements, 1), most_homes or homes, homes))
        width = max(1, min(elements, _BLOCK))
        buffers = _Buffers(rows * width)
        for first in range(0, homes, rows):
            chosen = slice(first, min(first + rows, homes))
            scale, bound = self.scales(weights[chosen], self.sizes(updates[chosen]))
            streams = [_keystream(key) for key in keys[chosen]]
            for start in range(0, elements, width):
                part = slice(start, min(start + width, elements))
                block = buffers.round(
                    updates[chosen, part], scale[:, None], bound[:, None], streams
                )
                yield chosen, part, block

    def mean(self, total: NDArray[np.int64], weight: int) -> NDArray[np.float64]:
        """Return the weighted mean update; zeros where no home had any weight.

        Args:
            total: Sums of what homes sent, int64 ``[elements]``.
            weight: Sum of their weights.

        Returns:
            float64 ``[elements]``.
        """
        mean = total.astype(np.float64)
        mean *= self.step
        mean /= max(weight, 1)
        return mean


class _Buffers:
    """Temporaries of one block, allocated once."""

    def __init__(self, size: int) -> None:
        self._zeros = memoryview(bytes(4 * size))
        # A cipher may want room for one more block than it writes.
        self._drawn = np.empty(4 * size + 16, np.uint8)
        self._x, self._floor = np.empty((2, size), np.float32)
        self._finite = np.empty(size, np.bool_)

    def round(
        self,
        updates: NDArray[np.float32],
        scale: NDArray[np.float32],
        bound: NDArray[np.float32],
        streams: Sequence[CipherContext],
    ) -> NDArray[np.float32]:
        """Return the whole numbers of one block ``[homes, elements]``, valid until the next."""
        size, shape = updates.size, updates.shape
        x, floor = self._x[:size].reshape(shape), self._floor[:size].reshape(shape)
        finite = self._finite[:size].reshape(shape)
        if not np.isfinite(updates, out=finite).all():
            raise UpdateError(
                "an update holds numbers that are not finite",
                hint="lower train.learning_rate, or set train.clip_norm",
            )
        room, count = self._drawn.data, 4 * shape[1]
        for row, stream in enumerate(streams):
            stream.update_into(self._zeros[:count], room[row * count :])
        drawn = self._drawn[: 4 * size].view("<u4").reshape(shape)
        drawn >>= np.uint32(8)
        with np.errstate(over="ignore"):  # what overflows is clamped next
            np.multiply(updates, scale, out=x)
        np.clip(x, -bound, bound, out=x)
        np.floor(x, out=floor)
        x -= floor
        x *= _UNIT
        # 24 bits are whole in float32, and the sign of a difference of floats is exact. As a
        # signed number of its own (below 2^24) the conversion is the faster one.
        x -= drawn.view("<i4").astype(np.float32)
        floor += x > 0
        return floor


def greatest(updates: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the greatest element of each row, whatever its sign, float32 ``[homes]``."""
    high, low = updates.max(axis=1, initial=0), updates.min(axis=1, initial=0)
    return np.asarray(np.maximum(high, -low), np.float32)


def lengths(updates: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the L2 norm of each row, in one order of additions whatever the number of rows.

    The squares are added in float64 into 1024 partial sums (element ``i`` into ``i mod 1024``,
    in order), and those are folded in halves: ``s[i] += s[i + half]``.

    Args:
        updates: float32 ``[homes, elements]``.

    Returns:
        float64 ``[homes]``.
    """
    homes, elements = updates.shape
    sums = np.zeros((homes, _FOLD))
    for start in range(0, elements, _FOLD):
        part = updates[:, start : start + _FOLD].astype(np.float64)
        part *= part
        sums[:, : part.shape[1]] += part
    half = _FOLD // 2
    while half:
        sums[:, :half] += sums[:, half : 2 * half]
        half //= 2
    return np.sqrt(sums[:, 0])


def _keystream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES256(key), _CTR).encryptor()


def _check(
    updates: NDArray[np.float32], weights: NDArray[np.int64], keys: Sequence[bytes]
) -> tuple[int, int]:
    if updates.dtype != np.float32:
        raise UpdateError(f"an update of {updates.dtype} came where float32 was expected")
    if updates.ndim != 2 or weights.shape != updates.shape[:1] or len(keys) != len(weights):  # noqa: PLR2004
        raise ParameterError(
            f"updates {list(updates.shape)}, weights {list(weights.shape)} and {len(keys)} "
            "rounding keys do not belong together",
            reason="shapes",
        )
    if any(len(key) != 32 for key in keys):  # noqa: PLR2004
        raise ParameterError("a rounding key does not have 32 bytes", reason="shapes")
    return updates.shape[0], updates.shape[1]
