"""A multilayer perceptron's forward pass in numpy, as :func:`fedhome.models.mlp.mlp` builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.tasks.segments import Floats

if TYPE_CHECKING:
    from fedhome.learning.fitted import InputRows

_ROOM = 1e-5  # what torch adds to a variance that it divides by
_GROUP = 8
_MATRIX = 2  # dimensions of a layer's weights; a norm's have one


@dataclass(frozen=True)
class Perceptron:
    """Layers in their order; statements follow from its raw outputs elsewhere.

    Args:
        layers: Weights and biases by their names in the module, in order: ``"0.weight"``
            float32 ``[units, inputs]``, ``"0.bias"`` ``[units]``, and those of norms ``[units]``.
        grouped: Whether norms are over groups of 8 units, not over all.
    """

    layers: Mapping[str, NDArray[np.float32]]
    grouped: bool = False

    def state(self, rows: InputRows) -> Floats:
        """Return the raw outputs of rows, ``[rows, outputs]``."""
        return self.output(rows.x).astype(np.float64)

    def output(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the raw outputs of inputs ``[rows, features]``."""
        names = [name.removesuffix(".weight") for name in self.layers if name.endswith(".weight")]
        last = [name for name in names if self.layers[f"{name}.weight"].ndim == _MATRIX][-1]
        for place, name in enumerate(names):
            weight, bias = self.layers[f"{name}.weight"], self.layers[f"{name}.bias"]
            x = (x @ weight.T if weight.ndim == _MATRIX else self._normed(x) * weight) + bias
            following = names[place + 1 : place + 2]
            norm_next = following and self.layers[f"{following[0]}.weight"].ndim != _MATRIX
            if name != last and not norm_next:
                x = np.maximum(x, np.float32(0))
        return x

    def _normed(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        units = x.shape[1]
        groups = units // _GROUP if self.grouped and units % _GROUP == 0 else 1
        apart = x.reshape(len(x), groups, -1)
        spread = np.sqrt(apart.var(axis=2, keepdims=True) + np.float32(_ROOM))
        return np.asarray((apart - apart.mean(axis=2, keepdims=True)) / spread).reshape(x.shape)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that it is, by name."""
        layers: dict[str, NDArray[Any]] = {
            f"{place:03d} {name}": values
            for place, (name, values) in enumerate(self.layers.items())
        }
        return layers | {"grouped": np.array([self.grouped], np.uint8)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Perceptron:
        """Return one from its arrays."""
        layers = {
            name.partition(" ")[2]: np.asarray(arrays[name], np.float32)
            for name in sorted(arrays)
            if name != "grouped"
        }
        return cls(layers, bool(arrays["grouped"][0]))
