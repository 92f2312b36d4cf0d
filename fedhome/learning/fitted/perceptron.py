"""A multilayer perceptron's forward pass in numpy, as :func:`fedhome.models.mlp.mlp` builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.tasks.segments import Floats

if TYPE_CHECKING:
    from fedhome.learning.fitted import InputRows

_ROOM = 1e-5  # what torch adds to a variance that it divides by
_GROUP = 8
_ZERO = np.float32(0)
_MATRIX = 2  # dimensions of a layer's weights; a norm's have one


class _Step(NamedTuple):
    """A layer as it is multiplied ``[inputs, units]``, or a norm ``[units]``; whether it bends."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    bends: bool


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
        return self.last(self.hidden(x))

    def hidden(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the last layer is given for inputs ``[rows, features]``."""
        for layer in self._steps[:-1]:
            x = x @ layer.weight if layer.weight.ndim == _MATRIX else self._normed(x) * layer.weight
            x += layer.bias
            if layer.bends:
                np.maximum(x, _ZERO, out=x)
        return x

    def last(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the raw outputs that the last layer makes of what it is given."""
        layer = self._steps[-1]
        return hidden @ layer.weight + layer.bias

    @cached_property
    def _steps(self) -> tuple[_Step, ...]:
        """What is computed, in its order: names are read once, not for each row."""
        names = [name.removesuffix(".weight") for name in self.layers if name.endswith(".weight")]
        weights = [self.layers[f"{name}.weight"] for name in names]
        steps = []
        for place, (name, weight) in enumerate(zip(names, weights, strict=True)):
            following = weights[place + 1 : place + 2]
            # A norm stands between a layer and its ReLU; behind the last layer is none.
            bends = bool(following) and (place + 2 == len(names) or following[0].ndim == _MATRIX)
            steps.append(_Step(weight.T, self.layers[f"{name}.bias"], bends))
        return tuple(steps)

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
    def in_order(
        cls, layers: Mapping[str, NDArray[np.float32]], *, grouped: bool = False
    ) -> Perceptron:
        """Return one from parameters in any order: their names begin with the layer's number.

        Args:
            layers: As of the class.
            grouped: As of the class.
        """

        def place(name: str) -> tuple[int, bool]:
            number, _, part = name.partition(".")
            return int(number), part != "weight"

        copies = {name: np.array(layers[name], np.float32) for name in sorted(layers, key=place)}
        return cls(copies, grouped)

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Perceptron:
        """Return one from its arrays."""
        layers = {
            name.partition(" ")[2]: np.asarray(arrays[name], np.float32)
            for name in sorted(arrays)
            if name != "grouped"
        }
        return cls(layers, bool(arrays["grouped"][0]))
