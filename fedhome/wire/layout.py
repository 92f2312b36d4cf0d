"""Parameters as one flat float32 array with a layout, as they travel and as they are stored."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import LayoutError, UpdateError


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a model's parameters, in the order in which they lie in the array.

    Args:
        names: Parameter names, as in the module's ``state_dict``.
        shapes: One shape for each name.
        shells: Where it lies what each tier of devices has and no smaller one, int64 each, where
            the model itself says that; two layouts are the same whatever they are.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    shells: tuple[NDArray[np.int64], ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Layout:
        """Return the layout of named arrays, in their order."""
        return cls(tuple(arrays), tuple(tuple(map(int, a.shape)) for a in arrays.values()))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of each parameter."""
        return tuple(int(np.prod(shape, dtype=np.int64)) for shape in self.shapes)

    @cached_property
    def size(self) -> int:
        """Number of elements of the whole array."""
        return sum(self.sizes)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the names and shapes, as 64 hexadecimal digits."""
        text = json.dumps([list(self.names), [list(shape) for shape in self.shapes]])
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def key(self) -> str:
        """Name under which an array of this layout travels."""
        return key_of(self.hash)

    def __str__(self) -> str:
        first = ", ".join(
            f"{name} {list(shape)}"
            for name, shape in list(zip(self.names, self.shapes, strict=True))[:4]
        )
        more = f", … {len(self.names)} in all" if len(self.names) > 4 else ""  # noqa: PLR2004
        return f"{self.hash[:16]} ({self.size} numbers: {first}{more})"

    def flatten(self, arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the named arrays as one float32 array ``[size]``.

        Raises:
            LayoutError: The names or shapes are not those of this layout.
        """
        other = Layout.of(arrays)
        if other != self:
            raise LayoutError(
                f"parameters have layout {other}, but {self} was expected",
                hint="the home and the server must build the model from the same plan",
            )
        if not arrays:
            return np.zeros(0, np.float32)
        return np.concatenate([np.ravel(a) for a in arrays.values()]).astype(np.float32)

    def unflatten(self, flat: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return views of one flat array ``[..., size]`` by name, ``[..., *shape]``.

        Raises:
            LayoutError: The array has another number of elements.
        """
        if flat.shape[-1] != self.size:
            raise LayoutError(
                f"an array of {flat.shape[-1]} numbers does not have layout {self}",
                hint="the home and the server must build the model from the same plan",
            )
        views: dict[str, NDArray[np.float32]] = {}
        offset = 0
        for name, shape, size in zip(self.names, self.shapes, self.sizes, strict=True):
            views[name] = flat[..., offset : offset + size].reshape((*flat.shape[:-1], *shape))
            offset += size
        return views

    def check(self, keys: Sequence[str], flat: NDArray[np.float32]) -> None:
        """Refuse an array that did not come from this layout or is not finite.

        Args:
            keys: Names under which the arrays of the message came; must be this layout's key.
            flat: The array that came.

        Raises:
            LayoutError: Another layout, or another number of elements.
            UpdateError: Another element type, or a number that is not finite.
        """
        if list(keys) != [self.key] or flat.shape != (self.size,):
            raise LayoutError(
                f"an update came as {', '.join(keys) or 'nothing'} of shape {list(flat.shape)}, "
                f"but {self.key} was expected: layout {self}",
                hint="the home and the server must build the model from the same plan",
            )
        if flat.dtype != np.float32:
            raise UpdateError(
                f"an update of {flat.dtype} came where float32 was expected",
                hint="homes and server must run the same version of fedhome",
            )
        if not bool(np.isfinite(flat).all()):
            raise UpdateError(
                "an update holds numbers that are not finite",
                hint="lower train.learning_rate, or set train.clip_norm",
            )


def key_of(layout_hash: str) -> str:
    """Return the name under which an array travels, by the hash of its layout."""
    return f"flat-{layout_hash[:16]}"


def model_hash(flat: NDArray[np.float32]) -> bytes:
    """Return SHA-256 of a model's parameters; a zero is the same whatever its sign.

    Args:
        flat: Its parameters, float32 ``[size]``.
    """
    return hashlib.sha256((flat + np.float32(0)).astype("<f4").tobytes()).digest()


def slice_units(hidden: Sequence[int], width: float, depth: int) -> tuple[int, ...]:
    """Return the units of a slice's layers, to the nearest, at least one in each.

    Args:
        hidden: Units of the whole model's hidden layers.
        width: Share of each that the slice has.
        depth: How many of the layers it has.
    """
    return tuple(max(1, math.floor(width * units + 0.5)) for units in hidden[:depth])
